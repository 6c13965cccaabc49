"""The write gate: one lock that every write transaction, checkpoint and migration of every process holds.

SQLite has a write lock of its own, and it stays on for foreign writers. The gate comes before it because

- a process that waits for SQLite's lock sleeps ever longer, so that turns among processes are unfair;
- four processes that open one new file at once fail when they switch it to WAL;
- SQLite before 3.51.3 can lose committed pages when a checkpoint races with a commit that restarts
  the WAL. Under the gate no checkpoint does.

The gate is tried without blocking, then tried again every millisecond or so. The kernel's own queue would be fairer
still, but a thread that waits in it can be neither timed out nor ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator

from shapestore.errors import StoreBusyError
from shapestore.locking.file_lock import FileLock

WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.001
# A process that releases the gate and takes it again at once meets no other, because those that poll are asleep. So
# after a run of this long it pauses for longer than any of them sleeps, if there are any: they mark the gate contended.
_RUN_SECONDS = 0.02
_PAUSE_SECONDS = 2 * _POLL_SECONDS


class Gate:
    """The write gate of the database at ``path`` (a resolved path: one file, one gate).

    The file is opened when the gate is first taken, so making a Gate does no I/O. One Gate has one user at a time.
    """

    def __init__(self, path: str) -> None:
        self.path = f"{path}-gate"
        self._lock: FileLock | None = None
        self._run_began = self._released_at = 0.0
        self._mark = 0

    @contextlib.contextmanager
    def hold_blocking(self, timeout: float | None = None) -> Iterator[None]:
        """Hold the gate, from a thread that may sleep. Raises StoreBusyError after ``timeout`` seconds."""
        timeout = WAIT_SECONDS if timeout is None else timeout
        deadline = time.monotonic() + timeout
        while not self._try_acquire():
            time.sleep(self._until_next_try(deadline, timeout))
        try:
            yield
        finally:
            self.release()

    async def acquire(self, timeout: float | None = None) -> None:
        """Take the gate, without blocking the loop. Raises StoreBusyError after ``timeout`` seconds."""
        timeout = WAIT_SECONDS if timeout is None else timeout
        now = time.monotonic()
        if now - self._released_at > _PAUSE_SECONDS:
            self._run_began = now
        elif now - self._run_began > _RUN_SECONDS:
            if self._is_contended():
                await asyncio.sleep(_PAUSE_SECONDS)
            self._run_began = time.monotonic()
        deadline = now + timeout
        while not self._try_acquire():
            await asyncio.sleep(self._until_next_try(deadline, timeout))
            self._run_began = time.monotonic()

    def release(self) -> None:
        """Release the gate."""
        assert self._lock is not None
        self._lock.unlock()
        self._released_at = time.monotonic()

    def close(self) -> None:
        """Close the gate's file, and release the gate. The file itself stays: removing it would make two gates."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _try_acquire(self) -> bool:
        if self._lock is None:
            self._lock = FileLock(self.path)
        if not self._lock.try_lock():
            self._lock.mark_contended()
            return False
        is_gate = False
        try:
            is_gate = self._lock.is_at_its_path()
        finally:
            if not is_gate:  # its file was removed: the file that is there now is the gate
                self.close()
        return is_gate

    def _is_contended(self) -> bool:
        """Whether another process has found the gate locked since this was last asked."""
        before, self._mark = self._mark, self._lock.contention_mark() if self._lock else 0
        return self._mark != before

    def _until_next_try(self, deadline: float, timeout: float) -> float:
        if time.monotonic() >= deadline:
            raise StoreBusyError(
                f"could not acquire the write gate {self.path!r} within {timeout:g} s: another process holds it, in a "
                "long transaction or because it was stopped inside one; nothing was written, try again",
                retry_after=1.0,
            )
        return _POLL_SECONDS * random.uniform(0.5, 1.5)
