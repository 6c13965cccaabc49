"""What an error of SQLite means to the caller of a store."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing

from shapestore.errors import (
    CorruptStoreError,
    MigrationRequiredError,
    ShapeStoreError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
)
from shapestore.storage.connection import SCHEMA, open_immutable

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# The disk or the operating system refused; the same statement may succeed later.
_REFUSED = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "reading or writing failed",
    sqlite3.SQLITE_READONLY: "the file cannot be written",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PERM: "the operating system denied access",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_NOLFS: "the file system allows no larger file",
    sqlite3.SQLITE_PROTOCOL: "the file's locks could not be acquired",
}

# The words of Python's sqlite3, whose error has no code.
_CLOSED = "Cannot operate on a closed database."


def _primary_code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _is_nonsense(error: sqlite3.Error) -> bool:
    """Our statements are valid, so the file has another schema than ours, or text that Python cannot decode."""
    code = _primary_code(error)
    return code == sqlite3.SQLITE_ERROR or (code is None and "decode to UTF-8" in str(error))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection was in the way, so that the statement may be tried again."""
    return _primary_code(error) in _BUSY


def is_environmental(error: sqlite3.Error) -> bool:
    """Whether the cause lies outside the statement, so that every statement would have met it."""
    code = _primary_code(error)
    return code in _BUSY or code in _CORRUPT or code in _REFUSED


def translated(error: sqlite3.Error, path: str, *, is_migrated: bool = False) -> ShapeStoreError:
    """Return the typed error that says what happened to the file at ``path`` and what to do; ``error`` is its cause.

    ``is_migrated``: it is being migrated here, so that it may have any revision.
    """
    code = _primary_code(error)
    answer: ShapeStoreError
    if str(error) == _CLOSED:
        answer = StoreClosedError("the store was closed during this call")
    elif code in _BUSY:
        answer = StoreBusyError(f"{path!r} is locked by another connection ({error}); nothing was changed, try again")
    elif code in _CORRUPT:
        answer = damaged(error, path)
    elif _is_nonsense(error):
        answer = (None if is_migrated else _migrated_elsewhere(path)) or damaged(error, path)
    elif code in _REFUSED:
        answer = StorageError(f"{path!r}: {_REFUSED[code]} ({error}); the store recovers once the cause is fixed")
    else:
        answer = StorageError(f"{path!r}: SQLite refused a statement: {type(error).__name__}: {error}")
    answer.__cause__ = error
    return answer


def _migrated_elsewhere(path: str) -> MigrationRequiredError | None:
    """The error for a file that has another revision now than when it was opened; None if it has not."""
    try:
        with closing(open_immutable(path)) as connection:
            revisions = [revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")]
            is_empty = not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'shapes'").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    if revisions == [SCHEMA] or (not revisions and not is_empty):
        return None
    found = f"the schema {revisions[0]!r}" if revisions else "no tables any more"
    return MigrationRequiredError(
        f"{path!r} has {found}, and this shapestore works with {SCHEMA!r}: it was migrated while it was open. Close "
        f"all stores of it, run `shapestore migrate {shlex.quote(path)}`, and open them again"
    )


def damaged(how: object, path: str) -> CorruptStoreError:
    """Return the error that says that the file at ``path`` holds what no store has written."""
    return CorruptStoreError(f"{path!r} is corrupt ({how}): restore a backup, or move it away")
