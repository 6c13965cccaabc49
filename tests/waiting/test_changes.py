"""``store.changes``: a log that is read to its end, and then on and on, until the shape goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from inspections import eventually
from processes import read
from sources import Row, Rows

from shapestore import Change, Shape, ShapeGoneError, ShapeStore, StoreClosedError
from shapestore.storage.commands import Compact

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")


def applied(rows: dict[int, Row], change: Change) -> None:
    (key,) = change.key
    if change.row is None:
        del rows[key]
    else:
        rows[key] = change.row


async def take(changes: AsyncGenerator[Change, None], count: int) -> list[Change]:
    return [await anext(changes) for _ in range(count)]


async def test_changes_come_as_they_are_committed(empty_path: str) -> None:
    source = Rows(1, 2)
    async with ShapeStore(empty_path, create=source) as store, ShapeStore(empty_path, create=source) as another:
        stored = await store.get_or_create(TRACK)
        async with aclosing(store.changes(stored)) as changes:
            coming = asyncio.create_task(take(changes, 3))
            source.put(2, n=7)
            source.put(3, n=1)
            await another.refresh(TRACK)
            source.remove(1)
            end = await store.refresh(TRACK)
            seen = [(change.operation, change.key, change.row) for change in await coming]
            assert sorted(seen[:2], key=str) == [
                ("insert", (3,), {"id": 3, "n": 1}),
                ("update", (2,), {"id": 2, "n": 7}),
            ]
            assert seen[2:] == [("delete", (1,), None)]
            assert coming.result()[-1].position == end.position


async def test_from_0_come_the_rows_and_from_a_handle_only_what_follows(empty_path: str) -> None:
    source = Rows(*range(1, 2_500))
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        source.put(*range(1, 1_500), n=1)
        await store.refresh(TRACK)
        async with aclosing(store.changes(stored, after=0)) as changes:
            held: dict[int, Row] = {}
            for change in await take(changes, 2_499 + 1_499):
                applied(held, change)
            assert held == source.rows
        async with aclosing(store.changes(stored)) as changes:
            assert {change.operation for change in await take(changes, 1_499)} == {"update"}
        async with aclosing(store.changes(stored.handle)) as changes:
            coming = asyncio.create_task(anext(changes))
            await eventually(lambda: len(store._live().waits))
            source.put(5, n=2)
            await store.refresh(TRACK)
            assert (await coming).row == {"id": 5, "n": 2}


async def test_a_shape_that_goes_ends_the_changes(empty_path: str) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        async with aclosing(store.changes(stored)) as changes:
            coming = asyncio.create_task(anext(changes))
            await eventually(lambda: len(store._live().waits))
            await store.invalidate("Track")
            with pytest.raises(ShapeGoneError):
                await coming
        for gone in (stored, stored.handle):
            with pytest.raises(ShapeGoneError):
                await anext(store.changes(gone))


async def test_the_end_of_the_store_ends_the_changes(empty_path: str) -> None:
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        changes = store.changes(await store.get_or_create(TRACK))
        coming = asyncio.create_task(anext(changes))
        await eventually(lambda: len(store._live().waits))
        await store.close()
        with pytest.raises(StoreClosedError):
            await coming


@pytest.mark.parametrize("rows", [3, 0])
async def test_who_has_read_the_rows_of_a_compacted_shape_waits_for_more(empty_path: str, rows: int) -> None:
    """The last row may stand far before the end of the log, where nothing follows it all the same."""
    source = Rows(*range(rows), 100)
    async with ShapeStore(empty_path, create=source, keep_replaced=3_600) as store:
        stored = await store.get_or_create(TRACK)
        [number] = read(empty_path, "SELECT number FROM shapes")
        for n in range(120):
            source.put(100, n=n)
            await store.refresh(TRACK)
        source.remove(100)
        await store.refresh(TRACK)
        assert await store._live().writer.submit(Compact(number, 0)), "maintenance has not, for all is too new"
        assert read(empty_path, "SELECT position - floor FROM shapes") == [0]
        async with aclosing(store.changes(stored, after=0)) as changes:
            told = await take(changes, rows)
            more = asyncio.create_task(anext(changes))
            await eventually(lambda: len(store._live().waits))
            after = told[-1].position if told else 0
            assert await store.wait(stored, after, timeout=0) == after
            source.put(7, n=0)
            await store.refresh(TRACK)
            assert (await more).row == {"id": 7, "n": 0}
        assert [change.row for change in told] == [{"id": n, "n": 0} for n in range(rows)]


async def test_beside_compaction_a_client_holds_what_the_source_says(empty_path: str) -> None:
    """Those who keep up are never cut off; one who fell behind what was forgotten begins again."""
    source = Rows(*range(20))
    async with ShapeStore(empty_path, create=source, keep_replaced=0.0) as store:
        stored = await store.get_or_create(TRACK)
        [number] = [log.number for log, _ in [await store._live().reader.standing(stored.handle, None)]]
        held = {row["id"]: row async for row in store.rows(stored)}
        cut = 0
        async with aclosing(store.changes(stored)) as changes:
            for n in range(1, 40):
                source.put(*range(20), n=n)
                await store.refresh(TRACK)
                for change in await take(changes, 20):
                    applied(held, change)
                assert held == source.rows
                cut += await store._live().writer.submit(Compact(number, 0))
        assert cut
        with pytest.raises(ShapeGoneError):
            await anext(store.changes(stored))
