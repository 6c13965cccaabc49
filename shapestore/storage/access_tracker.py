"""Who reads what: remembered in memory, and written down by maintenance now and then, in one statement."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator

# Forgotten beyond that: it only orders eviction, and tells people.
MAX_REMEMBERED = 100_000
# A reader that has not asked for rows for so long is forgotten: it was left half way, and what it read may go.
IDLE_SECONDS = 600.0


class Reading:
    """One reader on its way through the rows of ``number``, as of ``position``; ``key`` is unique in this store."""

    __slots__ = ("asked_at", "is_registered", "key", "number", "position")

    def __init__(self, key: int, number: int, position: int) -> None:
        self.key = key
        self.number = number
        self.position = position
        self.asked_at = time.monotonic()
        self.is_registered = False

    def goes_on(self) -> None:
        """It asks for more rows."""
        self.asked_at = time.monotonic()


class AccessTracker:
    """The reads of one open store since they were last written down, and those that are in flight."""

    def __init__(self) -> None:
        self.recent: dict[str, None] = {}
        """Handles in the order of their last reading."""
        self._followers: Counter[str] = Counter()
        self._readings: dict[int, Reading] = {}
        self._keys = itertools.count(1)
        self._ended: list[int] = []

    def touch(self, handle: str) -> None:
        """A shape was given to a caller, or its rows are."""
        self.recent.pop(handle, None)
        self.recent[handle] = None

    def followed(self, handle: str, callers: int) -> None:
        """So many callers of ours were served by another store's attempt."""
        self._followers[handle] += callers

    @contextlib.contextmanager
    def reading(self, number: int, position: int) -> Iterator[Reading]:
        """While rows are being read, batch by batch."""
        reading = Reading(self.new_key(), number, position)
        self._readings[reading.key] = reading
        try:
            yield reading
        finally:
            self._end(reading)

    def new_key(self) -> int:
        """A key by which this store registers one reader."""
        return next(self._keys)

    def forget_idle(self) -> None:
        """Forget readers that were left half way."""
        now = time.monotonic()
        for reading in list(self._readings.values()):
            if now - reading.asked_at > IDLE_SECONDS:
                self._end(reading)

    def ended(self) -> list[int]:
        """The registered readers that have ended; they are forgotten here."""
        ended, self._ended = self._ended, []
        return ended

    def drain(self) -> tuple[list[str], dict[str, int]]:
        """What is to be written down; it is forgotten here."""
        read, followers = list(self.recent)[-MAX_REMEMBERED:], dict(self._followers)
        self.recent.clear()
        self._followers.clear()
        return read, followers

    def _end(self, reading: Reading) -> None:
        if self._readings.pop(reading.key, None) is not None and reading.is_registered:
            self._ended.append(reading.key)
