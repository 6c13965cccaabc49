"""Two stores on one file: who does not lead waits by reading alone, and what one ends, the other does not publish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from inspections import eventually, rows_of, settled

from shapestore import CreateFailedError, Shape, ShapeStore, StoredShape, WaitTimeoutError, maintenance

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")


class Source:
    """A table of one row, whose version is read when a creator begins; the creator ends when it may."""

    def __init__(self) -> None:
        self.version = 1
        self.access: list[int] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def create(self, shape: Shape) -> list[dict[str, Any]]:
        version = self.version
        self.access.append(version)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [{"version": version}]


class Stores(NamedTuple):
    path: str
    one: ShapeStore
    other: ShapeStore


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def stores(path: str, source: Source) -> AsyncIterator[Stores]:
    async with ShapeStore(path, create=source.create) as one, ShapeStore(path, create=source.create) as other:
        yield Stores(path, one, other)


async def under_way(source: Source, ask: asyncio.Task[StoredShape], reads: int = 1) -> asyncio.Task[StoredShape]:
    """The same task, once the source has been read for it."""
    await eventually(lambda: len(source.access) == reads)
    return ask


def get(store: ShapeStore, **options: Any) -> asyncio.Task[StoredShape]:
    return asyncio.create_task(store.get_or_create(TRACK, **options))


def refresh(store: ShapeStore, **options: Any) -> asyncio.Task[StoredShape]:
    return asyncio.create_task(store.refresh(TRACK, **options))


async def stored(stores: Stores, source: Source) -> StoredShape:
    """The shape, made by the one store, with the source ready to hold the next creator."""
    source.go.set()
    made = await stores.one.get_or_create(TRACK)
    source.go.clear()
    source.access.clear()
    source.version += 1
    return made


# Waiting


async def test_a_follower_waits_for_the_shape_by_reading_alone(stores: Stores, source: Source) -> None:
    leader = await under_way(source, get(stores.one))
    follower = get(stores.other)
    await eventually(lambda: stores.other.stats.polls > 3)
    source.go.set()
    assert await follower == await leader
    assert source.access == [1]
    assert (stores.other.stats.commands, stores.other.stats.batches, stores.other.stats.leaders) == (0, 0, 0)


async def test_a_follower_that_is_woken_polls_no_more_often_from_then_on(stores: Stores, source: Source) -> None:
    leader = await under_way(source, get(stores.one))
    follower = get(stores.other)
    await eventually(lambda: stores.other.stats.polls > 3)
    coalescer = stores.other._live().coalescer
    for _ in range(10):
        coalescer.wake(TRACK.comparable)
    assert len(coalescer.services.timers) == 2, "its next poll, and the deadline of its caller"
    source.go.set()
    assert await follower == await leader
    assert len(coalescer.services.timers) == 0


async def test_a_follower_is_told_the_leaders_failure_and_has_only_read(stores: Stores, source: Source) -> None:
    leader = await under_way(source, get(stores.one))
    follower = get(stores.other)
    await eventually(lambda: stores.other.stats.polls > 3)
    source.error = KeyError("no such table")
    source.go.set()
    with pytest.raises(CreateFailedError, match="KeyError: 'no such table'") as failure:
        await follower
    assert failure.value.error_type == "KeyError"
    assert failure.value.__cause__ is None, "which stays in the leader's process, or here in its store"
    with pytest.raises(CreateFailedError) as failure:
        await leader
    assert failure.value.__cause__ is source.error
    assert (stores.other.stats.commands, stores.other.stats.batches) == (0, 0)


async def test_a_follower_whose_time_is_up_has_only_read_and_the_creation_goes_on(
    stores: Stores, source: Source
) -> None:
    leader = await under_way(source, get(stores.one))
    with pytest.raises(WaitTimeoutError, match="another store is still creating it"):
        await stores.other.get_or_create(TRACK, timeout=0.05)
    assert (stores.other.stats.commands, stores.other.stats.batches, stores.other.stats.timeouts) == (0, 0, 1)
    await eventually(lambda: stores.other.stats.in_flight == 0)
    source.go.set()
    assert await stores.other.get_or_create(TRACK) == await leader
    assert source.access == [1]


async def test_a_failure_is_shared_for_its_window_by_who_comes_after_it_in_either_store(path: str) -> None:
    asked = []

    def refuse(shape: Shape) -> list[dict[str, Any]]:
        asked.append(shape)
        raise OSError("the source is away")

    # For so long that no machine is slow enough to see the end of it.
    async with ShapeStore(path, create=refuse, failure_grace=600) as one, ShapeStore(path, create=refuse) as other:
        for store in (one, other, one, other):
            with pytest.raises(CreateFailedError, match="the source is away") as failure:
                await store.get_or_create(TRACK)
            assert failure.value.retry_after == 600
        assert len(asked) == 1
        assert (other.stats.leaders, other.stats.takeovers) == (0, 0)


# What a person ends


@pytest.fixture
def no_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No maintenance finds out, in the middle of a test, that a lock row has been released."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 600)


@pytest.mark.usefixtures("no_ticks")
async def test_a_creation_whose_lock_another_store_released_is_void_and_its_callers_get_a_fresh_shape(
    stores: Stores, source: Source
) -> None:
    caller = await under_way(source, get(stores.one))
    [superseded] = await stores.one.locks()
    assert await stores.other.release_lock(TRACK)
    assert await stores.other.locks() == []
    source.version = 2
    source.go.set()
    fresh = await caller
    assert fresh.handle != superseded.handle
    assert await rows_of(stores.one, fresh) == [{"version": 2}]
    assert source.access == [1, 2]
    assert (stores.one.stats.superseded, stores.one.stats.created) == (1, 1)
    await settled(stores.one, stores.path)


@pytest.mark.usefixtures("no_ticks")
async def test_callers_of_a_creation_that_was_superseded_are_given_the_winners_shape(
    stores: Stores, source: Source
) -> None:
    caller = await under_way(source, get(stores.one))
    assert await stores.other.release_lock(TRACK)

    async def winner(shape: Shape) -> list[dict[str, Any]]:
        return [{"version": "the winner's"}]

    won = await stores.other.get_or_create(TRACK, winner)
    source.go.set()
    assert await caller == won
    assert source.access == [1]
    assert await rows_of(stores.one, won) == [{"version": "the winner's"}]
    await settled(stores.one, stores.path)


async def test_there_is_nothing_to_release_where_nobody_creates(stores: Stores, source: Source) -> None:
    assert not await stores.other.release_lock(TRACK)
    await stored(stores, source)
    assert not await stores.other.release_lock(TRACK)


async def test_a_failure_can_be_released_by_another_store(path: str, source: Source) -> None:
    source.error = OSError("the source is away")
    source.go.set()
    async with ShapeStore(path, create=source.create, failure_grace=600) as one, ShapeStore(path) as other:
        with pytest.raises(CreateFailedError):
            await one.get_or_create(TRACK)
        source.error = None
        assert await other.release_lock(TRACK)
        await one.get_or_create(TRACK)


async def test_what_was_read_before_an_invalidation_by_another_store_is_read_again(
    stores: Stores, source: Source
) -> None:
    caller = await under_way(source, get(stores.one))
    source.version = 2
    assert await stores.other.invalidate("Track") == 0
    source.go.set()
    assert await rows_of(stores.one, await caller) == [{"version": 2}]
    assert source.access == [1, 2]
    await settled(stores.one, stores.path)


async def test_a_creator_of_the_store_that_invalidates_is_stopped_at_once(stores: Stores, source: Source) -> None:
    caller = await under_way(source, get(stores.one))
    source.version = 2
    await stores.one.invalidate("Track")
    await eventually(lambda: source.access == [1, 2])  # though the first may not go yet
    source.go.set()
    assert await rows_of(stores.one, await caller) == [{"version": 2}]


async def test_an_invalidation_ends_no_creation_of_another_table(stores: Stores, source: Source) -> None:
    caller = await under_way(source, get(stores.one))
    assert await stores.other.invalidate("track") == 0
    assert await stores.other.invalidate("Tracks") == 0
    source.go.set()
    await caller
    assert source.access == [1]


async def test_a_shape_that_one_store_drops_is_missing_in_the_other(stores: Stores, source: Source) -> None:
    first = await stored(stores, source)
    assert await stores.other.get(TRACK) == first
    assert await stores.other.delete(first.handle)
    assert await stores.one.get(TRACK) is None
    assert await stores.one.get_by_handle(first.handle) is None
    source.go.set()
    second = await stores.one.get_or_create(TRACK)
    assert second.handle != first.handle
    assert await stores.other.invalidate("Track") == 1
    assert await stores.one.get(TRACK) is None


# Refreshing


async def test_refreshes_of_both_stores_at_once_are_one(stores: Stores, source: Source) -> None:
    old = await stored(stores, source)
    one = await under_way(source, refresh(stores.one))
    others = [refresh(store) for store in (stores.other, stores.one, stores.other)]
    await eventually(lambda: stores.other.stats.polls > 3)
    source.go.set()
    fresh = await one
    assert [await other for other in others] == [fresh] * 3
    assert fresh.handle != old.handle
    assert source.access == [2]
    assert await stores.other.count() == 1
    assert (stores.other.stats.commands, stores.other.stats.batches) == (0, 0)


@pytest.mark.parametrize("which", ["one", "other"])
async def test_nobody_waits_for_a_refresh_who_wants_any_shape(stores: Stores, source: Source, which: str) -> None:
    old = await stored(stores, source)
    refreshing = await under_way(source, refresh(stores.one))
    store: ShapeStore = getattr(stores, which)
    for _ in range(3):
        assert await store.get_or_create(TRACK) == old
    assert await rows_of(store, old) == [{"version": 1}]
    assert source.access == [2]
    source.go.set()
    fresh = await refreshing
    assert await store.get_or_create(TRACK) == fresh
    assert await rows_of(store, fresh) == [{"version": 2}]


async def test_a_handle_that_was_replaced_is_gone_but_for_those_who_read_it(stores: Stores, source: Source) -> None:
    source.go.set()

    async def three(shape: Shape) -> list[dict[str, Any]]:
        return [{"number": number} for number in (1, 2, 3)]

    old = await stores.one.get_or_create(TRACK, three)
    reading = stores.other.rows(old.handle, batch_size=1)
    assert await anext(reading) == {"number": 1}
    fresh = await stores.one.refresh(TRACK, lambda _: [])
    assert fresh.handle != old.handle
    assert [row async for row in reading] == [{"number": 2}, {"number": 3}]
    assert len(await rows_of(stores.one, old)) == 3
    assert await stores.other.get_by_handle(old.handle) is None
    assert await stores.other.get(TRACK) == fresh
    await settled(stores.one, stores.path)


async def test_a_refresh_that_fails_leaves_the_old_shape_to_both(stores: Stores, source: Source) -> None:
    old = await stored(stores, source)
    source.error = OSError("the source is away")
    one = await under_way(source, refresh(stores.one))
    other = refresh(stores.other)
    await eventually(lambda: stores.other.stats.polls > 1)
    source.go.set()
    for refreshing in (one, other):
        with pytest.raises(CreateFailedError, match="the source is away"):
            await refreshing
    for store in (stores.one, stores.other):
        assert await store.get_or_create(TRACK) == old
        assert await rows_of(store, old) == [{"version": 1}]
    assert source.access == [2]


async def test_a_refresh_of_what_is_missing_joins_the_creation_that_is_under_way(
    stores: Stores, source: Source
) -> None:
    creating = await under_way(source, get(stores.one))
    refreshing = refresh(stores.other)
    await eventually(lambda: stores.other.stats.polls > 1)
    source.go.set()
    assert await refreshing == await creating
    assert source.access == [1]


async def test_a_refresh_goes_on_though_the_shape_it_replaces_is_dropped_and_is_waited_for_then(
    stores: Stores, source: Source
) -> None:
    old = await stored(stores, source)
    refreshing = await under_way(source, refresh(stores.one))
    assert await stores.other.delete(old.handle)
    callers = [get(stores.one), get(stores.other)]
    await eventually(lambda: stores.other.stats.polls > 1)
    source.go.set()
    fresh = await refreshing
    assert [await caller for caller in callers] == [fresh] * 2
    assert source.access == [2]


async def test_a_refresh_that_is_invalidated_by_another_store_reads_again(stores: Stores, source: Source) -> None:
    await stored(stores, source)
    refreshing = await under_way(source, refresh(stores.one))
    source.version = 3
    assert await stores.other.invalidate("Track") == 1
    source.go.set()
    assert await rows_of(stores.one, await refreshing) == [{"version": 3}]
    assert source.access == [2, 3]
    await settled(stores.one, stores.path)


async def test_a_refresh_that_was_released_gives_its_callers_what_came_instead(stores: Stores, source: Source) -> None:
    old = await stored(stores, source)
    refreshing = await under_way(source, refresh(stores.one))
    assert await stores.other.release_lock(TRACK)
    again = await under_way(source, refresh(stores.other), reads=2)
    source.go.set()
    fresh = await again
    assert await refreshing == fresh
    assert fresh.handle != old.handle
    assert await stores.one.count() == 1
