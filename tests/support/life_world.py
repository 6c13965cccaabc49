"""Two open stores on one file beside their model (``life_model.py``): each public method of ``World`` is one step.

Every creator waits until a step ends it, so that after each step everything is at rest, and there is one right answer
to what comes next. Only where a caller is cancelled, or out of time, in the middle of something, two ends are right:
the attempt began before that, or it did not. Then the step finds out which it was.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from inspections import PATIENCE, assert_no_transaction_is_open, eventually, lost_rows
from life_model import FRESHNESS, KEYED, KEYS, SECONDS_OF_AN_AGE, Age, Attempt, Caller, Key, Log, Moment, Reading, Rows

from shapestore import CreateFailedError, Shape, ShapeStore, StoreClosedError, StoredShape, WaitTimeoutError, keyed
from shapestore.source.creator import Creator
from shapestore.storage.commands import Sweep


class SourceError(Exception):
    """What a creator raises."""


class World:
    """The stores, and beside them the model. Each public method is one step."""

    def __init__(self, path: str, *, ages: bool) -> None:
        """``ages``: whether shapes become stale in these stores. Without a greatest age they are fresh for ever."""
        self.path = path
        self.ages = ages
        self.attempts: list[Attempt] = []
        self.keys = {shape: Key() for shape in KEYS}
        self.readings: list[Reading] = []
        # A failure is shared until the machine ends its TTL, and what was replaced or dropped is kept.
        options: dict[str, Any] = {"failure_grace": 600, "create_timeout": 600, "keep_replaced": 3600}
        options |= FRESHNESS if ages else {}
        self.stores = [ShapeStore(path, **options) for _ in (0, 1)]
        self.open = [False, False]

    def _creator(self, store: int, shape: Shape) -> Creator:
        create = partial(self._create, store)
        return keyed(create, "row") if shape in KEYED else create

    async def _create(self, store: int, shape: Shape) -> AsyncIterator[dict[str, Any]]:
        ending = asyncio.get_running_loop().create_future()
        attempt = Attempt(len(self.attempts), store, shape, ending, compared_with=self.keys[shape].log)
        self.attempts.append(attempt)
        try:
            for row in await attempt.ending:
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
            key.background.discard(store)
            if key.in_progress is not None and key.in_progress.store == store:
                assert key.in_progress.ended, "its creator was cancelled"
                key.in_progress = None
            if key.failed is not None and key.failed.store == store:
                key.failed = None
        await self._begun_again(before)
        for reading in [reading for reading in self.readings if reading.store == store]:
            self.readings.remove(reading)
            with pytest.raises(StoreClosedError):
                await anext(reading.rows)

    # --- asking

    async def ask(self, store: int, shape: Shape, *, refresh: bool) -> None:
        key, ask = self.keys[shape], self._ask(store, shape, refresh)
        before = len(self.attempts)
        accepts_stale = key.log is not None and not refresh
        if accepts_stale and key.is_served:
            await self._served(store, shape)
        elif key.in_progress is None and key.failed is not None:
            if accepts_stale and key.serves_after_error:
                assert await ask() == key.stored
            else:
                with pytest.raises(CreateFailedError, match=key.failed.message):
                    await ask()
        else:
            key.waiting.append(Caller(store, asyncio.create_task(ask()), accepts_stale))
            await self._led_or_followed(store, shape, before)
        assert len(self.attempts) <= before + 1

    async def _served(self, store: int, shape: Shape) -> None:
        """At once, without waiting or writing. If it is stale, one refresh begins, unless one is in flight."""
        key, before = self.keys[shape], len(self.attempts)
        assert key.log is not None
        was_in_flight = key.flies(store)
        assert await self._ask(store, shape, refresh=False)(timeout=0) == key.stored
        assert await self.stores[store].fetch(shape, self._creator(store, shape), timeout=0) == key.log.rows
        if key.age is Age.STALE and not was_in_flight:
            await self._refreshed_in_background(store, shape, before)
        else:
            assert len(self.attempts) == before

    async def _refreshed_in_background(self, store: int, shape: Shape, before: int) -> None:
        """Callers do not learn of a failure that is still shared; it prevents another attempt."""
        key = self.keys[shape]
        if key.in_progress is None and key.failed is not None:
            await eventually(lambda: self._at_rest(store))
        else:
            key.background.add(store)
            await self._led_or_followed(store, shape, before)

    async def _led_or_followed(self, store: int, shape: Shape, before: int) -> None:
        """A flight of this store leads an attempt, unless one is in progress."""
        key = self.keys[shape]
        if key.in_progress is None:
            key.in_progress = await self._begun(shape, before)
            assert key.in_progress.store == store
        await eventually(lambda: self._at_rest(store))

    async def ask_and_leave(self, store: int, shape: Shape, *, refresh: bool, steps: int | None) -> None:
        """Be cancelled after so many steps of the loop; or, with None, have no time to wait."""
        key, before = self.keys[shape], len(self.attempts)
        task = asyncio.create_task(self._ask(store, shape, refresh)(timeout=600 if steps is not None else 0))
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
                    assert key.is_served or key.serves_after_error
                    assert task.result() == key.stored
                case CreateFailedError() as error:
                    assert key.in_progress is None
                    assert key.failed is not None
                    assert key.failed.message in str(error)
                case error:
                    assert isinstance(error, WaitTimeoutError)
                    assert steps is None
                    assert refresh or not key.serves_after_error
        if shape in self._scheduled(store) and store not in key.background:
            assert key.age is Age.STALE
            assert not refresh
            await self._refreshed_in_background(store, shape, before)
        await eventually(lambda: len(self.attempts) > before or self._at_rest(store))
        if len(self.attempts) > before and key.in_progress is None:
            await self._led_or_followed(store, shape, before)
        assert len(self.attempts) <= before + 1

    async def leave(self, shape: Shape, index: int) -> None:
        """One of those who wait is cancelled. The others and the attempt go on."""
        waiting = self.keys[shape].waiting
        caller = waiting.pop(index % len(waiting))
        caller.task.cancel()
        await asyncio.wait([caller.task])
        assert caller.task.cancelled()
        await eventually(lambda: self._at_rest(caller.store))

    # --- endings

    async def end_well(self, shape: Shape, rows: Rows) -> None:
        key, before = self.keys[shape], len(self.attempts)
        attempt, key.in_progress = key.in_progress, None
        assert attempt is not None
        rows = [{"of": KEYS.index(shape)} | row for row in rows]
        attempt.ending.set_result(rows)
        if attempt.gives_a_difference(rows) and attempt.compared_with is not key.log:
            # What it would change has gone meanwhile: those who wait begin again.
            await eventually(lambda: attempt.ended)
            await self._begun_again(before)
            return
        handles = {log.stored.handle for log in key.readable}
        stored = await self._unlocked(attempt.store, shape)
        assert stored is not None
        assert {await self._answer(caller) for caller in key.waiting} <= {stored}
        assert (stored.handle in handles) == attempt.gives_a_difference(rows)
        key.confirm(stored, attempt, rows)
        key.waiting = []
        key.background.clear()
        await self._rests()

    async def end_badly(self, shape: Shape) -> None:
        key = self.keys[shape]
        attempt, key.in_progress = key.in_progress, None
        assert attempt is not None
        attempt.ending.set_exception(SourceError(attempt.message))
        key.failed = attempt
        key.background.clear()
        served = [caller for caller in key.waiting if caller.accepts_stale and key.serves_after_error]
        for caller in served:
            key.waiting.remove(caller)
            assert await self._answer(caller) == key.stored
        await self._refused(key, list(key.waiting), CreateFailedError, attempt.message)
        await self._rests()

    def grow_older(self, shape: Shape) -> None:
        """The shape was confirmed earlier than it was. Without the gate: a store of this very loop may hold it."""
        key = self.keys[shape]
        assert key.stored is not None
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=PATIENCE)) as connection:
            connection.execute(
                "UPDATE shapes SET confirmed_at_boot_ms = confirmed_at_boot_ms - ? WHERE handle = ?",
                (SECONDS_OF_AN_AGE * 1000, key.stored.handle),
            )
        if self.ages:
            key.age = key.age.next

    async def sweep(self, store: int) -> None:
        """The TTLs of all failures are over. A sweep does not touch what is in progress."""
        handles = [lock.handle for lock in await self.stores[store].locks()]
        await self.stores[store]._live().writer.submit(Sweep(handles))
        for key in self.keys.values():
            key.failed = None

    async def release(self, store: int, shape: Shape) -> None:
        key = self.keys[shape]
        before = len(self.attempts)
        something = key.in_progress is not None or key.failed is not None
        assert await self.stores[store].release_lock(shape) == something
        key.failed = None
        await self._superseded(key, by=store)
        await self._begun_again(before)

    async def invalidate(self, store: int, table: str) -> None:
        dropped = [key for shape, key in self.keys.items() if shape.table == table]
        before, count = len(self.attempts), sum(key.stored is not None for key in dropped)
        for key in dropped:
            key.drop()
        assert await self.stores[store].invalidate(table) == count
        for key in dropped:
            await self._superseded(key, by=store)
        await self._begun_again(before)

    async def delete(self, store: int, shape: Shape) -> None:
        key = self.keys[shape]
        stored = key.stored
        key.drop()
        if stored is not None:
            assert await self.stores[store].delete(stored.handle)
        assert not await self.stores[store].delete(stored.handle if stored else "no such handle")

    # --- reading

    async def begin_reading(self, store: int, log: Log, moment: Moment | None) -> None:
        """Read this moment of the handle; or, with None, that of now, which a refresh does not change either."""
        rows = self.stores[store].rows(log.stored.handle if moment is None else moment.stored, batch_size=1)
        self.readings.append(Reading(store, rows, list(log.rows if moment is None else moment.rows)))
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
                for log in key.readable:
                    handle = log.stored.handle
                    assert await store.get_by_handle(handle) == (log.stored if log is key.log else None)
                    assert [row async for row in store.rows(handle)] == log.rows
                    for moment in log.moments:
                        assert [row async for row in store.rows(moment.stored)] == moment.rows
            stored = {key.stored for key in self.keys.values() if key.stored is not None}
            assert {found async for found in store.shapes()} == stored
            assert await store.count() == len(stored)
            locks = {(lock.comparable, lock.state.value) for lock in await store.locks()}
            assert locks == {
                (shape.comparable, "in_progress" if key.in_progress else "failed")
                for shape, key in self.keys.items()
                if key.in_progress or key.failed
            }
        running = {attempt for attempt in self.attempts if not attempt.ended}
        assert running == {key.in_progress for key in self.keys.values() if key.in_progress}
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

    def _ask(self, store: int, shape: Shape, refresh: bool) -> Callable[..., Coroutine[Any, Any, StoredShape]]:
        ask = self.stores[store].refresh if refresh else self.stores[store].get_or_create
        return partial(ask, shape, self._creator(store, shape))

    async def _begun(self, shape: Shape, before: int) -> Attempt:
        """The one attempt that begins for a key. An attempt that has begun has its lock row."""
        attempt = await eventually(
            lambda: next((attempt for attempt in self.attempts[before:] if attempt.shape == shape), None)
        )
        assert attempt is not None
        return attempt

    async def _begun_again(self, before: int) -> None:
        """Where callers wait and no attempt is in progress any more, a store where they wait begins one."""
        for shape, key in self.keys.items():
            if (key.waiting or key.background) and key.in_progress is None:
                key.in_progress = await self._begun(shape, before)
                assert key.waits(key.in_progress.store)
        assert len(self.attempts) - before <= len(KEYS)
        await self._rests()

    async def _superseded(self, key: Key, *, by: int) -> None:
        """An attempt no longer holds its lock row. A creator of the other store would learn that late: let it end."""
        attempt, key.in_progress = key.in_progress, None
        if attempt is None:
            return
        if attempt.store != by and not attempt.ending.done():
            attempt.ending.set_result([])
        await eventually(lambda: attempt.ended)

    async def _unlocked(self, store: int, shape: Shape) -> StoredShape | None:
        """What is stored when the lock row is gone."""
        async with asyncio.timeout(PATIENCE):
            while any(lock.comparable == shape.comparable for lock in await self.stores[store].locks()):
                await asyncio.sleep(0.001)
        return await self.stores[store].get(shape)

    async def _answer(self, caller: Caller) -> StoredShape:
        async with asyncio.timeout(PATIENCE):
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
        """It has a flight, and a refresh in the background, for each key that the model says, and for no other."""
        if not self.open[store]:
            return True
        flying = [key for key in self.keys.values() if key.flies(store)]
        background = {shape for shape, key in self.keys.items() if store in key.background}
        return self.stores[store].stats.in_flight == len(flying) and self._scheduled(store) == background

    def _scheduled(self, store: int) -> set[Shape]:
        """What this store refreshes in the background, from the moment at which a stale shape was served."""
        keys = self.stores[store]._live().requests._background._keys
        return {shape for shape in KEYS if shape.comparable in keys}
