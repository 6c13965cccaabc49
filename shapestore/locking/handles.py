"""The names of shapes, and the fences of the attempts to make them."""

from __future__ import annotations

import random
import time


class Handles:
    """New handles, for one open store.

    >>> len(Handles().new())
    32
    """

    def __init__(self) -> None:
        self._random = random.Random()  # seeded by the operating system, for each store anew

    def new(self) -> str:
        """One that was never used before, by anybody: its 80 random bits see to that. They need not be secret.

        It begins with the milliseconds since the machine started, for the sake of locality: what is made together lies
        together in every index, so that a batch changes a few pages instead of one for each handle.
        """
        return f"{time.monotonic_ns() // 1_000_000:012x}{self._random.getrandbits(80):020x}"
