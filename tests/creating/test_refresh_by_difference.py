"""A refresh changes only what is different: the handle stays, and the log says what came after which position."""

from __future__ import annotations

import asyncio
import decimal
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inspections import eventually
from processes import edit, read

from shapestore import (
    CreateFailedError,
    Shape,
    ShapeGoneError,
    ShapeStore,
    SQLSource,
    StoredShape,
    keyed,
    long_logs,
    maintenance,
)
from shapestore.shape.change import Change
from shapestore.storage.log import difference, rounds
from shapestore.storage.log.difference import MAX_CHANGES

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")
Rows = list[dict[str, Any]]


class Source:
    """A table that a test edits; ``calls`` says how often it was asked."""

    def __init__(self) -> None:
        self.rows: Rows = []
        self.calls = 0

    async def __call__(self, shape: Shape) -> Rows:
        self.calls += 1
        return list(self.rows)


class Text(str):
    """As numpy.str_ is: of a type of its own, and stored as text."""


@pytest.fixture
def source() -> Source:
    source = Source()
    source.rows = [{"id": n, "name": f"track {n}"} for n in range(1, 101)]
    return source


@pytest.fixture
async def store(path: str, source: Source) -> AsyncIterator[ShapeStore]:
    async with ShapeStore(path, create=keyed(source, "id")) as store:
        yield store


async def rows_of(store: ShapeStore, stored: StoredShape | str) -> Rows:
    return [row async for row in store.rows(stored)]


async def whole_log(store: ShapeStore, stored: StoredShape, after: int = 0, limit: int = 1000) -> list[Change]:
    entries: list[Change] = []
    while page := await store.read_log(stored, after=after, limit=limit):
        entries += page
        after = page[-1].position
    return entries


def materialized(entries: list[Change], rows: dict[Any, Any] | None = None) -> dict[Any, Any]:
    found = {} if rows is None else rows
    for change in entries:
        if change.operation == "delete":
            del found[change.key]
        else:
            found[change.key] = change.row
    return found


def by_key(rows: Rows) -> dict[Any, Any]:
    return {(row["id"],): row for row in rows}


# --- what changes, and what does not


async def test_a_refresh_that_finds_nothing_new_writes_no_row_and_keeps_handle_and_position(
    path: str, store: ShapeStore, source: Source
) -> None:
    first = await store.get_or_create(TRACK)
    for _ in range(200):
        again = await store.refresh(TRACK)
        assert (again.handle, again.position, again.etag) == (first.handle, first.position, first.etag)
    assert source.calls == 201
    assert again.refreshed_at > first.refreshed_at
    assert again.created_at == first.created_at
    assert read(path, "SELECT count(*) FROM shape_changes") == [0]
    assert read(path, "SELECT count(*) FROM rounds") == [0]
    assert read(path, "SELECT max(id) & 268435455 FROM shape_rows") == [100]


async def test_a_refresh_appends_exactly_what_changed_under_the_same_handle(store: ShapeStore, source: Source) -> None:
    first = await store.get_or_create(TRACK)
    source.rows[4] = {"id": 5, "name": "renamed"}
    del source.rows[49]
    source.rows.append({"id": 101, "name": "new"})
    second = await store.refresh(TRACK)
    assert second.handle == first.handle
    assert second.position > first.position
    assert second.row_count == 100
    changes = await store.read_log(second, after=first.position)
    assert sorted((change.operation, change.key, change.row) for change in changes) == [
        ("delete", (50,), None),
        ("insert", (101,), {"id": 101, "name": "new"}),
        ("update", (5,), {"id": 5, "name": "renamed"}),
    ]
    assert changes[-1].position == second.position
    assert await store.read_log(second, after=second.position) == []


async def test_updated_rows_keep_their_place_and_new_ones_come_at_the_end(store: ShapeStore, source: Source) -> None:
    await store.get_or_create(TRACK)
    source.rows[0] = {"id": 1, "name": "renamed"}
    source.rows.insert(0, {"id": 0, "name": "new"})
    second = await store.refresh(TRACK)
    rows = await store.fetch(TRACK)
    assert rows == await rows_of(store, second)
    assert rows == [*source.rows[1:], source.rows[0]]


