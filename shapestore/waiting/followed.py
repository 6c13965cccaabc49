"""Waiting until live shapes hold all that their sources hold now.

The newest change of a source is read after the call: what was committed before is not behind it. Then the store's file
is read every few milliseconds, once for all waiters, until rounds have reached that change. Where they have gone beyond
it, the source is read once more: a round may have read what a copy has taken the place of meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from shapestore.concurrency.futures import refuse, resolve
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.errors import ShapeStoreError, StoreClosedError, fresh
from shapestore.source.sqlite_feed.changes import SourcePosition
from shapestore.storage.reader import Reader
from shapestore.waiting.newest_changes import NewestChanges

LOOK_SECONDS = 0.005
# While a source cannot be read, or has another past.
LOOK_AGAIN_SECONDS = 0.05
# No round comes as far.
_BEYOND_ALL = (1 << 63) - 1
# Whatever their timeout, callers wait so long for a source to be read, which as a rule takes a moment.
READING_SECONDS = 1.0

Waiter = asyncio.Future[bool]


class Goal(NamedTuple):
    """A change of a source that rounds are to reach."""

    source: int
    seq: int


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
        while not self._reader.has_reached(number, _BEYOND_ALL):  # it would, if no live shapes were left
            newest = await self._read(number, path, until)
            if newest is None:
                if self._loop.time() >= until:
                    return False
                await asyncio.sleep(min(LOOK_AGAIN_SECONDS, timeout))
                self._refuse_if_closed()
            elif not await self._passed(Goal(number, newest.seq), until):
                return False
            elif self._followed_up_to(number) == newest or await self._read(number, path, until) is not None:
                return True  # and no round has passed it by the changes of another past
        return True

    async def _passed(self, goal: Goal, until: float) -> bool:
        """Wait for rounds to come as far."""
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

    async def _read(self, number: int, path: str, until: float) -> SourcePosition | None:
        try:
            async with asyncio.timeout_at(max(until, self._loop.time() + READING_SECONDS)):
                newest = await self._newest.read(number, path)
        except TimeoutError:
            newest = None
        self._refuse_if_closed()
        return newest

    def _followed_up_to(self, number: int) -> tuple[int, int | None] | None:
        followed = self._reader.followed_up_to(number)
        return followed and followed[:2]

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
