"""What a forked child does first: it lets go of what only its parent may use.

The one at-fork hook of the package. Whatever must react to a fork is registered here, and is told in the child.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """Something that a forked child inherits and must not use as its parent does."""

    def in_forked_child(self) -> None:
        """React to the fork: called in the child, before any other code of the program runs there."""


# Never cleared, not even when the interpreter exits: the hook below, which the interpreter itself keeps, refers to it.
_kept: list[object] = []
_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def register(thing: Inherited) -> None:
    """Have ``thing.in_forked_child()`` called in every child that is forked while ``thing`` exists."""
    _inherited.add(thing)


def keep(thing: object) -> None:
    """Keep something of the parent's from ever being finalized in this child, where that would disturb the parent.

    A connection would give up the parent's locks; an event loop would take the parent's wake-up pipe out of the epoll
    object that both share, and the parent would sleep for ever.
    """
    _kept.append(thing)


def _after_fork() -> None:
    for thing in list(_inherited):
        thing.in_forked_child()


os.register_at_fork(after_in_child=_after_fork)
