"""The callers who wait on one flight: a bare future and a timer for each.

A timeout scope and a shielded task for each caller would cost more than all else that a herd of callers does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from shapestore.concurrency.futures import refuse
from shapestore.creating.timers import Timer, Timers
from shapestore.errors import ShapeStoreError, fresh
from shapestore.shape.stored_shape import StoredShape


class Answer(NamedTuple):
    """What callers are given."""

    stored: StoredShape
    confirmed_by: str
    """The attempt that has confirmed the rows last."""


Waiter = asyncio.Future[Answer]


class Waiters:
    """Futures that are answered together, each by its own deadline at the latest."""

    __slots__ = ("_all_gone", "_loop", "_time_out", "_timers", "_waiting")

    def __init__(
        self, timers: Timers, time_out: Callable[[float], BaseException], all_gone: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers = timers
        self._time_out = time_out
        """Makes the error of a caller who has waited so many seconds."""
        self._all_gone = all_gone
        """Called when the last caller has gone without an answer."""
        self._waiting: dict[Waiter, Timer] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, timeout: float) -> Waiter:
        """A future for one caller, who waits ``timeout`` seconds at most."""
        waiter: Waiter = self._loop.create_future()
        self._waiting[waiter] = self._timers.after(timeout, self._time_is_up, waiter, timeout)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """The caller has gone."""
        timer = self._waiting.pop(waiter, None)
        if timer is not None:
            self._timers.cancel(timer)
        if not self._waiting:
            self._all_gone()

    def answer(self, answer: Answer) -> None:
        """Give the answer to every caller."""
        for waiter in self._take_all():
            if not waiter.done():  # as ``resolve`` does, written out: a call for each caller of a herd is noticeable
                waiter.set_result(answer)

    def refuse(self, error: ShapeStoreError) -> None:
        """Give a copy of the error to every caller."""
        for waiter in self._take_all():
            refuse(waiter, fresh(error))

    def _take_all(self) -> dict[Waiter, Timer]:
        waiting, self._waiting = self._waiting, {}
        self._timers.cancel(*waiting.values())
        return waiting

    def _time_is_up(self, waiter: Waiter, timeout: float) -> None:
        del self._waiting[waiter]
        refuse(waiter, self._time_out(timeout))
        if not self._waiting:
            self._all_gone()
