"""One write transaction: BEGIN IMMEDIATE, the work, COMMIT; or, whatever happens, nothing at all."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiosqlite

T = TypeVar("T")


class Transaction:
    """An open write transaction, as the work inside it sees it."""

    def __init__(self, connection: aiosqlite.Connection, owner: str) -> None:
        self._connection = connection
        self.owner = owner
        """The id of the open store that writes."""
        self.now_ms = time.time_ns() // 1_000_000
        """The wall clock, written for people to read; nothing is decided by it."""

    async def run(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows that a statement gives."""
        rows: list[tuple[Any, ...]] = await self._connection.execute_fetchall(statement, parameters)  # type: ignore[assignment]
        return rows


async def transact(connection: aiosqlite.Connection, owner: str, work: Callable[[Transaction], Awaitable[T]]) -> T:
    """Do ``work`` in one transaction and commit it. The caller holds the gate.

    IMMEDIATE, because a deferred transaction that turns to writing fails at once where another has written since.
    """
    try:
        await connection.execute_fetchall("BEGIN IMMEDIATE")
        answer = await work(Transaction(connection, owner))
        await connection.execute_fetchall("COMMIT")
        return answer
    except BaseException:
        # Without asking whether one is open: after a cancellation the thread may only now be about to begin it. And
        # SQLite has rolled back by itself where the disk is full, so that there is none to roll back.
        with contextlib.suppress(sqlite3.Error):
            await connection.execute_fetchall("ROLLBACK")
        raise
