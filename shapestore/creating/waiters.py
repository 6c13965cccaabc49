"""The callers who wait on one flight: a bare future each, and one deadline at a time for all of them.

A timeout scope and a shielded task for each caller would cost more than all the rest of a herd.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from shapestore.creating.timers import Timer, Timers
from shapestore.errors import ShapeStoreError, fresh
from shapestore.shape.stored_shape import StoredShape

_order = count()

Waiter = asyncio.Future[StoredShape]


class Waiters:
    """Futures that are answered together, each by its own deadline at the latest."""

    __slots__ = ("_all_gone", "_loop", "_next", "_timed_out", "_timers", "_until", "_waiting")

    def __init__(
        self, deadlines: Timers, timed_out: Callable[[float], BaseException], all_gone: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers = deadlines
        self._timed_out = timed_out
        """Makes the error of a caller who has waited so many seconds."""
        self._all_gone = all_gone
        """Called when the last caller has gone without an answer."""
        self._waiting: dict[Waiter, None] = {}
        self._until: list[tuple[float, int, float, Waiter]] = []
        self._next: Timer | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, timeout: float) -> Waiter:
        """A future for one caller, who waits ``timeout`` seconds at most."""
        waiter: Waiter = self._loop.create_future()
        self._waiting[waiter] = None
        deadline = self._loop.time() + timeout
        heapq.heappush(self._until, (deadline, next(_order), timeout, waiter))
        if self._next is None or deadline < self._next.when:
            self._set_next()
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """The caller has gone."""
        self._waiting.pop(waiter, None)
        if len(self._until) > 2 * len(self._waiting) + 100:
            self._until = [entry for entry in self._until if entry[3] in self._waiting]
            heapq.heapify(self._until)
        if not self._waiting:
            self._all_gone()

    def answer(self, stored: StoredShape) -> None:
        """Give every caller the shape."""
        for waiter in self._take_all():
            if not waiter.done():
                waiter.set_result(stored)

    def refuse(self, error: ShapeStoreError) -> None:
        """Give every caller a copy of the error."""
        for waiter in self._take_all():
            _refuse(waiter, fresh(error))

    def _take_all(self) -> dict[Waiter, None]:
        waiting, self._waiting = self._waiting, {}
        self._until.clear()
        self._set_next()
        return waiting

    def _set_next(self) -> None:
        if self._next is not None:
            self._timers.cancel(self._next)
        self._next = self._timers.at(self._until[0][0], self._time_is_up) if self._until else None

    def _time_is_up(self) -> None:
        self._next = None
        now = self._loop.time()
        while self._until and self._until[0][0] <= now:
            _, _, timeout, waiter = heapq.heappop(self._until)
            if waiter in self._waiting:
                del self._waiting[waiter]
                _refuse(waiter, self._timed_out(timeout))
        self._set_next()
        if not self._waiting:
            self._all_gone()


def _refuse(waiter: Waiter, error: BaseException) -> None:
    if not waiter.done():
        waiter.set_exception(error)
        waiter.exception()  # a caller who is being cancelled this very moment will not look; that is no fault
