"""A lock on a file that the kernel keeps, and lets go of at any death of the process that took it.

This is flock(2) on a descriptor of our own, straight from the standard library. A POSIX record lock
(``lockf``) would be lost when the process closes any descriptor of the file; a lock library would
add an audit hook and a fork protocol to the whole process for the sake of one system call.
"""

from __future__ import annotations

import fcntl
import os
import weakref


class FileLock:
    """An exclusive lock on the file at ``path``, which is made (for its user only) if it is missing.

    A forked child shares the descriptor, and with it the lock, so it closes its copy at once: else a
    child that lives on would make its dead parent look alive. Closing does not unlock for the parent.
    """

    _fd = -1

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        _open_locks.add(self)

    def try_lock(self) -> bool:
        """Take the lock if nobody has it. Never waits."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def lock(self) -> None:
        """Take the lock, waiting for whoever has it."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def unlock(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def mark_contended(self) -> None:
        """Tell whoever has the lock that it is waited for."""
        os.utime(self._fd)

    def contention_mark(self) -> int:
        """When the file was last marked as contended: another value after each ``mark_contended``."""
        return os.fstat(self._fd).st_mtime_ns

    def is_at_its_path(self) -> bool:
        """Whether the file that is locked is the one that the path names now (someone may have removed it)."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let go of the lock and of the file. Closing twice does no harm."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()  # a store that was dropped unclosed, its loop with it, is dead


def is_locked(path: str) -> bool:
    """Whether somebody holds the lock on the file at ``path``. Keeps nothing, makes no file, never waits.

    The look is by a shared lock, so that two who look do not see each other.
    Any doubt (no permission, no descriptor left) counts as held.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


_open_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _close_inherited() -> None:
    for lock in list(_open_locks):
        lock.close()


os.register_at_fork(after_in_child=_close_inherited)
