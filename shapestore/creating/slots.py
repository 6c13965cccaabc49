"""The slots of ``max_creating``, first come, first served; and the creators that hold them.

A creator may outlast its attempt, since a thread cannot be stopped.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

# How long the closing of a store waits for creators that it has cancelled.
_CLEAN_UP_SECONDS = 1.0

T = TypeVar("T")


class Slots:
    """``count`` slots. Each is taken, at once or in turn, and released once."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: OrderedDict[Callable[[], object], None] = OrderedDict()

    def __len__(self) -> int:
        """How many requests wait for a slot."""
        return len(self._waiting)

    def take(self, granted: Callable[[], object]) -> bool:
        """Take a slot, if one is free. Otherwise ``granted`` is called once a slot has been taken for it."""
        if self._free:
            self._free -= 1
            return True
        self._waiting[granted] = None
        return False

    def withdraw(self, granted: Callable[[], object]) -> None:
        """Withdraw the request of ``granted``, if it still waits."""
        self._waiting.pop(granted, None)

    def release(self) -> None:
        """Release a slot that was taken: it goes to the request that has waited longest, if there is one."""
        if self._waiting:
            granted, _ = self._waiting.popitem(last=False)
            granted()
        else:
            self._free += 1


class RunningCreators:
    """Each creator holds a slot of ``max_creating`` until it has really ended."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._tasks: set[asyncio.Task[Any]] = set()

    def add(self, start: Callable[[], asyncio.Task[T]], ended: Callable[[asyncio.Task[T]], None]) -> None:
        """Start a creator; call ``ended`` when it has ended. It takes over the slot of its attempt."""
        try:
            task = start()
        except BaseException:
            self._slots.release()
            raise
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, ended))

    def _ended(self, ended: Callable[[asyncio.Task[T]], None], task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        ended(task)

    async def close(self) -> None:
        """Cancel all creators and give them a moment to clean up. One in a thread runs on; nothing waits for it."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLEAN_UP_SECONDS)
