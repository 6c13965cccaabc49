"""The slots of ``max_creating``: as many creators run at once, and no more. First come, first served."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class Slots:
    """``count`` slots. Each is taken, at once or in turn, and released once."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: OrderedDict[Callable[[], None], None] = OrderedDict()

    def __len__(self) -> int:
        """How many requests wait for a slot."""
        return len(self._waiting)

    def take(self, granted: Callable[[], None]) -> bool:
        """Take a slot, if one is free. Otherwise ``granted`` is called once a slot has been taken for it."""
        if self._free:
            self._free -= 1
            return True
        self._waiting[granted] = None
        return False

    def withdraw(self, granted: Callable[[], None]) -> None:
        """Withdraw the request of ``granted``, if it still waits."""
        self._waiting.pop(granted, None)

    def release(self) -> None:
        """Release a slot that was taken: it goes to the request that has waited longest, if there is one."""
        if self._waiting:
            granted, _ = self._waiting.popitem(last=False)
            granted()
        else:
            self._free += 1
