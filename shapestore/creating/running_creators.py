"""The creators of an open store that have not ended yet, some of them after their attempts have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from shapestore.creating.slots import Slots

# How long the closing of a store waits for creators that it has cancelled.
_CLEAN_UP_SECONDS = 1.0

T = TypeVar("T")


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
