"""Waiting until live shapes hold all that their sources hold now.

The newest change of a source is read after the call: what was committed before is not behind it. Then the store's file
is read every few milliseconds, once for all waiters, until rounds have reached that change.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from shapestore.concurrency.futures import refuse, resolve
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.errors import ShapeStoreError, StoreClosedError, fresh
from shapestore.source.sqlite_feed.changes import newest, nonce_at
from shapestore.source.sqlite_feed.file import opened, transaction
from shapestore.storage.reader import Reader

LOOK_SECONDS = 0.005
# While a source cannot be read, or has another past.
LOOK_AGAIN_SECONDS = 0.05
# Whatever their timeout, callers wait so long for a source to be read, which as a rule takes a moment.
READING_SECONDS = 1.0
_NEVER = (1 << 63) - 1

Waiter = asyncio.Future[bool]


class Goal(NamedTuple):
    """A change of a source that rounds are to reach."""

    source: int
    seq: int


class NewestChanges:
    """Reads the newest changes of sources. Callers share a reading that begins after they have called."""

    def __init__(self, reader: Reader, threads: WorkerThreads) -> None:
        self._reader = reader
        self._threads = threads
        self._running: dict[int, asyncio.Future[int | None]] = {}
        self._next: dict[int, asyncio.Future[int | None]] = {}

    async def read(self, source: int, path: str) -> int | None:
        """The newest change of a source, as of a moment after this call.

        None if it cannot be read, or is not the one whose changes were followed, as where a backup was put back.
        """
        if source not in self._running:
            return await asyncio.shield(self._run(source, path))
        if source not in self._next:
            self._next[source] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._next[source])

    def close(self, error: ShapeStoreError) -> None:
        """All callers get a copy of the error."""
        for waited_for in (*self._running.values(), *self._next.values()):
            refuse(waited_for, fresh(error))
        self._next.clear()

    def _run(self, source: int, path: str) -> asyncio.Future[int | None]:
        followed = self._reader.followed_up_to(source)
        reading = self._threads.run(lambda: _newest(path, followed), name="shapestore followed")
        self._running[source] = reading
        reading.add_done_callback(partial(self._ended, source, path))
        return reading

    def _ended(self, source: int, path: str, _: asyncio.Future[int | None]) -> None:
        del self._running[source]
        waited_for = self._next.pop(source, None)
        if waited_for is not None:
            try:
                self._run(source, path).add_done_callback(partial(_hand_on, waited_for))
            except ShapeStoreError as error:  # the store's file cannot be read
                refuse(waited_for, error)


class FollowedSources:
    """Tells when rounds have reached what was in the sources at a call."""

    def __init__(self, reader: Reader, threads: WorkerThreads) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._newest = NewestChanges(reader, threads)
        self._goals: dict[Goal, set[Waiter]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.wake: Callable[[], object] = lambda: None
        """Set by the open store: have the followers look at once."""

    async def reached_all(self, timeout: float) -> str | None:
        """Wait for all sources that live shapes follow; one that was not reached in so many seconds, if there is."""
        live = self._reader.live_sources()
        outcomes = await asyncio.gather(*(self._reached(number, path, timeout) for number, path in live.items()))
        return next((path for path, reached in zip(live.values(), outcomes, strict=True) if not reached), None)

    async def reached(self, comparable: str, timeout: float) -> bool:
        """Wait for the source that the shape of this key follows. False if it is not live, or time is up."""
        for number, path in self._reader.source_of(comparable).items():
            return await self._reached(number, path, timeout)
        return False

    def close(self) -> None:
        """All waiters get StoreClosedError."""
        self._closed = True
        error = StoreClosedError("the store was closed while the changes of a source were waited for")
        self._newest.close(error)
        for goal in list(self._goals):
            self._refuse(goal, error)
        self._rest()

    async def _reached(self, number: int, path: str, timeout: float) -> bool:
        until = self._loop.time() + timeout
        while (seq := await self._read(number, path, until)) is None and not self._reader.has_reached(number, _NEVER):
            if self._loop.time() >= until:
                return False
            await asyncio.sleep(min(LOOK_AGAIN_SECONDS, timeout))
            self._refuse_if_closed()
        self._refuse_if_closed()
        goal = Goal(number, seq or 0)
        if self._reader.has_reached(*goal):
            return True
        waiter: Waiter = self._loop.create_future()
        self._goals.setdefault(goal, set()).add(waiter)
        timer = self._loop.call_at(until, resolve, waiter, False)
        self.wake()
        if self._timer is None:
            self._look_later()
        try:
            return await waiter
        finally:
            timer.cancel()
            self._remove(goal, waiter)

    async def _read(self, number: int, path: str, until: float) -> int | None:
        try:
            async with asyncio.timeout_at(max(until, self._loop.time() + READING_SECONDS)):
                return await self._newest.read(number, path)
        except TimeoutError:
            return None

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreClosedError("the store was closed during this call")

    def _remove(self, goal: Goal, waiter: Waiter) -> None:
        waiters = self._goals.get(goal, set())
        waiters.discard(waiter)
        if not waiters:
            self._goals.pop(goal, None)
        if not self._goals:
            self._rest()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Tell those whose goals are reached; look again later."""
        self._look_later()
        for goal in list(self._goals):
            try:
                reached = self._reader.has_reached(*goal)
            except ShapeStoreError as error:
                self._refuse(goal, error)
                continue
            if reached:
                for waiter in self._goals.pop(goal):
                    resolve(waiter, True)

    def _refuse(self, goal: Goal, error: ShapeStoreError) -> None:
        for waiter in self._goals.pop(goal):
            refuse(waiter, fresh(error))


def _hand_on(waited_for: asyncio.Future[int | None], reading: asyncio.Future[int | None]) -> None:
    error = reading.exception()
    if error is None:
        resolve(waited_for, reading.result())
    else:
        refuse(waited_for, error)


def _newest(path: str, followed: tuple[int, int | None] | None) -> int | None:
    """The newest change of a source in which the change up to which it is ``followed``, by seq and nonce, still is."""
    try:
        with opened(path) as connection, transaction(connection, "DEFERRED"):
            position = newest(connection)
            if position is None or followed is None:
                return None
            seq, nonce = followed
            return position.seq if nonce is None or nonce_at(connection, seq) == nonce else None
    except sqlite3.Error:
        return None
