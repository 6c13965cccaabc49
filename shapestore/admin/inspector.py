"""Inspecting a store's file from outside, for people and their tools.

Read-only: the file is not opened as a store, nothing is migrated, locked or cleared away, and running processes do not
notice.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from shapestore.admin import statements
from shapestore.admin.records import (
    CreationRecord,
    LockRecord,
    OwnerRecord,
    ShapeRecord,
    Totals,
    creation_record,
    lock_record,
    owner_record,
    shape_record,
)
from shapestore.errors import ShapeStoreError, StorageError
from shapestore.locking.owner import is_alive
from shapestore.shape.explain import Explanation, explain
from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.storage import migrations, queries
from shapestore.storage.connection import BUSY_TIMEOUT_MS, check_sqlite_version, open_immutable, open_point_reader
from shapestore.storage.from_row import to_create_lock, to_stored
from shapestore.storage.log import read
from shapestore.storage.page_reader import NONSENSE
from shapestore.storage.path import check_files_of_sqlite, resolve
from shapestore.storage.row_codec import as_json
from shapestore.storage.sqlite_errors import damaged, translated

T = TypeVar("T")
U = TypeVar("U")

_decode_row = msgspec.json.Decoder(dict[str, Any]).decode
_MOST_CANDIDATES = 10_000
_CANNOT_BE_OPENED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


@dataclass(frozen=True, slots=True)
class Filter:
    """Some of the stored shapes: of a namespace, of a table, with a predicate, with these values for its parameters."""

    namespace: str | None = None
    table: str | None = None
    where: str | None = None
    """In its canonical text."""
    params: Mapping[str, Scalar] = field(default_factory=dict)


class Inspector:
    """One read-only connection to a store's file. ``open_inspector`` makes it."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def read(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a statement."""
        return self._connection.execute(statement, parameters).fetchall()

    def number(self, statement: str) -> int:
        """Return the one number that a statement gives."""
        ((number,),) = self.read(statement)
        return int(number or 0)

    def one_moment(self) -> contextlib.AbstractContextManager[None]:
        """Let all reads inside see the file as of one moment. Keep it short: it blocks checkpoints."""
        return read.one_moment(self._connection)

    # --- shapes

    def shapes(
        self, wanted: Filter = Filter(), *, sort: str = "table", reverse: bool = False, limit: int | None = None
    ) -> list[ShapeRecord]:
        """The stored shapes that pass the filter, in an order of ``SORTS`` or its reverse: the first ``limit``."""
        parameters = {
            "namespace": wanted.namespace,
            "table": wanted.table,
            "where": wanted.where,
            "params": as_json(wanted.params),
            "limit": -1 if limit is None else limit,
        }
        return self._made(shape_record, self.read(statements.shapes(sort, reverse), parameters))

    def shapes_by_part(self, part: str) -> list[ShapeRecord]:
        """Two shapes at most, whose handles begin or end with ``part``; a handle that equals it comes first."""
        return self._made(shape_record, self.read(statements.SHAPES_BY_PART, {"part": part}))

    def tables(self, namespace: str | None = None) -> list[str]:
        """The tables that have stored shapes: in a namespace, or in any."""
        return [table for (table,) in self.read(statements.TABLES, {"namespace": namespace})]

    def namespaces(self, table: str | None = None) -> list[str]:
        """The namespaces that have stored shapes: of a table, or of any."""
        return [namespace for (namespace,) in self.read(statements.NAMESPACES, {"table": table})]

    def rows(self, handle: str, batch_size: int = 1000) -> Iterator[list[str]]:
        """The rows of a handle as JSON texts, in batches, without an open transaction between them.

        All are of one moment. Raises ShapeGoneError if the handle goes meanwhile; it never ends short.
        """
        for batch in read.RowsReading(handle, None, 0, batch_size, "\n").all(self._connection):
            yield self._made(bytes.decode, batch.text.split(b"\n")) if batch.text else []

    def decoded(self, texts: list[str]) -> list[dict[str, Any]]:
        """The rows that JSON texts hold."""
        return self._made(_decode_row, texts)

    def explain(self, shape: Shape, namespace: str = "") -> Explanation:
        """As the method of a ShapeStore with this namespace does."""
        key = shape.comparable_in(namespace)
        parameters = {"key": key, "namespace": namespace, "table": shape.table, "most": _MOST_CANDIDATES}
        near = self._stored(statements.SAME_OR_OF_TABLE, parameters) or self._stored(statements.ANY, parameters)
        return explain(shape, near)

    def _stored(self, statement: str, parameters: Mapping[str, Any]) -> list[StoredShape]:
        def stored(row: tuple[Any, ...]) -> StoredShape:
            key, where, *columns = row
            return to_stored(Shape.from_comparable(key, where), columns)

        return self._made(stored, self.read(statement, parameters))

    def _made(self, make: Callable[[T], U], found: Iterable[T]) -> list[U]:
        """What ``make`` makes of all that was found. Raises CorruptStoreError for what no store has written."""
        try:
            return [make(one) for one in found]
        except NONSENSE as error:
            raise damaged(error, self.path) from error

    # --- stores and their creations

    def owners(self) -> list[OwnerRecord]:
        """The stores that are open, and those whose process exited without closing them."""
        return _confirmed(self._owners, lambda owner: owner.alive, lambda owner: owner.owner)

    def locks(self) -> list[LockRecord]:
        """All lock rows, the oldest first."""
        return _confirmed(self._locks, lambda lock: lock.owner.alive, lambda lock: lock.handle)

    def creation_of(self, handle: str) -> CreationRecord | None:
        """How the attempt with this handle ended, if that is still recorded."""
        found = self._made(creation_record, self.read(statements.CREATION_OF, {"handle": handle}))
        return found[0] if found else None

    def creations(
        self,
        limit: int,
        table: str | None = None,
        *,
        namespace: str | None = None,
        failed: bool = False,
        since: datetime | None = None,
    ) -> list[CreationRecord]:
        """The latest outcomes, the newest first: all, or those that ``failed`` (or whose process was killed)."""
        parameters = {
            "table": table,
            "namespace": namespace,
            "failed": failed,
            "since_ms": None if since is None else int(since.timestamp() * 1000),
            "limit": limit,
        }
        return self._made(creation_record, self.read(statements.CREATIONS, parameters))

    def totals(self) -> Totals:
        """The counts of everything, as of one moment."""
        (counts,) = self.read(statements.TOTALS)
        return Totals(*counts)

    def _owners(self) -> list[OwnerRecord]:
        found = [(row, self._is_alive(row[0])) for row in self.read(statements.OWNERS)]
        return self._made(lambda owner: owner_record(owner[0], alive=owner[1]), found)

    def _locks(self) -> list[LockRecord]:
        with self.one_moment():
            owners = {owner.owner: owner for owner in self._owners()}
            rows_so_far = dict(self.read(statements.ROWS_SO_FAR))
            locks = self._made(to_create_lock, self.read(queries.LOCKS))
        return [
            lock_record(lock, owners.get(lock.owner) or self._unlisted(lock.owner), rows_so_far[lock.handle])
            for lock in locks
        ]

    def _unlisted(self, owner: str) -> OwnerRecord:
        """An owner that only its lock row names."""
        return OwnerRecord(owner, None, None, None, self._is_alive(owner), None)

    def _is_alive(self, owner: str) -> bool:
        return is_alive(self.path, owner)


