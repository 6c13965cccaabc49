"""Which files a child of fork must keep its hands off: those that its parent had open.

SQLite notes in the memory of a process which locks that process holds on a file. A forked child inherits the notes,
but not the locks. A connection that it opens to such a file takes no locks, so others take the file for closed: the
last of them to close it deletes the log that the child writes to, and what the child has acknowledged is lost.
"""

from __future__ import annotations

import os
from collections import Counter

from shapestore.errors import ForkedStoreError

_open_here: Counter[str] = Counter()
_inherited: set[str] = set()


def opening(path: str) -> None:
    """Note that this process opens the file at the real ``path``. Raises ForkedStoreError if a parent has it open."""
    if path in _inherited:
        raise ForkedStoreError(
            f"{path!r} was open in the parent of this process at the fork, and SQLite cannot open it here again "
            "without harm: fork before opening the store, or start processes by the methods spawn or forkserver"
        )
    _open_here[path] += 1


def closed(path: str) -> None:
    """Note that one of those who had it open has closed it."""
    _open_here[path] -= 1


def _after_fork() -> None:
    _inherited.update(path for path, times in _open_here.items() if times)
    _open_here.clear()


os.register_at_fork(after_in_child=_after_fork)
