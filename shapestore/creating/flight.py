"""One key's way from missing to settled, for all of this store's callers of it.

A flight follows (looks, and looks again later) or leads (see attempt.py). It belongs to the store: a caller who is
cancelled leaves it, and no more. Nor is it a task, which could be cancelled itself: it is a row of steps, each called
when something has happened (a moment has come, a place is free, the writer has answered), and none of which waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from typing import TYPE_CHECKING

from shapestore.creating.attempt import Attempt
from shapestore.creating.creator_run import Creator
from shapestore.creating.error_boundary import error_boundary
from shapestore.creating.timers import Timer
from shapestore.creating.waiters import Waiters
from shapestore.errors import ShapeStoreError, StoreClosedError, WaitTimeoutError
from shapestore.locking import create_lock
from shapestore.locking.create_lock import decide
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.storage.commands import Abandon

if TYPE_CHECKING:
    from shapestore.creating.coalescer import Coalescer

# Between two looks a flight pauses for a tenth of the time it has waited: the wait ends within about a tenth of the
# creation's own time, and a long one costs few looks.
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1
# Who waits for a place is told when there is one; meanwhile it only sees whether another process was quicker. The more
# there are who wait, the longer each pauses: all of them together make 2,000 looks a second at most.
_PAUSES_FOR_A_PLACE = (0.05, 5.0)
_PAUSE_FOR_EACH_WHO_WAITS = 0.0005


class Flight:
    """The flight of one key. ``older`` is the handle that a refresh is to replace."""

    def __init__(
        self, coalescer: Coalescer, shape: Shape, creator: Creator, *, refreshing: bool, older: str | None
    ) -> None:
        self.coalescer = coalescer
        self.shape = shape
        self.creator = creator
        self.refreshing = refreshing
        self.older = older
        self.context = contextvars.copy_context()
        """The first caller's, in which the creator runs."""
        self.waiters = Waiters(coalescer.timers, self._timed_out, self.look)
        self._attempt: Attempt | None = None
        self._awaited: str | None = None
        self._has_place = False
        self._next_look: Timer | None = None
        self._has_begun_again = False
        self._closing = False
        self._has_ended = False
        self._began = coalescer.loop.time()
        coalescer.look_soon(self)

    # --- for callers

    async def wait(self, timeout: float) -> StoredShape:
        """Wait for the answer, for ``timeout`` seconds at most."""
        waiter = self.waiters.add(timeout)
        try:
            return await waiter
        except asyncio.CancelledError:
            self.waiters.remove(waiter)
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

    def supersede(self) -> None:
        """The attempt that it leads has lost its fence: give it up, and begin again."""
        if self._attempt is not None:
            self._attempt.give_up()

    def close(self) -> None:
        """The store closes: give up what is under way, and end."""
        self._closing = True
        self.waiters.refuse(StoreClosedError("the store was closed while this shape was waited for"))
        if self._attempt is not None:
            self._attempt.close()
        else:
            self._end()

    # --- following

    @error_boundary
    def look(self) -> None:
        """Look at the key's rows, and do what they ask for; nothing, while this flight leads or when it has ended."""
        if self._attempt is not None or self._has_ended:
            return
        if self._closing or not len(self.waiters):
            self._end()
            return
        self._cancel_next_look()
        coalescer = self.coalescer
        coalescer.telemetry.polls += 1
        look = coalescer.reader.look(self.shape, self._awaited)
        if look is None:
            self._look_later()
            return
        seen, stored = look
        match self._judge(seen):
            case create_lock.Lead(over):
                self._lead(over)
            case create_lock.Serve():
                assert stored is not None
                if stored.handle == self._awaited:
                    coalescer.access.followed(stored.handle, len(self.waiters))
                coalescer.access.touch(stored.handle)
                self.answer(stored)
            case create_lock.Raise(failure):
                self.end_by(failure.as_error())
            case create_lock.Follow(handle):
                self._awaited = handle
                self._leave_place()
                self._look_later()
            case create_lock.ReleaseOwn(handle):
                coalescer.writer.send(Abandon(handle), lambda _: self.look(), self.end_by)

    def _judge(self, seen: create_lock.KeyState) -> create_lock.Step:
        coalescer, lock = self.coalescer, seen.lock
        failed = lock is not None and lock.state is create_lock.State.FAILED
        return decide(
            seen,
            me=coalescer.owner,
            owner_alive=lock is None or coalescer.is_alive(lock.owner),
            failure_seen_ms=coalescer.failure_ages.age_ms(lock.handle) if lock and failed else 0.0,
            awaited=self._awaited,
            older=self.older,
        )

    def _look_later(self, shortest: float = _SHORTEST_PAUSE, longest: float = _LONGEST_PAUSE) -> None:
        now = self.coalescer.loop.time()
        pause = min(max((now - self._began) / 10, shortest), longest) * random.uniform(0.75, 1.25)
        self._next_look = self.coalescer.timers.at(now + pause, self.look)

    def _cancel_next_look(self) -> None:
        if self._next_look is not None:
            self.coalescer.timers.cancel(self._next_look)
            self._next_look = None

    # --- leading

    def _lead(self, over: str | None) -> None:
        """Lead, if one of the ``max_creating`` places is free; else ask for one, and look again before claiming."""
        if not self._has_place and not self.coalescer.slots.ask(self._place_granted):
            shortest, longest = _PAUSES_FOR_A_PLACE
            self._look_later(max(shortest, len(self.coalescer.slots) * _PAUSE_FOR_EACH_WHO_WAITS), longest)
            return
        self._has_place = False  # it is the attempt's
        # From before its row is there until after it is gone, so that the row is never without its flight.
        self._attempt = Attempt(self)
        self._attempt.claim(over)

    def _place_granted(self) -> None:
        self._has_place = True
        self.coalescer.look_soon(self)  # not at once: it may give the place back, and so grant it to the next

    def _leave_place(self) -> None:
        if self._has_place:
            self._has_place = False
            self.coalescer.slots.give_back()
        else:
            self.coalescer.slots.take_back(self._place_granted)

    def begin_again(self) -> None:
        """The attempt is over, and there is no answer yet. From the second time on, only after a pause: else a creator
        that invalidates what it reads would be run as often as the machine can."""
        self._attempt = None
        if self._has_begun_again and len(self.waiters) and not self._closing:
            self._look_later()
        else:
            self._has_begun_again = True
            self.look()

    # --- the end

    def answer(self, stored: StoredShape) -> None:
        """End with the shape."""
        self.waiters.answer(stored)
        self._end()

    def end_by(self, error: ShapeStoreError) -> None:
        """End with an error."""
        self.waiters.refuse(error)
        self._end()

    def _end(self) -> None:
        """Whoever comes from now on begins another flight."""
        if not self._has_ended:
            self._has_ended = True
            self._attempt = None
            self._cancel_next_look()
            self._leave_place()
            self.coalescer.remove(self.shape.comparable)

    def _timed_out(self, timeout: float) -> WaitTimeoutError:
        self.coalescer.telemetry.timed_out(self.shape.comparable)
        if self.claimed:
            what = "its creator is still running, until its own deadline"
        elif self._attempt:
            what = "its lock row is still to be written"
        elif self._awaited:
            what = "another store is still creating it"
        elif self._has_begun_again:
            what = "an attempt to create it was superseded, or came too late, and it is tried again"
        else:
            what = "it waits for one of the max_creating places"
        return WaitTimeoutError(f"no answer within {timeout:g} s for {self.shape.comparable:.500}: {what}")