async def test_three_changes_of_a_hundred_thousand_rows_are_three_changes(
    path: str, store: ShapeStore, source: Source
) -> None:
    source.rows = [{"id": n, "name": f"track {n}"} for n in range(100_000)]
    first = await store.get_or_create(TRACK)
    for n in (0, 50_000, 99_999):
        source.rows[n] = {"id": n, "name": "renamed"}
    second = await store.refresh(TRACK)
    assert second.handle == first.handle
    assert read(path, "SELECT count(*) FROM shape_changes") == [3]
    assert read(path, "SELECT outcome, changes FROM creations ORDER BY number DESC LIMIT 1") == [("refreshed", 3)]


async def test_bytes_are_counted_as_rows_and_log_change(path: str, store: ShapeStore, source: Source) -> None:
    await store.get_or_create(TRACK)
    source.rows[3] = {"id": 4, "name": "größer 形"}
    source.rows.pop()
    await store.refresh(TRACK)
    [counted] = read(path, "SELECT bytes FROM shapes")
    assert read(path, "SELECT sum(length(CAST(value AS BLOB))) FROM shape_rows") == [counted]
    [log_bytes] = read(path, "SELECT log_bytes FROM shapes")
    assert read(path, "SELECT sum(length(CAST(old AS BLOB))) FROM shape_changes") == [log_bytes]
    assert read(path, "SELECT value FROM totals WHERE name = 'bytes'") == [counted + log_bytes]


async def test_any_history_read_from_any_position_gives_the_rows_of_now(path: str) -> None:
    """Refreshes of random rows, in random order; every position that was handed out, and every size of page."""
    chance = random.Random(7)
    source = Source()
    async with ShapeStore(path, create=keyed(source, "id"), keep_replaced=3600) as store:
        seen: list[tuple[StoredShape, Rows]] = []
        for _ in range(25):
            ids = chance.sample(range(30), chance.randrange(25))
            source.rows = [{"id": n, "name": chance.choice("abc")} for n in ids]
            stored = await store.refresh(TRACK)
            seen.append((stored, await rows_of(store, stored)))
            assert by_key(seen[-1][1]) == by_key(source.rows)
        now = by_key(source.rows)
        assert len({stored.handle for stored, _ in seen}) == 1
        for stored, rows in seen:
            assert await rows_of(store, stored) == rows, "rows as of an older position"
            for limit in (1, 3, 1000):
                later = await whole_log(store, stored, stored.position, limit)
                assert materialized(later, by_key(rows)) == now
        for limit in (1, 7, 1000):
            assert materialized(await whole_log(store, stored, 0, limit)) == now


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.lists(st.tuples(st.integers(0, 12), st.text(max_size=3)), unique_by=lambda row: row[0]),
    after=st.lists(st.tuples(st.integers(0, 12), st.text(max_size=3)), unique_by=lambda row: row[0]),
)
async def test_a_refresh_gives_what_the_creator_gave(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[int, str]],
    after: list[tuple[int, str]],
) -> None:
    source = Source()
    async with ShapeStore(tmp_path_factory.mktemp("any") / "shapes.db", create=keyed(source, "id")) as store:
        for rows in (before, after):
            source.rows = [{"id": n, "name": name} for n, name in rows]
            stored = await store.refresh(TRACK)
            assert by_key(await store.fetch(TRACK)) == by_key(source.rows)
            assert stored.row_count == len(rows)


