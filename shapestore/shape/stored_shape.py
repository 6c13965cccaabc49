"""A shape that is stored: what callers are given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from shapestore.shape.shape import Shape


class StoredShape(NamedTuple):
    """A shape and its snapshot, by handle. ``store.rows(stored.handle)`` reads the rows."""

    handle: str
    """Names this snapshot. It is never used again: once the shape is refreshed or dropped, the handle is gone."""
    shape: Shape
    row_count: int
    created_at: datetime
    """When the snapshot was published (aware, UTC, from the wall clock)."""


def from_row(handle: str, shape: Shape, row_count: int, created_at_ms: int) -> StoredShape:
    """A stored shape from the columns of its row."""
    return StoredShape(handle, shape, row_count, at(created_at_ms))


def at(time_ms: int) -> datetime:
    """The moment that a column ending ``_ms`` holds."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)
