"""What a flight does while it leads: the claim, the creator, and an outcome that lands."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from shapestore import events
from shapestore.commands import Abandon, Claim, Command, Fail, Publish
from shapestore.creation import Creation, Creator
from shapestore.errors import ShapeStoreError, StorageError, StoreBusyError, SupersededError
from shapestore.failure import describe
from shapestore.shape import Shape
from shapestore.sleeper import Sleeper
from shapestore.snapshot import Chunk
from shapestore.stored_shape import from_row
from shapestore.waiters import Waiters

if TYPE_CHECKING:
    from shapestore.flights import Flights

T = TypeVar("T")


class Attempt:
    """One attempt to create a shape, under a handle of its own, which is its fence.

    It answers ``waiters`` with what was committed. Where its outcome was void, it answers nobody.
    """

    def __init__(
        self, flights: Flights, shape: Shape, creator: Creator, waiters: Waiters, sleeper: Sleeper, *, older: str | None
    ) -> None:
        self.handle = secrets.token_hex(16)
        self._flights = flights
        self._shape = shape
        self._creator = creator
        self._waiters = waiters
        self._sleeper = sleeper
        self._older = older
        self._claimed_at = 0.0
        self._closing = False
        self._over = False

    @property
    def claimed(self) -> bool:
        """Whether its lock row was committed."""
        return self._claimed_at > 0

    def close(self) -> None:
        """The store closes: end without an outcome."""
        self._closing = True
        self.end()

    def end(self) -> None:
        """The attempt is over: its fence is lost."""
        self._over = True
        self._sleeper.wake()

    async def lead(self, over: str | None, place: asyncio.Future[None]) -> None:
        """Claim the key (over the attempt ``over``, if that was judged out of date), create the shape, end the attempt.

        Does nothing if somebody else was first. Gives back the ``place`` among the creators in any case.
        """
        if not await self._claimed(over, place):
            return
        self._flights.telemetry.led(self._shape.comparable, self.handle, over)
        self._claimed_at = time.monotonic()
        creation = Creation(self._shape, self.handle, self._creator, self._flights.writer)
        try:
            outcome = await self._created(creation, place)
            if isinstance(outcome, Chunk):
                await self._publish(outcome, creation.row_count)
            elif self._closing or _is_superseded(outcome, self.handle):
                await self._give_up()
            else:
                await self._fail(outcome, by_creator=outcome is not creation.refusal)
        except SupersededError:
            self._flights.telemetry.was_superseded(self._shape.comparable, self.handle)
        except ShapeStoreError:  # its outcome could not be written before the store closed: to others it will be dead
            self._flights.telemetry.was_abandoned(self._shape.comparable, self.handle)
            raise

    async def _claimed(self, over: str | None, place: asyncio.Future[None]) -> bool:
        led = False
        try:
            claim = Claim(self._shape.comparable, self.handle, over=over, older=self._older)
            led = await self._flights.writer.submit(claim, refusable=True)
        finally:
            if not led:
                self._flights.slots.give_back(place)
        return led

    async def _created(self, creation: Creation, place: asyncio.Future[None]) -> Chunk | BaseException:
        """Run the creation until it ends, its time is up, or its attempt is over: what is left to publish, or why not.

        An error of the creator is given back, not raised: what is raised here is about the flight, as its cancellation.
        The place is the creator's until it has really ended, which may be long after its attempt.
        """
        task = creation.start()
        self._flights.creating(task)
        task.add_done_callback(lambda _: self._has_ended(place))
        deadline = self._claimed_at + self._flights.create_timeout
        while not task.done():
            left = deadline - time.monotonic()
            if self._over or left <= 0:
                creation.stop()
                task.add_done_callback(_ignore_outcome)
                if self._over:
                    return SupersededError(self.handle)
                return TimeoutError(f"the creator was not done within {self._flights.create_timeout:g} s")
            await self._sleeper.sleep(left)
        if task.cancelled():
            return RuntimeError("the creator was cancelled, by itself or by what it called")
        error = task.exception()
        return task.result() if error is None else error  # an exception may be false: it may have a __len__

    def _has_ended(self, place: asyncio.Future[None]) -> None:
        self._flights.slots.give_back(place)
        self._sleeper.wake()

    async def _publish(self, rest: Chunk, row_count: int) -> None:
        comparable, followers, duration_ms = self._shape.comparable, self._followers(), self._duration_ms()
        created_at_ms = await self._land(
            lambda: Publish(
                comparable,
                self._shape.table,
                rest,
                row_count,
                replaces=self._older is not None,
                duration_ms=duration_ms,
                followers=followers,
                tell=lambda at_ms: self._waiters.answer(from_row(self.handle, self._shape, row_count, at_ms)),
            )
        )
        if created_at_ms is None:
            raise SupersededError(self.handle)
        self._flights.reads.read(self.handle)
        self._flights.after_publish()
        self._flights.telemetry.was_created(events.Created(comparable, self.handle, row_count, duration_ms, followers))

    async def _fail(self, error: BaseException, *, by_creator: bool) -> None:
        comparable, followers, duration_ms = self._shape.comparable, self._followers(), self._duration_ms()
        failure = describe(error, grace=self._flights.failure_grace)
        if not await self._land(
            lambda: Fail(comparable, self.handle, failure, duration_ms=duration_ms, followers=followers)
        ):
            raise SupersededError(self.handle)
        self._flights.failed(self.handle, failure)
        if isinstance(error, ShapeStoreError) and not by_creator:
            self._waiters.refuse(error)
        else:
            self._waiters.refuse(failure.as_error(error))
        self._flights.telemetry.has_failed(
            events.Failed(
                comparable, self.handle, failure.error_type, failure.message, failure.retry_after_ms, duration_ms
            )
        )

    async def _give_up(self) -> None:
        """End without an outcome: nobody is to take the closing of a store for the failure of a creator."""
        if not await self._land(lambda: Abandon(self.handle)):
            raise SupersededError(self.handle)
        self._flights.telemetry.was_abandoned(self._shape.comparable, self.handle)

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
                self._waiters.refuse(error)
            await self._sleeper.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _followers(self) -> int:
        return max(0, len(self._waiters) - 1)

    def _duration_ms(self) -> int:
        return round((time.monotonic() - self._claimed_at) * 1000)


def _is_superseded(error: BaseException, handle: str) -> bool:
    return isinstance(error, SupersededError) and error.handle == handle


def _ignore_outcome(task: asyncio.Task[Chunk | BaseException]) -> None:
    """Its attempt is over; asyncio is not to warn that nobody looked."""
    if not task.cancelled():
        task.exception()
