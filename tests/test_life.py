"""The life of a shape: built anew, dropped, invalidated with its table; and its rows deleted behind it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
from file_rows import add_rows, add_shape, discard
from inspections import eventually, gate_held, lost_rows, rows_of, settled, shapes
from processes import handles_with_rows

from shapestore import (
    CreateFailedError,
    InvalidCreatorError,
    InvalidShapeError,
    Shape,
    ShapeGoneError,
    ShapeStore,
    WaitTimeoutError,
    maintenance,
)
from shapestore.storage.commands import DeletePiece, Invalidate
from shapestore.storage.connection import open_writer
from shapestore.storage.log import compact
from shapestore.storage.log.chunks import CHUNK_ROWS
from shapestore.storage.transaction import transact

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")
MANY = 2 * CHUNK_ROWS + 10


class Source:
    """A table whose every reading is told from the others; a reading ends when it may."""

    def __init__(self, rows: int = 1) -> None:
        self.rows = rows
        self.readings = 0
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def create(self, shape: Shape) -> AsyncIterator[dict[str, int]]:
        self.readings += 1
        reading = self.readings
        for number in range(self.rows):
            yield {"reading": reading, "number": number}
        await self.go.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def store(empty_path: str, source: Source) -> AsyncIterator[ShapeStore]:
    async with ShapeStore(empty_path, create=source.create, failure_grace=600) as store:
        yield store


@pytest.fixture
def file(empty_path: str) -> Iterator[sqlite3.Connection]:
    """The file as the shell sees it."""
    with contextlib.closing(sqlite3.connect(empty_path, isolation_level=None)) as connection:
        yield connection


def counted(file: sqlite3.Connection, table: str) -> int:
    [(count,)] = file.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


async def held(source: Source, store: ShapeStore) -> asyncio.Task[Any]:
    """A refresh that has read its rows and may not end yet."""
    source.go.clear()
    before = source.readings
    task = asyncio.create_task(store.refresh(TRACK))
    await eventually(lambda: source.readings == before + 1)
    return task


# --- refreshing


async def test_a_refresh_of_what_is_missing_creates_it(store: ShapeStore, source: Source) -> None:
    stored = await store.refresh(TRACK)
    assert await store.get(TRACK) == stored
    assert source.readings == 1


async def test_a_refresh_needs_a_shape_and_a_creator(empty_path: str) -> None:
    async with ShapeStore(empty_path) as store:
        with pytest.raises(InvalidCreatorError):
            await store.refresh(TRACK)
        with pytest.raises(InvalidShapeError):
            await store.refresh("Track")  # type: ignore[arg-type]


async def test_a_refresh_may_bring_its_own_creator(store: ShapeStore) -> None:
    old = await store.get_or_create(TRACK)

    async def another(shape: Shape) -> list[dict[str, Any]]:
        return [{"from": shape.table}]

    assert await rows_of(store, await store.refresh(TRACK, another)) == [{"from": "Track"}]
    assert await store.get_by_handle(old.handle) is None


async def test_many_refreshes_at_once_are_one(store: ShapeStore, source: Source) -> None:
    old = await store.get_or_create(TRACK)
    fresh = await asyncio.gather(*(store.refresh(TRACK) for _ in range(100)))
    assert len(set(fresh)) == 1
    assert fresh[0].handle != old.handle
    assert (source.readings, store.stats.followers) == (2, 99)


async def test_a_refresh_that_follows_another_reads_again(store: ShapeStore, source: Source) -> None:
    handles = [(await store.refresh(TRACK)).handle for _ in range(4)]
    assert len(set(handles)) == 4
    assert source.readings == 4
    assert await store.count() == 1


async def test_the_old_snapshot_is_served_whole_until_the_new_one_is_published(
    store: ShapeStore, source: Source, file: sqlite3.Connection
) -> None:
    source.rows = MANY
    old = await store.get_or_create(TRACK)
    refreshing = await held(source, store)
    await eventually(lambda: counted(file, "shape_rows") > MANY)  # chunks of the new one are there, beside the old
    assert await store.get(TRACK) == await store.get_or_create(TRACK) == old
    assert {row["reading"] async for row in store.rows(old.handle)} == {1}
    [lock] = await store.locks()
    assert await store.get_by_handle(lock.handle) is None
    with pytest.raises(ShapeGoneError):
        await anext(store.rows(lock.handle))
    source.go.set()
    fresh = await refreshing
    assert fresh.handle == lock.handle
    assert [row["reading"] async for row in store.rows(fresh.handle)] == [2] * MANY


async def test_at_every_moment_of_a_refresh_there_is_one_shape(
    store: ShapeStore, source: Source, file: sqlite3.Connection
) -> None:
    """As another process sees it, between any two steps of this one's loop."""
    source.rows = MANY
    old = await store.get_or_create(TRACK)
    refreshing = asyncio.create_task(store.refresh(TRACK))
    seen = []
    while not refreshing.done():
        seen.append(file.execute("SELECT handle FROM shapes").fetchall())
        await asyncio.sleep(0)
    fresh = await refreshing
    assert all(len(handles) == 1 for handles in seen)
    assert {handle for [(handle,)] in seen} <= {old.handle, fresh.handle}
    assert seen[0] == [(old.handle,)]


