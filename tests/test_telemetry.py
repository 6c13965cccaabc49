from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import FrozenInstanceError, asdict, fields
from pathlib import Path
from typing import Any

import pytest
from file_rows import add_lock
from inspections import PATIENCE, eventually
from processes import edited

from shapestore import CreateFailedError, Shape, ShapeStore, Stats, StoreClosedError, WaitTimeoutError, events
from shapestore.events import (
    Abandoned,
    Checkpointed,
    Created,
    Event,
    Evicted,
    Failed,
    Followed,
    Led,
    Superseded,
    Swept,
    TakenOver,
    TimedOut,
)

pytestmark = pytest.mark.usefixtures("untroubled")

ALBUMS = Shape("albums")
GAUGES = {"in_flight", "queue_depth", "wal_bytes"}
# How often something is done, rather than what is done: they move along with all the rest.
EFFORT = {"polls", "batches", "commands"}


class Source:
    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.creations = 0

    async def create(self, _: Shape) -> list[dict[str, Any]]:
        self.creations += 1
        await self.go.wait()
        return [{"id": 1}, {"id": 2}]


def two_rows(_: Shape) -> list[dict[str, Any]]:
    return [{"id": 1}, {"id": 2}]


def no_luck(_: Shape) -> list[dict[str, Any]]:
    raise ValueError("no luck")


class Watched:
    """A store, the events it has told, and what has changed since the last call of ``moved``."""

    def __init__(self, path: str, **options: Any) -> None:
        self.told: list[Event] = []
        self.store = ShapeStore(path, create=two_rows, on_event=self.told.append, **options)
        self._before: dict[str, int] = {}

    async def __aenter__(self) -> Watched:
        await self.store.open()
        await self.moved()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    async def moved(self, *, in_flight: int = 0) -> dict[str, int]:
        """The counts that have moved, gauges and effort aside, and by how much."""
        await eventually(lambda: self.store.stats.in_flight == in_flight)
        now = asdict(self.store.stats)
        moved = {name: now[name] - self._before.get(name, 0) for name in now.keys() - GAUGES - EFFORT}
        self._before = now
        return {name: step for name, step in moved.items() if step}


@pytest.fixture
async def watched(empty_path: str) -> AsyncIterator[Watched]:
    async with Watched(empty_path) as watched:
        yield watched


def edit(path: str, statement: str, *parameters: Any) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, parameters)


# --- each step of a store: what is counted, and what is told


async def test_a_new_store_has_counted_nothing(empty_path: str) -> None:
    async with ShapeStore(empty_path) as store:
        counts = asdict(store.stats)
        assert {name: count for name, count in counts.items() if count and name not in GAUGES} == {}


async def test_a_creation_is_one_leader_and_one_shape_created(watched: Watched) -> None:
    stored = await watched.store.get_or_create(ALBUMS)
    assert await watched.moved() == {"leaders": 1, "created": 1}
    led, created = watched.told
    assert led == Led(ALBUMS.comparable, stored.handle)
    assert isinstance(created, Created)
    assert created == Created(ALBUMS.comparable, stored.handle, 2, created.duration_ms, 0)
    assert created.duration_ms >= 0


async def test_the_effort_of_a_creation_is_two_commands_in_two_transactions(watched: Watched) -> None:
    await watched.store.get_or_create(ALBUMS)
    await watched.moved()
    stats = watched.store.stats
    assert (stats.commands, stats.batches, stats.polls) == (2, 2, 1)


async def test_a_hit_is_counted_and_not_told_and_costs_nothing_else(watched: Watched) -> None:
    await watched.store.get_or_create(ALBUMS)
    await watched.moved()
    effort = watched.store.stats.commands
    watched.told.clear()
    for _ in range(3):
        await watched.store.get_or_create(ALBUMS)
    assert await watched.moved() == {"hits": 3}
    assert watched.told == []
    assert watched.store.stats.commands == effort


async def test_get_and_get_by_handle_count_nothing(watched: Watched) -> None:
    await watched.store.get(ALBUMS)
    await watched.store.get_by_handle("h1")
    assert await watched.moved() == {}


async def test_callers_that_join_are_followers(watched: Watched) -> None:
    source = Source()
    asking = [asyncio.create_task(watched.store.get_or_create(ALBUMS, source.create)) for _ in range(4)]
    await eventually(lambda: source.creations)
    assert await watched.moved(in_flight=1) == {"leaders": 1, "followers": 3}
    source.go.set()
    stored, *_ = await asyncio.gather(*asking)
    assert await watched.moved() == {"created": 1}
    *before, created = watched.told
    assert sorted(before, key=str) == [Followed(ALBUMS.comparable)] * 3 + [Led(ALBUMS.comparable, stored.handle)]
    assert isinstance(created, Created)
    assert created.followers == 3


