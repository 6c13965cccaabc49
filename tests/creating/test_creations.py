"""The history of attempts: what each creation cost, and how many callers it served."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from file_rows import add_outcome
from inspections import eventually, shapes
from processes import read

from shapestore import CreateFailedError, RetryLater, Shape, ShapeStore, StoreClosedError, events, maintenance
from shapestore.admin.inspector import open_inspector
from shapestore.admin.records import CreationRecord
from shapestore.storage.log.chunks import CHUNK_ROWS
from shapestore.storage.queries import KEPT_CREATIONS, TRIMMED_AT_ONCE

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")


class Source:
    """A creator that waits for ``go``."""

    def __init__(self, rows: int = 0) -> None:
        self.rows = rows
        self.begun = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def create(self, shape: Shape) -> AsyncIterator[dict[str, Any]]:
        self.begun += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        for number in range(self.rows):
            yield {"number": number}


async def no_rows(shape: Shape) -> list[dict[str, Any]]:
    return []


def creations(path: str) -> list[CreationRecord]:
    """The newest first."""
    with open_inspector(path) as inspector:
        return inspector.creations(10_000)


def outcomes(path: str) -> list[str]:
    return [creation.outcome for creation in creations(path)]


@pytest.fixture
def source() -> Source:
    return Source(rows=3)


async def in_progress(store: ShapeStore, source: Source, callers: int = 1) -> list[asyncio.Task[Any]]:
    asking = [asyncio.create_task(store.get_or_create(TRACK)) for _ in range(callers)]
    await eventually(lambda: source.begun)
    return asking


async def test_a_creation_is_recorded_with_its_duration_its_rows_and_the_callers_it_served(
    empty_path: str, source: Source
) -> None:
    told: list[events.Event] = []
    async with ShapeStore(empty_path, create=source.create, on_event=told.append) as store:
        asking = await in_progress(store, source, callers=10)
        assert outcomes(empty_path) == []
        source.go.set()
        [stored] = set(await asyncio.gather(*asking))
        [creation] = creations(empty_path)
        assert (creation.handle, creation.table, creation.outcome) == (stored.handle, "Track", "created")
        assert (creation.row_count, creation.followers, creation.error) == (3, 9, None)
        await eventually(lambda: store.stats.created == 1)
        [event] = [event for event in told if isinstance(event, events.Created)]
        assert (event.duration_ms, event.followers, event.row_count) == (creation.duration_ms, 9, 3)


async def test_the_duration_is_that_of_the_creation_without_the_wait_for_a_slot(empty_path: str) -> None:
    async def slow(shape: Shape) -> list[dict[str, Any]]:
        await asyncio.sleep(0.05)
        return []

    began = time.monotonic()
    async with ShapeStore(empty_path, create=slow, max_creating=1) as store:
        await asyncio.gather(*(store.get_or_create(shape) for shape in shapes(4)))
        took_ms = (time.monotonic() - began) * 1000
    durations = [creation.duration_ms or 0 for creation in creations(empty_path)]
    assert min(durations) >= 49
    assert sum(durations) <= took_ms + 4, "one after the other, none is counted twice"


async def test_callers_who_left_are_not_counted_as_served(empty_path: str, source: Source) -> None:
    async with ShapeStore(empty_path, create=source.create) as store:
        asking = await in_progress(store, source, callers=5)
        for caller in asking[:3]:
            caller.cancel()
        await asyncio.wait(asking[:3])
        source.go.set()
        await asyncio.gather(*asking[3:])
    assert [creation.followers for creation in creations(empty_path)] == [1]


async def test_a_creation_without_callers_has_served_none(empty_path: str, source: Source) -> None:
    async with ShapeStore(empty_path, create=source.create) as store:
        [caller] = await in_progress(store, source)
        caller.cancel()
        await asyncio.wait([caller])
        source.go.set()
        await eventually(lambda: store.stats.created == 1)
    assert [creation.followers for creation in creations(empty_path)] == [0]


async def test_followers_of_another_store_are_added_when_it_records_what_was_read(
    empty_path: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)
    async with ShapeStore(empty_path, create=source.create) as one, ShapeStore(empty_path) as other:
        asking = await in_progress(one, source, callers=3)
        following = [asyncio.create_task(other.get_or_create(TRACK, source.create)) for _ in range(7)]
        await eventually(lambda: other.stats.polls > 2)
        source.go.set()
        assert len(set(await asyncio.gather(*asking, *following))) == 1
        assert [creation.followers for creation in creations(empty_path)] == [2]
        assert other.stats.commands == 0
        monkeypatch.setattr(maintenance, "NOTE_SECONDS", 0.0)
        await eventually(lambda: [creation.followers for creation in creations(empty_path)] == [9])
        assert (await other.get_or_create(TRACK)).row_count == 3
    assert [creation.followers for creation in creations(empty_path)] == [9], "a hit is not a follower"


async def test_followers_of_a_store_that_closes_are_added_then(empty_path: str, source: Source) -> None:
    async with ShapeStore(empty_path, create=source.create) as one:
        async with ShapeStore(empty_path, create=source.create) as other:
            asking = await in_progress(one, source)
            following = [asyncio.create_task(other.get_or_create(TRACK)) for _ in range(4)]
            await eventually(lambda: other.stats.polls > 2)
            source.go.set()
            await asyncio.gather(*asking, *following)
        assert [creation.followers for creation in creations(empty_path)] == [4]


async def test_a_failure_is_recorded_with_its_error_and_the_callers_who_got_it(empty_path: str, source: Source) -> None:
    source.error = KeyError("no such column")
    async with ShapeStore(empty_path, create=source.create, failure_grace=600) as store:
        asking = await in_progress(store, source, callers=3)
        source.go.set()
        for failure in await asyncio.gather(*asking, return_exceptions=True):
            assert isinstance(failure, CreateFailedError)
        [creation] = creations(empty_path)
        assert (creation.outcome, creation.error) == ("failed", "KeyError: 'no such column'")
        assert (creation.row_count, creation.followers) == (None, 2)
        assert creation.duration_ms is not None
        with pytest.raises(CreateFailedError):
            await store.get_or_create(TRACK)
        assert len(creations(empty_path)) == 1, "a later caller who gets the same failure is not another attempt"


async def test_a_failures_ttl_is_recorded_for_followers_that_sleep_through_it(empty_path: str) -> None:
    async def refuse(shape: Shape) -> list[dict[str, Any]]:
        raise RetryLater(7, "not now")

    async with ShapeStore(empty_path, create=refuse) as store:
        with pytest.raises(CreateFailedError):
            await store.get_or_create(TRACK)
    with closing(sqlite3.connect(empty_path)) as connection:
        assert connection.execute("SELECT error_type, error_message, retry_after_ms FROM creations").fetchall() == [
            ("RetryLater", "not now", 7000)
        ]


async def test_every_refresh_is_an_outcome_of_its_own(empty_path: str, source: Source) -> None:
    source.go.set()
    async with ShapeStore(empty_path, create=source.create) as store:
        stored = await store.get_or_create(TRACK)
        for _ in range(3):
            assert (await store.refresh(TRACK)).handle == stored.handle, "nothing has changed"
        source.rows += 1
        changed = await store.refresh(TRACK)
    newest, *refreshed, first = creations(empty_path)
    assert (first.outcome, first.handle) == ("created", stored.handle)
    assert [(ended.outcome, ended.row_count) for ended in refreshed] == [("refreshed", stored.row_count)] * 3
    assert len({ended.handle for ended in refreshed} - {stored.handle}) == 3, "each by the name of its attempt"
    assert (newest.outcome, newest.handle) == ("created", changed.handle)


async def test_an_attempt_that_was_ended_from_outside_is_recorded_once_with_the_reason(
    empty_path: str, source: Source
) -> None:
    async with ShapeStore(empty_path, create=source.create) as one, ShapeStore(empty_path) as other:
        asking = await in_progress(one, source)
        await one.release_lock(TRACK)
        await eventually(lambda: source.begun == 2)
        assert outcomes(empty_path) == ["released"]
        await other.invalidate("Track")
        assert outcomes(empty_path) == ["invalidated", "released"]
        source.go.set()
        await asyncio.gather(*asking)
        assert outcomes(empty_path) == ["created", "invalidated", "released"]


async def test_an_attempt_whose_store_closes_is_abandoned(empty_path: str, source: Source) -> None:
    async with ShapeStore(empty_path, create=source.create) as store:
        [caller] = await in_progress(store, source)
    with pytest.raises(StoreClosedError):
        await caller
    [creation] = creations(empty_path)
    assert (creation.outcome, creation.duration_ms, creation.row_count) == ("abandoned", None, None)


async def test_the_last_thousand_are_kept_and_the_newest_are_the_ones(empty_path: str) -> None:
    many = KEPT_CREATIONS + 200
    async with ShapeStore(empty_path, create=no_rows, max_creating=many) as store:
        made = await asyncio.gather(*(store.get_or_create(shape) for shape in shapes(many)))
        assert await store.count() == many
        assert len(creations(empty_path)) == KEPT_CREATIONS
        last = await store.get_or_create(TRACK)
        kept = creations(empty_path)
    assert KEPT_CREATIONS <= len(kept) < KEPT_CREATIONS + TRIMMED_AT_ONCE
    assert kept[0].handle == last.handle
    assert {creation.handle for creation in kept} <= {last.handle, *(stored.handle for stored in made)}


async def test_trimming_takes_the_oldest_first_and_many_at_once(empty_path: str) -> None:
    many = KEPT_CREATIONS + TRIMMED_AT_ONCE
    with closing(sqlite3.connect(empty_path)) as connection:
        for number in range(many - 2):
            add_outcome(connection, f"old {number}", TRACK)
        connection.commit()
    async with ShapeStore(empty_path, create=no_rows) as store:
        one, another = shapes(2)
        await store.get_or_create(one)
        assert len(creations(empty_path)) == many - 1
        await store.get_or_create(another)
    kept = [creation.handle for creation in creations(empty_path)]
    assert kept[2:] == [f"old {number}" for number in range(many - 3, TRIMMED_AT_ONCE - 1, -1)]


@pytest.mark.parametrize("chunks", [2, 3])
async def test_a_copy_that_is_put_back_inside_of_an_attempt_and_has_less_of_its_rows_makes_it_begin_again(
    empty_path: str, tmp_path: Path, chunks: int
) -> None:
    """It was published without them, and was said to be corrupt from then on."""
    count = chunks * CHUNK_ROWS + 1
    tries = 0

    async def create(_: Shape) -> AsyncIterator[dict[str, Any]]:
        nonlocal tries
        tries += 1
        for n in range(1, count + 1):
            yield {"n": n}
            if tries == 1 and n == CHUNK_ROWS + 1:
                await eventually(lambda: read(empty_path, "SELECT count(*) FROM shape_rows") == [CHUNK_ROWS])
                copy(empty_path, str(tmp_path / "copy.db"))
            if tries == 1 and n == 2 * CHUNK_ROWS + 1:
                await eventually(lambda: read(empty_path, "SELECT count(*) FROM shape_rows") == [2 * CHUNK_ROWS])
                copy(str(tmp_path / "copy.db"), empty_path)

    async with ShapeStore(empty_path, create=create) as store:
        stored = await store.get_or_create(Shape("Track"))
        assert [row["n"] async for row in store.rows(stored)] == [*range(1, count + 1)]
        assert tries == 2


def copy(origin: str, to: str) -> None:
    with closing(sqlite3.connect(origin)) as one, closing(sqlite3.connect(to)) as other:
        one.backup(other)
