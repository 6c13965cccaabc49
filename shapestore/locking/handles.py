"""Handles: the names of snapshots, and the fencing tokens of the attempts to create them."""

from __future__ import annotations

import random
import time


class Handles:
    """A source of new handles, for one open store.

    >>> len(Handles().new())
    32
    """

    def __init__(self) -> None:
        self._random = random.Random()  # each store's is seeded by the operating system

    def new(self) -> str:
        """Return a handle that no process has ever used: its 80 random bits ensure that. They need not be secret.

        It begins with the milliseconds since the machine started. So handles that are made together lie together in
        every index, and a batch changes a few pages instead of one for each handle.
        """
        return f"{time.monotonic_ns() // 1_000_000:012x}{self._random.getrandbits(80):020x}"
