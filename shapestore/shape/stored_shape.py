"""A shape that is stored, as callers are given it."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import final

import msgspec

from shapestore.shape.shape import Shape


@final
class StoredShape(msgspec.Struct, frozen=True):
    """A shape and what is stored for it, as of one moment. ``store.rows(stored)`` reads the rows of that moment.

    Immutable, comparable field by field, hashable, and picklable.

    >>> stored = await store.get_or_create(Shape("Track"))
    >>> stored.row_count, stored.etag
    (3503, '019d5a3c5b7e7c51a4de8c1f9f27b6a0-3503')
    """

    handle: str
    """Names the stored shape. A handle is never used again: when the shape is dropped or replaced, it is gone."""
    shape: Shape
    row_count: int
    created_at: datetime
    """When the shape was first stored under this handle (aware, UTC, from the wall clock)."""
    refreshed_at: datetime
    """When its rows were last confirmed to be what the source holds (aware, UTC, from the wall clock)."""
    position: int
    """How far the shape's log of changes goes. It only grows, and may exceed 64 bits.

    Of a shape that has not changed since it was stored it is the number of rows.
    """
    live: bool
    """Whether changes of the source are followed."""

    @property
    def etag(self) -> str:
        """``handle-position``: two stored shapes with the same etag have the same rows. Fit for HTTP's ETag."""
        return f"{self.handle}-{self.position}"


def newly_stored(handle: str, shape: Shape, row_count: int, created_at_ms: int, *, live: bool = False) -> StoredShape:
    """A shape that has just been stored: it is at the position of its last row."""
    created_at = at(created_at_ms)
    return StoredShape(handle, shape, row_count, created_at, created_at, row_count, live)


@functools.lru_cache(maxsize=10_000)  # a hit would take a fifth longer
def at(time_ms: int) -> datetime:
    """The moment that a column ending ``_ms`` holds."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)
