"""``store.touched``: an application tells which rows of its source have changed, and the shapes have them."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inspections import eventually
from processes import assert_sound, read
from sources import Row, Rows
from steps import Steps

from shapestore import CreateFailedError, Shape, ShapeStore, SQLSource, StoreBusyError, StoredShape, maintenance
from shapestore.creating.row_sink import MOST_OVERTAKEN
from shapestore.freshness import touched as touched_module
from shapestore.source.keyed import KeyedRows
from shapestore.storage.commands import MarkStale, PublishTouched
from shapestore.storage.log.live import queries
from shapestore.storage.log.positions import MAX_POSITION
from shapestore.storage.log.wanted_queries import FEW_POSITIONS
from shapestore.storage.transaction import Transaction

pytestmark = pytest.mark.usefixtures("untroubled")

ALL = Shape("track")
SOME = Shape("track", where="album = 1")
NAMES = Shape("track", columns=["name"], where="album = 1")


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = str(tmp_path / "source.db")
    write(path, "PRAGMA journal_mode = WAL")
    write(path, "CREATE TABLE track (id INTEGER PRIMARY KEY, album INTEGER, name TEXT)")
    write(path, "INSERT INTO track VALUES (1, 1, 'one'), (2, 1, 'two'), (3, 2, 'three')")
    return path


def write(path: str, statement: str, *parameters: Any) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        connection.execute(statement, parameters)


def a_store(path: str, source: str, **options: Any) -> ShapeStore:
    return ShapeStore(path, create=SQLSource(f"sqlite:///{source}"), **options)


async def rows(store: ShapeStore, stored: StoredShape) -> list[Row]:
    """What is stored, without asking for it to be fresh."""
    return [row async for row in store.rows(stored.handle)]


async def names(store: ShapeStore, stored: StoredShape) -> list[str]:
    return [row["name"] for row in await rows(store, stored)]


# --- by key


async def test_rows_that_were_touched_are_in_every_shape_of_the_table(empty_path: str, source: str) -> None:
    async with a_store(empty_path, source) as store:
        all_, some, of_names = [await store.get_or_create(shape) for shape in (ALL, SOME, NAMES)]
        write(source, "UPDATE track SET name = 'TWO' WHERE id = 2")
        await store.touched("track", [2])
        assert await names(store, all_) == ["one", "TWO", "three"]
        assert await names(store, some) == await names(store, of_names) == ["one", "TWO"]
        write(source, "UPDATE track SET album = 3 - album")  # rows leave one shape, and come into another
        write(source, "DELETE FROM track WHERE id = 1")
        write(source, "INSERT INTO track VALUES (7, 1, 'seven')")
        await store.touched("track", [(1,), (2,), 3, 7])
        assert await rows(store, all_) == [
            {"id": 2, "album": 2, "name": "TWO"},
            {"id": 3, "album": 1, "name": "three"},
            {"id": 7, "album": 1, "name": "seven"},
        ]
        assert await names(store, some) == await names(store, of_names) == ["three", "seven"]
        assert store.stats.leaders == 3  # nothing was refreshed
        assert await store.get_or_create(ALL) == await store.get(ALL)


async def test_one_transaction_goes_through_a_part_of_the_shapes(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find one key in 400 shapes of 20,000 rows took more than a second, in which no process could write."""
    monkeypatch.setattr(touched_module, "ROWS_GONE_THROUGH", 4)
    looked_up, publish = [], PublishTouched.run

    def noted(self: PublishTouched, tx: Transaction) -> bool:
        looked_up.append(len({wanted.shape for wanted in self.wanted}))
        return publish(self, tx)

    monkeypatch.setattr(PublishTouched, "run", noted)
    async with a_store(empty_path, source) as store:
        shapes = [await store.get_or_create(shape) for shape in (Shape("track", where="id < 99"), ALL, SOME, NAMES)]
        write(source, "UPDATE track SET name = 'TWO' WHERE id = 2")
        await store.touched("track", [2])
        assert [await names(store, stored) for stored in shapes] == 2 * [["one", "TWO", "three"]] + 2 * [["one", "TWO"]]
    assert looked_up == [1, 1, 2]


