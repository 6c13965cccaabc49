"""Timers of which nearly none is reached: one heap and one timer for all of a store's flights.

A timer of the loop's for each would cost several objects, to be made, compared in Python and thrown away.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

_FEW = 1_000


class Timer:
    """A moment at which ``callback`` is called, unless it is cancelled before."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        """In the loop's time."""
        self.callback: Callable[[], None] | None = callback


class Timers:
    """Timers in the loop's time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._cancelled = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at ``when``."""
        deadline = Timer(when, callback)
        heapq.heappush(self._heap, (when, next(self._order), deadline))
        if self._heap[0][2] is deadline:
            self._set_timer()
        return deadline

    def cancel(self, deadline: Timer) -> None:
        """Do not call it any more. Cancelling one that is past or cancelled does no harm."""
        if deadline.callback is None:
            return
        deadline.callback = None
        self._cancelled += 1
        if self._cancelled > _FEW and self._cancelled > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def call_now(self, deadline: Timer) -> None:
        """Do not wait until then."""
        callback = deadline.callback
        self.cancel(deadline)
        if callback is not None:
            callback()

    def close(self) -> None:
        """Call nothing any more."""
        self._heap.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._ring) if self._heap else None

    def _ring(self) -> None:
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            _, _, deadline = heapq.heappop(self._heap)
            if deadline.callback is None:
                self._cancelled -= 1
            else:
                callback, deadline.callback = deadline.callback, None
                callback()
        self._set_timer()