async def test_get_or_create_never_waits_for_a_refresh(store: ShapeStore, source: Source) -> None:
    old = await store.get_or_create(TRACK)
    refreshing = await held(source, store)
    assert await asyncio.gather(*(store.get_or_create(TRACK, timeout=0) for _ in range(10))) == [old] * 10
    source.go.set()
    await refreshing


async def test_who_asks_for_a_shape_that_was_dropped_while_it_was_refreshed_waits_for_the_refresh(
    store: ShapeStore, source: Source
) -> None:
    old = await store.get_or_create(TRACK)
    refreshing = await held(source, store)
    assert await store.delete(old.handle)
    asking = asyncio.create_task(store.get_or_create(TRACK))
    await asyncio.sleep(0)
    source.go.set()
    assert await asking == await refreshing
    assert source.readings == 2


async def test_get_leads_from_the_old_handle_to_the_new(store: ShapeStore) -> None:
    old = await store.get_or_create(TRACK)
    fresh = await store.refresh(TRACK)
    assert await store.get_by_handle(old.handle) is None
    assert await rows_of(store, old) == [{"reading": 1, "number": 0}], "it is kept for those who still read it"
    assert await store.get(old.shape) == await store.get_by_handle(fresh.handle) == fresh


async def test_a_failed_refresh_leaves_the_old_shape_and_is_shared_for_its_window(
    store: ShapeStore, source: Source, empty_path: str
) -> None:
    source.rows = MANY
    old = await store.get_or_create(TRACK)
    source.error = OSError("the source is away")
    for _ in range(3):
        with pytest.raises(CreateFailedError, match="the source is away"):
            await store.refresh(TRACK)
        assert await store.get_or_create(TRACK) == old
    assert source.readings == 2
    assert [row["reading"] async for row in store.rows(old.handle)] == [1] * MANY
    await eventually(lambda: lost_rows(empty_path) == 0)  # what the failed one had read
    source.error = None
    assert await store.release_lock(TRACK)
    assert (await store.refresh(TRACK)).handle != old.handle


async def test_the_time_of_a_caller_of_refresh_is_bounded_and_the_refresh_goes_on(
    store: ShapeStore, source: Source
) -> None:
    old = await store.get_or_create(TRACK)
    refreshing = await held(source, store)
    with pytest.raises(WaitTimeoutError, match="its creator is still running"):
        await store.refresh(TRACK, timeout=0)
    refreshing.cancel()
    await asyncio.wait([refreshing])
    source.go.set()
    await eventually(lambda: store.stats.in_flight == 0)
    fresh = await store.get(TRACK)
    assert fresh is not None
    assert fresh.handle != old.handle


async def test_a_refresh_is_never_answered_by_what_was_stored_before_it_was_called(
    empty_path: str, source: Source
) -> None:
    """Though it joins a flight that has yet to see that another store has published."""
    async with ShapeStore(empty_path, create=source.create) as one, ShapeStore(empty_path, create=source.create) as two:
        for ask in (two.get_or_create, two.refresh):
            refreshing = await held(source, one)
            following = asyncio.create_task(ask(TRACK, timeout=60))
            if ask == two.refresh or await two.get(TRACK) is None:
                await eventually(lambda: two.stats.in_flight == 1)
                await asyncio.sleep(0.1)  # for as long as its next pause to be about 10 ms
            source.go.set()
            first = await refreshing
            second = await two.refresh(TRACK)
            assert second.handle != first.handle
            assert await following in (first, second)


