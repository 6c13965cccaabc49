"""Two stores on one file, whatever is asked of them in whatever order, against what a store of shapes must answer.

The model knows of each key what is stored, which attempt is under way, whose failure is still shared, and who waits.
Every creator waits until the machine lets it end, so that after each step everything has come to rest, and there is
one right answer to what comes next. Only where a caller is cancelled, or out of time, in the middle of something, two
ends are right: the attempt was begun before, or it was not. Then the machine finds out which it was.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from inspections import assert_no_transaction_is_open, eventually, lost_rows

from shapestore import (
    CreateFailedError,
    Shape,
    ShapeStore,
    StoreClosedError,
    StoredShape,
    WaitTimeoutError,
)
from shapestore.storage import migrations
from shapestore.storage.commands import Sweep

T = TypeVar("T")

# Two keys of one table, and one of another: an invalidation ends some, and not others.
KEYS = [Shape("Track"), Shape("Track", columns=["Name"]), Shape("Album")]

which_stores = st.sampled_from([0, 1])
keys = st.sampled_from(KEYS)
row_counts = st.sampled_from([0, 1, 30])


class SourceError(Exception):
    """What a creator raises."""


@dataclass(eq=False)
class Attempt:
    """A creator that was called: by which store, for what, and how it is to end."""

    number: int
    store: int
    shape: Shape
    ending: asyncio.Future[int]
    row_count: int = 0
    ended: bool = False

    @property
    def rows(self) -> list[dict[str, int]]:
        return [{"attempt": self.number, "row": row} for row in range(self.row_count)]


@dataclass(eq=False)
class Caller:
    store: int
    task: asyncio.Task[StoredShape]


@dataclass(eq=False)
class Key:
    """What is so of one key, by the model."""

    stored: StoredShape | None = None
    made_by: Attempt | None = None
    under_way: Attempt | None = None
    failed: Attempt | None = None
    waiting: list[Caller] = field(default_factory=list)

    def waits(self, store: int) -> bool:
        return any(caller.store == store for caller in self.waiting)


@dataclass(eq=False)
class Reading:
    """Somebody who reads a snapshot row by row."""

    store: int
    rows: AsyncIterator[dict[str, Any]]
    expected: list[dict[str, int]]


class World:
    """The stores, and beside them the model. Each public method is one step."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.attempts: list[Attempt] = []
        self.keys = {shape: Key() for shape in KEYS}
        self.readings: list[Reading] = []
        self.stores = [
            # A failure is shared until the machine ends its TTL.
            ShapeStore(path, create=partial(self._create, store), failure_grace=600, create_timeout=600)
            for store in (0, 1)
        ]
        self.open = [False, False]

    async def _create(self, store: int, shape: Shape) -> AsyncIterator[dict[str, int]]:
        attempt = Attempt(len(self.attempts), store, shape, asyncio.get_running_loop().create_future())
        self.attempts.append(attempt)
        try:
            attempt.row_count = await attempt.ending
            for row in attempt.rows:
                yield row
        finally:
            attempt.ended = True

    # --- opening and closing

    async def open_store(self, store: int) -> None:
        await self.stores[store].open()
        self.open[store] = True

    async def close_store(self, store: int) -> None:
        """What it leads is given up, and its failures go with it. The other store goes on for its own callers."""
        before = len(self.attempts)
        await self.stores[store].close()
        self.open[store] = False
        for key in self.keys.values():
            await self._refused(key, [caller for caller in key.waiting if caller.store == store], StoreClosedError)
            if key.under_way is not None and key.under_way.store == store:
                assert key.under_way.ended, "its creator was cancelled"
                key.under_way = None
            if key.failed is not None and key.failed.store == store:
                key.failed = None
        await self._begun_anew(before)
        for reading in [reading for reading in self.readings if reading.store == store]:
            self.readings.remove(reading)
            with pytest.raises(StoreClosedError if reading.expected else StopAsyncIteration):
                await anext(reading.rows)

    # --- asking

    async def ask(self, store: int, shape: Shape, *, refresh: bool) -> None:
        key, ask = self.keys[shape], self._ask(store, refresh)
        before = len(self.attempts)
        if not refresh and key.stored is not None:
            # At once, for it neither waits nor writes.
            assert await ask(shape, timeout=0) == key.stored
        elif key.under_way is None and key.failed is not None:
            with pytest.raises(CreateFailedError, match=message(key.failed)):
                await ask(shape)
        else:
            key.waiting.append(Caller(store, asyncio.create_task(ask(shape))))
            if key.under_way is None:
                key.under_way = await self._begun(shape, before)
                assert key.under_way.store == store
            else:
                await eventually(lambda: self._at_rest(store))
        assert len(self.attempts) <= before + 1

    async def ask_and_leave(self, store: int, shape: Shape, *, refresh: bool, steps: int | None) -> None:
        """Be cancelled after so many steps of the loop; or, with None, have no time to wait."""
        key, ask = self.keys[shape], self._ask(store, refresh)
        before = len(self.attempts)
        task = asyncio.create_task(ask(shape, timeout=600 if steps is not None else 0))
        if steps is None:
            await asyncio.wait([task])
        for _ in range(steps or 0):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            match task.exception():
                case None:
                    assert not refresh
                    assert task.result() == key.stored
                case CreateFailedError() as error:
                    assert key.under_way is None
                    assert key.failed is not None
                    assert message(key.failed) in str(error)
                case error:
                    assert isinstance(error, WaitTimeoutError)
                    assert steps is None
        await eventually(lambda: len(self.attempts) > before or self._at_rest(store))
        if len(self.attempts) > before:
            assert key.under_way is None
            key.under_way = await self._begun(shape, before)
            assert key.under_way.store == store

    async def leave(self, shape: Shape, index: int) -> None:
        """One of those who wait is cancelled. The others are none the worse for it, nor is the attempt."""
        waiting = self.keys[shape].waiting
        caller = waiting.pop(index % len(waiting))
        caller.task.cancel()
        await asyncio.wait([caller.task])
        assert caller.task.cancelled()
        await eventually(lambda: self._at_rest(caller.store))

    # --- endings

    async def end_well(self, shape: Shape, row_count: int) -> None:
        key = self.keys[shape]
        attempt, key.under_way = key.under_way, None
        assert attempt is not None
        attempt.ending.set_result(row_count)
        if key.waiting:
            answers = [await self._answer(caller) for caller in key.waiting]
            assert len(set(answers)) == 1
            stored = answers[0]
        else:
            old, store = key.stored, self.stores[attempt.store]
            async with asyncio.timeout(30):
                while (found := await store.get(shape)) in (None, old):
                    await asyncio.sleep(0.001)
            assert found is not None
            stored = found
        if key.stored is not None:
            assert stored.handle != key.stored.handle
        assert (stored.shape, stored.row_count) == (shape, row_count)
        key.stored, key.made_by = stored, attempt
        key.waiting = []
        await self._rests()

    async def end_badly(self, shape: Shape) -> None:
        key = self.keys[shape]
        attempt, key.under_way = key.under_way, None
        assert attempt is not None
        attempt.ending.set_exception(SourceError(message(attempt)))
        key.failed = attempt
        await self._refused(key, list(key.waiting), CreateFailedError, message(attempt))
        await self._rests()

    async def sweep(self, store: int) -> None:
        """The TTLs of all failures are over. A sweep does not touch what is in progress."""
        handles = [lock.handle for lock in await self.stores[store].locks()]
        await self.stores[store]._live().writer.submit(Sweep(handles))
        for key in self.keys.values():
            key.failed = None

    async def release(self, store: int, shape: Shape) -> None:
        key = self.keys[shape]
        before = len(self.attempts)
        something = key.under_way is not None or key.failed is not None
        assert await self.stores[store].release_lock(shape) == something
        key.failed = None
        await self._superseded(key, by=store)
        await self._begun_anew(before)

    async def invalidate(self, store: int, table: str) -> None:
        gone = [key for shape, key in self.keys.items() if shape.table == table]
        before = len(self.attempts)
        assert await self.stores[store].invalidate(table) == sum(key.stored is not None for key in gone)
        for key in gone:
            key.stored = None
            await self._superseded(key, by=store)
        await self._begun_anew(before)

    async def delete(self, store: int, shape: Shape) -> None:
        key = self.keys[shape]
        stored, key.stored = key.stored, None
        if stored is not None:
            assert await self.stores[store].delete(stored.handle)
        assert not await self.stores[store].delete(stored.handle if stored else "no such handle")

    # --- reading

    async def begin_reading(self, store: int, shape: Shape) -> None:
        key = self.keys[shape]
        assert key.stored is not None
        assert key.made_by is not None
        rows = self.stores[store].rows(key.stored.handle, batch_size=1)
        reading = Reading(store, rows, key.made_by.rows)
        self.readings.append(reading)
        await self.read_on(len(self.readings) - 1)

    async def read_on(self, index: int) -> None:
        """The next row, though the shape may be gone; or the end, if all were read. Never a short end."""
        reading = self.readings[index % len(self.readings)]
        if reading.expected:
            assert await anext(reading.rows) == reading.expected.pop(0)
            return
        self.readings.remove(reading)
        with pytest.raises(StopAsyncIteration):
            await anext(reading.rows)

    # --- what must be so after every step

    async def check(self) -> None:
        for store in self._open_stores():
            for shape, key in self.keys.items():
                assert await store.get(shape) == key.stored
                if key.stored is not None and key.made_by is not None:
                    assert await store.get_by_handle(key.stored.handle) == key.stored
                    assert [row async for row in store.rows(key.stored.handle)] == key.made_by.rows
            stored = {key.stored for key in self.keys.values() if key.stored is not None}
            assert {found async for found in store.shapes()} == stored
            assert await store.count() == len(stored)
            locks = {(lock.comparable, lock.state.value) for lock in await store.locks()}
            assert locks == {
                (shape.comparable, "in_progress" if key.under_way else "failed")
                for shape, key in self.keys.items()
                if key.under_way or key.failed
            }
        running = {attempt for attempt in self.attempts if not attempt.ended}
        assert running == {key.under_way for key in self.keys.values() if key.under_way}
        assert not [caller for key in self.keys.values() for caller in key.waiting if caller.task.done()]

    async def end(self) -> None:
        for store in (0, 1):
            if self.open[store]:
                await self.close_store(store)
        assert_no_transaction_is_open(self.path)
        await self.open_store(0)
        await self.check()
        await eventually(lambda: lost_rows(self.path) == 0)
        await self.close_store(0)
        with closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("SELECT count(*) FROM create_locks").fetchall() == [(0,)]
            assert connection.execute("SELECT count(*) FROM owners").fetchall() == [(0,)]
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    # --- what the steps are made of

    def _open_stores(self) -> list[ShapeStore]:
        return [store for store, is_open in zip(self.stores, self.open, strict=True) if is_open]

    def _ask(self, store: int, refresh: bool) -> Callable[..., Coroutine[Any, Any, StoredShape]]:
        return self.stores[store].refresh if refresh else self.stores[store].get_or_create

    async def _begun(self, shape: Shape, before: int) -> Attempt:
        """The one attempt that begins for a key. An attempt that has begun has its lock row."""
        attempt = await eventually(
            lambda: next((attempt for attempt in self.attempts[before:] if attempt.shape == shape), None)
        )
        assert attempt is not None
        return attempt

    async def _begun_anew(self, before: int) -> None:
        """Where somebody waits, and nothing is under way any more, an attempt is begun by a store where they wait."""
        for shape, key in self.keys.items():
            if key.waiting and key.under_way is None:
                key.under_way = await self._begun(shape, before)
                assert key.waits(key.under_way.store)
        assert len(self.attempts) - before <= len(KEYS)
        await self._rests()

    async def _superseded(self, key: Key, *, by: int) -> None:
        """An attempt no longer holds its lock row. A creator of the other store would learn that late: let it end."""
        attempt, key.under_way = key.under_way, None
        if attempt is None:
            return
        if attempt.store != by and not attempt.ending.done():
            attempt.ending.set_result(7)
        await eventually(lambda: attempt.ended)

    async def _answer(self, caller: Caller) -> StoredShape:
        async with asyncio.timeout(30):
            return await caller.task

    async def _refused(self, key: Key, callers: list[Caller], error: type[Exception], match: str | None = None) -> None:
        for caller in callers:
            key.waiting.remove(caller)
            with pytest.raises(error, match=match):
                await self._answer(caller)

    async def _rests(self) -> None:
        for store in (0, 1):
            await eventually(partial(self._at_rest, store))

    def _at_rest(self, store: int) -> bool:
        """It has a flight for each key that it leads or waits for, and for no other."""
        if not self.open[store]:
            return True
        flying = [
            key
            for key in self.keys.values()
            if key.waits(store) or (key.under_way is not None and key.under_way.store == store)
        ]
        return self.stores[store].stats.in_flight == len(flying)