async def test_to_tell_too_much_writes_nothing(empty_path: str, source: str) -> None:
    async with a_store(empty_path, source) as store:
        stored = await store.get_or_create(ALL)
        for keys in ([1, 2, 3, 99], [2, 2], [], range(2_000)):
            await store.touched("track", keys)
            await store.touched("another table", keys)
        assert await store.get(ALL) == stored
        assert read(empty_path, "SELECT count(*) FROM shape_changes") == [0]


async def test_a_shape_whose_log_is_full_makes_room_for_another(empty_path: str, source: str) -> None:
    """Positions beyond the last one would be those of the next shape."""
    async with a_store(empty_path, source) as store:
        stored = await store.get_or_create(ALL)
        last = MAX_POSITION - FEW_POSITIONS - 1
        write(empty_path, f"UPDATE shapes SET position = {last}, written = {last}")
        for name, is_full in (("first", False), ("second", True)):
            write(source, "UPDATE track SET name = ? WHERE id = 1", name)
            await store.touched("track", [1])
            assert (await store.get_by_handle(stored) is None) == is_full
        assert (await store.fetch(ALL))[0]["name"] == "second"


async def test_one_who_waits_is_woken(empty_path: str, source: str) -> None:
    async with a_store(empty_path, source) as store:
        stored = await store.get_or_create(SOME)
        task = asyncio.create_task(store.wait(stored, stored.position, timeout=60))
        await eventually(lambda: len(store._live().waits))
        write(source, "UPDATE track SET name = 'TWO' WHERE id = 2")
        await store.touched("track", [2])
        assert await task > stored.position


@pytest.mark.parametrize(
    ("columns", "keys"),
    [
        ("a TEXT, b INTEGER, PRIMARY KEY (a, b)", [("x", 1), ("it's", 2), ("", 3)]),
        ("a BLOB PRIMARY KEY, b INTEGER", [b"\x00\xff", b"1", "1"]),
        ("a TEXT COLLATE NOCASE PRIMARY KEY, b INTEGER", ["x", "Y"]),
        ("a REAL PRIMARY KEY, b INTEGER", [1.0, 2.5]),
    ],
)
async def test_keys_of_every_kind(empty_path: str, source: str, columns: str, keys: list[Any]) -> None:
    write(source, f"CREATE TABLE t (value TEXT, {columns})")
    insert = "INSERT OR REPLACE INTO t (a, b, value) VALUES (?, ?, ?)"
    as_rows = [key if isinstance(key, tuple) else (key, 0) for key in keys]
    async with a_store(empty_path, source) as store:
        stored = await store.get_or_create(Shape("t", columns=["value"]))
        for value in ("first", "second"):
            for row in as_rows:
                write(source, insert, *row, value)
            await store.touched("t", keys)
            assert await rows(store, stored) == [{"value": value}] * len(keys)
        write(source, "DELETE FROM t")
        await store.touched("t", keys)
        assert await rows(store, stored) == []
        assert store.stats.leaders == 1


async def test_a_key_of_another_width_is_an_error(empty_path: str, source: str) -> None:
    async with a_store(empty_path, source) as store:
        await store.get_or_create(ALL)
        with pytest.raises(ValueError, match='not a key of the table "track": its rows are told apart by id'):
            await store.touched("track", [(1, 2)])


@pytest.mark.parametrize("keys", ["12", b"12", {"id": 12}, 12])
async def test_what_is_no_list_of_keys_is_an_error(empty_path: str, source: str, keys: Any) -> None:
    """The parts of a text would be taken for keys, and what it means would be changed in no shape."""
    for store in (a_store(empty_path, source), ShapeStore(empty_path)):
        async with store:
            with pytest.raises(TypeError, match=r"keys is an iterable of keys, as in \[1, 2\], not \w+: "):
                await store.touched("track", keys)


async def test_only_the_shapes_of_the_own_namespace_are_meant(empty_path: str, source: str) -> None:
    async with a_store(empty_path, source) as store, a_store(empty_path, source, namespace="other") as other:
        await store.get_or_create(ALL)
        elsewhere = await other.get_or_create(ALL)
        write(source, "UPDATE track SET name = 'TWO' WHERE id = 2")
        await store.touched("track", [2])
        await store.touched("track")
        assert await other.get_or_create(ALL) == elsewhere
        assert read(empty_path, "SELECT stale FROM shapes ORDER BY number") == [1, 0]


