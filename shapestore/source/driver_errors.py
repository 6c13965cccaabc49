"""What a database's driver raises, as users are told it: its own error, in words that say what it is about."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError, StatementError


@contextmanager
def plain_errors() -> Iterator[None]:
    """The driver's own error in place of SQLAlchemy's, whose message is the statement, its values and a link."""
    try:
        yield
    except StatementError as error:
        if error.orig is None:
            raise
        error.__cause__ = error.__context__ = None  # or each of the two would lead to the other
        raise _in_plain_words(error.orig) from None
    except SQLAlchemyError as error:
        error.code = None  # the link
        raise


def _in_plain_words(error: BaseException) -> BaseException:
    """The error; of SQLite's, those that do not say what they are about, in words that do."""
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_NOTADB:
        return sqlite3.DatabaseError(f"the source is not a SQLite database, or an encrypted one: {error}")
    if code == sqlite3.SQLITE_BUSY:
        return sqlite3.OperationalError(f"another program keeps the source locked: {error}")
    if code != sqlite3.SQLITE_READONLY_DIRECTORY:
        return error
    return PermissionError(
        "the source is in WAL mode, and this user has no permission to write in its folder: SQLite reads the file only "
        "if it can put the files -wal and -shm beside it. Run this as a user who may write there"
    )