async def test_a_table_of_a_database_has_its_primary_key_also_where_the_columns_leave_it_out(
    path: str, tmp_path: Any
) -> None:
    with closing(sqlite3.connect(tmp_path / "source.db", isolation_level=None)) as source:
        source.execute(
            "CREATE TABLE Track (name TEXT, disc INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (disc, id))"
        )
        source.executemany("INSERT INTO Track VALUES ('same name', ?, ?)", [(n % 3, n) for n in range(3_000)])
        shape = Shape("Track", columns=["name"])
        async with ShapeStore(path, create=SQLSource(f"sqlite:///{tmp_path}/source.db")) as store:
            first = await store.get_or_create(shape)
            source.execute("UPDATE Track SET name = 'renamed' WHERE id = 7")
            source.execute("DELETE FROM Track WHERE id = 8")
            second = await store.refresh(shape)
            assert second.handle == first.handle
            changes = await store.read_log(second, after=first.position)
            assert [(change.operation, change.key, change.row) for change in changes] == [
                ("update", (1, 7), {"name": "renamed"}),
                ("delete", (2, 8), None),
            ]


async def test_rows_whose_key_is_null_have_no_key(path: str, tmp_path: Any) -> None:
    with closing(sqlite3.connect(tmp_path / "source.db", isolation_level=None)) as source:
        source.execute("CREATE TABLE Track (id TEXT PRIMARY KEY, name TEXT)")
        source.executemany("INSERT INTO Track VALUES (?, 'x')", [(None,), ("a",), (None,)])
        async with ShapeStore(path, create=SQLSource(f"sqlite:///{tmp_path}/source.db")) as store:
            first = await store.get_or_create(TRACK)
            second = await store.refresh(TRACK)
            assert second.handle != first.handle, "what might be another row is not taken for the same"
            assert await rows_of(store, second) == await rows_of(store, first)
            source.execute("UPDATE Track SET id = 'b' || rowid")
            await store.refresh(TRACK)
            keyed_now = await store.get(TRACK)
            source.execute("UPDATE Track SET id = NULL WHERE rowid = 1")
            again = await store.refresh(TRACK)
            assert keyed_now is not None
            assert again.handle != keyed_now.handle
            assert await rows_of(store, again) == await store.fetch(TRACK)
            assert again.row_count == 3


# --- where a difference is not possible