# --- as a whole


async def by_none(store: ShapeStore) -> None:
    await store.touched("track")


async def by_key(store: ShapeStore) -> None:
    await store.touched("track", [1])


@pytest.mark.parametrize("options", [{}, {"max_age": 3600.0}], ids=["of any age", "of an age"])
@pytest.mark.parametrize("tell", [by_none, by_key])
async def test_of_another_creator_all_shapes_are_refreshed_when_they_are_next_asked_for(
    empty_path: str, tell: Callable[[ShapeStore], Any], options: dict[str, Any]
) -> None:
    source = Rows(1, 2)
    async with ShapeStore(empty_path, create=source, **options) as store:
        stored, other = await store.get_or_create(ALL), await store.get_or_create(Shape("other"))
        for n, ask in enumerate((store.fetch, store.get_or_create, store.fetch_json), 1):
            source.put(1, n=n)
            await tell(store)
            await ask(ALL)
            assert (await rows(store, stored))[0] == {"id": 1, "n": n}
            reads = source.reads
            await ask(ALL)  # it is fresh again
            assert source.reads == reads
        assert await store.get_or_create(Shape("other")) == other


@pytest.mark.parametrize("is_another", [False, True])
@pytest.mark.parametrize("options", [{}, {"max_age": 3600.0}], ids=["of any age", "of an age"])
@pytest.mark.parametrize("tell", [by_none, by_key])
async def test_a_refresh_that_had_read_before_it_was_told_is_no_answer_after_it(
    empty_path: str, tell: Callable[[ShapeStore], Any], options: dict[str, Any], is_another: bool
) -> None:
    """Whichever store it is of, and however many calls there are: one more refresh answers them."""
    version, reads = 0, 0
    hold, read_it = asyncio.Event(), asyncio.Event()
    hold.set()

    async def creator(shape: Shape) -> list[Row]:
        nonlocal reads
        reads, there = reads + 1, [{"n": version}]
        read_it.set()
        await hold.wait()
        return there

    async with (
        ShapeStore(empty_path, create=creator, **options) as store,
        ShapeStore(empty_path, create=creator) as other,
    ):
        await store.get_or_create(ALL)
        hold.clear()
        read_it.clear()
        refresh = asyncio.create_task((other if is_another else store).refresh(ALL))
        await read_it.wait()
        version = 1
        await tell(store)
        asking = [asyncio.create_task(store.fetch(ALL)) for _ in range(5)]
        await asyncio.sleep(0)
        await eventually(lambda: store.stats.in_flight == 1)
        hold.set()
        assert await asyncio.gather(*asking) == [[{"n": 1}]] * 5
        await refresh
        assert reads == 3


@pytest.mark.parametrize("max_age", [3_600.0, math.inf])
async def test_what_is_served_stale_is_refreshed_at_once_whatever_its_age_may_be(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, max_age: float
) -> None:
    """A tenth of ``max_age`` is for what has become too old, in several processes at the same time."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    source = Rows(1)
    async with ShapeStore(empty_path, create=source, max_age=max_age, stale_while_revalidate=3_600) as store:
        stored = await store.get_or_create(ALL)
        source.put(1, n=1)
        await store.touched("track")
        assert await store.fetch(ALL) == [{"id": 1, "n": 0}]
        await eventually(lambda: source.reads == 2)
        await eventually(lambda: store.stats.in_flight == 0)
        assert await rows(store, stored) == [{"id": 1, "n": 1}]


async def test_a_table_of_many_shapes_is_marked_part_by_part(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shapestore.storage.commands.touched.MarkStale.SHAPES", 2)
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        for number in range(5):
            await store.get_or_create(Shape("track", where=f"id = {number}"))
        await store.touched("track")
        assert read(empty_path, "SELECT DISTINCT stale FROM shapes") == [1]


async def test_what_many_callers_tell_at_once_is_marked_once(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand of them, of a thousand shapes, kept the file for more than a second."""
    monkeypatch.setattr(MarkStale, "SHAPES", 2)
    marks = []
    mark = MarkStale.run

    def counted(self: MarkStale, tx: Transaction) -> int | None:
        marks.append(self.after)
        return mark(self, tx)

    monkeypatch.setattr(MarkStale, "run", counted)
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        for number in range(5):
            await store.get_or_create(Shape("track", where=f"album = {number}"))
        await asyncio.gather(*(store.touched("track") for _ in range(100)))
        assert read(empty_path, "SELECT DISTINCT stale FROM shapes") == [1]
        assert len(marks) < 50


