"""Who reads what: remembered in memory, and written down by maintenance now and then, in one statement."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Collection, Iterator

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
        """Whether that was sent to the writer, so that it is to be forgotten again."""


class AccessTracker:
    """The reads of one open store since they were last written down, and those that are in flight."""

    def __init__(self) -> None:
        self.recent: dict[str, None] = {}
        """Handles in the order of their last reading."""
        self._followers: Counter[str] = Counter()
        self._readings: dict[int, Reading] = {}
        self._keys = itertools.count(1)
        self._unregistered: set[Reading] = set()
        self._ended: set[int] = set()

    def touch(self, handle: str) -> None:
        """A shape was given to a caller, or its rows are."""
        self.recent.pop(handle, None)
        self.recent[handle] = None

    def published(self, handle: str) -> None:
        """A shape was published, which the file has as read last: nothing is to be written, unless others were before.

        What is to be written of those would come after it.
        """
        if self.recent:
            self.touch(handle)

    def followed(self, handle: str, callers: int) -> None:
        """So many callers of ours were served by another store's attempt."""
        self._followers[handle] += callers

    @contextlib.contextmanager
    def reading(self, number: int, position: int) -> Iterator[Reading]:
        """While rows are being read, batch by batch."""
        reading = Reading(next(self._keys), number, position)
        self._readings[reading.key] = reading
        try:
            yield reading
        finally:
            self._end(reading)

    def goes_on(self, reading: Reading) -> None:
        """A reader asks for more rows. One that was forgotten meanwhile is remembered, and registered, again."""
        reading.asked_at = time.monotonic()
        if reading.key not in self._readings:
            reading.key = next(self._keys)  # the other one is to be forgotten in the file, too
            self._readings[reading.key] = reading
            self.register_later(reading)

    def register_later(self, reading: Reading) -> None:
        """The reader is not registered, though it should be: maintenance will see to it, unless it has ended."""
        reading.is_registered = False
        self._ended.discard(reading.key)
        if reading.key in self._readings:
            self._unregistered.add(reading)

    def forget_idle(self) -> None:
        """Forget readers that were left half way."""
        now = time.monotonic()
        for reading in list(self._readings.values()):
            if now - reading.asked_at > IDLE_SECONDS:
                self._end(reading)

    def to_be_registered(self) -> tuple[dict[str, tuple[int, int]], list[int]]:
        """The readers to be registered, by key, and the keys of those to be forgotten; until ``registered``."""
        begun = {}
        for reading in self._unregistered:
            reading.is_registered = True
            begun[str(reading.key)] = reading.number, reading.position
        return begun, list(self._ended)

    def not_registered(self, begun: Collection[str]) -> None:
        """What ``to_be_registered`` gave could not be written down: of those readers nothing is in the file."""
        for reading in self._unregistered:
            if str(reading.key) in begun:
                reading.is_registered = False
        self._ended.difference_update(map(int, begun))

    def registered(self, begun: Collection[str], ended: Collection[int]) -> None:
        """What ``to_be_registered`` gave is written down."""
        self._unregistered = {reading for reading in self._unregistered if str(reading.key) not in begun}
        self._ended.difference_update(ended)

    def drain(self) -> tuple[list[str], dict[str, int]]:
        """What is to be written down; it is forgotten here."""
        read, followers = list(self.recent)[-MAX_REMEMBERED:], dict(self._followers)
        self.recent.clear()
        self._followers.clear()
        return read, followers

    def put_back(self, read: list[str], followers: dict[str, int]) -> None:
        """What ``drain`` gave could not be written down: it comes before what was read since."""
        since, self.recent = self.recent, dict.fromkeys(read)
        for handle in since:
            self.touch(handle)
        if len(self._followers) < MAX_REMEMBERED:
            self._followers.update(followers)

    def _end(self, reading: Reading) -> None:
        self._unregistered.discard(reading)
        if self._readings.pop(reading.key, None) is not None and reading.is_registered:
            self._ended.add(reading.key)
