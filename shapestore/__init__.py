"""shapestore keeps the results of slow queries in one SQLite file, and runs each query once for all callers.

>>> async with ShapeStore("shapes.db", create=SQLSource("sqlite:///chinook.db")) as store:
...     stored = await store.get_or_create(Shape("Track", where="AlbumId = :album", params={"album": 1}))
...     rows = [row async for row in store.rows(stored.handle)]

Glossary. The code, its messages and its documentation use these words, and no others, for these things:

shape             a subset of a table: table, where, params, columns (class Shape)
comparable        a shape's identity: its whole canonical text, the key of every table
snapshot          the rows of a shape as its creator gave them
log               a snapshot's rows, and the changes of them since, under one handle
handle            the random name of what is stored of a shape, never used twice
position          how far the log of a handle goes: one integer that only grows
floor             the position up to which a log has forgotten its changes
part              some rows of a snapshot, always the same ones, as pages over HTTP serve them
creator           the callable that makes a shape's rows; the source is where it reads them
attempt           one try at a shape: claim, create, then publish or fail
claim             to insert the lock row that makes an attempt the only one
leader            the store whose attempt holds the lock row; the other callers are followers, of the attempt
coalesce          to serve many callers of one key by one attempt (singleflight)
flight            the wait of all callers in one process for one key
fencing token     an attempt's handle, as written in its lock row: an outcome without it is void
publish, fail     an attempt's two outcomes; superseded: its fencing token no longer holds
take over         to claim over an attempt whose owner is proved dead, or over an expired failure
abandon           to give an attempt up because its store closes
failure TTL       how long a failure answers further callers (negative caching; the option failure_grace)
owner             one open store, known by a file that it keeps locked
gate              the write lock between processes
slot              one of the max_creating creators that may run at once
poll              a follower's read of the lock row of another process's attempt
in flight         created or waited for now
kept              replaced or dropped, and still readable: for keep_replaced seconds, and while it is being read
pending deletion  rows that no reader can reach, and that maintenance will delete
evict             to drop the shapes that were read least recently, to keep a limit
refresh           to create a shape again while the old one is served
invalidate        to drop all shapes of a table because its data has changed
fresh, stale      confirmed by its source less than max_age seconds ago, or not
live              kept up with its SQLite source, by following it
follow            to bring what changes in a source into its live shapes; the thread that does so is a follower too, of
                  the source: in ``following/``, and wherever it is about a source, the word means that one
round             what is appended at once: of a source to all of its live shapes, of a refresh to its shape alone
namespace         a part of the key that keeps the shapes of stores apart which share a file
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    import fcntl as _fcntl  # noqa: F401 - only to say clearly what its absence means
except ImportError:
    raise ImportError(
        "shapestore runs on Linux and macOS only: it proves that a process is alive by a kernel lock of fcntl, which "
        "this system does not have. On Windows, use it inside WSL.",
        name=__name__,
    ) from None

from shapestore.errors import (
    CorruptStoreError,
    CreateFailedError,
    ForkedStoreError,
    InvalidCreatorError,
    InvalidRowError,
    InvalidShapeError,
    InvalidSourceError,
    MigrationRequiredError,
    RetryLater,
    ShapeGoneError,
    ShapeStoreError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
    SupersededError,
    UnknownColumnError,
    UnknownTableError,
    WaitTimeoutError,
)
from shapestore.events import Event
from shapestore.locking.create_lock import CreateLock, Failure
from shapestore.shape.change import Change
from shapestore.shape.explain import Difference, Explanation
from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.source.creator import Creator
from shapestore.source.keyed import keyed
from shapestore.store import ShapeStore
from shapestore.telemetry import OnEvent, Stats

if TYPE_CHECKING:
    from shapestore.source.sql_source import SQLSource

__all__ = [
    "Change",
    "CorruptStoreError",
    "CreateFailedError",
    "CreateLock",
    "Creator",
    "Difference",
    "Event",
    "Explanation",
    "Failure",
    "ForkedStoreError",
    "InvalidCreatorError",
    "InvalidRowError",
    "InvalidShapeError",
    "InvalidSourceError",
    "MigrationRequiredError",
    "OnEvent",
    "RetryLater",
    "SQLSource",
    "Scalar",
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
    "UnknownColumnError",
    "UnknownTableError",
    "WaitTimeoutError",
    "__version__",
    "keyed",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # to a type checker a __getattr__ would make every mistyped name an object

    def __getattr__(name: str) -> object:
        if name == "SQLSource":  # SQLAlchemy takes 140 ms to import, and not every program reads a database
            from shapestore.source.sql_source import SQLSource  # noqa: PLC0415

            return SQLSource
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
