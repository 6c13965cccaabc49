"""One write transaction: BEGIN IMMEDIATE, the work, COMMIT; or, whatever happens, nothing at all.

It runs on the connection's own thread, in one go: a hop to that thread for each statement took half the time of a
creation.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import aiosqlite

from shapestore.concurrency.uncancelled import Uncancelled
from shapestore.locking import boot_clock
from shapestore.storage.connection import on_thread

T = TypeVar("T")


class Transaction:
    """A write transaction, as the work inside it sees it."""

    def __init__(self, connection: sqlite3.Connection, owner: str) -> None:
        self._connection = connection
        self.owner = owner
        """The id of the open store that writes."""
        self.newest_round = 0
        """The newest round that this store has seen: a file that knows only older ones is a copy that was put back."""
        self.changed: set[int] = set()
        """Numbers of shapes whose logs have grown, or that went. Those who wait for them are told after the commit."""
        self.moment: boot_clock.Moment
        """When it began: not before it could write, since another program may have held the file until then."""
        self._shared: dict[str, Any] = {"owner": owner}

    def commit(self, work: Callable[[Transaction], T]) -> T:
        """Do ``work`` in the transaction and commit it, on this thread; or roll it back, if that fails."""
        try:
            # A deferred one that turns to writing fails at once if another has written since.
            self._connection.execute("BEGIN IMMEDIATE")
            self.moment = boot_clock.now()
            self._shared["boot"], self._shared["boot_ms"], self._shared["wall_ms"] = self.moment
            answer = work(self)
            self._connection.execute("COMMIT")
            return answer
        except BaseException:
            # SQLite has rolled back by itself where the disk is full: then there is none to roll back.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def run(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Execute a statement with named parameters, of which owner and times are given; return all of its rows."""
        return self._connection.execute(statement, self._shared | parameters).fetchall()

    def column(self, statement: str, **parameters: Any) -> list[Any]:
        """As ``run``, of a statement whose rows have one column."""
        return [value for (value,) in self.run(statement, **parameters)]

    def add(self, statement: str, **parameters: Any) -> int | None:
        """Execute a statement that inserts rows; return the rowid of the last one."""
        return self._connection.execute(statement, self._shared | parameters).lastrowid

    def change(self, statement: str, **parameters: Any) -> int:
        """Execute a statement that returns no rows; return how many rows of the table it changed."""
        return self._connection.execute(statement, self._shared | parameters).rowcount


def transact(connection: aiosqlite.Connection, owner: str, work: Callable[[Transaction], T]) -> asyncio.Future[T]:
    """Do ``work`` in one transaction and commit it. The caller holds the gate, and awaits what it returns.

    A cancellation waits for the end of the transaction: the thread cannot be stopped, and the gate must be held until
    it is done.
    """
    return on_thread(connection, lambda sqlite: Transaction(sqlite, owner).commit(work), Uncancelled())
