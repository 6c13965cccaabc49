"""One key's way from missing to settled, for all of this store's callers of it.

A flight follows (looks, and waits) or leads (see attempt.py). It belongs to the store: a caller who is cancelled
leaves it, and no more. Its task is never cancelled either, except with its loop; it is told by ``close`` and
``supersede``, and then ends between two steps, never within one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from shapestore import create_lock
from shapestore.attempt import Attempt
from shapestore.commands import Abandon
from shapestore.create_lock import next_step
from shapestore.creation import Creator
from shapestore.errors import ShapeStoreError, StoreClosedError, WaitTimeoutError
from shapestore.shape import Shape
from shapestore.sleeper import Sleeper
from shapestore.stored_shape import StoredShape
from shapestore.waiters import Waiters

if TYPE_CHECKING:
    from shapestore.flights import Flights

logger = logging.getLogger("shapestore")

# Between two looks a flight sleeps a tenth of the time it has waited: the wait ends within about a tenth of the
# creation's own time, and a long one costs few looks.
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1
# Who waits for a place is told when there is one; meanwhile it only sees whether another process was quicker. The more
# there are who wait, the longer each pauses: all of them together make 10,000 looks a second at most.
_PAUSES_FOR_A_PLACE = (0.05, 1.0)
_PAUSE_FOR_EACH_WHO_WAITS = 0.0001


class Flight:
    """The flight of one key. ``older`` is the handle that a refresh is to replace."""

    def __init__(
        self, flights: Flights, shape: Shape, creator: Creator, *, refreshing: bool, older: str | None
    ) -> None:
        self._flights = flights
        self._shape = shape
        self._creator = creator
        self.refreshing = refreshing
        self._older = older
        self._sleeper = Sleeper(flights.deadlines)
        self._waiters = Waiters(flights.deadlines, self._timed_out, self.wake)
        self._place: asyncio.Future[None] | None = None
        self._awaited: str | None = None
        self._attempt: Attempt | None = None
        self._closing = False
        self._began = time.monotonic()
        self.task = asyncio.get_running_loop().create_task(self._fly(), name="shapestore flight")

    # --- for callers

    async def wait(self, timeout: float) -> StoredShape:
        """Wait for the answer, for ``timeout`` seconds at most."""
        waiter = self._waiters.add(timeout)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiters.remove(waiter)
            raise

    # --- for the store

    @property
    def leading(self) -> str | None:
        """The handle under which this flight leads, or is about to."""
        return None if self._attempt is None else self._attempt.handle

    @property
    def claimed(self) -> str | None:
        """The handle under which this flight leads by a lock row that was committed."""
        return self._attempt.handle if self._attempt is not None and self._attempt.claimed else None

    def wake(self) -> None:
        """Look again now."""
        self._sleeper.wake()

    def supersede(self) -> None:
        """The attempt that it leads has lost its fence: give it up, and begin again."""
        if self._attempt is not None:
            self._attempt.end()

    def close(self) -> None:
        """The store closes: give up what is under way, and end."""
        self._closing = True
        self._waiters.refuse(_store_closed())
        if self._attempt is not None:
            self._attempt.close()
        self.wake()

    # --- the way

    async def _fly(self) -> None:
        try:
            while not self._closing and len(self._waiters):
                await self._take_a_step()
        except ShapeStoreError as error:
            self._waiters.refuse(error)
        except Exception as error:
            logger.exception("a flight failed in a way that was not foreseen; its callers are told")
            self._waiters.refuse(_unforeseen(error))
        finally:
            self._waiters.refuse(_store_closed())
            self._leave_place()
            self._flights.remove(self._shape.comparable)

    async def _take_a_step(self) -> None:
        flights = self._flights
        flights.telemetry.polls += 1
        look = flights.reader.look(self._shape, self._awaited)
        if look is None:
            await self._pause()
            return
        seen, stored = look
        match self._judge(seen):
            case create_lock.Answer():
                assert stored is not None
                if stored.handle == self._awaited:
                    flights.reads.followed(stored.handle, len(self._waiters))
                flights.reads.read(stored.handle)
                self._waiters.answer(stored)
            case create_lock.Fail(failure):
                self._waiters.refuse(failure.as_error())
            case create_lock.Wait(handle):
                self._awaited = handle
                self._leave_place()
                await self._pause()
            case create_lock.Abandon(handle):
                await flights.writer.submit(Abandon(handle))
            case create_lock.Claim(over):
                await self._lead(over)

    def _judge(self, seen: create_lock.Seen) -> create_lock.Step:
        flights, lock = self._flights, seen.lock
        failed = lock is not None and lock.state is create_lock.State.FAILED
        return next_step(
            seen,
            me=flights.owner,
            owner_alive=lock is None or flights.is_alive(lock.owner),
            failure_seen_ms=flights.failures_seen.age_ms(lock.handle) if lock and failed else 0.0,
            awaited=self._awaited,
            older=self._older,
        )

    async def _lead(self, over: str | None) -> None:
        """Lead, if one of the ``max_creating`` places is free; else wait for one, and look again before claiming."""
        if self._place is None:
            self._place = self._flights.slots.ask()
            if not self._place.done():
                self._place.add_done_callback(lambda _: self.wake())
        if not self._place.done():
            shortest, longest = _PAUSES_FOR_A_PLACE
            await self._pause(max(shortest, len(self._flights.slots) * _PAUSE_FOR_EACH_WHO_WAITS), longest)
            return
        # From before its row is there until after it is gone, so that the row is never without its flight.
        self._attempt = Attempt(
            self._flights, self._shape, self._creator, self._waiters, self._sleeper, older=self._older
        )
        place, self._place = self._place, None
        try:
            await self._attempt.lead(over, place)
        finally:
            self._attempt = None

    def _leave_place(self) -> None:
        if self._place is not None:
            self._flights.slots.give_back(self._place)
            self._place = None

    async def _pause(self, shortest: float = _SHORTEST_PAUSE, longest: float = _LONGEST_PAUSE) -> None:
        waited = time.monotonic() - self._began
        await self._sleeper.sleep(min(max(waited / 10, shortest), longest) * random.uniform(0.75, 1.25))

    def _timed_out(self, timeout: float) -> WaitTimeoutError:
        self._flights.telemetry.timed_out(self._shape.comparable)
        if self._attempt:
            what = "its creator is still running, until its own deadline"
        elif self._awaited:
            what = "another store is still creating it"
        else:
            what = "it waits for one of the max_creating places"
        return WaitTimeoutError(f"no answer within {timeout:g} s for {self._shape.comparable:.500}: {what}")


def _store_closed() -> StoreClosedError:
    return StoreClosedError("the store was closed while this shape was waited for")


def _unforeseen(cause: Exception) -> ShapeStoreError:
    error = ShapeStoreError(f"unforeseen {type(cause).__name__}: {cause}; please report it")
    error.__cause__ = cause
    return error
