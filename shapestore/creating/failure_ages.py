"""Since when this store has known a failure, by its own monotonic clock.

A failure is swept by its owner. Where that owner does not (it is stopped, or has lost its timer), whoever has
seen the row for longer than its window may claim over it, whatever the wall clocks of the two say.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class FailureAges:
    """First sights of failed attempts, by handle; the latest ``bound`` of them."""

    def __init__(self, bound: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._bound = bound
        self._clock = clock
        self._first_seen: dict[str, float] = {}

    def age_ms(self, handle: str) -> float:
        """Milliseconds since this failure was first asked about."""
        now = self._clock()
        first = self._first_seen.setdefault(handle, now)
        if len(self._first_seen) > self._bound:
            # Forgetting one too early only makes its window begin again.
            del self._first_seen[next(iter(self._first_seen))]
        return (now - first) * 1000
