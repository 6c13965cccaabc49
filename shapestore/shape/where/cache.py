"""What was computed from texts, remembered in a bounded number of bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """``compute(text)``, remembered for the texts asked for last, of which ``weigh`` says how many bytes they take.

    Two generations: a text that is found in the older one moves to the younger; once the younger is full, it takes the
    older one's place, which is dropped. So a hit is one look-up, and takes no lock. Thread-safe.
    """

    def __init__(self, compute: Callable[[str], V], weigh: Callable[[V], int], most_bytes: int) -> None:
        self._compute = compute
        self._weigh = weigh
        self._half = most_bytes // 2
        self._lock = threading.Lock()
        self._younger: dict[str, V] = {}
        self._older: dict[str, V] = {}
        self._younger_bytes = 0

    def get(self, text: str) -> V:
        """The value for ``text``; an error of ``compute`` is raised, and not remembered."""
        found = self._younger.get(text)
        return found if found is not None else self._renewed(text)

    def _renewed(self, text: str) -> V:
        older = self._older.get(text)
        value = self._compute(text) if older is None else older
        size = self._weigh(value)
        with self._lock:
            if self._younger and self._younger_bytes + size > self._half:
                self._older, self._younger, self._younger_bytes = self._younger, {}, 0
            self._younger[text] = value
            self._younger_bytes += size
        return value
