"""When the file is looked at for commits of other processes: soon after it is written, and now and then anyway."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from shapestore.concurrency.file_watch import FileWatch

# How often commits of other processes are looked for.
LOOK_SECONDS = 0.005
# The same where the system tells of what is written: then it is only a safeguard.
LOOK_SECONDS_IF_TOLD = 0.25
# After it has told, the commit ends in a moment, or has ended while this process woke: a look is made at once, and
# others follow it more and more slowly, beginning with this. asyncio's own loop makes a millisecond of less.
SOONEST = 0.0002
# A look that is to come so soon is not brought forward.
_SOON = 0.005
# Looking takes at most a fifth of the loop's time, however much is looked at.
_REST = 4


class Looks:
    """Calls ``look`` from ``begin`` to ``end``, again and again, whatever it raises.

    ``path``: the file to which each commit writes, the write-ahead log.
    """

    def __init__(self, path: str, look: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._look = look
        self._watch: FileWatch | None = None
        self._listens = False
        """Whether the loop is told of what is written."""
        self._pause = 0.0
        """Until the next look."""
        self._due = 0.0
        """When it comes."""
        self._rests_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def have_begun(self) -> bool:
        return self._timer is not None

    def begin(self) -> None:
        if self._watch is None:  # kept, since closing it takes the kernel some milliseconds
            with contextlib.suppress(OSError):  # the system cannot tell
                self._watch = FileWatch(self._path)
        self._listen()
        self._look_later(LOOK_SECONDS)

    def end(self) -> None:
        self._listen_no_more()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """End, and be told of nothing more; also where the loop is closed."""
        if not self._loop.is_closed():
            self.end()
        if self._watch is not None:
            self._watch.close()

    def own_commit(self) -> None:
        """This store has committed, and still holds the gate.

        So no other store is in the middle of a commit: one look sees all that was written until now, and need not be
        followed by others.
        """
        if self._timer is not None and self._watch is not None:
            self._written()
            self._listen()
            self._pause = LOOK_SECONDS_IF_TOLD

    def _listen(self) -> None:
        """Be told of what is written from now on. What was written before is for the next look."""
        if self._watch is not None and not self._listens:
            try:
                self._watch.drain()
                self._loop.add_reader(self._watch, self._written)
                self._listens = True
            except (OSError, NotImplementedError):  # the system cannot tell any more, or the loop
                self._watch.close()
                self._watch = None

    def _listen_no_more(self) -> None:
        if self._listens:
            assert self._watch is not None
            self._listens = False
            if self._watch.fileno() >= 0:  # it is closed in the child of a fork
                self._loop.remove_reader(self._watch)

    def _written(self) -> None:
        """The file is being written: by this store too, whose commits are no news here.

        A commit is many writes. To be told of each would keep the loop busy, and with it the commit waiting.
        """
        self._listen_no_more()
        soonest = max(0.0, self._rests_until - self._loop.time())
        if self._timer is not None and soonest < self._due - self._loop.time():
            self._timer.cancel()
            self._look_later(soonest)
        else:  # the next look may come before the end of the commit: others are to follow it soon
            self._pause = 0.0

    def _look_later(self, seconds: float) -> None:
        self._pause = seconds
        self._due = self._loop.time() + seconds  # uvloop's timers of less than a millisecond do not tell
        self._timer = self._loop.call_later(seconds, self._look_now)

    def _look_now(self) -> None:
        began = time.perf_counter()
        if 2 * self._pause > _SOON:  # before it looks: what is written from now on is not in what it sees
            self._listen()
        try:
            self._look()
        finally:
            rest = _REST * (time.perf_counter() - began)
            self._rests_until = self._loop.time() + rest
            longest = LOOK_SECONDS if self._watch is None else LOOK_SECONDS_IF_TOLD
            self._look_later(max(min(longest, 2 * self._pause or SOONEST), rest))
