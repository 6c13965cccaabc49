"""One attempt to create a shape: the claim, the creator, and an outcome that lands.

    CLAIMING   claim
                 _claim_answered           another was first; or _run_creator
    CREATING           _creator_ended      _publish what it gave, or _fail
                       _time_is_up         _fail
                       give_up, close      _abandon
    LANDING              _landed           committed: _published, _refreshed or _failed; or void: _superseded
                         _not_landed       the disk is full, say: the outcome is sent again after a pause
    ENDED

Each step is called when the one before has come to its end, and none of them waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, TypeVarTuple

from shapestore import events
from shapestore.creating.creator_run import CreatorRun, CreatorTask, outcome_of
from shapestore.creating.error_boundary import error_boundary
from shapestore.creating.failure import describe, name_of
from shapestore.creating.leader import Leader
from shapestore.creating.phase import TRANSITIONS, Phase
from shapestore.creating.row_sink import Publication
from shapestore.creating.services import Services
from shapestore.creating.timers import Timer
from shapestore.creating.waiters import Answer
from shapestore.errors import ShapeStoreError, StorageError, StoreBusyError, SupersededError
from shapestore.events import Event
from shapestore.shape.stored_shape import StoredShape, newly_stored
from shapestore.storage.commands import Abandon, Claim, Command, Fail, Publish, PublishDifference, Void
from shapestore.storage.from_row import to_stored

Facts = TypeVarTuple("Facts")

_SHORTEST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0


class Attempt:
    """An attempt under a random handle of its own, which is its fencing token.

    It takes over a slot of ``max_creating`` from its flight and passes it on to its creator.
    """

    def __init__(self, services: Services, leader: Leader) -> None:
        self.handle = services.handles.new()
        self._services = services
        self._leader = leader
        self._key = leader.key
        self._phase = Phase.CLAIMING
        self._timer: Timer | None = None
        """CREATING: the creator's deadline. LANDING: the pause before the outcome is sent again."""
        self._taken_over: str | None = None
        self._claimed_at = 0.0
        self._run = CreatorRun(services, leader, self.handle)
        self._outcome: Command[Any]
        """From LANDING on."""
        self._error: BaseException
        """Why it has failed, if it has."""
        self._given_up = False
        self._closing = False
        self._pause = _SHORTEST_PAUSE

    def _enter(self, phase: Phase) -> None:
        assert phase in TRANSITIONS[self._phase], f"{self._phase!r} -> {phase!r}"
        if self._phase is Phase.CLAIMING and phase is not Phase.CREATING:
            self._services.slots.release()
        self._phase = phase
        if self._timer is not None:
            self._services.timers.cancel(self._timer)
            self._timer = None

    # --- for the flight

    @property
    def claimed(self) -> bool:
        """Whether its claim was committed."""
        return self._phase is Phase.CREATING or self._phase is Phase.LANDING

    def claim(self, over: str | None) -> None:
        """Claim the key. ``over`` is the attempt that is taken over, if there is one."""
        self._taken_over = over
        claim = Claim(
            self._leader.shape,
            self.handle,
            comparable=self._key,
            namespace=self._services.namespace,
            over=over,
            older=self._leader.older,
        )
        self._services.send(claim, self._claim_answered, self.end_by, refusable=True)

    @error_boundary
    def give_up(self) -> None:
        """The fencing token no longer holds: end without an outcome. One that is on its way will be found void."""
        self._given_up = True
        if self._phase is Phase.CREATING:
            self._run.stop()
            self._abandon()
        elif self._phase is Phase.LANDING and self._timer is not None:
            self._services.timers.call_now(self._timer)

    def close(self) -> None:
        """Give up because the store closes: what cannot be written now will not be written."""
        self._closing = True
        self.give_up()

    def end_by(self, error: ShapeStoreError) -> None:
        """End the attempt and its flight by an error that is not the creator's."""
        if self._phase is Phase.CREATING:
            self._run.stop()
        if self._phase is not Phase.ENDED:
            self._enter(Phase.ENDED)
        self._leader.end_by(error)

    # --- CLAIMING

    @error_boundary
    def _claim_answered(self, led: bool) -> None:
        if not led:
            self._enter(Phase.ENDED)
            self._leader.begin_again()
            return
        self._claimed_at = time.monotonic()
        context = self._leader.context.copy()
        context.run(self._tell_led)
        if self._given_up:
            self._abandon()
        else:
            self._run_creator(context)

    # --- CREATING

    def _run_creator(self, context: Context) -> None:
        self._enter(Phase.CREATING)
        self._timer = self._services.timers.after(self._services.create_timeout, self._time_is_up)
        # An eager task may go far, even close the store, before this returns.
        self._services.creators.add(partial(self._run.start, context), self._creator_ended)

    @error_boundary
    def _creator_ended(self, task: CreatorTask) -> None:
        """This may be long after the outcome was decided."""
        outcome = outcome_of(task)
        if self._phase is not Phase.CREATING:
            return
        if not isinstance(outcome, BaseException):
            self._publish(outcome)
        elif isinstance(outcome, SupersededError) and outcome.handle == self.handle:
            self._leader.overtaken += 1
            self._abandon()
        else:
            self._fail(outcome)

    @error_boundary
    def _time_is_up(self) -> None:
        self._run.stop()
        self._fail(TimeoutError(f"the creator did not finish within {self._services.create_timeout:g} s"))

    def _publish(self, publication: Publication) -> None:
        publish = publication(**self._cost())
        if isinstance(publish, Publish):
            # Read after all that was read until now, also where these reads are written down behind the outcome.
            self._services.access.published(self.handle)
        self._land(publish)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        failure = describe(error, grace=self._services.failure_grace)
        self._land(Fail(self._key, self.handle, failure, **self._cost()))

    def _abandon(self) -> None:
        """End without an outcome: others must not take the closing of a store for a failure of its creator."""
        self._land(Abandon(self.handle))

    # --- LANDING

    def _land(self, outcome: Command[Any]) -> None:
        """Send the outcome until it is committed, or found void."""
        self._enter(Phase.LANDING)
        self._outcome = outcome
        self._send_outcome()

    def _send_outcome(self) -> None:
        self._services.send(self._outcome, self._landed, self._not_landed)

    @error_boundary
    def _landed(self, answer: Any) -> None:
        """The outcome is committed, or void.

        Called while the gate is still held. A moment later another process may drop the shape, and a caller who comes
        after that must not be given it: so the flight ends here and now.
        """
        self._enter(Phase.ENDED)
        if answer is False or isinstance(answer, Void):
            self._superseded(answer)
            return
        match self._outcome:
            case Publish() as publish:
                self._published(publish, answer)
            case PublishDifference() as publish:
                self._refreshed(publish, answer)
            case Fail() as fail:
                self._failed(fail)
            case Abandon():
                self._tell(events.Abandoned)
                self._leader.begin_again()

    @error_boundary
    def _not_landed(self, error: ShapeStoreError) -> None:
        """Tell the callers of the moment at once what is in the way; later ones may find it gone."""
        if self._closing or not isinstance(error, (StorageError, StoreBusyError)):
            # It could not be written before the store closed. To others it will be the attempt of a dead owner.
            self._tell(events.Abandoned)
            self.end_by(error)
            return
        self._leader.waiters.refuse(error)
        self._timer = self._services.timers.after(self._pause, self._send_outcome)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    # --- ENDED

    def _published(self, publish: Publish, created_at_ms: int) -> None:
        self._services.access.published(self.handle)
        self._services.after_publish()
        live = publish.encoder.followed is not None
        stored = newly_stored(self.handle, self._leader.shape, publish.encoder.row_count, created_at_ms, live=live)
        self._created(publish, stored)

    def _refreshed(self, publish: PublishDifference, columns: tuple[Any, ...]) -> None:
        stored = to_stored(self._leader.shape, columns)
        self._services.access.touch(stored.handle)
        if publish.difference.changes:
            self._services.after_publish()
        self._created(publish, stored)

    def _created(self, publish: Publish | PublishDifference, stored: StoredShape) -> None:
        if stored.live:
            self._services.follow(self._leader.creator)
        self._tell(events.Created, stored.row_count, publish.duration_ms, publish.followers)
        self._leader.answer(Answer(stored, self.handle))

    def _failed(self, fail: Fail) -> None:
        failure, error = fail.failure, self._error
        self._services.failure_log.log(self._key, failure, error)
        self._services.failure_ages.age_ms(self.handle)  # its TTL begins now
        self._services.sweep_later(self.handle, failure.retry_after_ms / 1000)
        self._tell(events.Failed, failure.error_type, failure.message, failure.retry_after_ms, fail.duration_ms)
        if isinstance(error, ShapeStoreError) and error is self._run.refusal:
            self._leader.end_by(error)
        else:
            self._leader.end_by(failure.as_error(name_of(self._leader.shape), error))

    def _superseded(self, answer: Any) -> None:
        self._leader.overtaken += answer is Void.OVERTAKEN
        self._tell(events.Superseded)
        self._leader.begin_again()

    # --- telling what happens

    def _tell_led(self) -> None:
        self._tell(events.Led)
        if self._taken_over is not None:
            self._tell(events.TakenOver, self._taken_over)

    def _tell(self, event: Callable[[str, str, *Facts], Event], *facts: *Facts) -> None:
        self._services.telemetry.tell(event, self._key, self.handle, *facts)

    def _cost(self) -> dict[str, int]:
        """For how long it was claimed, and how many callers beside the first it serves."""
        duration_ms = round((time.monotonic() - self._claimed_at) * 1000)
        return {"duration_ms": duration_ms, "followers": max(0, len(self._leader.waiters) - 1)}
