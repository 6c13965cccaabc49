"""What a flight does while it leads: the claim, the creator, and an outcome that lands.

    claim
      _claim_answered             the lock row is ours: _run_creator; or somebody else was first
        _creator_ended            _publish what it gave, or _fail
        _time_is_up               _fail
        give_up, close            _abandon
          _published, _failed, _abandoned       it is committed; or void, and the flight begins again
          _not_landed                           the disk is full, say: the outcome is sent again, until it lands

Each step is called when the one before has come to its end, and none of them waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from shapestore.creating.creator_run import CreatorRun
from shapestore.creating.error_boundary import error_boundary
from shapestore.creating.failure import describe
from shapestore.creating.timers import Timer
from shapestore.errors import ShapeStoreError, StorageError, StoreBusyError, SupersededError
from shapestore.shape.stored_shape import from_row
from shapestore.storage.commands import Abandon, Claim, Command, Fail, Publish
from shapestore.storage.row_codec import Chunk

if TYPE_CHECKING:
    from shapestore.creating.flight import Flight

T = TypeVar("T")

_SHORTEST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0


class Attempt:
    """One attempt to create a shape, under a handle of its own, which is its fence.

    It begins with one of the ``max_creating`` places, which is its creator's until that has really ended. Its flight is
    answered with what was committed.
    """

    def __init__(self, flight: Flight) -> None:
        self.handle = flight.coalescer.handles.new()
        self._flight = flight
        self._coalescer = flight.coalescer
        self._shape = flight.shape
        self._over: str | None = None
        """The attempt that it was claimed over."""
        self._claimed_at = 0.0
        self._creation: CreatorRun | None = None
        self._deadline: Timer | None = None
        self._given_up = False
        """Its fence is lost, or its store closes."""
        self._closing = False
        self._settled = False
        """Its outcome is decided, though the creator may not have ended, nor the outcome landed."""
        self._next_try: Timer | None = None
        self._pause = _SHORTEST_PAUSE

    # --- for the flight

    @property
    def claimed(self) -> bool:
        """Whether its lock row was committed."""
        return self._claimed_at > 0

    def claim(self, over: str | None) -> None:
        """Claim the key: over the attempt ``over``, if that was judged out of date."""
        self._over = over
        claim = Claim(self._shape.comparable, self.handle, over=over, older=self._flight.older)
        self._send(claim, self._claim_answered, self._claim_refused, refusable=True)

    def give_up(self) -> None:
        """Its fence is lost: end without an outcome, unless one is under way, which will be found void."""
        self._given_up = True
        if self._next_try is not None:
            self._coalescer.timers.call_now(self._next_try)
        elif self._creation is not None and not self._settled:
            self._stop_creator()
            self._abandon()

    def close(self) -> None:
        """The store closes: the same, and whatever cannot be written now never will be."""
        self._closing = True
        self.give_up()

    def end_by(self, error: ShapeStoreError) -> None:
        """Something went wrong that is nobody's answer."""
        self._flight.end_by(error)

    # --- the claim

    @error_boundary
    def _claim_answered(self, led: bool) -> None:
        if not led:
            self._coalescer.slots.give_back()
            self._flight.begin_again()
            return
        self._claimed_at = time.monotonic()
        context = self._flight.context.copy()
        context.run(self._coalescer.telemetry.led, self._shape.comparable, self.handle, self._over)
        if self._given_up:
            self._coalescer.slots.give_back()
            self._settled = True
            self._abandon()
        else:
            self._run_creator(context)

    @error_boundary
    def _claim_refused(self, error: ShapeStoreError) -> None:
        self._coalescer.slots.give_back()
        self._flight.end_by(error)

    # --- the creator

    def _run_creator(self, context: Context) -> None:
        coalescer = self._coalescer
        self._creation = CreatorRun(self._shape, self.handle, self._flight.creator, coalescer.writer)
        self._deadline = coalescer.timers.at(coalescer.loop.time() + coalescer.create_timeout, self._time_is_up)
        task = self._creation.start(context)  # an eager one may go far, even close the store, before this returns
        task.add_done_callback(self._creator_ended)
        coalescer.creating(task)

    @error_boundary
    def _creator_ended(self, task: asyncio.Task[Chunk | BaseException]) -> None:
        """It may be long after the outcome was decided."""
        self._coalescer.created(task)
        outcome = _outcome(task)
        if self._settled:
            return
        self._settle()
        if isinstance(outcome, Chunk):
            self._publish(outcome)
        elif isinstance(outcome, SupersededError) and outcome.handle == self.handle:
            self._abandon()
        else:
            self._fail(outcome)

    @error_boundary
    def _time_is_up(self) -> None:
        self._stop_creator()
        self._fail(TimeoutError(f"the creator was not done within {self._coalescer.create_timeout:g} s"))

    def _stop_creator(self) -> None:
        assert self._creation is not None
        self._settle()
        self._creation.stop()

    def _settle(self) -> None:
        assert self._deadline is not None
        self._settled = True
        self._coalescer.timers.cancel(self._deadline)

    # --- the outcome

    def _publish(self, rest: Chunk) -> None:
        assert self._creation is not None
        publish = Publish(
            rest,
            self._creation.row_count,
            replaces=self._flight.older is not None,
            duration_ms=self._duration_ms(),
            followers=self._followers(),
        )
        self._land(publish, partial(self._published, publish))

    @error_boundary
    def _published(self, publish: Publish, created_at_ms: int | None) -> None:
        """Called while the gate is still held: a moment later another process may drop the shape, and who asks after
        that is not to be given it any more."""
        if created_at_ms is None:
            self._was_superseded()
            return
        coalescer = self._coalescer
        coalescer.access.touch(self.handle)
        coalescer.after_publish()
        coalescer.telemetry.was_created(
            self._shape.comparable, self.handle, publish.row_count, publish.duration_ms, publish.followers
        )
        self._flight.answer(from_row(self.handle, self._shape, publish.row_count, created_at_ms))

    def _fail(self, error: BaseException) -> None:
        failure = describe(error, grace=self._coalescer.failure_grace)
        fail = Fail(
            self._shape.comparable,
            self.handle,
            failure,
            duration_ms=self._duration_ms(),
            followers=self._followers(),
        )
        self._land(fail, partial(self._failed, fail, error))

    @error_boundary
    def _failed(self, fail: Fail, error: BaseException, held: bool) -> None:
        if not held:
            self._was_superseded()
            return
        assert self._creation is not None
        self._coalescer.failed(fail)
        self._coalescer.telemetry.has_failed(fail.comparable, self.handle, fail.failure, fail.duration_ms)
        if isinstance(error, ShapeStoreError) and error is self._creation.refusal:
            self._flight.end_by(error)
        else:
            self._flight.end_by(fail.failure.as_error(error))

    def _abandon(self) -> None:
        """End without an outcome: nobody is to take the closing of a store for the failure of a creator."""
        self._land(Abandon(self.handle), self._abandoned)

    @error_boundary
    def _abandoned(self, held: bool) -> None:
        if not held:
            self._was_superseded()
            return
        self._coalescer.telemetry.was_abandoned(self._shape.comparable, self.handle)
        self._flight.begin_again()

    def _was_superseded(self) -> None:
        self._coalescer.telemetry.was_superseded(self._shape.comparable, self.handle)
        self._flight.begin_again()

    # --- its way to the file

    def _land(self, outcome: Command[T], answered: Callable[[T], None]) -> None:
        """Have an outcome committed, or found void, however long the disk is full or the gate is held by another."""
        self._next_try = None
        self._send(outcome, answered, partial(self._not_landed, outcome, answered))

    @error_boundary
    def _not_landed(self, outcome: Command[T], answered: Callable[[T], None], error: ShapeStoreError) -> None:
        """The callers of the moment are told at once what is in the way; the next may find it gone."""
        if self._closing or not isinstance(error, (StorageError, StoreBusyError)):
            # It could not be written before the store closed: to others it will be the attempt of a dead owner.
            self._coalescer.telemetry.was_abandoned(self._shape.comparable, self.handle)
            self._flight.end_by(error)
            return
        self._flight.waiters.refuse(error)
        when = self._coalescer.loop.time() + self._pause
        self._next_try = self._coalescer.timers.at(when, partial(self._land, outcome, answered))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _send(
        self,
        command: Command[T],
        answered: Callable[[T], None],
        refused: Callable[[ShapeStoreError], None],
        *,
        refusable: bool = False,
    ) -> None:
        try:
            self._coalescer.writer.send(command, answered, refused, refusable=refusable)
        except ShapeStoreError as error:
            refused(error)

    def _followers(self) -> int:
        return max(0, len(self._flight.waiters) - 1)

    def _duration_ms(self) -> int:
        return round((time.monotonic() - self._claimed_at) * 1000)


def _outcome(task: asyncio.Task[Chunk | BaseException]) -> Chunk | BaseException:
    """What the creator has given, or what it raised."""
    if task.cancelled():
        return RuntimeError("the creator was cancelled, by itself or by what it called")
    error = task.exception()
    return task.result() if error is None else error  # an exception may be false: it may have a __len__