async def test_a_shape_that_is_too_large_to_look_a_row_up_is_refreshed(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(touched_module, "MOST_ROWS", 2)
    async with a_store(empty_path, source) as store:
        all_, some = await store.get_or_create(ALL), await store.get_or_create(SOME)
        write(source, "UPDATE track SET name = 'TWO' WHERE id = 2")
        await store.touched("track", [2])
        assert await names(store, some) == ["one", "TWO"]
        assert await names(store, all_) == ["one", "two", "three"]
        await store.get_or_create(ALL)
        assert await names(store, all_) == ["one", "TWO", "three"]


async def test_where_the_source_cannot_be_read_those_who_ask_are_told(empty_path: str, source: str) -> None:
    async with a_store(empty_path, source, failure_grace=0.0) as store:
        stored = await store.get_or_create(ALL)
        write(source, "ALTER TABLE track RENAME TO moved")
        await store.touched("track", [1])
        with pytest.raises(CreateFailedError, match='no table or view "track"'):
            await store.fetch(ALL)
        write(source, "ALTER TABLE moved RENAME TO track")
        assert await store.fetch(ALL) == await rows(store, stored)


# --- what else happens meanwhile


async def test_what_is_being_read_counts_as_stale_and_is_read_once_more(empty_path: str) -> None:
    held, go = asyncio.Event(), asyncio.Event()
    source = Rows(1)

    async def create(shape: Shape) -> list[Row]:
        read = [dict(row) for row in source(shape)]
        held.set()
        await go.wait()
        return read

    async with ShapeStore(empty_path, create=create) as store:
        asking = asyncio.create_task(store.get_or_create(ALL))
        await held.wait()
        source.put(1, n=1)
        await store.touched("track", [1])
        go.set()
        early = await asking
        assert await rows(store, early) == [{"id": 1, "n": 0}]  # to those who waited for it
        assert await store.fetch(ALL) == [{"id": 1, "n": 1}]
        assert source.reads == 2


class Held(SQLSource):
    """Its readings by key stop, once they have read, until they are let go on."""

    def __init__(self, path: str, readings: int = 1) -> None:
        super().__init__(f"sqlite:///{path}")
        self.readings = readings
        self.has_read, self.go = threading.Event(), threading.Event()

    def rows_by_key(self, shapes: Sequence[Shape], keys: Sequence[Any]) -> Generator[Any, None, None]:
        found = list(super().rows_by_key(shapes, keys))
        if self.readings:
            self.readings -= 1
            self.has_read.set()
            assert self.go.wait(60)
        yield from found


async def by_another_call(store: ShapeStore) -> None:
    await store.touched("track", [2])


async def by_a_refresh(store: ShapeStore) -> None:
    await store.refresh(ALL)


@pytest.mark.parametrize("meanwhile", [by_another_call, by_a_refresh])
async def test_what_was_read_earlier_is_not_published_over_what_was_read_later(
    empty_path: str, source: str, meanwhile: Callable[[ShapeStore], Any]
) -> None:
    held = Held(source)
    async with ShapeStore(empty_path, create=held) as store, a_store(empty_path, source) as another:
        stored = await store.get_or_create(ALL)
        write(source, "UPDATE track SET name = 'old' WHERE id = 2")
        first = asyncio.create_task(store.touched("track", [2]))
        await eventually(held.has_read.is_set)
        write(source, "UPDATE track SET name = 'NEW' WHERE id = 2")
        await meanwhile(another)
        held.go.set()
        await first
        assert await names(store, stored) == ["one", "NEW", "three"]
        log = await store.read_log(stored, after=stored.position)
        assert [change.row and change.row["name"] for change in log] == ["NEW"]
        assert read(empty_path, "SELECT stale FROM shapes") == [0]


class Slow(SQLSource):
    """Its refreshes have read the source, and end once they are let go on."""

    def __init__(self, path: str) -> None:
        super().__init__(f"sqlite:///{path}")
        self.is_held = False
        self.has_read, self.go = threading.Event(), threading.Event()

    def keyed_rows(self, shape: Shape) -> Any:
        rows = super().keyed_rows(shape)
        if self.is_held:
            rows._rows = self._slowly(rows._rows)
        return rows

    def _slowly(self, rows: Any) -> Generator[Any, None, None]:
        read = list(rows)
        self.has_read.set()
        assert self.go.wait(60)
        yield from read


@pytest.mark.parametrize("kept", [100_000, 1], ids=["", "the ring forgets"])
async def test_a_refresh_publishes_nothing_over_what_was_touched_meanwhile(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(queries, "TRIM_RING", queries.TRIM_RING.replace("100000", str(kept)))
    slow = Slow(source)
    async with ShapeStore(empty_path, create=slow) as store:
        stored = await store.get_or_create(ALL)
        for id_ in (1, 2, 3, 7):
            write(source, "INSERT OR REPLACE INTO track VALUES (?, 1, 'old')", id_)
        slow.is_held = True
        refreshing = asyncio.create_task(store.refresh(ALL))
        await eventually(slow.has_read.is_set)
        write(source, "UPDATE track SET name = 'NEW' WHERE id IN (2, 7)")
        write(source, "DELETE FROM track WHERE id = 3")
        await store.touched("track", [2, 3])
        await store.touched("track", [7])
        slow.is_held = False
        slow.go.set()
        assert (await refreshing).handle == stored.handle
        seen: dict[tuple[Any, ...], list[str | None]] = {}
        for change in await store.read_log(stored, after=stored.position):
            seen.setdefault(change.key, []).append(None if change.row is None else change.row["name"])
        assert seen == {(1,): ["old"], (2,): ["NEW"], (3,): [None], (7,): ["NEW"]}
        assert [row["name"] for row in await store.fetch(ALL)] == ["old", "NEW", "NEW"]
    assert_sound(empty_path)


@pytest.mark.parametrize("shape", [ALL, Shape("track", where="id < 9")], ids=["the same shape", "a newer shape"])
async def test_a_refresh_gives_way_to_nothing_that_was_read_before_it_began(
    empty_path: str, source: str, shape: Shape
) -> None:
    """The call has read, and publishes while the refresh reads what was written since."""
    held, slow = Held(source), Slow(source)
    async with ShapeStore(empty_path, create=held) as store, ShapeStore(empty_path, create=slow) as another:
        stored = await store.get_or_create(ALL)
        write(source, "UPDATE track SET name = 'old' WHERE id = 2")
        telling = asyncio.create_task(store.touched("track", [2]))
        await eventually(held.has_read.is_set)
        await another.get_or_create(shape)
        write(source, "UPDATE track SET name = 'NEW' WHERE id = 2")
        await another.touched("track")
        slow.is_held = True
        fetching = asyncio.create_task(another.fetch(shape))
        await eventually(slow.has_read.is_set)
        held.go.set()
        await telling
        slow.is_held = False
        slow.go.set()
        assert [row["name"] for row in await fetching] == ["one", "NEW", "three"]
        assert await names(store, stored) == ["one", "NEW", "three"]


async def test_a_refresh_that_is_overtaken_again_and_again_replaces_the_shape(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is cut meanwhile behind what it was compared with: it began again for ever."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    write(source, "WITH RECURSIVE n (i) AS (VALUES (10) UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO track"
                  " SELECT i, 1, '' FROM n")  # fmt: skip
    loop, keys = asyncio.get_running_loop(), [1, 2, 3, *range(10, 61)]

    class Overtaken(SQLSource):
        readings = 0

        def keyed_rows(self, shape: Shape) -> KeyedRows:
            self.readings += 1
            [written] = read(empty_path, "SELECT coalesce(max(written), 0) FROM shapes")
            while written and read(empty_path, "SELECT floor <= ? FROM shapes", written) == [1]:
                write(source, "UPDATE track SET name = name || 'x'")
                asyncio.run_coroutine_threadsafe(store.touched("track", keys), loop).result()
            return super().keyed_rows(shape)

    creator = Overtaken(f"sqlite:///{source}")
    async with ShapeStore(empty_path, create=creator, keep_replaced=0) as store:
        stored = await store.get_or_create(ALL)
        refreshed = await store.refresh(ALL)
        assert refreshed.handle != stored.handle
        assert creator.readings == 1 + MOST_OVERTAKEN + 1


async def test_one_that_is_always_too_late_has_the_shapes_refreshed(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PublishTouched, "run", lambda *_: False)
    async with a_store(empty_path, source) as store:
        await store.get_or_create(ALL)
        write(source, "UPDATE track SET name = 'TWO' WHERE id = 2")
        await store.touched("track", [2])
        assert [row["name"] for row in await store.fetch(ALL)] == ["one", "TWO", "three"]


async def test_what_the_ring_has_forgotten_counts_as_published(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading that is overtaken by more keys than are kept is made once more."""
    monkeypatch.setattr(queries, "TRIM_RING", queries.TRIM_RING.replace("100000", "1"))
    held = Held(source)
    async with ShapeStore(empty_path, create=held) as store, a_store(empty_path, source) as another:
        stored = await store.get_or_create(ALL)
        first = asyncio.create_task(store.touched("track", [2]))
        await eventually(held.has_read.is_set)
        write(source, "UPDATE track SET name = 'NEW' WHERE id = 2")
        await another.touched("track", [2])
        await another.touched("track", [1, 3])
        held.go.set()
        await first
        assert await names(store, stored) == ["one", "NEW", "three"]
        assert len(await store.read_log(stored, after=stored.position)) == 1


async def test_a_cancelled_call_loses_nothing_whatever_step_it_is_at(empty_path: str, source: str) -> None:
    with Steps() as steps:
        async with a_store(empty_path, source) as store:

            async def ask(step: int) -> bool:
                """Whether there were so many steps."""
                task = asyncio.current_task()
                assert task is not None
                steps.do_at(step, task.cancel)
                await store.touched("track", [2])
                return steps.done()

            reached, step = True, 0
            while reached:
                step += 1
                write(source, "UPDATE track SET name = ? WHERE id = 2", str(step))
                asking = asyncio.create_task(ask(step))
                await asyncio.wait([asking])
                reached = steps.done() if asking.cancelled() else asking.result()
                async with asyncio.timeout(30):  # a cancelled call does not wait for what it leaves to be written
                    while (await store.fetch(ALL))[1]["name"] != str(step):
                        await asyncio.sleep(0.001)
            assert step > 3


async def test_many_calls_at_once_end_with_what_the_source_says(empty_path: str, source: str) -> None:
    async with a_store(empty_path, source) as store, a_store(empty_path, source) as another:
        all_, some = await store.get_or_create(ALL), await store.get_or_create(SOME)

        async def change(number: int) -> None:
            write(source, "INSERT OR REPLACE INTO track VALUES (?, ?, ?)", number % 7, number % 2, str(number))
            await (store, another)[number % 2].touched("track", [number % 7])

        await asyncio.gather(*map(change, range(100)))
        with closing(sqlite3.connect(source)) as connection:
            expected = dict(connection.execute("SELECT id, name FROM track"))
            of_album = dict(connection.execute("SELECT id, name FROM track WHERE album = 1"))
        assert {row["id"]: row["name"] for row in await store.fetch(ALL)} == expected
        assert {row["id"]: row["name"] for row in await store.fetch(SOME)} == of_album
        assert (await store.get_or_create(ALL)).handle == all_.handle
        assert (await store.get_or_create(SOME)).handle == some.handle


@pytest.mark.parametrize("keys", [None, [1]], ids=["any row", "a row"])
async def test_a_call_is_refused_when_the_queue_of_the_writer_is_full(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch, keys: list[int] | None
) -> None:
    async with a_store(empty_path, source) as store:
        await store.get_or_create(ALL)
        with monkeypatch.context() as patch:
            patch.setattr(store._live().writer, "_max_queued", 0)
            with pytest.raises(StoreBusyError):
                await store.touched("track", keys)
            assert store._live().writer.queued == 0
        write(source, "UPDATE track SET name = 'new' WHERE id = 1")
        await store.touched("track", keys)
        assert (await store.fetch(ALL))[0]["name"] == "new"
