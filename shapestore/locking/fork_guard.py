"""The files that a forked child must not open: those that its parent had open at the fork.

SQLite notes in the memory of a process which locks that process holds on a file. A forked child inherits the notes,
but not the locks. A connection that it opens to such a file takes no locks, so other processes consider the file
closed: the last of them to close it deletes the log that the child writes to, and what the child has acknowledged is
lost.
"""

from __future__ import annotations

import contextlib

from shapestore.concurrency import at_fork
from shapestore.errors import ForkedStoreError


class _Files:
    """The real paths of the files that this process has open, one entry for each open store; and those inherited open.

    Several threads, each with a loop, may open a file at once: a list is appended to in one step.
    """

    def __init__(self) -> None:
        self.open_here: list[str] = []
        self.inherited: set[str] = set()

    def in_forked_child(self) -> None:
        self.inherited.update(self.open_here)
        self.open_here.clear()


_files = _Files()
at_fork.register(_files)


def opening(path: str) -> None:
    """Note that this process opens the file at the real ``path``. Raises ForkedStoreError if a parent has it open."""
    if path in _files.inherited:
        raise ForkedStoreError(
            f"{path!r} was open in the parent of this process at the fork, and SQLite cannot open it here again "
            "without harm: fork before opening the store, or start processes by the methods spawn or forkserver"
        )
    _files.open_here.append(path)


def closed(path: str) -> None:
    """Note that one of the stores that had it open has closed it."""
    with contextlib.suppress(ValueError):  # the process was forked meanwhile
        _files.open_here.remove(path)
