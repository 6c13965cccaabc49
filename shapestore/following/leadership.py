"""Who makes the rounds of a source: the follower, of all processes, that holds the source's lock.

The others try the lock at every tick: the kernel releases it when its process ends. One that is stopped keeps it. So a
follower that sees the source ahead of its rounds for a while makes them without the lock. That does no harm: a round is
written only if no other was since its follower loaded what it goes by.
"""

from __future__ import annotations

import os
import time

from shapestore.following.store_side import LiveShapes, StoreSide
from shapestore.locking.file_lock import FileLock, content_if_locked
from shapestore.locking.owner import owners_folder
from shapestore.source.sqlite_feed.changes import SourcePosition

BEHIND_SECONDS = 1.0
"""A source that is ahead of its rounds for so long has no follower that works."""


class Leadership:
    """One follower's share in it."""

    def __init__(self, side: StoreSide) -> None:
        self._side = side
        self._lock: FileLock | None = None
        self._ahead_since: float | None = None
        self._ahead_of = 0

    def holds_lock(self, source: int) -> bool:
        """Whether this follower holds the lock of the source. Takes it if it is free."""
        if self._lock is not None and not self._lock.is_at_its_path():  # a cleaner has removed it
            self.close()
        if self._lock is None:
            lock = FileLock(lock_path(self._side.store.path, source))
            if lock.try_lock():
                lock.write(f"{os.getpid():<20}\n".encode())  # for people and their tools
                self._lock = lock
            else:
                lock.close()
        return self._lock is not None

    def is_overdue(self, source: int, newest: SourcePosition | None) -> bool:
        """Whether the source has been ahead of the rounds for longer than a living follower needs.

        One that was put back, as an older copy of it, has another ``newest`` change too.
        """
        _, seq, nonce = self._side.follows(source)
        if newest == (seq, nonce) and self._side.live_shapes(source) is not LiveShapes.WITH_NEWCOMERS:
            self._ahead_since = None
            return False
        now = time.monotonic()
        if self._ahead_since is None or self._ahead_of != seq:
            self._ahead_since, self._ahead_of = now, seq
        return now - self._ahead_since >= BEHIND_SECONDS

    def reached(self, seq: int, *, finished: bool) -> None:
        """This follower has made a round. One that is overdue goes on until it has ``finished``."""
        self._ahead_of = seq
        if finished:
            self._ahead_since = None

    def close(self) -> None:
        """Leave the rounds to others."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()


def is_led(store_path: str, source: int) -> bool:
    """Whether a follower, of any process, holds the lock of the source; also if that cannot be told."""
    try:
        return content_if_locked(lock_path(store_path, source)) is not None
    except OSError:
        return True


def lock_path(store_path: str, source: int) -> str:
    """The file that the follower of a source locks, beside those of the store's owners."""
    return os.path.join(owners_folder(store_path), f"follow-{source}")
