"""Polls of one turn of the event loop share a read transaction, which halves the cost of each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from shapestore.storage.reader import Reader


class PollBatch:
    """Polls that are due in the next turn of the loop."""

    def __init__(self, reader: Reader) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._due: deque[Callable[[], None]] = deque()

    def add(self, poll: Callable[[], None]) -> None:
        """Call ``poll`` in the next turn of the loop."""
        if not self._due:
            self._loop.call_soon(self._poll_all)
        self._due.append(poll)

    def _poll_all(self) -> None:
        due, self._due = self._due, deque()
        try:
            with self._reader.one_moment(len(due)):
                while due:
                    due.popleft()()
        except (KeyboardInterrupt, SystemExit):  # the loop may go on all the same
            for poll in due:
                self.add(poll)
            raise
