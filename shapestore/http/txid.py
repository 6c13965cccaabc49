"""The number by which a client knows that a write of its own has come back to it."""

from __future__ import annotations

import sqlite3
from typing import Any, Protocol

from shapestore.source.sqlite_feed.changes import CHANGES, MARKER

_HAS_CHANGES = f"SELECT 1 FROM sqlite_master WHERE name = '{CHANGES}'"
_MARK = f"INSERT INTO {CHANGES} (tab) VALUES ({MARKER}) RETURNING seq"


class SQLAlchemyConnection(Protocol):
    """A Connection of SQLAlchemy."""

    def exec_driver_sql(self, statement: str) -> Any: ...


class SQLAlchemySession(Protocol):
    """A Session of SQLAlchemy."""

    def connection(self) -> Any: ...


def txid(connection: sqlite3.Connection | SQLAlchemyConnection | SQLAlchemySession) -> int:
    """The txid of the transaction that is open on ``connection``, to the SQLite database whose tables are synced.

    The changes of this transaction reach clients with it among their ``txids``, so that a client can wait for them:
    TanStack DB's handlers return it as ``{txid}``. Call it within the transaction, once, wherever in it. It inserts a
    row into the change table of the database; a transaction that is rolled back leaves nothing.

    0 if changes of the database are not captured (nothing of it is live yet): then any rows that a client is given
    later hold the write.

    >>> with engine.begin() as connection:
    ...     connection.execute(insert(todo).values(title="Buy milk"))
    ...     return {"txid": txid(connection)}

    In an asynchronous session: ``await session.run_sync(txid)``.
    """
    if not _rows(connection, _HAS_CHANGES):
        return 0
    ((seq,),) = _rows(connection, _MARK)
    return int(seq)


def _rows(connection: Any, statement: str) -> list[Any]:
    if isinstance(connection, sqlite3.Connection):
        cursor = connection.cursor()
        cursor.row_factory = None
        return cursor.execute(statement).fetchall()
    if not hasattr(connection, "exec_driver_sql"):
        if not hasattr(connection, "connection"):
            raise TypeError(
                "txid takes a connection of sqlite3 or SQLAlchemy, or a Session, within the transaction of the write, "
                f"not {connection!r:.100}"
            )
        connection = connection.connection()
    return list(connection.exec_driver_sql(statement).fetchall())
