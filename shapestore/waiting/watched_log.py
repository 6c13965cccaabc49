"""One log, and the waiters for it to end behind a position."""

from __future__ import annotations

import asyncio
from typing import Any

from shapestore.concurrency.futures import refuse, resolve
from shapestore.errors import ShapeStoreError, fresh
from shapestore.storage.reader import Reader

Waiter = asyncio.Future[int]
"""Of the public position at which the log ends."""


class WatchedLog:
    """The log of the shape ``number``. Waiters behind the same position share one read of it."""

    __slots__ = ("_waiting", "handle", "number", "seen")

    def __init__(self, number: int, handle: str) -> None:
        self.number = number
        self.handle = handle
        self.seen: tuple[Any, ...] | None = ()
        """What says where it ends, at the last look; nothing at all, if it is to be looked at in any case."""
        self._waiting: dict[int, set[Waiter]] = {}

    @property
    def is_waited_for(self) -> bool:
        return bool(self._waiting)

    def add(self, after: int, waiter: Waiter) -> None:
        """From now on ``waiter`` waits for more behind the public position ``after``."""
        self._waiting.setdefault(after, set()).add(waiter)

    def remove(self, after: int, waiter: Waiter) -> None:
        """It waits no longer. Once more does no harm."""
        waiters = self._waiting.get(after)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[after]

    def look(self, reader: Reader) -> bool:
        """Tell those for whom there is more, or whose shape is gone. False if the file is busy: look again."""
        for after in list(self._waiting):
            try:
                looked = reader.ends_behind(self.handle, after)
            except ShapeStoreError as error:
                self._refuse(after, error)
                continue
            if looked is None:
                return False
            log, is_behind = looked
            if is_behind:
                for waiter in self._waiting.pop(after):
                    resolve(waiter, log.public)
        return True

    def refuse(self, error: ShapeStoreError) -> None:
        """Give a copy of the error to all waiters."""
        for after in list(self._waiting):
            self._refuse(after, error)

    def _refuse(self, after: int, error: ShapeStoreError) -> None:
        for waiter in self._waiting.pop(after):
            refuse(waiter, fresh(error))
