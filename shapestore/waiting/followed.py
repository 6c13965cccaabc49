"""Waiting until live shapes hold all that their sources hold now.

The newest change of a source is read after the call: what was committed before is not behind it. Then the store's file
is read every few milliseconds, once for all who wait, until rounds have reached that change.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from shapestore.concurrency.futures import refuse, resolve
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.errors import ShapeStoreError, StoreClosedError, fresh
from shapestore.source.sqlite_feed.changes import newest
from shapestore.source.sqlite_feed.file import opened
from shapestore.storage.reader import Reader

LOOK_SECONDS = 0.005
# Of a source that cannot be read, or whose changes are not captured: it is reached once its shapes are dropped.
NEVER = (1 << 63) - 1


class Goal(NamedTuple):
    """A change of a source, and who waits for it."""

    source: int
    seq: int
    reached: asyncio.Future[bool]


class FollowedSources:
    """Tells when rounds have reached what was in the sources at a call."""

    def __init__(self, reader: Reader, threads: WorkerThreads) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._threads = threads
        self._goals: set[Goal] = set()
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
        """All who wait get StoreClosedError."""
        self._closed = True
        error = StoreClosedError("the store was closed while the changes of a source were waited for")
        for goal in self._goals:
            refuse(goal.reached, fresh(error))
        if self._timer is not None:
            self._timer.cancel()

    async def _reached(self, number: int, path: str, timeout: float) -> bool:
        until = self._loop.time() + timeout
        seq = await self._threads.run(lambda: _newest(path), name="shapestore followed")
        if self._closed:
            raise StoreClosedError("the store was closed during this call")
        goal = Goal(number, seq, self._loop.create_future())
        timer = self._loop.call_at(until, resolve, goal.reached, False)
        self._goals.add(goal)
        self.wake()
        self._look()
        try:
            return await goal.reached
        finally:
            timer.cancel()
            self._goals.discard(goal)

    def _look(self) -> None:
        """Tell those whose goal is reached; look again if some are not."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for goal in [goal for goal in self._goals if not goal.reached.done()]:
            try:
                if self._reader.has_reached(goal.source, goal.seq):
                    resolve(goal.reached, True)
            except ShapeStoreError as error:
                refuse(goal.reached, fresh(error))
        if any(not goal.reached.done() for goal in self._goals):
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)


def _newest(path: str) -> int:
    """The newest change of a source."""
    try:
        with opened(path) as connection:
            position = newest(connection)
    except sqlite3.Error:
        return NEVER
    return NEVER if position is None else position.seq
