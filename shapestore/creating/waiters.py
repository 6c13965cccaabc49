"""The callers who wait on one flight: a bare future and a deadline for each, and one timer for all of them.

A timeout scope and a shielded task for each caller would cost more than all else that a herd of callers does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from shapestore.concurrency.futures import refuse
from shapestore.creating.timers import Timer, Timers
from shapestore.errors import ShapeStoreError, fresh
from shapestore.shape.stored_shape import StoredShape


class Answer(msgspec.Struct, frozen=True):
    """What callers are given."""

    stored: StoredShape
    confirmed_by: str
    """The attempt that has confirmed the rows last."""


Waiter = asyncio.Future[Answer]

# To find those whose time is up takes a look at each. So it is not done more often than this for each of them: of a
# herd of 10,000 the last may be told 10 ms late.
_PAUSE_FOR_EACH = 0.000_001


class Waiters:
    """Futures that are answered together, each by its own deadline at the latest."""

    __slots__ = ("_all_gone", "_loop", "_refusal", "_time_out", "_timer", "_timers", "_waiting")

    def __init__(
        self, timers: Timers, time_out: Callable[[float], BaseException], all_gone: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers = timers
        self._time_out = time_out
        """Makes the error of a caller who has waited so many seconds."""
        self._all_gone = all_gone
        """Called when the last caller has gone without an answer."""
        self._waiting: dict[Waiter, tuple[float, float]] = {}
        """Each with its deadline, by the loop's time, and how long it waits in all."""
        self._timer: Timer | None = None
        """Due at the first deadline, or a little after it."""
        self._refusal: ShapeStoreError | None = None
        """What callers get who come after all were refused."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, timeout: float) -> Waiter:
        """A future for one caller, who waits ``timeout`` seconds at most.

        Raises the error of ``refuse_all``: where tasks begin at once, a listener that was told of this caller may have
        closed the store by now.
        """
        if self._refusal is not None:
            raise fresh(self._refusal)
        waiter: Waiter = self._loop.create_future()
        deadline = self._loop.time() + timeout
        self._waiting[waiter] = deadline, timeout
        if self._timer is None or deadline < self._timer[0]:
            self._set_timer(deadline)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """The caller has gone."""
        if self._waiting.pop(waiter, None) is not None and not self._waiting:
            self._set_timer(None)
            self._all_gone()

    def close(self) -> None:
        """No caller waits, nor will: forget the flight, which knows these waiters, and its attempt, which has the rows.

        Otherwise they would stay in memory until garbage is collected.
        """
        del self._time_out, self._all_gone

    def answer(self, answer: Answer) -> None:
        """Give the answer to every caller."""
        for waiter in self._take_all():
            if not waiter.done():  # as ``resolve`` does, written out: a call for each caller of a herd is noticeable
                waiter.set_result(answer)

    def refuse(self, error: ShapeStoreError) -> None:
        """Give a copy of the error to every caller."""
        for waiter in self._take_all():
            refuse(waiter, fresh(error))

    def refuse_all(self, error: ShapeStoreError) -> None:
        """The same, and to those who come from now on."""
        self._refusal = error
        self.refuse(error)

    def _take_all(self) -> Iterable[Waiter]:
        waiting, self._waiting = self._waiting, {}
        self._set_timer(None)
        return waiting

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None:
            self._timers.cancel(self._timer)
        self._timer = None if due is None else self._timers.at(due, self._ring)

    def _ring(self) -> None:
        now = self._loop.time()
        late = [(waiter, timeout) for waiter, (deadline, timeout) in self._waiting.items() if deadline <= now]
        for waiter, timeout in late:
            del self._waiting[waiter]
            refuse(waiter, self._time_out(timeout))
        if self._waiting:
            first = min(deadline for deadline, _ in self._waiting.values())
            self._set_timer(max(first, now + len(self._waiting) * _PAUSE_FOR_EACH))
        else:
            self._set_timer(None)
            self._all_gone()