async def test_rows_without_a_key_that_are_the_same_keep_their_handle_and_else_get_a_new_one(path: str) -> None:
    source = Source()
    source.rows = [{"n": n // 2} for n in range(5_000)]
    async with ShapeStore(path, create=source) as store:
        first = await store.get_or_create(TRACK)
        assert (await store.refresh(TRACK)).etag == first.etag
        for change in (source.rows.pop, lambda: source.rows.append({}), lambda: source.rows.insert(9, {})):
            change()
            calls = source.calls
            newer = await store.refresh(TRACK)
            assert newer.handle != first.handle
            assert source.calls == calls + 1, "the creator is asked once, however different its rows are"
            assert await rows_of(store, newer) == source.rows
            first = newer


@pytest.mark.parametrize("order", ["same", "reversed", "shuffled"])
async def test_too_many_differences_make_a_new_handle_in_the_creators_order(
    path: str, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr(difference, "MAX_CHANGES", 50)
    monkeypatch.setattr(difference, "MAX_WAITING", 3_000)
    source = Source()
    source.rows = [{"id": n, "name": f"track {n}"} for n in range(10_000)]
    async with ShapeStore(path, create=keyed(source, "id")) as store:
        first = await store.get_or_create(TRACK)
        for n in range(0, 10_000, 100):
            source.rows[n] = {"id": n, "name": "renamed"}
        if order == "reversed":
            source.rows.reverse()
        elif order == "shuffled":
            random.Random(1).shuffle(source.rows)
        second = await store.refresh(TRACK)
        assert second.handle != first.handle
        assert source.calls == 2
        assert await rows_of(store, second) == source.rows
        assert await rows_of(store, first) == [{"id": n, "name": f"track {n}"} for n in range(10_000)]
        assert read(path, "SELECT count(DISTINCT id), count(DISTINCT key) FROM shape_rows WHERE shape > 1") == [
            (10_000, 10_000)
        ]


async def test_other_key_columns_make_a_new_handle(store: ShapeStore, source: Source) -> None:
    first = await store.get_or_create(TRACK)
    second = await store.refresh(TRACK, keyed(source, "name"))
    assert second.handle != first.handle
    third = await store.refresh(TRACK, source)
    assert third.handle != second.handle
    assert await rows_of(store, third) == source.rows


@pytest.mark.parametrize("at_first", [True, False], ids=["at the first creation", "at a refresh"])
@pytest.mark.parametrize("count", [3, 5_000])
async def test_a_key_that_comes_twice_is_an_error_that_names_it(path: str, at_first: bool, count: int) -> None:
    source = Source()
    good = [{"id": n} for n in range(count)]
    source.rows = good
    async with ShapeStore(path, create=keyed(source, "id"), failure_grace=0) as store:
        if not at_first:
            await store.get_or_create(TRACK)
        source.rows = [*good, {"id": 1}]
        with pytest.raises(CreateFailedError, match=r"InvalidRowError.*two rows have the key \[1\]"):
            await store.refresh(TRACK)
        source.rows = good
        assert (await store.refresh(TRACK)).row_count == count


async def test_a_row_that_lacks_its_key_is_an_error_that_says_which(store: ShapeStore, source: Source) -> None:
    source.rows[7] = {"name": "no key"}
    with pytest.raises(CreateFailedError, match="row 8 lacks the key column 'id'"):
        await store.get_or_create(TRACK)


# --- a refresh and what happens meanwhile


async def test_a_shape_that_is_dropped_while_it_is_refreshed_is_created_again(
    store: ShapeStore, source: Source
) -> None:
    first = await store.get_or_create(TRACK)
    dropped = False

    async def create(shape: Shape) -> Rows:
        nonlocal dropped
        if not dropped:
            dropped = True
            assert await store.delete(first)
        return await source(shape)

    second = await store.refresh(TRACK, keyed(create, "id"))
    assert second.handle != first.handle
    assert await rows_of(store, second) == source.rows


async def test_a_refresh_that_fails_changes_nothing(path: str, store: ShapeStore, source: Source) -> None:
    first = await store.get_or_create(TRACK)
    source.rows = [{"id": 1, "name": "renamed"}, {"id": 2, "name": object()}]
    with pytest.raises(CreateFailedError):
        await store.refresh(TRACK)
    stored = await store.get(TRACK)
    assert stored is not None
    assert (stored.etag, stored.row_count) == (first.etag, 100)
    assert read(path, "SELECT count(*) FROM shape_changes") == [0]


async def test_a_refresh_whose_stored_rows_go_before_they_are_copied_begins_again(path: str, source: Source) -> None:
    """Else the new handle would lack them."""
    compared, deleted = asyncio.Event(), asyncio.Event()
    source.rows = [{"id": n, "name": f"track {n}"} for n in range(3_000)]

    async def create(shape: Shape) -> AsyncIterator[dict[str, Any]]:
        source.calls += 1
        for row in source.rows:
            yield row
            if row["id"] == 2_500:
                compared.set()
                await deleted.wait()
        for n in range(MAX_CHANGES + 1):  # too many for a difference
            yield {"id": n, "name": "new"} if n >= 3_000 else {"id": n + 100_000, "name": "new"}

    async with ShapeStore(path, create=keyed(source, "id")) as store:
        first = await store.get_or_create(TRACK)
        refreshing = asyncio.create_task(store.refresh(TRACK, keyed(create, "id")))
        await compared.wait()
        await store.read_log(first, limit=1)  # on the thread where the first chunk is compared, and so after it
        edit(path, "DELETE FROM shape_rows WHERE position BETWEEN 1001 AND 1500")
        deleted.set()
        stored = await refreshing
        assert source.calls == 3
        rows = await rows_of(store, stored)
        assert len(rows) == stored.row_count == 3_000 + MAX_CHANGES + 1
        assert rows[:3_000] == source.rows


@pytest.mark.parametrize("value", [decimal.Decimal("NaN"), decimal.Decimal("sNaN"), Text("a")])
async def test_keys_of_odd_types_are_compared_as_they_are_stored(path: str, value: Any) -> None:
    rows: Rows = [{"id": value, "n": 1}, {"id": "b", "n": 1}, {"id": decimal.Decimal(2), "n": 1}]
    async with ShapeStore(path, create=keyed(lambda shape: rows, "id")) as store:
        first = await store.get_or_create(TRACK)
        rows[0] = {"id": value, "n": 2}
        second = await store.refresh(TRACK)
        assert second.handle == first.handle
        [change] = await store.read_log(second, after=first.position)
        assert (change.operation, change.key, change.row) == ("update", (str(value),), {"id": str(value), "n": 2})


async def test_refreshes_in_two_stores_at_once_are_one(path: str, source: Source) -> None:
    async with (
        ShapeStore(path, create=keyed(source, "id")) as one,
        ShapeStore(path, create=keyed(source, "id")) as other,
    ):
        first = await one.get_or_create(TRACK)
        for n in range(20):
            source.rows[n] = {"id": n + 1, "name": f"renamed {n}"}
            fresh = await one.refresh(TRACK)
            seen = await other.get(TRACK)
            assert seen is not None
            assert seen == fresh
            assert seen.handle == first.handle


async def test_plain_and_generator_creators_refresh_by_difference_too(path: str, source: Source) -> None:
    def plain(_: Shape) -> Rows:
        return source.rows

    def generator(_: Shape) -> Any:
        yield from source.rows

    async def agenerator(_: Shape) -> Any:
        for row in source.rows:
            yield row

    async with ShapeStore(path) as store:
        first = await store.get_or_create(TRACK, keyed(plain, "id"))
        for number, create in enumerate((plain, generator, agenerator)):
            source.rows[number] = {"id": number + 1, "name": "renamed"}
            again = await store.refresh(TRACK, keyed(create, "id"))
            assert again.handle == first.handle
            assert await store.fetch(TRACK) == source.rows


async def test_one_shape_is_invalidated_and_no_other_of_its_table(store: ShapeStore, source: Source) -> None:
    album = Shape("Track", where="AlbumId = 1")
    await store.get_or_create(TRACK)
    other = await store.get_or_create(album)
    assert await store.invalidate(TRACK) == 1
    assert await store.get(TRACK) is None
    assert await store.get(album) == other
    assert await store.invalidate(TRACK) == 0


async def test_what_was_read_before_an_invalidation_of_the_one_shape_is_read_again(store: ShapeStore) -> None:
    versions: list[int] = []

    async def create(shape: Shape) -> Rows:
        versions.append(len(versions))
        if versions[-1] == 0:
            await store.invalidate(TRACK)
        return [{"id": 1, "version": versions[-1]}]

    assert await store.fetch(TRACK, create) == [{"id": 1, "version": 1}]


# --- positions


async def test_a_position_of_another_history_is_refused(path: str, store: ShapeStore, source: Source) -> None:
    first = await store.get_or_create(TRACK)
    source.rows[0] = {"id": 1, "name": "renamed"}
    second = await store.refresh(TRACK)
    for wrong in (second.position + 1, second.position + (1 << 28), 101, 1 << 80):
        with pytest.raises(ShapeGoneError):
            await store.read_log(second, after=wrong)
    nonsense: list[Any] = [-1, True, 1.0, "1"]
    for no_position in nonsense:
        with pytest.raises(ValueError, match="after"):
            await store.read_log(second, after=no_position)
    assert await store.read_log(second, after=first.position) != []


async def test_an_older_copy_of_the_file_that_is_put_back_gives_out_no_position_again(
    path: str, source: Source, tmp_path: Any
) -> None:
    async with ShapeStore(path, create=keyed(source, "id")) as store:
        await store.get_or_create(TRACK)
    with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        connection.backup(copy)
    etags: dict[str, Rows] = {}
    positions: set[int] = set()
    for history in range(4):
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy, closing(sqlite3.connect(path)) as connection:
            copy.backup(connection)
        async with ShapeStore(path, create=keyed(source, "id")) as store:
            for step in range(3):
                source.rows[step] = {"id": step + 1, "name": f"history {history}"}
                stored = await store.refresh(TRACK)
                assert etags.setdefault(stored.etag, list(source.rows)) == source.rows
                for other in positions:
                    with pytest.raises(ShapeGoneError):
                        await store.read_log(stored, after=other)
            positions.add(stored.position)
    assert len(etags) == 12


async def test_a_copy_that_is_put_back_under_an_open_store_is_noticed_by_its_counter(
    path: str, source: Source, tmp_path: Any
) -> None:
    async with ShapeStore(path, create=keyed(source, "id")) as store:
        await store.get_or_create(TRACK)
        with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            connection.backup(copy)
        source.rows[0] = {"id": 1, "name": "first history"}
        first = await store.refresh(TRACK)
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy, closing(sqlite3.connect(path)) as connection:
            copy.backup(connection)
        source.rows[0] = {"id": 1, "name": "second history"}
        second = await store.refresh(TRACK)
        assert second.etag != first.etag
        with pytest.raises(ShapeGoneError):
            await store.read_log(second, after=first.position)


@pytest.mark.parametrize("when", ["before it has written", "after another store has written"])
async def test_a_copy_that_is_put_back_under_an_open_store_is_noticed_though_others_gave_out_its_rounds(
    path: str, source: Source, tmp_path: Any, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a store knows of the rounds that others gave out, it has read: at its opening, and at every tick."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)

    def copy_to(there: Any, here: Any) -> None:
        with closing(sqlite3.connect(here)) as connection, closing(sqlite3.connect(there)) as copy:
            connection.backup(copy)

    async def renamed(store: ShapeStore, name: str) -> StoredShape:
        source.rows[0] = {"id": 1, "name": name}
        return await store.refresh(TRACK)

    async with ShapeStore(path, create=keyed(source, "id")) as other:
        await renamed(other, "before the copy")
        copy_to(tmp_path / "copy.db", path)
        if when.startswith("before"):
            first = await renamed(other, "first history")
    if when.startswith("before"):
        copy_to(path, tmp_path / "copy.db")
    async with ShapeStore(path, create=keyed(source, "id")) as store:
        if when.startswith("after"):
            await renamed(store, "together")
            copy_to(tmp_path / "copy.db", path)
            async with ShapeStore(path, create=keyed(source, "id")) as other:
                first = await renamed(other, "first history")
                [newest] = read(path, "SELECT round FROM log_state")
                await eventually(lambda: store._lifecycle.opened.writer.newest_round >= newest)
        copy_to(path, tmp_path / "copy.db")
        second = await renamed(store, "second history")
        assert second.etag != first.etag
        with pytest.raises(ShapeGoneError):
            await store.read_log(second, after=first.position)


@pytest.mark.parametrize("ticks", [False, True])
async def test_a_copy_of_another_history_that_is_put_back_under_an_open_store_is_noticed(
    path: str, source: Source, tmp_path: Any, ticks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its counter may be the higher one, since each history jumped by chance: but it lacks the round seen last."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005 if ticks else 3_600)

    def copy(here: Any, there: Any) -> None:
        with closing(sqlite3.connect(here)) as one, closing(sqlite3.connect(there)) as other:
            one.backup(other)

    async def renamed(store: ShapeStore, name: str) -> StoredShape:
        source.rows[0] = {"id": 1, "name": name}
        return await store.refresh(TRACK)

    async with ShapeStore(path, create=keyed(source, "id")) as store:
        await store.get_or_create(TRACK)
    copy(path, tmp_path / "first.db")
    monkeypatch.setattr(rounds, "_JUMP", (2_000_000, 2_000_000))
    async with ShapeStore(path, create=keyed(source, "id")) as store:
        await renamed(store, "one history")
        copy(path, tmp_path / "one.db")
        given = await renamed(store, "given out by the one history")
    copy(tmp_path / "first.db", path)
    monkeypatch.setattr(rounds, "_JUMP", (1_000_000, 1_000_000))
    async with ShapeStore(path, create=keyed(source, "id")) as store:
        await renamed(store, "another history")
        copy(tmp_path / "one.db", path)
        if ticks:
            [newest] = read(path, "SELECT round FROM log_state")
            await eventually(lambda: store._lifecycle.opened.writer.newest_round > newest)
        stored = await renamed(store, "the third")
        assert stored.etag != given.etag
        with pytest.raises(ShapeGoneError):
            await rows_of(store, given)


@pytest.mark.parametrize("limit", [1_000, 1_001, 2_500, 10**9])
async def test_a_page_of_a_log_may_have_any_length(store: ShapeStore, source: Source, limit: int) -> None:
    """It is read in parts, of which the first has the rows of the snapshot alone."""
    source.rows = [{"id": n, "name": "first"} for n in range(1_500)]
    await store.get_or_create(TRACK)
    source.rows = [{"id": n, "name": "second"} for n in range(1_500)]
    stored = await store.refresh(TRACK)
    page = await store.read_log(stored, limit=limit)
    assert len(page) == min(limit, 3_000)
    assert page == (await whole_log(store, stored, limit=7))[:limit]


# --- compaction


@pytest.mark.usefixtures("busy_maintenance")
async def test_a_long_log_is_cut_and_its_snapshot_goes_on_from_the_floor(path: str) -> None:
    source = Source()
    source.rows = [{"id": n, "name": ""} for n in range(10)]
    async with ShapeStore(path, create=keyed(source, "id"), keep_replaced=0) as store:
        first = await store.get_or_create(TRACK)
        for number in range(30):
            source.rows = [{"id": n, "name": str(number)} for n in range(number % 10, 10 + number)]
            stored = await store.refresh(TRACK)
        await eventually(lambda: read(path, "SELECT floor FROM shapes") > [0])
        await eventually(lambda: read(path, "SELECT count(*) FROM shape_changes WHERE id <= (1 << 28) + 100") == [0])
        # Until it is not long any more: a reader half way through it would be told that it was cut again.
        await eventually(lambda: not store._live().maintenance.logs._due)
        assert stored.handle == first.handle
        assert materialized(await whole_log(store, stored, 0, 7)) == by_key(source.rows)
        assert await rows_of(store, stored) == await store.fetch(TRACK)
        with pytest.raises(ShapeGoneError):
            await store.read_log(stored, after=first.position)
        with pytest.raises(ShapeGoneError):
            await rows_of(store, first)
        [log_bytes] = read(path, "SELECT log_bytes FROM shapes")
        assert read(path, "SELECT coalesce(sum(length(CAST(old AS BLOB))), 0) FROM shape_changes") == [log_bytes]


@pytest.mark.usefixtures("busy_maintenance")
async def test_a_log_is_not_cut_where_it_was_superseded_a_moment_ago(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_logs, "CUT_AGAIN_SECONDS", 0.01)
    source = Source()
    async with ShapeStore(path, create=keyed(source, "id"), keep_replaced=3600) as store:
        source.rows = [{"id": 1, "name": ""}]
        first = await store.get_or_create(TRACK)
        for number in range(110):
            source.rows = [{"id": 1, "name": str(number)}]
            await store.refresh(TRACK)
        await eventually(lambda: store.stats.batches > 223)
        assert await rows_of(store, first) == [{"id": 1, "name": ""}]


@pytest.mark.usefixtures("busy_maintenance")
async def test_a_log_whose_cutting_a_crash_cut_short_is_cut_at_its_next_change(path: str) -> None:
    source = Source()
    async with ShapeStore(path, create=keyed(source, "id"), keep_replaced=3600) as store:
        for number in range(110):
            source.rows = [{"id": 1, "name": str(number)}]
            await store.refresh(TRACK)
    edit(path, "UPDATE shapes SET floor = position, floor_round = round")  # its changes were not deleted any more
    async with ShapeStore(path, create=keyed(source, "id"), keep_replaced=3600) as store:
        source.rows = [{"id": 1, "name": "new"}]
        stored = await store.refresh(TRACK)
        await eventually(lambda: read(path, "SELECT count(*) FROM shape_changes") == [1])
        assert await rows_of(store, stored) == source.rows
