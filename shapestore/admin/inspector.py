"""Looking at a store's file from outside, for people and their tools.

Read-only: nothing is opened as a store, migrated, locked or cleared away, and running processes are in nobody's way.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from shapestore.admin.records import (
    CREATION_COLUMNS,
    LOCK_COLUMNS,
    OWNER_COLUMNS,
    SHAPE_COLUMNS,
    CreationRecord,
    LockRecord,
    OwnerRecord,
    ShapeRecord,
    creation_record,
    lock_record,
    owner_record,
    shape_record,
)
from shapestore.errors import InvalidShapeError, ShapeGoneError, ShapeStoreError, StorageError
from shapestore.locking.owner import is_alive, owners_folder
from shapestore.shape.explain import Explanation, explain
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import from_row
from shapestore.storage import migrations, queries
from shapestore.storage.connection import BUSY_TIMEOUT_MS, check_sqlite_version, open_point_reader
from shapestore.storage.path import resolve
from shapestore.storage.sqlite_errors import damaged, translated

T = TypeVar("T")

_CANNOT_BE_OPENED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class Inspector:
    """One read-only connection to a store's file. ``open_inspector`` makes it."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._owners_folder = owners_folder(path)

    def read(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows that a statement gives."""
        return self._connection.execute(statement, parameters).fetchall()

    def number(self, statement: str, *parameters: Any) -> int:
        """The one number that a statement gives."""
        ((number,),) = self.read(statement, *parameters)
        return int(number or 0)

    @contextlib.contextmanager
    def one_moment(self) -> Iterator[None]:
        """Whatever is read inside is of one moment. Not for long: meanwhile the write-ahead log cannot be cut."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    # --- shapes

    def shapes(self, table: str | None = None) -> list[ShapeRecord]:
        """All stored shapes, or all of a table: by table, the oldest first."""
        return [shape_record(row) for row in self.read(_SHAPES, table)]

    def shapes_by_part(self, part: str, most: int = 2) -> list[ShapeRecord]:
        """The shapes whose handles begin or end so; first of all the one whose whole handle it is."""
        return [shape_record(row) for row in self.read(_SHAPES_BY_PART, part, most)]

    def find(self, shape: Shape) -> ShapeRecord | None:
        """The stored shape, if it is there."""
        found = self.read(_SHAPE_BY_KEY, shape.comparable)
        return shape_record(found[0]) if found else None

    def rows(self, shape: ShapeRecord, batch_size: int = 1000) -> Iterator[list[str]]:
        """The rows of a snapshot as JSON texts, batch by batch, with no transaction open in between.

        Raises ShapeGoneError, and never ends short, if the shape is dropped or refreshed meanwhile.
        """
        after = 0
        while after < shape.row_count:
            expected = min(batch_size, shape.row_count - after)
            batch = [text for (text,) in self.read(queries.ROWS, shape.handle, after, expected)]
            if len(batch) < expected:
                raise ShapeGoneError(shape.handle)
            yield batch
            after += expected

    def explain(self, shape: Shape) -> Explanation:
        """As ShapeStore.explain does."""
        for statement, parameters in (
            (f"SELECT handle, {_FOUND} WHERE comparable = ?", (shape.comparable,)),
            (queries.SHAPES_OF_TABLE, ("", 10_000, shape.table)),
            (queries.SHAPES, ("", 10_000)),
        ):
            try:
                candidates = [
                    from_row(handle, Shape.from_comparable(key), count, at_ms)
                    for handle, key, count, at_ms in self.read(statement, *parameters)
                ]
            except InvalidShapeError as error:
                raise damaged(error, self.path) from error
            if candidates:
                return explain(shape, candidates)
        return explain(shape, [])

    # --- who is at work

    def owners(self) -> list[OwnerRecord]:
        """The stores that are open, and those whose death nobody has cleared away yet."""

        def look() -> list[OwnerRecord]:
            return [self._owner(row) for row in self.read(_OWNERS)]

        return _confirmed(look, lambda owner: not owner.alive, lambda owner: owner.owner)

    def locks(self) -> list[LockRecord]:
        """All lock rows, the oldest first."""

        def look() -> list[LockRecord]:
            return [lock_record(row[:-5], self._owner(row[-5:])) for row in self.read(_LOCKS)]

        return _confirmed(look, lambda lock: not lock.owner.alive, lambda lock: lock.handle)

    def creation_of(self, handle: str) -> CreationRecord | None:
        """How the attempt with this handle ended, if it is remembered."""
        found = self.read(_CREATION_OF, handle)
        return creation_record(found[0]) if found else None

    def creations(self, limit: int, table: str | None = None) -> list[CreationRecord]:
        """The latest outcomes, the newest first."""
        return [creation_record(row) for row in self.read(_CREATIONS, table, limit)]

    def _owner(self, row: Sequence[Any]) -> OwnerRecord:
        return owner_record(row, alive=is_alive(self._owners_folder, row[0]))


@contextlib.contextmanager
def open_inspector(path: str | os.PathLike[str]) -> Iterator[Inspector]:
    """Look at the store in the file at ``path``; a schema that this code does not know is refused.

    Raises StorageError (there is no such file, or it cannot be opened), CorruptStoreError, MigrationRequiredError,
    StoreBusyError.
    """
    real = existing(path)
    with opened(real) as connection:
        migrations.check(connection, real)
        yield Inspector(real, connection)


def existing(path: str | os.PathLike[str]) -> str:
    """The resolved path of a file that is there. Raises StorageError where there is none that can be a store."""
    real = resolve(path)
    if not os.path.exists(real):
        raise StorageError(f"there is no file {os.fspath(path)!r}")
    return real


@contextlib.contextmanager
def opened(real: str) -> Iterator[sqlite3.Connection]:
    """A read-only connection to whatever database that is, in plain words where it cannot be had."""
    check_sqlite_version()
    try:
        with contextlib.closing(open_point_reader(real, busy_timeout_ms=BUSY_TIMEOUT_MS)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise _in_plain_words(error, real) from error


def wal_bytes(real: str) -> int:
    """The size of the write-ahead log."""
    try:
        return os.stat(f"{real}-wal").st_size
    except FileNotFoundError:
        return 0


def _in_plain_words(error: sqlite3.Error, real: str) -> ShapeStoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in _CANNOT_BE_OPENED:
        return translated(error, real)
    if not os.access(real, os.R_OK):
        return StorageError(f"{real!r} may not be read by this user")
    folder = os.path.dirname(real)
    if not os.access(folder, os.W_OK) and not os.path.exists(f"{real}-shm"):
        return StorageError(
            f"{real!r} is closed, and in a folder that this user may not write: SQLite reads it only if it can put the "
            f"files -wal and -shm beside it. Run this as a user who may write {folder!r}, or copy the file elsewhere"
        )
    return translated(error, real)


def _confirmed(look: Callable[[], list[T]], is_dead: Callable[[T], bool], name: Callable[[T], str]) -> list[T]:
    """What ``look`` sees, without those that only seem dead because they ended in good order meanwhile."""
    seen = look()
    if not any(map(is_dead, seen)):
        return seen
    still_there = set(map(name, look()))
    return [one for one in seen if not is_dead(one) or name(one) in still_there]


# --- what is read, and how

_FOUND = "comparable, row_count, created_at_ms FROM shapes"

_SHAPES = f"""
    SELECT {SHAPE_COLUMNS} FROM shapes
    WHERE ?1 IS NULL OR table_name = ?1 ORDER BY table_name, created_at_ms, handle
"""

_SHAPES_BY_PART = f"""
    SELECT {SHAPE_COLUMNS} FROM shapes
    WHERE handle IN (
        SELECT handle FROM shapes
        WHERE substr(handle, 1, length(?1)) = ?1 OR substr(handle, -length(?1)) = ?1
        ORDER BY handle <> ?1 LIMIT ?2)
    ORDER BY handle <> ?1
"""

_SHAPE_BY_KEY = f"SELECT {SHAPE_COLUMNS} FROM shapes WHERE comparable = ?"

_OWNERS = f"SELECT {OWNER_COLUMNS} FROM owners ORDER BY opened_at_ms, owner"

# The owner of a lock row that is in no list of owners is named by the lock row alone.
_LOCKS = f"""
    SELECT {LOCK_COLUMNS}, create_locks.owner, pid, program, hostname, opened_at_ms
    FROM create_locks LEFT JOIN owners ON owners.owner = create_locks.owner
    ORDER BY started_at_ms, handle
"""

_CREATIONS = f"""
    SELECT {CREATION_COLUMNS} FROM creations
    WHERE ?1 IS NULL OR comparable ->> '$.table' = ?1
    ORDER BY number DESC LIMIT ?2
"""

_CREATION_OF = f"SELECT {CREATION_COLUMNS} FROM creations WHERE handle = ?"