def message(attempt: Attempt) -> str:
    return f"attempt <{attempt.number}> failed"


_empty_file: list[Path] = []


def an_empty_file(folder: str) -> str:
    if not _empty_file:
        path = Path(tempfile.mkdtemp()) / "shapes.db"
        migrations.upgrade(str(path))
        _empty_file.append(path)
    return str(shutil.copy(_empty_file[0], folder))


class LifeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.troubles: list[dict[str, Any]] = []
        self.runner = asyncio.Runner()
        self.runner.get_loop().set_exception_handler(lambda _, context: self.troubles.append(context))
        self.world = World(an_empty_file(self.folder.name))

    def run(self, step: Any) -> None:
        self.runner.run(step)
        assert self.troubles == []

    def teardown(self) -> None:
        try:
            self.run(self.world.end())
        finally:
            self.runner.close()
            self.folder.cleanup()

    # --- what there is, for the preconditions

    def under_way(self) -> list[Shape]:
        return [shape for shape, key in self.world.keys.items() if key.under_way]

    def stored(self) -> list[Shape]:
        return [shape for shape, key in self.world.keys.items() if key.stored]

    def waiting(self) -> list[Shape]:
        return [shape for shape, key in self.world.keys.items() if key.waiting]

    def an_open_store(self, store: int) -> int:
        """This store, which is opened first, if it is closed."""
        if not self.world.open[store]:
            self.run(self.world.open_store(store))
        return store

    # --- the steps

    @initialize(made=st.sets(keys))
    def open_both(self, made: set[Shape]) -> None:
        for store in (0, 1):
            self.an_open_store(store)
        for shape in sorted(made, key=KEYS.index):
            self.make(0, shape, refresh=False, row_count=3)

    @rule(store=which_stores, shape=keys, refresh=st.booleans())
    def ask(self, store: int, shape: Shape, refresh: bool) -> None:
        self.run(self.world.ask(self.an_open_store(store), shape, refresh=refresh))

    @rule(store=which_stores, shape=keys)
    def ask_any(self, store: int, shape: Shape) -> None:
        self.ask(store, shape, refresh=False)

    @rule(store=which_stores, shape=keys, refresh=st.booleans(), row_count=row_counts)
    def make(self, store: int, shape: Shape, refresh: bool, row_count: int) -> None:
        self.ask(store, shape, refresh)
        if shape in self.under_way():
            self.run(self.world.end_well(shape, row_count))

    @rule(store=which_stores, shape=keys, refresh=st.booleans(), steps=st.none() | st.integers(0, 12))
    def ask_and_leave(self, store: int, shape: Shape, refresh: bool, steps: int | None) -> None:
        self.run(self.world.ask_and_leave(self.an_open_store(store), shape, refresh=refresh, steps=steps))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), index=st.integers(0, 9))
    def leave(self, data: st.DataObject, index: int) -> None:
        self.run(self.world.leave(data.draw(st.sampled_from(self.waiting()), "key"), index))

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), row_count=st.none() | row_counts)
    def end(self, data: st.DataObject, row_count: int | None) -> None:
        shape = data.draw(st.sampled_from(self.under_way()), "key")
        if row_count is None:
            self.run(self.world.end_badly(shape))
        else:
            self.run(self.world.end_well(shape, row_count))

    @rule(store=which_stores, shape=keys, how=st.sampled_from(["delete", "invalidate", "release", "sweep"]))
    def interfere(self, store: int, shape: Shape, how: str) -> None:
        self.an_open_store(store)
        match how:
            case "delete":
                self.run(self.world.delete(store, shape))
            case "invalidate":
                self.run(self.world.invalidate(store, shape.table))
            case "release":
                self.run(self.world.release(store, shape))
            case "sweep":
                self.run(self.world.sweep(store))

    @precondition(lambda self: self.stored())
    @rule(store=which_stores, data=st.data())
    def begin_reading(self, store: int, data: st.DataObject) -> None:
        shape = data.draw(st.sampled_from(self.stored()), "key")
        self.run(self.world.begin_reading(self.an_open_store(store), shape))

    @precondition(lambda self: self.world.readings)
    @rule(index=st.integers(0, 9))
    def read_on(self, index: int) -> None:
        self.run(self.world.read_on(index))

    @precondition(lambda self: any(self.world.open))
    @rule(store=which_stores, luck=st.integers(0, 3))
    def close(self, store: int, luck: int) -> None:
        if self.world.open[store] and luck == 0:
            self.run(self.world.close_store(store))

    @invariant()
    def every_store_answers_as_the_model_does(self) -> None:
        self.run(self.world.check())


# Without shrinking, which would take minutes: the steps of a failure are few enough to be read as they are.
_SETTINGS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


def test_two_stores_answer_as_the_model_does_whatever_is_asked_of_them() -> None:
    run_state_machine_as_test(LifeMachine, settings=settings(_SETTINGS, max_examples=40, stateful_step_count=25))


@pytest.mark.slow
def test_two_stores_answer_as_the_model_does_for_long() -> None:
    run_state_machine_as_test(LifeMachine, settings=settings(_SETTINGS, max_examples=200, stateful_step_count=60))
