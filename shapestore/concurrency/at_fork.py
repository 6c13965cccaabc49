"""What a fork needs: threads that stand still at a safe place, and a child that lets go of what is its parent's.

The one place with at-fork hooks in the package. What must react to a fork in the child is registered here. So are the
threads that use SQLite: it holds locks of its own inside its calls, and one that was held at the fork by another
thread stays held in the child for ever.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_PAUSE_SECONDS = 1.0
"""How long a fork waits at most, for all threads together. A statement that runs for longer is cut in two."""


class Inherited(Protocol):
    """Something that a forked child inherits and must not use as its parent does."""

    def in_forked_child(self) -> None:
        """React to the fork: called in the child, before any other code of the program runs there."""


class Pausable(Protocol):
    """A thread that another thread's fork must not find inside of SQLite."""

    def pause(self, seconds: float) -> None:
        """Return once the thread stands still outside of SQLite, or after ``seconds``."""

    def resume(self) -> None:
        """Let it go on: the process has been forked."""


class Section:
    """The parts of a thread's work that a fork must not cut in two: those done with ``lock`` held."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._paused = False

    def pause(self, seconds: float) -> None:
        self._paused = self.lock.acquire(timeout=seconds)

    def resume(self) -> None:
        if self._paused:
            self.lock.release()


# Never cleared, not even when the interpreter exits: the hooks below, which the interpreter itself keeps, refer to it.
_kept: list[object] = []
_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()
_pausable: set[Pausable] = set()
_paused: list[Pausable] = []
_forking = threading.Lock()  # two threads may fork at once


def register(thing: Inherited) -> None:
    """Have ``thing.in_forked_child()`` called in every child that is forked while ``thing`` exists."""
    _inherited.add(thing)


@contextmanager
def pausing(thread: Pausable) -> Iterator[None]:
    """Have the thread paused by every fork in this block."""
    _pausable.add(thread)
    try:
        yield
    finally:
        _pausable.discard(thread)


def keep(thing: object) -> None:
    """Keep something of the parent's from ever being finalized in this child, where that would disturb the parent.

    A connection would give up the parent's locks; an event loop would take the parent's wake-up pipe out of the epoll
    object that both share, and the parent would sleep for ever.
    """
    _kept.append(thing)


def _before_fork() -> None:
    _forking.acquire()
    until = time.monotonic() + _PAUSE_SECONDS
    for thread in tuple(_pausable):
        thread.pause(max(0.0, until - time.monotonic()))
        _paused.append(thread)


def _after_fork() -> None:
    while _paused:
        _paused.pop().resume()
    _forking.release()


def _after_fork_in_child() -> None:
    _after_fork()
    _pausable.clear()  # those threads are the parent's
    for thing in list(_inherited):
        thing.in_forked_child()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
