"""The phases of an attempt: every transition of the table happens, no other does, and none loses its slot."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from inspections import eventually, gate_held

from shapestore import RetryLater, Shape, ShapeStore, ShapeStoreError, StoreClosedError
from shapestore.creating.attempt import Attempt
from shapestore.creating.creator_run import CreatorRun
from shapestore.creating.flight import Flight
from shapestore.creating.phase import TRANSITIONS, Phase
from shapestore.storage.commands import Command
from shapestore.storage.log.chunks import Chunk

pytestmark = pytest.mark.usefixtures("untroubled")

Row = dict[str, Any]
Transition = tuple[Phase, Phase]

TRACK = Shape("Track")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Transition]:
    """The transitions that attempts have taken."""
    taken: list[Transition] = []
    enter = Attempt._enter

    def recorded(attempt: Attempt, phase: Phase) -> None:
        before = attempt._phase
        enter(attempt, phase)
        taken.append((before, phase))

    monkeypatch.setattr(Attempt, "_enter", recorded)
    return taken


async def one_row(shape: Shape) -> list[Row]:
    return [{"n": 1}]


async def hangs(shape: Shape) -> list[Row]:
    await asyncio.Event().wait()
    return []


@pytest.fixture
async def store(empty_path: str) -> AsyncIterator[ShapeStore]:
    async with ShapeStore(empty_path, failure_grace=0, max_creating=1) as store:
        yield store


def free_slots(store: ShapeStore) -> int:
    return store._lifecycle.opened.coalescer.services.slots._free


async def is_published(store: ShapeStore, path: str) -> None:
    await store.get_or_create(TRACK, one_row)


async def fails(store: ShapeStore, path: str) -> None:
    with pytest.raises(ShapeStoreError):
        await store.get_or_create(TRACK, lambda shape: 1 / 0)  # type: ignore[arg-type, return-value]


async def is_second(store: ShapeStore, path: str) -> None:
    async with ShapeStore(path) as other:
        async with gate_held(path):
            asked = [asyncio.create_task(each.get_or_create(TRACK, one_row)) for each in (other, store)]
            await eventually(lambda: other.stats.commands == store.stats.commands == 1)
        await asyncio.gather(*asked)
        assert sorted([other.stats.leaders, store.stats.leaders]) == [0, 1]


async def is_released(store: ShapeStore, path: str) -> None:
    asked = asyncio.create_task(store.get_or_create(TRACK, hangs))
    await eventually(lambda: store.stats.leaders)
    await store.release_lock(TRACK)
    await eventually(lambda: store.stats.leaders == 2)
    asked.cancel()
    await store.release_lock(TRACK)
    await eventually(lambda: store.stats.in_flight == 0)


async def is_closed_while_claiming(store: ShapeStore, path: str) -> None:
    async with gate_held(path):
        asked = asyncio.create_task(store.get_or_create(TRACK, one_row))
        await eventually(lambda: store.stats.commands)
        closing = asyncio.create_task(store.close())
        with pytest.raises(StoreClosedError):
            await asked
    await closing
    await store.open()


async def cannot_be_described(store: ShapeStore, path: str) -> None:
    async def create(shape: Shape) -> list[Row]:
        error = RetryLater(1)
        del error.seconds
        raise error

    with pytest.raises(ShapeStoreError, match="unexpected AttributeError"):
        await store.get_or_create(TRACK, create)


async def cannot_be_started(store: ShapeStore, path: str) -> None:
    def no_creators(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        if work.__qualname__ == "CreatorRun._run":
            work.close()
            raise RuntimeError("no more tasks")
        return asyncio.Task(work, loop=loop, **options)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(no_creators)
    try:
        with pytest.raises(ShapeStoreError, match="unexpected RuntimeError: no more tasks"):
            await store.get_or_create(TRACK, one_row)
    finally:
        loop.set_task_factory(None)


C, R, L, E = Phase.CLAIMING, Phase.CREATING, Phase.LANDING, Phase.ENDED

STORIES = {
    is_published: {(C, R), (R, L), (L, E)},
    fails: {(C, R), (R, L), (L, E)},
    is_second: {(C, R), (R, L), (L, E), (C, E)},
    is_released: {(C, R), (R, L), (L, E)},
    is_closed_while_claiming: {(C, L), (L, E)},
    cannot_be_described: {(C, R), (R, E)},
    cannot_be_started: {(C, R), (R, E)},
}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_an_attempt_takes_its_transitions_and_its_slot_is_free_again(
    store: ShapeStore, empty_path: str, taken: list[Transition], story: Any
) -> None:
    await story(store, empty_path)
    async with asyncio.timeout(60):
        while await store.locks():  # until maintenance has released an orphan
            await asyncio.sleep(0.001)
    assert set(taken) == STORIES[story]
    await eventually(lambda: free_slots(store) == 1)
    await store.get_or_create(Shape("Album"), one_row)


def test_every_transition_of_the_table_is_told_of_in_a_story() -> None:
    assert set().union(*STORIES.values()) == {(before, after) for before in Phase for after in TRANSITIONS[before]}


def test_another_transition_is_an_error() -> None:
    attempt = object.__new__(Attempt)
    for before in Phase:
        for after in set(Phase) - TRANSITIONS[before]:
            attempt._phase = before
            with pytest.raises(AssertionError):
                attempt._enter(after)


# --- afterwards


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Without the garbage collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
async def test_nothing_of_a_creation_waits_for_the_garbage_collector(store: ShapeStore) -> None:
    def plain(shape: Shape) -> list[Row]:
        return [{"n": 1}]

    def kept() -> list[object]:
        return [each for each in gc.get_objects() if isinstance(each, (Flight, Attempt, CreatorRun, Chunk, Command))]

    others = kept()  # of threads, say, that other tests have left
    await store.get_or_create(TRACK, one_row)
    await store.get_or_create(Shape("Album"), plain)
    await eventually(lambda: {id(each) for each in kept()} <= {id(each) for each in others})
