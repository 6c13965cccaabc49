"""Which files a child of fork must keep its hands off: those that its parent had open.

SQLite notes in the memory of a process which locks that process holds on a file. A forked child inherits the notes,
but not the locks. A connection that it opens to such a file takes no locks, so others take the file for closed: the
last of them to close it deletes the log that the child writes to, and what the child has acknowledged is lost.
"""

from __future__ import annotations

import contextlib
import os

from shapestore.errors import ForkedStoreError

# One entry for each open store: several threads, each with a loop, may open a file at once, and append in one step.
_open_here: list[str] = []
_inherited: set[str] = set()


def opening(path: str) -> None:
    """Note that this process opens the file at the real ``path``. Raises ForkedStoreError if a parent has it open."""
    if path in _inherited:
        raise ForkedStoreError(
            f"{path!r} was open in the parent of this process at the fork, and SQLite cannot open it here again "
            "without harm: fork before opening the store, or start processes by the methods spawn or forkserver"
        )
    _open_here.append(path)


def closed(path: str) -> None:
    """Note that one of those who had it open has closed it."""
    with contextlib.suppress(ValueError):  # a fork came between
        _open_here.remove(path)


def _after_fork() -> None:
    _inherited.update(_open_here)
    _open_here.clear()


os.register_at_fork(after_in_child=_after_fork)
