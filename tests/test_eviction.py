"""A store that keeps no more than ``max_shapes``: what goes, who still reads it, and who waits for it (nobody)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
from file_rows import add_shape
from inspections import eventually, gate_held, rows_of, shapes
from processes import handles_with_rows, kept

from shapestore import Shape, ShapeStore, StoredShape, events, maintenance
from shapestore.storage.commands import Evict, Note
from shapestore.storage.transaction import Transaction

pytestmark = pytest.mark.usefixtures("untroubled", "busy_maintenance")

A, B, C, D, E, F = (Shape(name) for name in "ABCDEF")


async def three_rows(shape: Shape) -> AsyncIterator[dict[str, Any]]:
    for number in range(3):
        yield {"number": number}


def a_store(path: str, max_shapes: int | None = None, **options: Any) -> ShapeStore:
    return ShapeStore(path, create=three_rows, max_shapes=max_shapes, **options)


async def create(store: ShapeStore, *wanted: Shape) -> list[StoredShape]:
    return [await store.get_or_create(shape) for shape in wanted]


async def tables(store: ShapeStore) -> str:
    return "".join(sorted([stored.shape.table async for stored in store.shapes()]))


async def evicted_down_to(store: ShapeStore, count: int) -> str:
    """The tables of what is left."""
    async with asyncio.timeout(60):
        while await store.count() > count:
            await asyncio.sleep(0.001)
    return await tables(store)


def read_orders(path: str) -> str:
    """The tables of all shapes, the least recently read first, as far as that is written down."""
    with closing(sqlite3.connect(path)) as connection:
        return "".join(table for (table,) in connection.execute("SELECT table_name FROM shapes ORDER BY read_order"))


def add_shapes(path: str, *wanted: Shape) -> None:
    """Shapes without rows, as if another process had just made them."""
    with closing(sqlite3.connect(path)) as connection, connection:
        [(newest,)] = connection.execute("SELECT coalesce(max(read_order), 0) FROM shapes")
        for read_order, shape in enumerate(wanted, newest + 1):
            add_shape(connection, f"handle of {shape.table}", shape, read_order=read_order)


async def ticks(store: ShapeStore, count: int = 3) -> None:
    """Let maintenance have that many turns, as far as time can tell."""
    await asyncio.sleep(0.005 * count)


# --- what goes


async def test_without_a_bound_nothing_goes(empty_path: str) -> None:
    async with a_store(empty_path) as store:
        await create(store, *shapes(50))
        await ticks(store)
        assert (await store.count(), store.stats.evicted) == (50, 0)


async def test_a_store_at_its_bound_evicts_nothing(empty_path: str) -> None:
    async with a_store(empty_path, 3) as store:
        await create(store, A, B, C, A, B, C)
        await ticks(store)
        assert (await tables(store), store.stats.evicted) == ("ABC", 0)


@pytest.mark.parametrize(
    ("read", "left"), [([], "BCD"), ([A], "ACD"), ([A, B], "ABD"), ([B, A, B], "ABD"), ([A, B, C, A], "ACD")]
)
async def test_the_least_recently_read_goes_first(empty_path: str, read: list[Shape], left: str) -> None:
    async with a_store(empty_path, 3) as store:
        await create(store, A, B, C)
        await create(store, *read)
        await create(store, D)
        assert await evicted_down_to(store, 3) == left


async def test_of_many_reads_of_one_shape_the_last_counts(empty_path: str) -> None:
    async with a_store(empty_path, 2) as store:
        await create(store, A, B)
        await create(store, A, B, A)
        await create(store, C)
        assert await evicted_down_to(store, 2) == "AC"


async def test_making_a_shape_counts_as_reading_it_and_older_reads_stay_older(empty_path: str) -> None:
    async with a_store(empty_path, 2) as store:
        await create(store, A, B)
        await create(store, A)
        await create(store, C)
        assert await evicted_down_to(store, 2) == "AC"
        await create(store, D)
        assert await evicted_down_to(store, 2) == "CD"


async def test_reading_rows_counts_as_reading(empty_path: str) -> None:
    async with a_store(empty_path, 2) as store:
        [a, _] = await create(store, A, B)
        await rows_of(store, a)
        await create(store, C)
        assert await evicted_down_to(store, 2) == "AC"


async def test_a_look_that_is_for_nobody_does_not_count_as_reading(empty_path: str) -> None:
    async with a_store(empty_path, 2) as store:
        [a, _] = await create(store, A, B)
        await store.get(A)
        await store.get_by_handle(a.handle)
        await tables(store)
        await create(store, C)
        assert await evicted_down_to(store, 2) == "BC"


async def test_a_refreshed_shape_is_as_new(empty_path: str) -> None:
    async with a_store(empty_path, 2) as store:
        await create(store, A, B)
        await store.refresh(A)
        await create(store, C)
        assert await evicted_down_to(store, 2) == "AC"


async def test_a_bound_of_one_keeps_the_newest(empty_path: str) -> None:
    async with a_store(empty_path, 1) as store:
        for shape in (A, B, C, A):
            await create(store, shape)
            assert await evicted_down_to(store, 1) == shape.table


async def test_what_was_evicted_is_made_anew_when_it_is_wanted_and_its_rows_are_deleted(empty_path: str) -> None:
    async with a_store(empty_path, 1, keep_replaced=0) as store:
        [a] = await create(store, A)
        await create(store, B)
        await evicted_down_to(store, 1)
        assert await store.get_by_handle(a.handle) is None
        assert (await store.get_or_create(A)).handle != a.handle
        await evicted_down_to(store, 1)
        await eventually(lambda: len(handles_with_rows(empty_path)) == 1)


async def test_evictions_are_counted_and_told_in_batches(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evict, "AT_ONCE", 4)
    async with a_store(empty_path) as store:
        stored = await create(store, *shapes(13))
    told: list[events.Event] = []
    async with a_store(empty_path, 3, on_event=told.append) as store:
        await evicted_down_to(store, 3)
        await eventually(lambda: store.stats.evicted == 10)
        batches = [event.handles for event in told if isinstance(event, events.Evicted)]
        assert [len(handles) for handles in batches] == [4, 4, 2]
        assert [handle for handles in batches for handle in sorted(handles)] == [
            handle
            for first in (0, 4, 8)
            for handle in sorted(shape.handle for shape in stored[first : min(first + 4, 10)])
        ]


async def test_nobody_waits_for_an_eviction(empty_path: str) -> None:
    """The caller has the shape while the one that is too many is still there; reads need the writer for nothing."""
    async with a_store(empty_path, 3) as store:
        await create(store, A, B, C, D)
        assert await store.count() == 4
        async with gate_held(empty_path):
            await eventually(lambda: store.stats.in_flight == 0)
            commands = store.stats.commands
            assert await create(store, C, D) == [await store.get(C), await store.get(D)]
            assert store.stats.commands - commands <= 2  # a note, and the eviction that waits for the gate
        assert await evicted_down_to(store, 3) == "BCD"


async def test_a_shape_that_is_being_stored_is_newer_than_what_was_read_before(empty_path: str) -> None:
    """Else it went first: an eviction that had begun before wrote the reads down behind it."""
    store_it = asyncio.Event()

    async def when_told(_: Shape) -> list[dict[str, int]]:
        await store_it.wait()
        return [{"number": 0}]

    async with a_store(empty_path) as store:
        await create(store, A)
        await eventually(lambda: store.stats.queue_depth == 0)
        creating = asyncio.create_task(store.get_or_create(B, create=when_told))
        await eventually(lambda: store.stats.leaders == 2)
        await create(store, A)
        async with gate_held(empty_path):
            commands = store.stats.commands
            store_it.set()
            await eventually(lambda: store.stats.commands > commands)
            noting = asyncio.create_task(store._lifecycle.opened.maintenance.note())
            await eventually(lambda: store.stats.commands > commands + 1)
        await creating
        await noting
        assert read_orders(empty_path) == "AB"


# --- what is being read


async def test_a_shape_that_is_being_read_goes_as_any_other_and_is_read_to_its_end(empty_path: str) -> None:
    async with a_store(empty_path, 2) as store:
        [a, _] = await create(store, A, B)
        reading = store.rows(a.handle, batch_size=1)
        assert await anext(reading) == {"number": 0}
        await create(store, B, C)
        assert await evicted_down_to(store, 2) == "BC"
        assert await store.get_by_handle(a.handle) is None
        assert [row async for row in reading] == [{"number": 1}, {"number": 2}]


@pytest.mark.parametrize("keep_replaced", [0, 0.01, 60])
async def test_readers_read_to_their_ends_whatever_goes_meanwhile(empty_path: str, keep_replaced: float) -> None:
    """Their rows are kept for them, beyond the bounds of what is kept for others: for a while, or until they end."""
    async with a_store(empty_path, 1, keep_replaced=keep_replaced) as store:
        readings = []
        for shape in (A, B, C):
            [stored] = await create(store, shape)
            readings.append(store.rows(stored, batch_size=1))
            assert await anext(readings[-1]) == {"number": 0}
        for shape in (D, E, F):
            await create(store, shape)
            assert await evicted_down_to(store, 1) == shape.table
        for reading in readings:
            assert [row async for row in reading] == [{"number": 1}, {"number": 2}]
        if keep_replaced < 1:
            await eventually(lambda: not kept(empty_path))


# --- how reading is remembered


async def test_reads_are_remembered_in_memory_and_written_down_at_once_in_the_end(empty_path: str) -> None:
    async with a_store(empty_path, 100) as store:
        await create(store, A, B, C)
        await eventually(lambda: store.stats.in_flight == 0)
        commands, batches = store.stats.commands, store.stats.batches
        for _ in range(50):
            await create(store, C, A, B)
        assert (store.stats.commands, store.stats.batches) == (commands, batches)
        assert read_orders(empty_path) == "ABC"
    assert read_orders(empty_path) == "CAB", "the close has written it down"


async def test_reads_are_written_down_now_and_then(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "NOTE_SECONDS", 0.01)
    notes = counted_notes(monkeypatch)
    async with a_store(empty_path) as store:
        await create(store, A, B)
        await create(store, A, A, A)
        await eventually(lambda: read_orders(empty_path) == "BA")
        await more_than(notes, 1)  # the one that wrote this may not have ended
        commands = store.stats.commands
        await more_than(notes, 5)
        assert store.stats.commands == commands, "where nothing was read there is nothing to write"


async def test_what_was_just_made_is_not_written_down_as_read(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[list[str]] = []
    note = Note.__init__

    def counted(self: Note, read: list[str], followers: dict[str, int]) -> None:
        written.append(read)
        note(self, read, followers)

    monkeypatch.setattr(Note, "__init__", counted)
    async with a_store(empty_path) as store:
        await create(store, A, B)
    assert (read_orders(empty_path), written) == ("AB", [])


async def test_reads_that_could_not_be_written_down_are_not_lost(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while another program keeps the file locked: what was read last would be evicted first."""
    monkeypatch.setattr(maintenance, "NOTE_SECONDS", 0.0)
    apply, refused = Note.apply, [1, 2]

    def refuse_some(group: list[Note], tx: Transaction) -> list[None]:
        if refused and any(note.read for note in group):
            refused.pop()
            raise sqlite3.OperationalError("database is locked")
        return apply(group, tx)

    async with a_store(empty_path) as store:
        await create(store, A, B, C)
        monkeypatch.setattr(Note, "apply", refuse_some)
        await create(store, B, A)
        await eventually(lambda: not refused)
        await create(store, B)
        await eventually(lambda: read_orders(empty_path) == "CAB")


