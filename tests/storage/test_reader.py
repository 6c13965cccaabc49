from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import processes
import pytest
from file_rows import add_lock, add_outcome
from file_rows import add_shape as insert_shape
from inspections import eventually
from recovering_file import recovering

from shapestore import (
    CorruptStoreError,
    CreateFailedError,
    Shape,
    ShapeGoneError,
    ShapeStore,
    StoreBusyError,
    StoreClosedError,
    StoredShape,
    maintenance,
)
from shapestore.admin.inspector import open_inspector
from shapestore.locking.create_lock import Failure, KeyState, LockState, State
from shapestore.storage.commands import Evict
from shapestore.storage.reader import Reader

pytestmark = pytest.mark.usefixtures("untroubled")

ALBUMS = Shape("albums")


@contextlib.contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    """The file, to be changed in one transaction."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def edit(path: str, statement: str, *parameters: Any) -> None:
    with opened(path) as connection:
        connection.execute(statement, parameters)


def add_shape(path: str, handle: str, table: str = "albums", rows: int = 3, said: int | None = None) -> None:
    """Put a shape into the file by hand, with so many rows; ``said`` is the number that its row says."""
    columns = {"created_at_ms": 1500, "row_count": rows if said is None else said}
    with opened(path) as connection:
        insert_shape(
            connection, handle, Shape(table), rows=[f'{{"n":{position}}}' for position in range(1, rows + 1)], **columns
        )


@pytest.fixture
async def reader(empty_path: str) -> AsyncIterator[Reader]:
    with contextlib.closing(sqlite3.connect(empty_path)) as connection:  # so that the log is there
        connection.execute("SELECT * FROM shapes").fetchall()
        reader = await Reader.open(empty_path)
        yield reader
        await reader.close()


# --- a look


async def test_a_look_at_an_unknown_key_sees_nothing(reader: Reader) -> None:
    assert reader.poll(ALBUMS.comparable, ALBUMS, None) == (KeyState(None, None, None), None)


async def test_a_look_sees_shape_and_lock_row_of_the_one_key(empty_path: str, reader: Reader) -> None:
    add_shape(empty_path, "h1")
    add_shape(empty_path, "h2", table="tracks")
    with opened(empty_path) as connection:
        add_lock(connection, "h3", ALBUMS, owner="o1")
    looked = reader.poll(ALBUMS.comparable, ALBUMS, None)
    assert looked is not None
    seen, stored = looked
    assert seen == KeyState("h1", LockState("h3", State.IN_PROGRESS, "o1", None), None)
    assert stored is not None
    assert (stored.handle, stored.shape, stored.row_count) == ("h1", ALBUMS, 3)
    assert stored.created_at.isoformat() == "1970-01-01T00:00:01.500000+00:00"


async def test_a_look_sees_how_the_awaited_attempt_failed_and_no_other(empty_path: str, reader: Reader) -> None:
    with opened(empty_path) as connection:
        add_outcome(connection, "h1", failure=Failure("E", "m", 5))
        add_outcome(connection, "h2", outcome="created", error_message="m", retry_after_ms=5)
        add_outcome(connection, "h3", outcome="died")
    failures = []
    for awaited in ("h1", "h2", "h3", "h4", None):
        looked = reader.poll(ALBUMS.comparable, ALBUMS, awaited)
        assert looked is not None
        failures.append(looked[0].awaited_failure)
    assert failures[0] is not None
    assert (failures[0].error_type, failures[0].message, failures[0].retry_after_ms) == ("E", "m", 5)
    assert failures[1:] == [None] * 4


# --- a file that is busy for a moment


async def test_looks_of_one_moment_see_nothing_that_was_written_between_them(empty_path: str, reader: Reader) -> None:
    with reader.one_moment(2):
        assert reader.poll(ALBUMS.comparable, ALBUMS, None) == (KeyState(None, None, None), None)
        add_shape(empty_path, "h1")
        assert reader.poll(ALBUMS.comparable, ALBUMS, None) == (KeyState(None, None, None), None)
    look = reader.poll(ALBUMS.comparable, ALBUMS, None)
    assert look is not None
    assert look[0].stored == "h1"


async def test_a_look_at_a_busy_file_is_no_error_but_a_reason_to_look_again(empty_path: str, reader: Reader) -> None:
    add_shape(empty_path, "h1")
    with recovering(empty_path) as recovery:
        assert reader.poll(ALBUMS.comparable, ALBUMS, None) is None
        with pytest.raises(StoreBusyError):
            reader.totals()
        recovery.end()
    looked = reader.poll(ALBUMS.comparable, ALBUMS, None)
    assert looked is not None
    assert looked[0].stored == "h1"


async def test_who_asks_for_what_is_stored_waits_for_a_busy_file(path: str) -> None:
    """A shape that is there is never said to be missing, and no creator is asked for."""
    async with ShapeStore(path) as store:
        stored = await store.get_or_create(ALBUMS, lambda _: [{"n": 1}])
        with recovering(path) as recovery:
            asking = [
                asyncio.create_task(asked)
                for asked in (
                    store.get(ALBUMS),
                    store.get_by_handle(stored.handle),
                    store.get_or_create(ALBUMS),
                    store.count(),
                )
            ]
            await asyncio.sleep(0.01)
            assert not any(task.done() for task in asking)
            recovery.end()
        assert await asyncio.gather(*asking) == [stored, stored, stored, 1]
        assert store.stats.leaders == 1


async def test_a_refresh_of_what_is_stored_builds_anew_though_the_file_was_busy(path: str) -> None:
    readings = itertools.count()
    async with ShapeStore(path, create=lambda _: [{"n": next(readings)}]) as store:
        stored = await store.get_or_create(ALBUMS)
        with recovering(path) as recovery:
            refreshing = asyncio.create_task(store.refresh(ALBUMS))
            await asyncio.sleep(0.01)
            assert not refreshing.done()
            recovery.end()
        assert (await refreshing).handle != stored.handle


async def test_a_follower_goes_on_looking_while_the_file_is_busy(empty_path: str) -> None:
    go = asyncio.Event()

    async def create(_: Shape) -> list[dict[str, Any]]:
        await go.wait()
        return [{"n": 1}]

    async with ShapeStore(empty_path, create=create) as leader, ShapeStore(empty_path, create=create) as follower:
        leading = asyncio.create_task(leader.get_or_create(ALBUMS))
        await eventually(lambda: leader.stats.leaders)
        following = asyncio.create_task(follower.get_or_create(ALBUMS))
        await eventually(lambda: follower.stats.polls)
        with recovering(empty_path) as recovery:
            polls = follower.stats.polls
            await eventually(lambda: follower.stats.polls > polls + 3)
            recovery.end()
        go.set()
        assert await following == await leading
        assert follower.stats.leaders == 0


# --- rows


@pytest.fixture
async def store(empty_path: str) -> AsyncIterator[ShapeStore]:
    async with ShapeStore(empty_path) as store:
        yield store


async def read_on(reading: AsyncIterator[dict[str, Any]], found: list[int]) -> None:
    async for row in reading:
        found.append(row["n"])  # noqa: PERF401 - what was found before it raises counts too


async def numbers(count: int, store: ShapeStore) -> StoredShape:
    return await store.get_or_create(Shape(f"numbers to {count}"), lambda _: [{"n": n} for n in range(1, count + 1)])


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25])
async def test_rows_come_in_order_from_behind_a_position(store: ShapeStore, count: int) -> None:
    stored = await numbers(count, store)
    for batch_size in (1, 2, 10, 1000, 10**30):
        for after in (*range(28), 10**30):
            found = [row["n"] async for row in store.rows(stored.handle, after=after, batch_size=batch_size)]
            assert found == list(range(1, count + 1))[min(after, count) :], (after, batch_size)


async def test_after_is_a_position_and_a_batch_has_one_row_at_least(store: ShapeStore) -> None:
    stored = await numbers(1, store)
    wrong: list[Any] = [-1, 1.0, True, None, "1"]
    for after in wrong:
        with pytest.raises(ValueError, match="after is the position of the last row seen"):
            await anext(store.rows(stored.handle, after=after))
    for batch_size in (0, *wrong):
        with pytest.raises(ValueError, match="batch_size is an int >= 1"):
            await anext(store.rows(stored.handle, batch_size=batch_size))


async def test_rows_of_an_unknown_handle_are_gone(store: ShapeStore) -> None:
    with pytest.raises(ShapeGoneError, match="'h1'") as caught:
        await anext(store.rows("h1"))
    assert caught.value.handle == "h1"


HOW_A_HANDLE_GOES = ["deleted", "invalidated", "refreshed", "evicted"]


async def go_away(store: ShapeStore, stored: StoredShape, how: str) -> None:
    """Have a stored shape go, and the handle with it."""
    match how:
        case "deleted":
            assert await store.delete(stored.handle)
        case "invalidated":
            assert await store.invalidate(stored.shape.table) == 1
        case "evicted":
            [handle] = await store._live().writer.submit(Evict(max_shapes=0, max_bytes=None))
            assert handle == stored.handle
        case _:
            assert (await store.refresh(stored.shape, lambda _: [{"n": 0}])).handle != stored.handle


@pytest.mark.parametrize("how", HOW_A_HANDLE_GOES)
@pytest.mark.parametrize("read", [1, 3, 4, 10])
async def test_a_shape_that_goes_while_it_is_read_is_read_to_its_end(store: ShapeStore, how: str, read: int) -> None:
    stored = await numbers(10, store)
    reading = store.rows(stored, batch_size=3)
    found = [(await anext(reading))["n"] for _ in range(read)]
    await go_away(store, stored, how)
    assert await store.get_by_handle(stored.handle) is None
    await read_on(reading, found)
    assert found == list(range(1, 11))


@pytest.mark.parametrize("how", HOW_A_HANDLE_GOES)
async def test_a_handle_that_has_gone_is_readable_as_long_as_it_is_kept_and_gone_for_all_else(
    store: ShapeStore, how: str
) -> None:
    stored = await numbers(10, store)
    await go_away(store, stored, how)
    for asked in (stored, stored.handle):
        assert [row["n"] async for row in store.rows(asked)] == list(range(1, 11))
        assert [change.row for change in await store.read_log(asked)] == [{"n": n} for n in range(1, 11)]
        pieces = b"".join([piece async for piece in store.stream_json(asked)])
        assert json.loads(pieces) == [{"n": n} for n in range(1, 11)]
    assert await store.get_by_handle(stored.handle) is None
    assert await store.count() == (1 if how == "refreshed" else 0)
    assert await store.delete(stored.handle) is False
    found = await store.get(stored.shape)
    assert found is None or found.handle != stored.handle


@pytest.mark.parametrize("how", HOW_A_HANDLE_GOES)
async def test_a_handle_that_is_kept_no_longer_is_gone_for_good_and_never_given_short(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whoever has begun to read is registered before the first pause, and reads on."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    async with ShapeStore(empty_path, keep_replaced=0) as store:
        stored = await numbers(10, store)
        reading = store.rows(stored, batch_size=3)
        found = [(await anext(reading))["n"] for _ in range(3)]
        await go_away(store, stored, how)
        commands = store.stats.commands
        await store.get_or_create(Shape("another"), lambda _: [])  # a turn of maintenance or more
        await eventually(lambda: store.stats.commands > commands)
        await read_on(reading, found)
        assert found == list(range(1, 11))
        await eventually(lambda: not processes.kept(empty_path))
        for ask in (store.rows(stored), store.rows(stored.handle), store.stream_json(stored)):
            with pytest.raises(ShapeGoneError, match=stored.handle):
                await anext(ask)
        with pytest.raises(ShapeGoneError, match=stored.handle):
            await store.read_log(stored)


async def test_a_read_whose_caller_has_gone_takes_no_time_of_those_behind_it(empty_path: str) -> None:
    """Else a program that gives up slow reads, and asks again, makes all others wait for what nobody wants."""
    reader = await Reader.open(empty_path)
    try:
        begun, go_on = threading.Event(), threading.Event()
        called: list[int] = []

        def block(_: sqlite3.Connection) -> None:
            begun.set()
            go_on.wait()

        def note(_: sqlite3.Connection, number: int) -> None:
            called.append(number)

        blocking = asyncio.create_task(reader.run(block))
        await asyncio.to_thread(begun.wait)
        reads = [asyncio.create_task(reader.run(partial(note, number=number))) for number in range(9)]
        await asyncio.sleep(0)
        for read in reads[:8]:
            read.cancel()
        await asyncio.wait(reads[:8])
        go_on.set()
        await asyncio.gather(blocking, reads[8])
        assert called == [8]
    finally:
        await reader.close()


async def test_a_shape_whose_rows_somebody_removed_is_not_given_short(empty_path: str, store: ShapeStore) -> None:
    stored = await numbers(10, store)
    edit(empty_path, "DELETE FROM shape_rows WHERE position = 7")
    found: list[int] = []
    with pytest.raises(CorruptStoreError, match=r"1 rows of the shape .* are missing"):
        await read_on(store.rows(stored.handle, batch_size=3), found)
    assert found == [1, 2, 3, 4, 5, 6, 8, 9], "it is told at the end"


async def test_a_shape_that_has_more_rows_than_it_should_is_not_given_as_it_is(
    empty_path: str, store: ShapeStore
) -> None:
    stored = await numbers(10, store)
    edit(empty_path, "UPDATE shapes SET row_count = 7, snapshot = 7")
    with pytest.raises(CorruptStoreError, match=r"the shape .* has 3 rows too many"):
        await read_on(store.rows(stored.handle), [])


async def test_a_consumer_that_stops_early_leaves_no_transaction_open(empty_path: str, store: ShapeStore) -> None:
    """Else its snapshot would keep the log from being cut."""
    stored = await numbers(100, store)
    readers = [store.rows(stored.handle, batch_size=10) for _ in range(5)]
    for reading in readers:
        await anext(reading)
    with contextlib.closing(sqlite3.connect(empty_path)) as connection:
        [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert busy == 0
    for reading in readers:
        await reading.aclose()


async def test_many_may_read_the_same_rows_at_once_each_at_its_own_pace(store: ShapeStore) -> None:
    stored = await numbers(200, store)

    async def read(batch_size: int) -> list[int]:
        found = []
        async for row in store.rows(stored.handle, batch_size=batch_size):
            found.append(row["n"])
            await asyncio.sleep(0)
        return found

    assert await asyncio.gather(*map(read, range(1, 40))) == [list(range(1, 201))] * 39


async def test_a_store_closed_while_rows_are_read_says_so(empty_path: str) -> None:
    store = ShapeStore(empty_path)
    await store.open()
    stored = await numbers(10, store)
    reading = store.rows(stored.handle, batch_size=3)
    assert (await anext(reading))["n"] == 1
    await store.close()
    with pytest.raises(StoreClosedError):
        async for _ in reading:
            pass


# --- shapes, page by page


async def test_all_shapes_are_listed_however_many_pages_they_take(empty_path: str, store: ShapeStore) -> None:
    with opened(empty_path) as connection:
        for n in range(2_500):
            shape = Shape("even" if n % 2 == 0 else "odd", where="id = :id", params={"id": n})
            insert_shape(connection, f"{n:032x}", shape)
    assert await store.count() == 2_500
    listed = [stored async for stored in store.shapes()]
    assert sorted(int(stored.handle, 16) for stored in listed) == list(range(2_500))
    assert all(stored.shape.params["id"] == int(stored.handle, 16) for stored in listed)
    odd = [stored async for stored in store.shapes(table="odd")]
    assert sorted(int(stored.handle, 16) for stored in odd) == list(range(1, 2_500, 2))
    assert {stored.shape.table for stored in odd} == {"odd"}
    assert [stored async for stored in store.shapes(table="none")] == []


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 2_000])
async def test_pages_that_are_full_or_empty_end_the_listing_all_the_same(
    empty_path: str, store: ShapeStore, count: int
) -> None:
    with opened(empty_path) as connection:
        for n in range(count):
            insert_shape(connection, f"{n:032x}", Shape("t", columns=[f"c{n}"]))
    assert len([stored async for stored in store.shapes()]) == count
    assert len([stored async for stored in store.shapes(table="t")]) == count


async def test_shapes_dropped_while_they_are_listed_disturb_nothing(empty_path: str, store: ShapeStore) -> None:
    with opened(empty_path) as connection:
        for n in range(2_100):
            insert_shape(connection, f"{n:032x}", Shape("t", columns=[f"c{n}"]))
    listed = []
    async for stored in store.shapes():
        listed.append(int(stored.handle, 16))
        if len(listed) == 500:
            edit(empty_path, "DELETE FROM shapes WHERE handle BETWEEN ? AND ?", f"{900:032x}", f"{1_499:032x}")
    assert listed == [*range(1_000), *range(1_500, 2_100)]


async def test_a_handle_and_a_table_are_texts(store: ShapeStore) -> None:
    """What is none is refused before it reaches the writer."""
    wrong: list[Any] = [1, 2**70, None, b"h", ["h"], object(), "\ud800"]
    for name in wrong:
        error = ValueError if isinstance(name, str) else TypeError
        for ask in (store.get_by_handle, store.delete, store.invalidate):
            with pytest.raises(error):
                await ask(name)
        with pytest.raises(error):
            await anext(store.rows(name))
        if name is not None:
            with pytest.raises(error):
                await anext(store.shapes(table=name))
    assert store.stats.commands == 0
    assert await store.invalidate("t") == 0
    assert await store.delete("h") is False


# --- a file that was tampered with


async def test_a_dropped_table_is_a_corrupt_store(empty_path: str, store: ShapeStore) -> None:
    stored = await numbers(10, store)
    for table in ("shape_rows", "create_locks", "shapes", "totals"):
        edit(empty_path, f"DROP TABLE {table}")
    for reading in (store.get(ALBUMS), store.get_by_handle(stored.handle), store.count(), store.locks()):
        with pytest.raises(CorruptStoreError, match=r"shapes\.db' is corrupt \(no such table"):
            await reading
    with pytest.raises(CorruptStoreError):
        await anext(store.rows(stored.handle))
    with pytest.raises(CorruptStoreError):
        await anext(store.shapes())
    with pytest.raises(CorruptStoreError):
        await store.get_or_create(ALBUMS, lambda _: [])
    with pytest.raises(CorruptStoreError):
        await store.delete(stored.handle)


def damage(path: str) -> None:
    """Overwrite the second half of the file, in which there are rows and nothing else."""
    content = Path(path).read_bytes()
    half = len(content) // 2
    Path(path).write_bytes(content[:half] + b"\xa5" * (len(content) - half))


async def test_a_damaged_page_is_a_corrupt_store(empty_path: str) -> None:
    async with ShapeStore(empty_path) as store:
        stored = await numbers(20_000, store)
    damage(empty_path)
    async with ShapeStore(empty_path) as store:
        assert await store.get(stored.shape) == stored
        with pytest.raises(CorruptStoreError, match="is corrupt"):
            await read_on(store.rows(stored.handle), [])


@pytest.mark.parametrize("text", ["nonsense", '{"v":1,"table":"albums"}', ALBUMS.comparable.replace('"v":1', '"v":2')])
async def test_a_key_that_is_none_is_a_corrupt_store(empty_path: str, text: str) -> None:
    async with ShapeStore(empty_path) as store:
        stored = await numbers(1, store)
        edit(empty_path, "UPDATE shapes SET comparable = ?", text)
        damage_is_told = partial(pytest.raises, CorruptStoreError, match=r"shapes\.db' is corrupt")
        with damage_is_told():
            await store.get_by_handle(stored.handle)
        with damage_is_told():
            [_ async for _ in store.shapes()]
        with damage_is_told():
            await store.explain(ALBUMS)
        with damage_is_told(), open_inspector(empty_path) as seen:
            seen.explain(ALBUMS)


async def test_a_failed_look_is_told_to_those_who_wait(empty_path: str) -> None:
    go = asyncio.Event()

    async def create(_: Shape) -> list[dict[str, Any]]:
        await go.wait()
        return []

    async with ShapeStore(empty_path, create=create) as leader, ShapeStore(empty_path, create=create) as follower:
        leading = asyncio.create_task(leader.get_or_create(ALBUMS))
        await eventually(lambda: leader.stats.leaders)
        following = asyncio.create_task(follower.get_or_create(ALBUMS))
        await eventually(lambda: follower.stats.polls)
        edit(empty_path, "ALTER TABLE create_locks RENAME TO hidden")
        with pytest.raises(CorruptStoreError):
            await following
        edit(empty_path, "ALTER TABLE hidden RENAME TO create_locks")
        go.set()
        with contextlib.suppress(CreateFailedError, CorruptStoreError):
            await leading
