"""What was read, remembered in memory; maintenance writes it down now and then, in one statement."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

# Forgotten beyond that: it only orders eviction, and tells people.
MAX_REMEMBERED = 100_000


class AccessTracker:
    """The reads of one open store since they were last written down, and those that are going on."""

    def __init__(self) -> None:
        self.recent: dict[str, None] = {}
        """Handles in the order of their last reading."""
        self._followers: Counter[str] = Counter()
        self._pinned: Counter[str] = Counter()

    def touch(self, handle: str) -> None:
        """A shape was given to a caller, or its rows are."""
        self.recent.pop(handle, None)
        self.recent[handle] = None

    def followed(self, handle: str, callers: int) -> None:
        """So many callers of ours were served by another store's attempt."""
        self._followers[handle] += callers

    @contextlib.contextmanager
    def pinning(self, handle: str) -> Iterator[None]:
        """While its rows are being read here, a shape is not evicted from here."""
        self._pinned[handle] += 1
        try:
            yield
        finally:
            self._pinned[handle] -= 1
            if not self._pinned[handle]:
                del self._pinned[handle]

    def pinned(self) -> list[str]:
        """The handles that are being read."""
        return list(self._pinned)

    def drain(self) -> tuple[list[str], dict[str, int]]:
        """What is to be written down; it is forgotten here."""
        read, followers = list(self.recent)[-MAX_REMEMBERED:], dict(self._followers)
        self.recent.clear()
        self._followers.clear()
        return read, followers
