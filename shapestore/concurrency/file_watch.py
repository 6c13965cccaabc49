"""Being told when a file is written, where the system can tell. On Linux it can, by inotify(7).

It only saves time and polling: a file that is not told of is still looked at, now and then. What is written to the log
of a SQLite database is visible a moment later, when its commit ends: so look at once, and again shortly afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import os

from shapestore.concurrency.descriptor import Descriptor

_MODIFIED = 0x2
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_SOME_EVENTS = 64 * 1024


class FileWatch(Descriptor):
    """``fileno()`` is readable once the file at ``path`` was written. Raises OSError where the system cannot tell."""

    def __init__(self, path: str) -> None:
        import ctypes  # noqa: PLC0415 - slow to import, and most programs watch nothing

        libc = ctypes.CDLL(None, use_errno=True)
        try:
            begin, add = libc.inotify_init1, libc.inotify_add_watch
        except AttributeError:
            raise OSError(errno.ENOSYS, "this system has no inotify", path) from None
        self._own(begin(_FLAGS))
        if self._fd < 0 or add(self._fd, os.fsencode(path), _MODIFIED) < 0:
            error = ctypes.get_errno()
            self.close()
            raise OSError(error, os.strerror(error), path)

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> None:
        """Make it unreadable, until the file is written again."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, _SOME_EVENTS):
                pass
