"""Timers that are nearly always cancelled: one heap and one timer of the event loop for all of a store.

A loop timer for each would cost several objects, to be created, compared in Python and thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

# A cancelled timer stays in the heap until its time comes, or until more than this many are, and most of the heap is.
_CANCELLED_TO_KEEP = 1_000


class Timer:
    """A callback that is called once, at its time, unless it is cancelled first."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback
        """None once it was called or cancelled."""


class Timers:
    """The timers of one event loop. None is called from within ``after``, however short its delay."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._cancelled = 0
        self._loop_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def now(self) -> float:
        """The loop's time, in seconds."""
        return self._loop.time()

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` in so many seconds."""
        timer = Timer(callback)
        heappush(self._heap, (self._loop.time() + seconds, next(self._order), timer))
        if self._heap[0][2] is timer:
            self._set_loop_timer()
        return timer

    def cancel(self, *timers: Timer) -> None:
        """Do not call these timers. Cancelling one that was called or cancelled does nothing."""
        for timer in timers:
            if timer.callback is not None:
                timer.callback = None
                self._cancelled += 1
        if self._cancelled > _CANCELLED_TO_KEEP and self._cancelled > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapify(self._heap)
            self._cancelled = 0

    def call_now(self, timer: Timer) -> None:
        """Call this timer at once, unless it was called or cancelled."""
        callback = timer.callback
        self.cancel(timer)
        if callback is not None:
            callback()

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
                _, _, timer = heappop(self._heap)
                if timer.callback is None:
                    self._cancelled -= 1
                else:
                    callback, timer.callback = timer.callback, None
                    callback()
        finally:
            self._set_loop_timer()