@contextlib.contextmanager
def open_inspector(path: str | os.PathLike[str]) -> Iterator[Inspector]:
    """Inspect the store in the file at ``path``.

    Raises StorageError (there is no such file, or it cannot be opened), CorruptStoreError, MigrationRequiredError (the
    schema is of another version), StoreBusyError.
    """
    real = existing(path)
    with opened(real) as connection:
        migrations.check(connection, real)
        yield Inspector(real, connection)


def existing(path: str | os.PathLike[str]) -> str:
    """The resolved path of an existing file. Raises StorageError for a missing file, or one that cannot be a store."""
    real = resolve(path)
    if not os.path.exists(real):
        raise StorageError(f"there is no file {os.fspath(path)!r}")
    return real


@contextlib.contextmanager
def opened(real: str, *, immutable: bool = False) -> Iterator[sqlite3.Connection]:
    """A read-only connection to a database of any kind. SQLite's errors are raised as ShapeStoreErrors.

    An ``immutable`` one leaves no file beside a database that is closed; but it takes no locks there.
    """
    check_sqlite_version()
    check_files_of_sqlite(real)
    try:
        reader = open_immutable(real) if immutable else open_point_reader(real, busy_timeout_ms=BUSY_TIMEOUT_MS)
        with contextlib.closing(reader) as connection:
            yield connection
    except sqlite3.Error as error:
        raise _explained(error, real) from error


def _explained(error: sqlite3.Error, real: str) -> ShapeStoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in _CANNOT_BE_OPENED:
        return translated(error, real)
    if not os.access(real, os.R_OK):
        return StorageError(f"this user has no permission to read {real!r}")
    folder = os.path.dirname(real)
    if not os.access(folder, os.W_OK) and not os.path.exists(f"{real}-shm"):
        return StorageError(
            f"{real!r} is closed, and this user has no permission to write in its folder: SQLite reads the file only "
            "if it can put the files -wal and -shm beside it. Run this as a user who may write in "
            f"{folder!r}, or copy the file elsewhere"
        )
    return translated(error, real)


def _confirmed(look: Callable[[], list[T]], is_alive: Callable[[T], bool], name: Callable[[T], str]) -> list[T]:
    """What ``look`` returns, except what seems to have exited only because its store was closed during the look."""
    found = look()
    if all(map(is_alive, found)):
        return found
    still_there = set(map(name, look()))
    return [one for one in found if is_alive(one) or name(one) in still_there]
