"""One key's way from missing to settled, for all of this store's callers of it.

A flight follows (looks, and waits) or leads (claims, runs the creator, publishes). It belongs to the store: a
caller who is cancelled leaves it, and no more. Its task is never cancelled either, except with its loop; it is
told by ``close`` and ``supersede``, and then ends between two steps, never within one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from shapestore import create_lock, events
from shapestore.commands import Abandon, Claim, Command, Fail, Publish
from shapestore.create_lock import Failure, next_step
from shapestore.creation import Creation, Creator
from shapestore.errors import (
    CorruptStoreError,
    ShapeStoreError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
    SupersededError,
    WaitTimeoutError,
    fresh,
)
from shapestore.failure import describe
from shapestore.shape import Shape
from shapestore.snapshot import Chunk
from shapestore.stored_shape import StoredShape, from_row
from shapestore.waiters import Waiters

if TYPE_CHECKING:
    from shapestore.flights import Flights

logger = logging.getLogger("shapestore")

T = TypeVar("T")

# Between two looks a flight sleeps a tenth of the time it has waited: the wait ends within about a tenth of the
# creation's own time, and a long one costs few looks.
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1
# Who waits for a place is told when there is one; meanwhile it only sees whether another process was quicker.
_LONGEST_PAUSE_FOR_A_PLACE = 1.0


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
        self._waiters = Waiters(self._timed_out, self.wake)
        self._place: asyncio.Future[None] | None = None
        self._awaited: str | None = None
        self._leading: str | None = None
        self._closing = False
        self._superseded = False
        self._began = time.monotonic()
        self._wakeup: asyncio.Future[None] | None = None
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
        return self._leading

    def wake(self) -> None:
        """Look again now."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def supersede(self) -> None:
        """The attempt that it leads has lost its fence: give it up, and begin again."""
        self._superseded = True
        self.wake()

    def close(self) -> None:
        """The store closes: give up what is under way, and end."""
        self._closing = True
        self._waiters.refuse(_store_closed)
        self.wake()

    # --- the way

    async def _fly(self) -> None:
        try:
            while not self._closing and len(self._waiters):
                await self._take_a_step()
        except ShapeStoreError as error:
            refusal = error
            self._waiters.refuse(lambda: fresh(refusal))
        except Exception as error:
            logger.exception("a flight failed in a way that was not foreseen; its callers are told")
            cause = error
            self._waiters.refuse(lambda: _unforeseen(cause))
        finally:
            self._waiters.refuse(_store_closed)
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
                self._waiters.answer(stored)
            case create_lock.Fail(failure):
                self._waiters.refuse(failure.as_error)
            case create_lock.Wait(handle):
                self._awaited = handle
                self._leave_place()
                await self._pause()
            case create_lock.Abandon(handle):
                await flights.writer.submit(Abandon(handle))
            case create_lock.Claim(over):
                if self._has_place():
                    await self._claim(over)
                else:
                    await self._pause(longest=_LONGEST_PAUSE_FOR_A_PLACE)

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

    # --- leading

    async def _claim(self, over: str | None) -> None:
        handle = secrets.token_hex(16)
        command = Claim(self._shape.comparable, handle, over=over, older=self._older)
        self._leading = handle  # from before the row is there, so that the row is never without its flight
        try:
            if await self._flights.writer.submit(command, refusable=True):
                self._flights.telemetry.led(self._shape.comparable, handle, over)
                await self._lead(handle)
        except SupersededError:
            self._flights.telemetry.was_superseded(self._shape.comparable, handle)
        finally:
            self._leading = None
            self._superseded = False

    async def _lead(self, handle: str) -> None:
        started = time.monotonic()
        creation = Creation(self._shape, handle, self._creator, self._flights.writer)
        try:
            rest = await self._created(creation, started + self._flights.create_timeout)
        except BaseException as error:
            if self._closing or _is_superseded(error, handle):
                await self._give_up(handle)
            else:
                await self._fail(handle, error, started)
        else:
            await self._publish(rest, creation.row_count, started)

    async def _created(self, creation: Creation, deadline: float) -> Chunk:
        """Run the creation until it ends, its time is up, or its attempt is over."""
        task = creation.start()
        self._hand_place_to(task)
        task.add_done_callback(lambda _: self.wake())
        while not task.done():
            left = deadline - time.monotonic()
            if self._closing or self._superseded or left <= 0:
                creation.stop()
                task.add_done_callback(_ignore_outcome)
                if left > 0:
                    raise SupersededError(self._leading or "")
                raise TimeoutError(f"the creator was not done within {self._flights.create_timeout:g} s")
            await self._sleep(left)
        if task.cancelled():
            raise RuntimeError("the creator was cancelled, by itself or by what it called")
        return task.result()

    async def _publish(self, rest: Chunk, row_count: int, started: float) -> None:
        comparable = self._shape.comparable
        duration_ms = _ms_since(started)
        followers = self._followers()
        created_at_ms = await self._land(
            lambda: Publish(
                comparable,
                self._shape.table,
                rest,
                row_count,
                replaces=self._older is not None,
                duration_ms=duration_ms,
                followers=followers,
            )
        )
        if created_at_ms is None:
            raise SupersededError(rest.handle)
        self._waiters.answer(from_row(rest.handle, self._shape, row_count, created_at_ms))
        self._flights.telemetry.was_created(events.Created(comparable, rest.handle, row_count, duration_ms, followers))

    async def _fail(self, handle: str, error: BaseException, started: float) -> None:
        comparable = self._shape.comparable
        failure = describe(error, grace=self._flights.failure_grace)
        duration_ms = _ms_since(started)
        if not await self._land(
            lambda: Fail(comparable, handle, failure, duration_ms=duration_ms, followers=self._followers())
        ):
            raise SupersededError(handle)
        self._flights.failed(handle, failure)
        if isinstance(error, (StorageError, StoreBusyError, CorruptStoreError)):
            self._waiters.refuse(lambda: fresh(error))
        else:
            self._waiters.refuse(lambda: failure.as_error(error))
        self._flights.telemetry.has_failed(
            events.Failed(comparable, handle, failure.error_type, failure.message, failure.retry_after_ms)
        )

    async def _give_up(self, handle: str) -> None:
        """End the attempt without an outcome: nobody is to take the closing of a store for the failure of a creator."""
        if not await self._land(lambda: Abandon(handle)):
            raise SupersededError(handle)

    async def _land(self, make: Callable[[], Command[T]]) -> T:
        """Have an outcome committed, or found void, however long the disk is full or the gate is held by another.

        The callers of the moment are told at once what is in the way; the next may find it gone.
        """
        pause = 0.01
        while True:
            try:
                return await self._flights.writer.submit(make())
            except (StorageError, StoreBusyError) as error:
                if self._closing:
                    raise
                trouble = error
                self._waiters.refuse(lambda: fresh(trouble))
            await self._sleep(pause)
            pause = min(2 * pause, 1.0)

    def _followers(self) -> int:
        return max(0, len(self._waiters) - 1)

    # --- places

    def _has_place(self) -> bool:
        if self._place is None:
            self._place = self._flights.slots.ask()
            self._place.add_done_callback(lambda _: self.wake())
        return self._place.done()

    def _hand_place_to(self, task: asyncio.Task[Chunk]) -> None:
        """The place is the creator's until it has really ended, which may be long after its attempt."""
        place, self._place = self._place, None
        assert place is not None
        task.add_done_callback(lambda _: self._flights.slots.give_back(place))

    def _leave_place(self) -> None:
        if self._place is not None:
            self._flights.slots.give_back(self._place)
            self._place = None

    # --- waiting

    async def _pause(self, longest: float = _LONGEST_PAUSE) -> None:
        waited = time.monotonic() - self._began
        await self._sleep(min(max(waited / 10, _SHORTEST_PAUSE), longest) * random.uniform(0.75, 1.25))

    async def _sleep(self, seconds: float) -> None:
        """Sleep until woken."""
        loop = asyncio.get_running_loop()
        self._wakeup = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self._wakeup
        finally:
            timer.cancel()
            self._wakeup = None

    def _timed_out(self, timeout: float) -> WaitTimeoutError:
        self._flights.telemetry.timed_out(self._shape.comparable)
        if self._leading:
            what = "its creator is still running, and goes on"
        elif self._awaited:
            what = "another store is still creating it"
        else:
            what = "it waits for one of the max_creating places"
        return WaitTimeoutError(f"no answer within {timeout:g} s for {self._shape!r}: {what}")


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _is_superseded(error: BaseException, handle: str) -> bool:
    return isinstance(error, SupersededError) and error.handle == handle


def _ignore_outcome(task: asyncio.Task[Chunk]) -> None:
    """Its attempt is over; asyncio is not to warn that nobody looked."""
    if not task.cancelled():
        task.exception()


def _store_closed() -> StoreClosedError:
    return StoreClosedError("the store was closed while this shape was waited for")


def _unforeseen(cause: Exception) -> ShapeStoreError:
    error = ShapeStoreError(f"unforeseen {type(cause).__name__}: {cause}; please report it")
    error.__cause__ = cause
    return error