async def test_a_failure_is_counted_told_and_swept(empty_path: str) -> None:
    async with Watched(empty_path, failure_grace=0.01) as watched:
        with pytest.raises(CreateFailedError):
            await watched.store.get_or_create(ALBUMS, no_luck)
        assert await watched.moved() == {"leaders": 1, "failed": 1}
        await eventually(lambda: len(watched.told) == 3)
        led, failed, swept = watched.told
        assert isinstance(led, Led)
        assert isinstance(failed, Failed)
        assert (failed.comparable, failed.handle) == (ALBUMS.comparable, led.handle)
        assert (failed.error_type, failed.message, failed.retry_after_ms) == ("ValueError", "no luck", 10)
        assert failed.duration_ms >= 0
        assert swept == Swept((led.handle,))
        assert await watched.moved() == {}


async def test_a_shared_failure_is_counted_once(watched: Watched) -> None:
    for _ in range(3):
        with pytest.raises(CreateFailedError):
            await watched.store.get_or_create(ALBUMS, no_luck)
    assert await watched.moved() == {"leaders": 1, "failed": 1}


async def test_each_caller_whose_time_is_up_is_counted(watched: Watched) -> None:
    source = Source()
    asking = [watched.store.get_or_create(ALBUMS, source.create, timeout=0.01) for _ in range(3)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [WaitTimeoutError] * 3
    assert watched.store.stats.timeouts == 3
    assert watched.told.count(TimedOut(ALBUMS.comparable)) == 3
    source.go.set()
    await eventually(lambda: watched.store.stats.created == 1)


async def test_an_attempt_that_takes_over_that_of_a_dead_store_is_a_takeover(empty_path: str) -> None:
    async with Watched(empty_path) as watched:
        with edited(empty_path) as file:
            add_lock(file, "dead", ALBUMS)
        stored = await watched.store.get_or_create(ALBUMS)
        assert await watched.moved() == {"leaders": 1, "takeovers": 1, "created": 1}
        led, taken_over, created = watched.told
        assert led == Led(ALBUMS.comparable, stored.handle)
        assert taken_over == TakenOver(ALBUMS.comparable, stored.handle, "dead")
        assert isinstance(created, Created)


async def test_an_attempt_whose_fencing_token_no_longer_holds_is_superseded_and_the_next_one_leads(
    watched: Watched,
) -> None:
    source = Source()
    asking = asyncio.create_task(watched.store.get_or_create(ALBUMS, source.create))
    await eventually(lambda: source.creations)
    await watched.store.release_lock(ALBUMS)
    await eventually(lambda: source.creations == 2)
    source.go.set()
    await asking
    assert await watched.moved() == {"leaders": 2, "superseded": 1, "created": 1}
    first, superseded, second, created = watched.told
    assert isinstance(first, Led)
    assert isinstance(second, Led)
    assert superseded == Superseded(ALBUMS.comparable, first.handle)
    assert isinstance(created, Created)
    assert created.handle == second.handle != first.handle


async def test_a_refresh_is_a_creation(watched: Watched) -> None:
    old = await watched.store.get_or_create(ALBUMS)
    await watched.moved()
    new = await watched.store.refresh(ALBUMS)
    assert await watched.moved() == {"leaders": 1, "created": 1}
    created, refreshed = [event.handle for event in watched.told if isinstance(event, Led)]
    assert created == old.handle == new.handle != refreshed, "a refresh has a handle of its own, the shape keeps its"


async def test_each_shape_that_is_evicted_is_counted_and_told(empty_path: str) -> None:
    async with Watched(empty_path, max_shapes=2) as watched:
        handles = [(await watched.store.get_or_create(Shape(f"t{number}"))).handle for number in range(5)]
        await eventually(lambda: watched.store.stats.evicted == 3)
        evicted = [handle for event in watched.told if isinstance(event, Evicted) for handle in event.handles]
        assert sorted(evicted) == sorted(handles[:3])


async def test_what_is_in_progress_at_the_closing_is_abandoned(empty_path: str) -> None:
    watched, source = Watched(empty_path), Source()
    async with watched:
        asking = asyncio.create_task(watched.store.get_or_create(ALBUMS, source.create))
        await eventually(lambda: source.creations)
    with pytest.raises(StoreClosedError):
        await asking
    [led] = [event for event in watched.told if isinstance(event, Led)]
    assert Abandoned(ALBUMS.comparable, led.handle) in watched.told
    assert not any(isinstance(event, (Created, Failed)) for event in watched.told)


async def test_a_checkpoint_is_told_with_what_is_left_of_the_log(empty_path: str) -> None:
    told = []
    for number in range(100):
        async with Watched(empty_path) as watched:
            await watched.store.get_or_create(Shape(f"t{number}"))
        told.append(watched.told[-1])
        if told[-1] == Checkpointed(0):
            return
        assert isinstance(told[-1], Checkpointed)  # something is left where maintenance reads just then
    pytest.fail(f"no checkpoint at a closing left nothing: {told}")


# --- the counts over the life of a store


async def test_a_store_that_is_opened_again_goes_on_counting(empty_path: str) -> None:
    store = ShapeStore(empty_path, create=two_rows)
    for times in range(1, 4):
        async with store:
            await store.get_or_create(Shape(f"t{times}"))
            await eventually(lambda: store.stats.in_flight == 0)
            assert store.stats.created == times


# --- listeners


class OfItsOwnKind(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, OfItsOwnKind])
async def test_a_listener_that_raises_is_logged_and_breaks_nothing(
    empty_path: str, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    def raises(event: Event) -> None:
        raise error(f"no ear for {type(event).__name__}")

    async with ShapeStore(empty_path, create=two_rows, on_event=raises, failure_grace=0.01) as store:
        stored = await store.get_or_create(ALBUMS)
        assert [row async for row in store.rows(stored.handle)] == [{"id": 1}, {"id": 2}]
        with pytest.raises(CreateFailedError):
            await store.get_or_create(Shape("tracks"), no_luck)
        await eventually(lambda: "Swept" in caplog.text)
        assert store.stats.created == 1
    for name in ("Led", "Created", "Failed", "Swept"):
        assert f"no ear for {name}" in caplog.text
    told = [record for record in caplog.records if not record.getMessage().startswith("creating ")]
    assert {(record.name, record.levelname) for record in told} == {("shapestore", "ERROR")}
    assert "on_event raised for Created(" in caplog.text


def test_an_interrupt_of_a_listener_reaches_the_program_and_those_who_wait_get_what_is_stored(tmp_path: Path) -> None:
    """As by a person who interrupts a notebook, whose loop goes on."""
    interrupts = [KeyboardInterrupt()]

    def raises_once(event: Event) -> None:
        if isinstance(event, Created) and interrupts:
            raise interrupts.pop()

    with asyncio.Runner() as runner:
        store = ShapeStore(tmp_path / "shapes.db", create=two_rows, on_event=raises_once)
        runner.run(store.open())
        asked = asyncio.ensure_future(store.get_or_create(ALBUMS), loop=runner.get_loop())
        with pytest.raises(KeyboardInterrupt):
            runner.run(asyncio.wait_for(asyncio.Event().wait(), PATIENCE))
        assert runner.run(asyncio.wait_for(asked, PATIENCE)).row_count == 2
        runner.run(store.close())


async def test_a_listener_is_called_on_the_loop(empty_path: str) -> None:
    loops = []
    async with ShapeStore(
        empty_path, create=two_rows, on_event=lambda _: loops.append(asyncio.get_running_loop())
    ) as store:
        await store.get_or_create(ALBUMS)
    assert set(loops) == {asyncio.get_running_loop()}


async def test_an_on_event_that_cannot_be_called_is_refused(path: str) -> None:
    async def on_event(event: Event) -> None:
        """It would never be awaited."""

    for wrong, said in (("print", "not str"), (on_event, "not an async function")):
        with pytest.raises(TypeError, match=f"on_event is a plain callable that takes an Event, {said}"):
            ShapeStore(path, on_event=wrong)  # type: ignore[arg-type]


def test_every_event_is_a_frozen_value_under_one_root_with_plain_facts() -> None:
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)} - {Event}
    assert len(kinds) == 12
    for kind in kinds:
        assert kind.__doc__
        names = [field.name for field in fields(kind)]
        event = kind(*names)
        assert event == kind(*names)
        with pytest.raises((FrozenInstanceError, TypeError)):
            event.comparable = "another"  # type: ignore[attr-defined]


def test_the_stats_are_a_frozen_value() -> None:
    stats = Stats(**{field.name: 0 for field in fields(Stats)})
    with pytest.raises(FrozenInstanceError):
        stats.hits = 1  # type: ignore[misc]
