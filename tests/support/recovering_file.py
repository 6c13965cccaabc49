"""A store's file in the rare moment in which another process recovers it: readers are told SQLITE_BUSY.

A process that dies in the middle of a commit leaves the index of the log (the file ``-shm``) half written. Who
comes next holds the locks of the recovery until the index is made anew; who comes meanwhile finds it busy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from children import child

# The first 48 bytes of the index are a header, the next 48 its copy: where they differ, a commit was under way. Of the
# lock bytes from 120 on, the first is the writer's and the third that of the recovery.
_RECOVER = """
import fcntl, os, sys
fd = os.open(sys.argv[1] + "-shm", os.O_RDWR)
for byte in (120, 122):
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, byte)
header = os.pread(fd, 48, 0)
os.pwrite(fd, bytes(byte ^ 0xFF for byte in header), 0)
print("recovering", flush=True)
sys.stdin.readline()
os.pwrite(fd, header, 0)
os.close(fd)
print("recovered", flush=True)
"""


class Recovery:
    """Goes on until it is told to end."""

    def __init__(self, path: str) -> None:
        self._process = contextlib.ExitStack()
        self._child = self._process.enter_context(child(_RECOVER, path))
        assert self._child.hear() == "recovering"

    def end(self) -> None:
        self._child.say("go")
        assert self._child.hear() == "recovered"
        assert self._child.ended() == 0

    def clear_away(self) -> None:
        self._process.close()


@contextlib.contextmanager
def recovering(path: str) -> Iterator[Recovery]:
    recovery = Recovery(path)
    try:
        yield recovery
    finally:
        recovery.clear_away()
