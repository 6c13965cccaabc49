"""What an error of SQLite means to the caller of a store."""

from __future__ import annotations

import sqlite3

from shapestore.errors import CorruptStoreError, ShapeStoreError, StorageError, StoreBusyError

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# The disk or the operating system said no; the same statement may go through later.
_REFUSED = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "reading or writing failed",
    sqlite3.SQLITE_READONLY: "the file may not be written",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PERM: "the operating system denied access",
    sqlite3.SQLITE_NOMEM: "memory ran out",
    sqlite3.SQLITE_NOLFS: "the file system takes no larger file",
    sqlite3.SQLITE_PROTOCOL: "the file's locks cannot be had",
}


def _primary_code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _is_nonsense(error: sqlite3.Error) -> bool:
    """Our statements are sound, so it is the file whose schema is not ours, or whose text is none (to Python)."""
    code = _primary_code(error)
    return code == sqlite3.SQLITE_ERROR or (code is None and "decode to UTF-8" in str(error))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection was in the way, so that the same may be tried again."""
    return _primary_code(error) in _BUSY


def is_environmental(error: sqlite3.Error) -> bool:
    """Whether the cause lies outside the statement, so that every statement would have met it."""
    code = _primary_code(error)
    return code in _BUSY or code in _CORRUPT or code in _REFUSED


def translated(error: sqlite3.Error, path: str) -> ShapeStoreError:
    """The typed error that tells what happened to the file at ``path`` and what to do. Its cause is ``error``."""
    code = _primary_code(error)
    answer: ShapeStoreError
    if code in _BUSY:
        answer = StoreBusyError(f"{path!r} is locked by another connection ({error}); nothing was changed, try again")
    elif code in _CORRUPT or _is_nonsense(error):
        answer = damaged(error, path)
    elif code in _REFUSED:
        answer = StorageError(f"{path!r}: {_REFUSED[code]} ({error}); the store goes on when the cause is gone")
    else:
        answer = StorageError(f"{path!r}: SQLite refused: {type(error).__name__}: {error}")
    answer.__cause__ = error
    return answer


def damaged(how: object, path: str) -> CorruptStoreError:
    """The error that says that the file at ``path`` holds what nobody has written."""
    return CorruptStoreError(f"{path!r} is no sound database ({how}); restore it, or move it away to start anew")
