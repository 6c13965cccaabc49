"""Which files a child of fork must keep its hands off.

SQLite notes in the memory of a process which locks that process holds on a file. A forked child inherits the notes,
but not the locks. A connection that it opens to such a file takes no locks, so others take the file for closed: the
last of them to close it deletes the log that the child writes to, and what the child has acknowledged is lost.
"""

from __future__ import annotations

import os
from collections import Counter

from shapestore.errors import ForkedStoreError

File = tuple[int, int]
"""The device and inode of a file, which has them whatever its name is."""

_open_here: Counter[File] = Counter()
_inherited: set[File] = set()


def opening(path: str) -> File:
    """Note that this process is about to open the file. Raises ForkedStoreError if a parent had it open at the fork."""
    found = os.stat(path)
    file = (found.st_dev, found.st_ino)
    if file in _inherited:
        raise ForkedStoreError(
            f"{path!r} was open in the parent of this process when it forked, and SQLite cannot open it here again "
            "without harm: fork before the store is opened, or start processes by spawn or forkserver"
        )
    _open_here[file] += 1
    return file


def closed(file: File) -> None:
    """This process has one connection less to the file."""
    _open_here[file] -= 1


def _after_fork() -> None:
    _inherited.update(file for file, opened in _open_here.items() if opened)
    _open_here.clear()


os.register_at_fork(after_in_child=_after_fork)
