"""The way of one key from missing to answered, for all callers of this store who want it.

A flight follows (it polls the key's rows) or leads (it has an attempt). It belongs to the store: a cancelled caller
leaves it, and no more. It is not a task, which could be cancelled itself, but a set of steps. Each is called when
something has happened (a timer, a granted slot, an answer of the writer), and none of them waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable

from shapestore.creating.attempt import Attempt
from shapestore.creating.error_boundary import error_boundary
from shapestore.creating.failure import name_of
from shapestore.creating.services import Services
from shapestore.creating.timers import Timer
from shapestore.creating.waiters import Answer, Waiters
from shapestore.errors import ShapeStoreError, StoreClosedError, WaitTimeoutError
from shapestore.events import TimedOut
from shapestore.locking import create_lock
from shapestore.locking.create_lock import decide
from shapestore.shape.shape import Shape
from shapestore.source.creator import Creator
from shapestore.storage.commands import Abandon

# Between two polls a flight pauses for a tenth of the time it has waited: the wait ends within about a tenth of the
# creation's own time, and a long one costs few polls.
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1


class Flight:
    """The flight of one key. ``older`` is the attempt whose rows a refresh renews; ``ended`` is called at its end."""

    def __init__(
        self,
        services: Services,
        key: str,
        shape: Shape,
        creator: Creator,
        ended: Callable[[str], None],
        *,
        older: str | None,
    ) -> None:
        self._services = services
        self.key = key
        self.shape = shape
        self.creator = creator
        self._ended = ended
        self.older = older
        self.overtaken = 0
        self.context = contextvars.copy_context()
        """The context of the first caller, in which the creator runs."""
        self.waiters = Waiters(services.timers, self._time_out, self.poll)
        self._attempt: Attempt | None = None
        self._awaited: str | None = None
        """The attempt of another store that was last followed."""
        self._has_slot = False
        self._over: str | None = None
        """The attempt to take over, as it was judged last."""
        self._next_poll: Timer | None = None
        self._has_begun_again = False
        self._has_ended = False
        self._began = services.timers.now()
        services.polls.add(self.poll)

    # --- for callers

    async def wait(self, timeout: float) -> Answer:
        """Wait for the answer, ``timeout`` seconds at most."""
        waiter = self.waiters.add(timeout)
        try:
            return await waiter
        except asyncio.CancelledError:
            self.waiters.remove(waiter)
            raise

    # --- for the store

    @property
    def leading(self) -> str | None:
        """The handle of its attempt, from before the claim is committed."""
        return None if self._attempt is None else self._attempt.handle

    @property
    def claimed(self) -> str | None:
        """The handle of its attempt, once the claim is committed."""
        return self._attempt.handle if self._attempt is not None and self._attempt.claimed else None

    def supersede(self) -> None:
        """Give up the attempt, whose fencing token no longer holds, and begin again."""
        if self._attempt is not None:
            self._attempt.give_up()

    def close(self) -> None:
        """End because the store closes; an attempt is given up first."""
        self.waiters.refuse_all(StoreClosedError("the store was closed while this shape was waited for"))
        if self._attempt is not None:
            self._attempt.close()
        else:
            self._end()

    # --- following

    @error_boundary
    def poll(self) -> None:
        """Read the key's rows and do what they ask for. Does nothing while the flight leads, or after its end."""
        if self._attempt is not None or self._has_ended:
            return
        if not len(self.waiters):
            self._end()
            return
        self._cancel_next_poll()
        services = self._services
        services.telemetry.polls += 1
        polled = services.reader.poll(self.key, self.shape, self._awaited)
        if polled is None:
            self._poll_later()
            return
        seen, stored = polled
        match self._decide(seen):
            case create_lock.Lead(over):
                self._lead(over)
            case create_lock.Serve():
                assert stored is not None
                assert seen.stored is not None
                if seen.stored == self._awaited:
                    services.access.followed(seen.stored, len(self.waiters))
                services.access.touch(stored.handle)
                self.answer(Answer(stored, seen.stored))
            case create_lock.Raise(failure):
                self.end_by(failure.as_error(name_of(self.shape)))
            case create_lock.Follow(handle):
                self._awaited = handle
                self._leave_slots()
                self._poll_later()
            case create_lock.ReleaseOwn(handle):
                services.send(Abandon(handle), lambda _: self.poll(), self.end_by)

    def _decide(self, seen: create_lock.KeyState) -> create_lock.Step:
        services, lock = self._services, seen.lock
        failed = lock is not None and lock.state is create_lock.State.FAILED
        return decide(
            seen,
            me=services.owner,
            owner_alive=lock is None or services.is_alive(lock.owner),
            failure_seen_ms=services.failure_ages.age_ms(lock.handle) if lock and failed else 0.0,
            awaited=self._awaited,
            older=self.older,
        )

    def _poll_later(self) -> None:
        timers = self._services.timers
        waited = timers.now() - self._began
        pause = min(max(waited / 10, _SHORTEST_PAUSE), _LONGEST_PAUSE) * random.uniform(0.75, 1.25)
        self._next_poll = timers.after(pause, self.poll)

    def _cancel_next_poll(self) -> None:
        if self._next_poll is not None:
            self._services.timers.cancel(self._next_poll)
            self._next_poll = None

    # --- leading

    def _lead(self, over: str | None) -> None:
        """Lead, if one of the ``max_creating`` slots is free; otherwise ask for one.

        Until it is granted, polls only find out whether another process was quicker.
        """
        self._over = over
        if self._has_slot or self._services.slots.take(self._slot_granted):
            self._attempt_it()
        else:
            self._services.polls.repeat(self.poll)

    def _attempt_it(self) -> None:
        self._has_slot = False  # it is the attempt's
        # From before its lock row is written until after that is gone, so that the row is never without its flight.
        self._attempt = Attempt(self._services, self)
        self._attempt.claim(self._over)

    def _slot_granted(self) -> None:
        self._has_slot = True
        self._services.polls.withdraw(self.poll)
        # Not at once: it may release the slot, and so grant it to the next.
        self._services.polls.add(self._lead_as_judged)

    @error_boundary
    def _lead_as_judged(self) -> None:
        """Claim without another poll: if another process was quicker, the claim is void, and the flight polls then."""
        if self._has_slot:  # otherwise it has ended meanwhile, or follows the attempt of another store
            self._attempt_it()

    def _leave_slots(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._services.slots.release()
        else:
            self._services.slots.withdraw(self._slot_granted)
            self._services.polls.withdraw(self.poll)

    def begin_again(self) -> None:
        """Poll again, since the attempt has ended without an answer.

        From the second time on only after a pause: otherwise a creator that invalidates the table it reads would run as
        often as the machine can.
        """
        self._attempt = None
        if self._has_begun_again and len(self.waiters):
            self._poll_later()
        else:
            self._has_begun_again = True
            self.poll()

    # --- the end

    def answer(self, answer: Answer) -> None:
        """End with the shape."""
        self.waiters.answer(answer)
        self._end()

    def end_by(self, error: ShapeStoreError) -> None:
        """End with an error."""
        self.waiters.refuse(error)
        self._end()

    def _end(self) -> None:
        """A caller who comes from now on begins another flight."""
        if not self._has_ended:
            self._has_ended = True
            self._attempt = None
            self._cancel_next_poll()
            self._leave_slots()
            self.waiters.close()
            self._ended(self.key)

    def _time_out(self, timeout: float) -> WaitTimeoutError:
        self._services.telemetry.tell(TimedOut, self.key)
        if self.claimed:
            why = "its creator is still running, until its own deadline"
        elif self._attempt:
            why = "its lock row is not written yet"
        elif self._awaited:
            why = "another store is still creating it"
        elif self._has_begun_again:
            why = "an attempt to create it was superseded, or came too late, and it is tried again"
        else:
            why = "all max_creating slots are in use"
        return WaitTimeoutError(f"no answer within {timeout:g} s for {name_of(self.shape)}: {why}")
