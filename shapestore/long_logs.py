"""The logs that are long beside their rows: which they are, and how they are cut, a few of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from shapestore.storage.commands import Compact, TrimLog
from shapestore.storage.log import compact
from shapestore.storage.reader import Reader
from shapestore.storage.writer import Writer

FIND_SECONDS = 60.0
CUT_AGAIN_SECONDS = 5.0
LOGS_A_LOOK = 10_000
LOGS_A_TURN = 100


class LongLogs:
    """Those of one open store, which ``maintenance`` has cut.

    ``keep_ms`` tells for how long what was superseded is kept for its readers.
    """

    def __init__(self, reader: Reader, writer: Writer, keep_ms: Callable[[], Awaitable[int]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer = writer
        self._keep_ms = keep_ms
        self._due: dict[int, float] = {}
        """Numbers of shapes whose logs have grown, and when each is looked at next."""
        self._find_at = 0.0
        self._last_found = 0
        """The number of the last shape whose log was found, of all that there are."""

    def have_grown(self, numbers: Iterable[int]) -> None:
        """The logs of the shapes with these numbers have grown."""
        self._due.update(dict.fromkeys(numbers, self._loop.time()))

    async def find(self) -> None:
        """Have the logs of all shapes looked at, a part of them at a time.

        Those that have grown by a process that ended soon afterwards, as a script does, are known to no other one.
        """
        now = self._loop.time()
        if now < self._find_at:
            return
        found = await self._reader.run(partial(compact.shapes_behind, number=self._last_found, limit=LOGS_A_LOOK))
        self._last_found = found[-1] if len(found) == LOGS_A_LOOK else 0
        self._find_at = now + FIND_SECONDS
        self.have_grown(found)

    async def cut(self) -> bool:
        """Forget the beginning of logs that are long beside their rows. Whether there is more to forget at once."""
        now = self._loop.time()
        due = [number for number, at in self._due.items() if at <= now]
        if not due:
            return False
        # Most of those that have grown are short still: they cost one statement, however many they are.
        looked_at = set(due[:LOGS_A_LOOK])
        long = await self._reader.run(partial(compact.long_logs, numbers=looked_at))
        short = looked_at.difference(long)
        self._due = {number: at for number, at in self._due.items() if at > now or number not in short}
        cut = [await self._cut_one(number) for number in long[:LOGS_A_TURN]]
        return any(cut) or len(long) > LOGS_A_TURN or len(due) > LOGS_A_LOOK

    async def _cut_one(self, number: int) -> bool:
        """Delete some of what is below the floor of a log, or raise the floor. Whether it did either."""
        # Also if this fails: the others have their turn first.
        self._due[number] = self._loop.time() + CUT_AGAIN_SECONDS
        last = await self._reader.run(partial(compact.next_trim, number=number))
        if last is not None:
            await self._writer.submit(TrimLog(number, last))
        elif not await self._writer.submit(Compact(number, await self._keep_ms())):
            return False  # what is in it is too new, or being read
        self._due[number] = self._loop.time()
        return True
