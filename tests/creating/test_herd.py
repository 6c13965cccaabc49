"""A missing shape is created once, for any number of callers, stores and processes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from inspections import eventually, gate_held, rows_of, shapes
from processes import Workers, outcomes, read, together, until

from shapestore import InvalidCreatorError, Shape, ShapeStore, StoreBusyError

pytestmark = pytest.mark.usefixtures("untroubled")

Row = dict[str, Any]

ROWS: list[Row] = [{"TrackId": number, "Name": f"Track {number}"} for number in range(1, 11)]


class Source:
    """Counts the creators that run, and holds them until ``go``."""

    def __init__(self) -> None:
        self.creations = 0
        self.go = asyncio.Event()

    async def create(self, shape: Shape) -> list[Row]:
        self.creations += 1
        await self.go.wait()
        return ROWS


def rows_by(caller: int, shape: Shape) -> list[Row]:
    return [{"caller": caller}]


def album() -> Shape:
    """An equal shape, made again, as each request makes its own."""
    return Shape("Track", where="AlbumId = :album", params={"album": 1}, columns=["TrackId", "Name"])


# Callers of one store


@pytest.mark.parametrize("callers", [1, 2, 1_000, 10_000])
async def test_callers_of_a_missing_shape_cost_one_claim_and_one_outcome(path: str, callers: int) -> None:
    source = Source()
    async with ShapeStore(path, create=source.create) as store:
        herd = [asyncio.create_task(store.get_or_create(album())) for _ in range(callers)]
        await eventually(lambda: source.creations)
        source.go.set()
        answers = await asyncio.gather(*herd)
        stats = store.stats
        assert source.creations == 1
        assert (stats.commands, stats.batches, stats.polls) == (2, 2, 1)
        assert (stats.leaders, stats.followers, stats.created, stats.hits) == (1, callers - 1, 1, 0)
        assert len(set(answers)) == 1
        assert await rows_of(store, answers[0]) == ROWS
    assert read(path, "SELECT outcome, row_count, followers FROM creations") == [("created", len(ROWS), callers - 1)]


async def test_only_the_caller_who_begins_a_creation_needs_a_creator(path: str) -> None:
    source = Source()
    async with ShapeStore(path) as store:
        with pytest.raises(InvalidCreatorError, match="no creator"):
            await store.get_or_create(album())
        first = asyncio.create_task(store.get_or_create(album(), source.create))
        await eventually(lambda: source.creations)
        second = asyncio.create_task(store.get_or_create(album()))
        await asyncio.sleep(0)
        source.go.set()
        assert await first == await second


async def test_a_caller_joins_at_every_stage_of_a_creation(path: str) -> None:
    source = Source()
    async with ShapeStore(path, create=source.create) as store:

        def join() -> list[asyncio.Task[Any]]:
            return [asyncio.create_task(store.get_or_create(album())) for _ in range(100)]

        async with gate_held(path):
            herd = join()
            await eventually(lambda: store.stats.commands == 1)
            herd += join()  # while the claim waits for its transaction
        await eventually(lambda: source.creations)
        herd += join()  # while the creator runs
        async with gate_held(path):
            source.go.set()
            await eventually(lambda: store.stats.commands == 2)
            herd += join()  # while the publication waits for its transaction
        answers = await asyncio.gather(*herd)
        assert len(set(answers)) == source.creations == store.stats.leaders == 1
        assert store.stats.commands == 2
        assert await store.get_or_create(album()) == answers[0]
        assert (store.stats.hits, store.stats.commands) == (1, 2)


async def test_the_creator_is_the_one_that_the_first_caller_brought(path: str) -> None:
    async with ShapeStore(path) as store:
        answers = await asyncio.gather(
            *(store.get_or_create(Shape("Track"), partial(rows_by, caller)) for caller in range(10))
        )
        assert len(set(answers)) == 1
        assert await rows_of(store, answers[0]) == [{"caller": 0}]


async def test_a_slow_creation_does_not_delay_other_keys(path: str) -> None:
    slow = Source()
    async with ShapeStore(path, create=lambda shape: ROWS) as store:
        waiting = asyncio.create_task(store.get_or_create(album(), slow.create))
        await eventually(lambda: slow.creations)
        for shape in shapes(20):
            await store.get_or_create(shape)
        assert not waiting.done()
        slow.go.set()
        await waiting


# Callers of several stores, and of several processes


@pytest.mark.parametrize("callers", [500, 5_000])
async def test_callers_of_two_stores_on_one_file_cost_one_creation(path: str, callers: int) -> None:
    source = Source()
    async with ShapeStore(path, create=source.create) as one, ShapeStore(path, create=source.create) as other:
        began = time.monotonic()
        herd = [asyncio.create_task(store.get_or_create(album())) for store in (one, other) for _ in range(callers)]
        await eventually(lambda: one.stats.polls + other.stats.polls > 20)
        source.go.set()
        answers = await asyncio.gather(*herd)
        waited = time.monotonic() - began
        assert source.creations == 1
        assert len(set(answers)) == 1
        leader, follower = sorted((one.stats, other.stats), key=lambda stats: -stats.leaders)
        assert (leader.commands, leader.leaders, leader.created, leader.polls) == (2, 1, 1, 1)
        # Both may have polled before either claimed; then one claim is lost.
        assert follower.commands <= 1
        assert (follower.leaders, follower.created, follower.takeovers) == (0, 0, 0)
        # Ten polls or so at first, then each after a tenth of the time waited, then ten a second.
        assert follower.polls < 100 + 15 * waited


async def test_the_polls_of_a_follower_do_not_depend_on_the_number_of_its_callers(path: str) -> None:
    source = Source()
    async with ShapeStore(path, create=source.create) as leader, ShapeStore(path) as follower:
        leading = asyncio.create_task(leader.get_or_create(album()))
        await eventually(lambda: source.creations)
        herd = [asyncio.create_task(follower.get_or_create(album(), source.create)) for _ in range(2_000)]
        await eventually(lambda: follower.stats.followers == 1_999)
        polls = follower.stats.polls
        herd += [asyncio.create_task(follower.get_or_create(album(), source.create)) for _ in range(2_000)]
        await asyncio.sleep(0)  # each of them has joined
        assert follower.stats.polls <= polls + 1
        assert follower.stats.in_flight == 1
        source.go.set()
        assert set(await asyncio.gather(*herd)) == {await leading}
        assert follower.stats.commands == 0


@pytest.mark.parametrize("processes", [2, 4])
async def test_callers_of_several_processes_cost_one_creation(workers: Workers, path: str, processes: int) -> None:
    herd = workers.open(path, processes)
    keys = [f"table {number}" for number in range(5)]
    async with gate_held(path):  # so that all of them poll, and claim, before any is committed
        asked = [worker.send("get_or_create", key=key, callers=250, seconds=0.02) for key in keys for worker in herd]
        claims = len(keys) * processes
        until(lambda: sum(each["commands"] for each in together(herd, "stats")) == claims, "all of them have claimed")
    answers = await asyncio.gather(*(asyncio.to_thread(answer.result, 60) for answer in asked))
    assert sum(worker.creations for worker in herd) == len(keys)
    assert len({handle for answer in answers for handle in answer}) == len(keys)
    assert all(list(answer.values()) == [250] for answer in answers)
    assert [outcome for _, outcome in outcomes(path)] == ["created"] * len(keys)
    stats = together(herd, "stats")
    assert sum(each["created"] for each in stats) == len(keys)
    # One claim a process and key, and one outcome a key.
    assert sum(each["commands"] for each in stats) <= len(keys) * (processes + 1)


# Many shapes at once


async def test_a_hundred_creators_run_at_the_same_moment(path: str) -> None:
    inside = 0
    all_in = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        nonlocal inside
        inside += 1
        if inside == 100:
            all_in.set()
        await all_in.wait()
        return ROWS

    async with ShapeStore(path, create=create, max_creating=100) as store:
        answers = await asyncio.gather(*map(store.get_or_create, shapes(100)))
        assert len({stored.handle for stored in answers}) == 100
        assert await store.count() == 100


async def test_a_hundred_creators_in_threads_run_at_the_same_moment(path: str) -> None:
    all_in = threading.Barrier(100, timeout=60)

    def create(shape: Shape) -> Iterator[Row]:
        all_in.wait()
        yield {"table": shape.table}

    async with ShapeStore(path, create=create, max_creating=100) as store:
        for stored in await asyncio.gather(*map(store.get_or_create, shapes(100))):
            assert await rows_of(store, stored) == [{"table": stored.shape.table}]


@pytest.mark.parametrize("slots", [1, 3])
async def test_no_more_creators_run_than_there_are_slots_and_the_first_to_come_is_the_first_served(
    path: str, slots: int
) -> None:
    begun: list[str] = []
    running = most = 0

    async def create(shape: Shape) -> list[Row]:
        nonlocal running, most
        begun.append(shape.table)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return ROWS

    async with ShapeStore(path, create=create, max_creating=slots) as store:
        await asyncio.gather(*map(store.get_or_create, shapes(60)))
        assert most == slots
        # Slots are granted in turn; flights granted at the same moment begin in any order.
        assert all(begun.index(shape.table) > number - slots for number, shape in enumerate(shapes(60)))


async def test_a_flight_that_finds_the_shape_created_elsewhere_releases_its_slot(path: str) -> None:
    source = Source()
    async with ShapeStore(path, create=source.create, max_creating=1) as store, ShapeStore(path) as other:
        first = asyncio.create_task(store.get_or_create(Shape("first")))
        await eventually(lambda: source.creations)
        second = asyncio.create_task(store.get_or_create(Shape("second")))
        created = await other.get_or_create(Shape("second"), lambda shape: ROWS)
        assert await second == created
        source.go.set()
        await first
        await store.get_or_create(Shape("third"))
        assert source.creations == 2


async def test_a_flight_that_begins_to_follow_another_store_no_longer_waits_for_a_slot(path: str) -> None:
    here, there = Source(), Source()
    async with ShapeStore(path, create=here.create, max_creating=1) as store, ShapeStore(path) as other:
        first = asyncio.create_task(store.get_or_create(Shape("first")))
        await eventually(lambda: here.creations)
        second = asyncio.create_task(store.get_or_create(Shape("second")))
        await eventually(lambda: store.stats.in_flight == 2)
        leading = asyncio.create_task(other.get_or_create(Shape("second"), there.create))
        await eventually(lambda: there.creations)
        polls = store.stats.polls
        await eventually(lambda: store.stats.polls > polls + 1)  # the second has seen the lock row of the other store
        third = asyncio.create_task(store.get_or_create(Shape("third")))
        here.go.set()
        await asyncio.gather(first, third)
        assert not second.done()
        there.go.set()
        assert await second == await leading


# Limits


async def test_more_keys_in_flight_than_the_limit_are_refused_at_once(path: str) -> None:
    source = Source()
    *five, sixth = shapes(6)
    async with ShapeStore(path, create=source.create, max_in_flight=5, max_creating=2) as store:
        stored = Shape("stored")
        await store.get_or_create(stored, lambda shape: ROWS)
        under_way = [asyncio.create_task(store.get_or_create(shape)) for shape in five]
        await eventually(lambda: store.stats.in_flight == 5)
        with pytest.raises(StoreBusyError, match="max_in_flight") as refused:
            await store.get_or_create(sixth)
        assert refused.value.retry_after > 0
        with pytest.raises(StoreBusyError):
            await store.refresh(stored)
        assert (await store.get_or_create(stored)).shape == stored  # a hit needs no flight
        joined = asyncio.create_task(store.get_or_create(five[0]))  # nor does a caller who joins one
        source.go.set()
        assert (await asyncio.gather(*under_way))[0] == await joined
        assert (await store.get_or_create(sixth)).shape == sixth
        assert store.stats.in_flight == 0
