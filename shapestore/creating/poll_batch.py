"""Polls of one turn of the event loop share a read transaction, which halves the cost of each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice

from shapestore.creating.timers import Timer, Timers
from shapestore.storage.reader import Reader

# Those that wait for something else than a poll are polled this often; of more than so many, so many at a time: all
# together make 2,000 polls a second at most.
_PAUSE = 0.1
_AT_A_TIME = 200


class PollBatch:
    """Polls that are due in the next turn of the loop, and those that are made now and then."""

    def __init__(self, reader: Reader, timers: Timers) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._timers = timers
        self._due: deque[Callable[[], None]] = deque()
        self._repeated: dict[Callable[[], None], None] = {}
        """In the order of their turns."""
        self._timer: Timer | None = None

    def add(self, poll: Callable[[], None]) -> None:
        """Call ``poll`` in the next turn of the loop."""
        if not self._due:
            self._loop.call_soon(self._poll_all)
        self._due.append(poll)

    def repeat(self, poll: Callable[[], None]) -> None:
        """Call ``poll`` now and then, until it is withdrawn."""
        self._repeated[poll] = None
        if self._timer is None:
            self._timer = self._timers.after(_PAUSE, self._add_repeated)

    def withdraw(self, poll: Callable[[], None]) -> None:
        """Do not repeat ``poll`` any more."""
        self._repeated.pop(poll, None)

    def _add_repeated(self) -> None:
        self._timer = None
        for poll in list(islice(self._repeated, _AT_A_TIME)):
            del self._repeated[poll]
            self.repeat(poll)
            self.add(poll)

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
