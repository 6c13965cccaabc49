"""The places of ``max_creating``: so many creators run at once, and no more; the first to ask is the first to get."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """``count`` places. A place is asked for, granted in turn, and given back once."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._asked: dict[Callable[[], None], None] = {}

    def __len__(self) -> int:
        """How many wait for a place."""
        return len(self._asked)

    def ask(self, granted: Callable[[], None]) -> bool:
        """Take a place, if one is free. Else ``granted`` is called when one is, and the place is taken by then."""
        if self._free:
            self._free -= 1
            return True
        self._asked[granted] = None
        return False

    def take_back(self, granted: Callable[[], None]) -> None:
        """Ask no more."""
        self._asked.pop(granted, None)

    def give_back(self) -> None:
        """Give up a place that was taken: to who has waited longest, if anybody does."""
        if self._asked:
            granted = next(iter(self._asked))
            del self._asked[granted]
            granted()
        else:
            self._free += 1
