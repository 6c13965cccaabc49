"""shapestore: a SQLite-only store of shapes, each created once however many ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shapestore.errors import (
    CorruptStoreError,
    CreateFailedError,
    ForkedStoreError,
    InvalidCreatorError,
    InvalidRowError,
    InvalidShapeError,
    MigrationRequiredError,
    RetryLater,
    ShapeGoneError,
    ShapeStoreError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
    SupersededError,
    WaitTimeoutError,
)
from shapestore.locking.create_lock import CreateLock, Failure
from shapestore.shape.explain import Difference, Explanation
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.store import ShapeStore
from shapestore.telemetry import Stats

if TYPE_CHECKING:
    from shapestore.source.sql_source import SQLSource

__all__ = [
    "CorruptStoreError",
    "CreateFailedError",
    "CreateLock",
    "Difference",
    "Explanation",
    "Failure",
    "ForkedStoreError",
    "InvalidCreatorError",
    "InvalidRowError",
    "InvalidShapeError",
    "MigrationRequiredError",
    "RetryLater",
    "SQLSource",
    "Shape",
    "ShapeGoneError",
    "ShapeStore",
    "ShapeStoreError",
    "Stats",
    "StorageError",
    "StoreBusyError",
    "StoreClosedError",
    "StoredShape",
    "SupersededError",
    "WaitTimeoutError",
]


def __getattr__(name: str) -> object:
    if name == "SQLSource":  # SQLAlchemy takes 140 ms to import, and not everybody reads a database
        from shapestore.source.sql_source import SQLSource  # noqa: PLC0415

        return SQLSource
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