def counted_notes(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An item for each time that maintenance has begun to write down what was read."""
    begun: list[None] = []
    note = maintenance.Maintenance.note

    async def counted(self: maintenance.Maintenance) -> None:
        begun.append(None)
        await note(self)

    monkeypatch.setattr(maintenance.Maintenance, "note", counted)
    return begun


async def more_than(items: list[None], count: int) -> None:
    """Wait until so many have come, and one more."""
    before = len(items)
    await eventually(lambda: len(items) > before + count)


async def test_reads_of_a_shape_that_is_gone_are_no_trouble(empty_path: str) -> None:
    async with a_store(empty_path, 10) as store:
        [a, _] = await create(store, A, B)
        await create(store, A)
        await store.delete(a.handle)
    assert read_orders(empty_path) == "B"


async def test_the_time_of_the_last_read_is_there_for_people(empty_path: str) -> None:
    async with a_store(empty_path) as store:
        await create(store, A)
        with closing(sqlite3.connect(empty_path)) as connection:
            connection.execute("UPDATE shapes SET last_read_at_ms = 1, created_at_ms = 1")
            connection.commit()
        await create(store, A)
    with closing(sqlite3.connect(empty_path)) as connection:
        [(created, read)] = connection.execute("SELECT created_at_ms, last_read_at_ms FROM shapes")
    assert created == 1
    assert read > 1_600_000_000_000


# --- two stores


async def test_what_one_store_evicts_is_missing_in_the_other(empty_path: str) -> None:
    async with a_store(empty_path, 2) as one, a_store(empty_path) as other:
        stored = await create(other, A, B, C, D)
        assert await evicted_down_to(one, 2) == "CD"
        assert [await other.get(shape.shape) for shape in stored] == [None, None, *stored[2:]]
        assert other.stats.evicted == 0
        assert (await other.get_or_create(A)).handle != stored[0].handle
        assert await evicted_down_to(other, 2) == "AD"


async def test_what_another_store_has_read_counts_once_it_is_written_down(empty_path: str) -> None:
    async with a_store(empty_path) as one:
        await create(one, A, B, C)
    async with a_store(empty_path, 3) as one:
        async with a_store(empty_path) as other:
            await create(other, A)
        await create(one, D)
        assert await evicted_down_to(one, 3) == "ACD"


async def test_two_stores_that_evict_at_once_evict_no_more_than_one_would(empty_path: str) -> None:
    async with a_store(empty_path, 20) as one, a_store(empty_path, 20) as other:
        async with gate_held(empty_path):
            add_shapes(empty_path, *shapes(30))
            await eventually(lambda: (one.stats.commands, other.stats.commands) == (1, 1))  # both have seen it
        await evicted_down_to(one, 20)
        await one.delete("no such handle")  # each has done what it had in mind by then
        await other.delete("no such handle")
        assert await one.count() == 20
        assert one.stats.evicted + other.stats.evicted == 10
