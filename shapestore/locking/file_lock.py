"""A lock on a regular file that the kernel keeps, and releases when the process that took it ends in whatever way.

This is flock(2) on a descriptor of our own, straight from the standard library. A POSIX record lock
(``lockf``) would be lost when the process closes any descriptor of the file. A lock library would
add an audit hook and a fork protocol to the whole process for the sake of one system call.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from shapestore.concurrency.descriptor import Descriptor

# No link is followed, and whatever else lies at the path (a pipe, a device) neither blocks nor takes over a terminal.
_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class FileLock(Descriptor):
    """An exclusive lock on the file at ``path``, which is made (for its user only) if it is missing.

    ``flags``, as for os.open, may say otherwise. Anything but a regular file is an OSError.
    """

    def __init__(self, path: str, flags: int = os.O_RDWR | os.O_CREAT) -> None:
        self.path = path
        fd = _open_regular(path, flags)
        self._own(fd)
        self._file = os.fstat(fd)
        """Which file it is: that does not change while it is open."""

    def try_lock(self) -> bool:
        """Take the lock if it is free. Never waits."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def lock(self) -> None:
        """Take the lock, waiting until its holder releases it."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def unlock(self) -> None:
        """Release the lock; the file stays open."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def read(self) -> bytes:
        """The beginning of the file, which as a rule is all of it."""
        return _beginning(self._fd)

    def write(self, content: bytes) -> None:
        """Write ``content`` at the beginning of the file."""
        os.pwrite(self._fd, content, 0)

    def mark_contended(self) -> None:
        """Tell the holder of the lock that it is waited for."""
        os.utime(self._fd)

    def contention_mark(self) -> int:
        """When the file was last marked as contended: another value after each ``mark_contended``."""
        return os.fstat(self._fd).st_mtime_ns

    def is_at_its_path(self) -> bool:
        """Whether the path still names the file that is locked, and not none, or another one."""
        try:
            return os.path.samestat(os.lstat(self.path), self._file)
        except FileNotFoundError:
            return False


def content_if_locked(path: str) -> bytes | None:
    """The beginning of the file at ``path`` if it is locked; None if it is not locked, or missing.

    Makes no file, keeps nothing open, never waits. Raises OSError if it cannot be told (no permission, no descriptor
    left, not a regular file). The probe is a shared lock, so that two probes do not see each other.
    """
    try:
        fd = _open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _beginning(fd)
    else:
        return None
    finally:
        os.close(fd)


def _beginning(fd: int) -> bytes:
    return os.pread(fd, 1_000, 0)


def _open_regular(path: str, flags: int) -> int:
    fd = os.open(path, flags | _CAREFULLY, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd
