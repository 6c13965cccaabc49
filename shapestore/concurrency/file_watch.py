"""Being told when a file is written, where the system can tell. On Linux it can, by inotify(7).

It only saves time and polling: a file that is not told of is still looked at, now and then. What is written to the log
of a SQLite database is visible a moment later, when its commit ends: so look at once, and again shortly afterwards.

The system tells once, and then no more until it is asked again. For who writes pays for being watched, with each page:
an application's small transactions took a twentieth longer.
"""

from __future__ import annotations

import contextlib
import errno
import os

from shapestore.concurrency.descriptor import Descriptor

_MODIFIED_ONCE = 0x2 | 0x80000000
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
        self._add, self._errno, self._path = add, ctypes.get_errno, path
        self._own(begin(_FLAGS))
        try:
            self._ask()
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> None:
        """Make it unreadable, until the file is written again. Look at the file afterwards.

        Raises OSError if the system cannot tell of that any more: others may watch as many files as it lets them.
        """
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, _SOME_EVENTS):
                # The system also says that it will tell no more. If it does so only now, that may end what is asked for
                # here: then it has made this readable once more, and is asked again.
                self._ask()

    def _ask(self) -> None:
        """Have the system tell when the file is written."""
        if self._fd < 0 or self._add(self._fd, os.fsencode(self._path), _MODIFIED_ONCE) < 0:
            error = self._errno()
            raise OSError(error, os.strerror(error), self._path)
