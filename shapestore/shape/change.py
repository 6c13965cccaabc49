"""One change of a live shape, as readers of its log are given it."""

from __future__ import annotations

from typing import Any, Literal, final

import msgspec

Operation = Literal["insert", "update", "delete"]


@final
class Change(msgspec.Struct, frozen=True):
    """What happened to one row of a shape. Applied in their order, changes lead from one state of it to a later one.

    Immutable, comparable field by field, and picklable; not hashable, since it holds a row.

    >>> async for change in store.changes(stored):
    ...     if change.operation == "delete":
    ...         del rows[change.key]
    ...     else:
    ...         rows[change.key] = change.row
    """

    position: int
    """Its place in the shape's log; ``changes(after=position)`` continues after it. May exceed 64 bits."""
    operation: Operation
    """A row that comes to match the where is an ``insert``, one that no longer does a ``delete``."""
    key: tuple[Any, ...]
    """The values of the row's key, in the order of the key's columns."""
    row: dict[str, Any] | None
    """The whole row as it is after the change; None for a ``delete``."""