# --- deleting


async def test_a_shape_is_dropped_once(store: ShapeStore) -> None:
    stored = await store.get_or_create(TRACK)
    assert not await store.delete("no such handle")
    assert sorted(await asyncio.gather(*(store.delete(stored.handle) for _ in range(3)))) == [False, False, True]
    assert not await store.delete(stored.handle)
    assert (await store.get(TRACK), await store.count()) == (None, 0)


async def test_what_is_dropped_is_read_to_its_end_by_whoever_is_reading_it(store: ShapeStore, source: Source) -> None:
    source.rows = 3
    stored = await store.get_or_create(TRACK)
    reading = store.rows(stored.handle, batch_size=1)
    assert (await anext(reading))["number"] == 0
    assert await store.delete(stored.handle)
    assert [row["number"] async for row in reading] == [1, 2]


async def test_a_shape_that_was_dropped_is_made_anew_under_a_new_handle(store: ShapeStore, source: Source) -> None:
    first = await store.get_or_create(TRACK)
    await store.delete(first.handle)
    second = await store.get_or_create(TRACK)
    assert second.handle != first.handle
    assert await rows_of(store, second) == [{"reading": 2, "number": 0}]


async def test_a_drop_by_a_caller_who_is_cancelled_is_done_or_not_and_the_store_goes_on(
    store: ShapeStore, empty_path: str
) -> None:
    stored = await store.get_or_create(TRACK)
    async with gate_held(empty_path):
        deleting = asyncio.create_task(store.delete(stored.handle))
        await eventually(lambda: store.stats.commands == 3)
        deleting.cancel()
        await asyncio.wait([deleting])
        assert await store.get(TRACK) == stored
    await store.delete("another")  # is behind it in the queue
    assert await store.get(TRACK) is None


# --- invalidating


@pytest.fixture
def a_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invalidate, "SHAPES", 3)


def of_tables(*tables: str, each: int) -> list[Shape]:
    return [Shape(table, columns=[f"c{number}"]) for table in tables for number in range(each)]


@pytest.mark.usefixtures("a_few_at_once")
@pytest.mark.parametrize("count", [0, 1, 3, 6, 10])
async def test_an_invalidation_drops_all_shapes_of_its_table_and_no_other(store: ShapeStore, count: int) -> None:
    for shape in [*of_tables("Track", each=count), *of_tables("track", "Tracks", each=2)]:
        await store.get_or_create(shape)
    assert await store.invalidate("Track") == count
    assert await store.count() == 4
    assert [stored async for stored in store.shapes(table="Track")] == []
    assert await store.invalidate("Track") == 0


@pytest.mark.usefixtures("a_few_at_once")
async def test_two_invalidations_at_once_share_the_shapes_between_them(store: ShapeStore) -> None:
    for shape in of_tables("Track", each=10):
        await store.get_or_create(shape)
    assert sum(await asyncio.gather(*(store.invalidate("Track") for _ in range(3)))) == 10
    assert await store.count() == 0


@pytest.mark.usefixtures("a_few_at_once")
async def test_an_invalidation_goes_on_though_its_caller_is_cancelled(store: ShapeStore) -> None:
    for shape in of_tables("Track", each=20):
        await store.get_or_create(shape)
    invalidating = asyncio.create_task(store.invalidate("Track"))
    await asyncio.sleep(0)
    invalidating.cancel()
    await asyncio.wait([invalidating])
    async with asyncio.timeout(60):
        while await store.count():
            await asyncio.sleep(0.001)


