"""What a follower waits for: it is woken, its source is written, or the time is up."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time

from shapestore.concurrency import at_fork
from shapestore.concurrency.file_watch import FileWatch

_POLLED_SECONDS = 0.001
"""The least that poll(2) waits for: it counts in milliseconds. Nothing ends a shorter wait."""


class Alarm:
    """One thread waits; any may ring."""

    def __init__(self) -> None:
        self._ringing, self._bell = os.pipe()
        os.set_blocking(self._ringing, False)
        os.set_blocking(self._bell, False)
        self._closing = threading.Lock()
        self._watch: FileWatch | None = None
        at_fork.register(self)

    @property
    def is_watching(self) -> bool:
        """Whether it is told of what is written."""
        return self._watch is not None

    def watch(self, path: str) -> None:
        """Wait for what is written to the file at ``path`` as well, if the system can tell. Once more does nothing."""
        if self._watch is None:
            with contextlib.suppress(OSError):
                self._watch = FileWatch(path)

    def unwatch(self) -> None:
        """Wait for the file no longer."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def ring(self) -> None:
        """Wake the thread. A closed alarm does nothing."""
        with self._closing, contextlib.suppress(BlockingIOError):  # it is full: it rings
            if self._bell >= 0:
                os.write(self._bell, b"\0")

    def wait(self, seconds: float, *, for_file: bool = True) -> bool:
        """Wait for so long at most. Whether the file was written, which without ``for_file`` ends no wait."""
        if seconds < _POLLED_SECONDS:
            time.sleep(seconds)
            seconds = 0.0
        poll = select.poll()
        poll.register(self._ringing, select.POLLIN)
        if for_file and self._watch is not None:
            poll.register(self._watch, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(seconds * 1000)}
        if self._ringing in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._ringing, 4096)
        if self._watch is None or self._watch.fileno() not in ready:
            return False
        try:
            self._watch.drain()
        except OSError:  # the system cannot tell any more
            self.unwatch()
        return True

    def close(self) -> None:
        """Called by the thread that waited."""
        self.unwatch()
        with self._closing:
            ends, self._ringing, self._bell = (self._ringing, self._bell), -1, -1
            for end in ends:
                if end >= 0:
                    os.close(end)

    def in_forked_child(self) -> None:
        """The parent's thread is not there, and its pipe must not be rung."""
        self._closing = threading.Lock()  # it may be held by a thread of the parent
        self.close()
