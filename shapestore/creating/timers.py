"""Timers that are nearly always cancelled: one heap and one timer of the event loop for all of a store.

A loop timer for each would cost several objects, to be created, compared in Python and thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

# A cancelled timer stays in the heap until its time comes, or until more than this many are, and most of the heap is.
_CANCELLED_TO_KEEP = 1_000

Timer = list[Any]
"""Its entry in the heap: the loop's time at which it is due, a running number, the callback and its arguments.

The callback is None once it was called or cancelled. (The heap compares lists without a call of Python code.)
"""


class Timers:
    """The timers of one event loop. None is called from within ``after`` or ``at``, however short its delay."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[Timer] = []
        self._order = count()
        self._cancelled = 0
        self._loop_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def now(self) -> float:
        """The loop's time, in seconds."""
        return self._loop.time()

    def after(self, seconds: float, callback: Callable[..., None], *arguments: Any) -> Timer:
        """Call ``callback`` with these arguments in so many seconds."""
        return self.at(self._loop.time() + seconds, callback, *arguments)

    def at(self, due: float, callback: Callable[..., None], *arguments: Any) -> Timer:
        """Call ``callback`` with these arguments at this moment, by the loop's time."""
        timer = [due, next(self._order), callback, arguments]
        heappush(self._heap, timer)
        if self._heap[0] is timer:
            self._set_loop_timer()
        return timer

    def cancel(self, *timers: Timer) -> None:
        """Do not call these timers. Cancelling one that was called or cancelled does nothing."""
        for timer in timers:
            if timer[2] is not None:
                timer[2] = timer[3] = None
                self._cancelled += 1
        if self._cancelled > _CANCELLED_TO_KEEP and self._cancelled > len(self._heap) // 2:
            self._heap = [timer for timer in self._heap if timer[2] is not None]
            heapify(self._heap)
            self._cancelled = 0

    def call_now(self, timer: Timer) -> None:
        """Call this timer at once, unless it was called or cancelled."""
        _, _, callback, arguments = timer
        self.cancel(timer)
        if callback is not None:
            callback(*arguments)

    def close(self) -> None:
        """Drop all timers."""
        self._heap.clear()
        self._cancelled = 0
        self._set_loop_timer()

    def _set_loop_timer(self) -> None:
        if self._loop_timer is not None:
            self._loop_timer.cancel()
        self._loop_timer = self._loop.call_at(self._heap[0][0], self._ring) if self._heap else None

    def _ring(self) -> None:
        now = self._loop.time()
        try:
            while self._heap and self._heap[0][0] <= now:
                timer = heappop(self._heap)
                _, _, callback, arguments = timer
                if callback is None:
                    self._cancelled -= 1
                else:
                    timer[2] = timer[3] = None
                    callback(*arguments)
        finally:
            self._set_loop_timer()