@pytest.mark.usefixtures("a_few_at_once")
async def test_an_invalidation_of_many_shapes_restarts_what_is_under_way_in_both_stores(
    empty_path: str, source: Source
) -> None:
    async with ShapeStore(empty_path, create=source.create) as one, ShapeStore(empty_path, create=source.create) as two:
        stored = [await one.get_or_create(shape) for shape in of_tables("Track", each=10)]
        source.go.clear()
        mine, theirs = Shape("Track", columns=["mine"]), Shape("Track", columns=["theirs"])
        callers = [asyncio.create_task(one.get_or_create(mine)), asyncio.create_task(two.get_or_create(theirs))]
        callers += [asyncio.create_task(two.refresh(stored[0].shape))]
        await eventually(lambda: source.readings == 13)
        assert await one.invalidate("Track") == 10
        source.go.set()
        for caller in callers:
            store = one if caller is callers[0] else two
            [row] = [row async for row in store.rows((await caller).handle)]
            assert row["reading"] > 13, "what was read before it is not published after it"
        assert await two.count() == 3
        assert (one.stats.superseded > 0, two.stats.superseded) == (True, 2)
        await settled(one, empty_path)
        await settled(two, empty_path)


async def test_nothing_that_was_read_before_an_invalidation_is_found_after_it(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though two stores go on creating all the while, and it takes many transactions."""
    monkeypatch.setattr(Invalidate, "SHAPES", 1)
    version = 1

    async def create(shape: Shape) -> AsyncIterator[dict[str, int]]:
        read = version
        for _ in range(3):
            await asyncio.sleep(0)
        yield {"version": read}

    async def go_on_asking(store: ShapeStore, shape: Shape) -> None:
        while version < 6:
            stored = await store.get_or_create(shape)
            asked = version
            with contextlib.suppress(ShapeGoneError):
                [row] = [row async for row in store.rows(stored.handle)]
                assert row["version"] >= asked - 1

    wanted = of_tables("Track", each=8)
    async with ShapeStore(empty_path, create=create) as one, ShapeStore(empty_path, create=create) as two:
        asking = [asyncio.create_task(go_on_asking(store, shape)) for store in (one, two) for shape in wanted]
        for store in (one, two, one, two, one):
            while await store.count() < len(wanted):
                await asyncio.sleep(0.001)
            version += 1
            await store.invalidate("Track")
            current = version
            for shape in wanted:
                stored = await store.get(shape)
                if stored is not None:
                    assert [row["version"] async for row in store.rows(stored.handle)] == [current]
        await asyncio.gather(*asking)


@pytest.mark.usefixtures("busy_maintenance")
async def test_an_attempt_that_another_store_has_ended_is_given_up_though_its_creator_hangs(empty_path: str) -> None:
    began = asyncio.Event()

    async def hangs_at_first(shape: Shape) -> list[dict[str, Any]]:
        if not began.is_set():
            began.set()
            await asyncio.Event().wait()
        return []  # it is called again if its store finds out before the other one asks

    async def at_once(shape: Shape) -> list[dict[str, Any]]:
        return []

    async with ShapeStore(empty_path, create=hangs_at_first) as one, ShapeStore(empty_path) as other:
        asking = asyncio.create_task(one.get_or_create(TRACK))
        await began.wait()
        assert await other.release_lock(TRACK)
        stored = await other.get_or_create(TRACK, at_once)
        assert await asking == await one.get_or_create(TRACK) == stored
        assert one.stats.superseded == 1


@pytest.mark.usefixtures("busy_maintenance")
async def test_a_creator_that_hangs_is_begun_anew_when_another_store_invalidates_its_table(
    empty_path: str, source: Source
) -> None:
    async with ShapeStore(empty_path, create=source.create) as one, ShapeStore(empty_path) as other:
        source.go.clear()
        asking = asyncio.create_task(one.get_or_create(TRACK))
        await eventually(lambda: source.readings == 1)
        await other.invalidate("Track")
        await eventually(lambda: source.readings == 2)
        source.go.set()
        assert await rows_of(one, await asking) == [{"reading": 2, "number": 0}]


async def test_a_creator_that_invalidates_what_it_reads_is_begun_anew_with_pauses(empty_path: str) -> None:
    async def invalidates(shape: Shape) -> list[dict[str, Any]]:
        await one.invalidate(shape.table)
        return []

    async with ShapeStore(empty_path, create=invalidates) as one:
        began = time.monotonic()
        asking = asyncio.create_task(one.get_or_create(TRACK))
        await eventually(lambda: one.stats.superseded >= 60)
        assert time.monotonic() - began > 0.2, "without pauses, it takes a third of that"
        with pytest.raises(WaitTimeoutError, match=r"was superseded|its creator is still running"):
            await one.get_or_create(TRACK, timeout=0.01)
        asking.cancel()
        await eventually(lambda: one.stats.in_flight == 0)


# --- the rows of what is gone


@pytest.fixture
def nobody_tidies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Maintenance has its turn when a store opens, and not again."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 3600.0)
    yield
    monkeypatch.undo()


async def test_rows_of_what_is_gone_are_deleted_in_the_background(
    empty_path: str, source: Source, file: sqlite3.Connection
) -> None:
    source.rows = MANY
    async with ShapeStore(empty_path, create=source.create, keep_replaced=0) as store:
        stored = [await store.get_or_create(shape) for shape in shapes(4)]
        await store.delete(stored[0].handle)
        await store.invalidate("table 1")
        await store.refresh(shapes(3)[2])
        assert counted(file, "shape_rows") > 2 * MANY, "nobody had to wait for it"
        await eventually(lambda: counted(file, "shape_rows") == 2 * MANY and counted(file, "discarded") == 0)
        assert len(await rows_of(store, stored[3])) == MANY
        with pytest.raises(ShapeGoneError) as gone:
            await rows_of(store, stored[0])
        assert gone.value.handle == stored[0].handle


@pytest.mark.usefixtures("nobody_tidies")
async def test_rows_that_were_to_be_deleted_are_so_after_a_close_and_a_reopening(
    empty_path: str, source: Source, file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.rows = MANY
    async with ShapeStore(empty_path, create=source.create) as store:
        kept, dropped = [await store.get_or_create(shape) for shape in shapes(2)]
        await store.delete(dropped.handle)
    assert file.execute("SELECT handle FROM kept").fetchall() == [(dropped.handle,)]
    assert counted(file, "shape_rows") == 2 * MANY
    async with ShapeStore(empty_path, keep_replaced=0) as store:
        await eventually(lambda: counted(file, "kept") == counted(file, "discarded") == 0)
        assert counted(file, "shape_rows") == MANY
        assert len(await rows_of(store, kept)) == MANY


async def test_rows_are_deleted_in_bounded_steps(
    empty_path: str, file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "PIECE_ROWS", 10)
    rows = {3: 25, 5: 0, 7: 1, 8: 0, 9: 9, 11: 10, 12: 11, 14: 0}
    for number, count in rows.items():
        discard(file, number)
        add_rows(file, number, count)
    add_shape(file, "stored", TRACK, rows=["{}"] * 7, number=10)
    connection = await open_writer(empty_path, "normal")
    try:
        steps = 0
        while piece := compact.next_piece(file):
            before = counted(file, "shape_rows"), counted(file, "discarded")
            await transact(connection, "me", partial(DeletePiece.apply, [DeletePiece(piece)]))
            after = counted(file, "shape_rows"), counted(file, "discarded")
            assert 0 <= before[0] - after[0] <= 10
            assert before[1] - after[1] == len(piece.done)
            assert before != after, "each step is a step on"
            steps += 1
    finally:
        await connection.close()
    assert steps == 6, "each takes as much as it may, of as many as it takes"
    assert counted(file, "discarded") == 0
    assert handles_with_rows(empty_path) == ["stored"]


async def test_everything_else_has_its_turn_while_rows_are_deleted(
    empty_path: str, source: Source, file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "PIECE_ROWS", 1)
    source.rows = CHUNK_ROWS
    async with ShapeStore(empty_path, create=source.create, keep_replaced=0) as store:
        dropped = await store.get_or_create(TRACK)
        await store.delete(dropped.handle)
        await eventually(lambda: counted(file, "shape_rows") < CHUNK_ROWS)
        source.rows = 1
        for shape in shapes(5):
            await store.get_or_create(shape)
        assert counted(file, "discarded") == 1, "there is more of it to come"
        monkeypatch.undo()
        await eventually(lambda: counted(file, "discarded") == 0)
        assert counted(file, "shape_rows") == 5
