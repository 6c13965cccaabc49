"""How a store's file is opened: one connection that writes, and two that cannot.

On every one: no checkpoint of SQLite's own (the writer makes them, under the gate; see gate.py), no
implicit transactions (``isolation_level=None``), and no trust in functions that a schema may name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from typing import Literal
from urllib.parse import quote

import aiosqlite

from shapestore.errors import StorageError
from shapestore.storage.uncancelled import uncancelled

Durability = Literal["normal", "full"]

OLDEST_SQLITE = (3, 38, 0)  # unixepoch(), ->> (3.38), STRICT (3.37), RETURNING (3.35)

# How long a write waits for a foreign writer (the shell, Litestream) that holds SQLite's lock, and a long read for
# the moment in which a closing process recovers the file. Less than the gate's own bound.
BUSY_TIMEOUT_MS = 5_000
_JOURNAL_SIZE_LIMIT_BYTES = 8 * 1024 * 1024
# For the point reads: a thousand shapes that are asked for again and again, anywhere among a million, stay in memory
# with the upper pages of their indexes (a quarter less time for a hit). A small file takes no more than it is long.
_POINT_CACHE_KIB = 16 * 1024


def check_sqlite_version(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raise StorageError where the SQLite that Python was built with is too old for the schema."""
    if version < OLDEST_SQLITE:
        found, needed = (".".join(map(str, v)) for v in (version, OLDEST_SQLITE))
        raise StorageError(f"SQLite {found} is too old: shapestore needs {needed}; use a newer Python build")


def open_point_reader(path: str, *, busy_timeout_ms: int = 0) -> sqlite3.Connection:
    """A read-only connection for point reads on the event loop's own thread. It never waits: busy is an answer.

    Who looks from outside may wait, for ``busy_timeout_ms``.
    """
    connection = sqlite3.connect(_uri(path, "ro"), uri=True, isolation_level=None, timeout=busy_timeout_ms / 1000)
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA trusted_schema = 0")
    connection.execute(f"PRAGMA cache_size = -{_POINT_CACHE_KIB}")
    return connection


def open_immutable(path: str) -> sqlite3.Connection:
    """A connection to what may be nobody's store: looking at it leaves no file beside it that is not there already.

    Without a log beside it, all is in the file itself, and SQLite need not make one, nor lock anything, to read it.
    """
    immutable = "" if os.path.exists(f"{path}-wal") else "&immutable=1"
    return sqlite3.connect(f"{_uri(path, 'ro')}{immutable}", uri=True, isolation_level=None, timeout=0)


async def open_reader(path: str) -> aiosqlite.Connection:
    """A read-only connection on a thread of its own, for whatever takes longer than a point read."""
    connection = await _connect(_uri(path, "ro"))
    await _pragmas(connection, "query_only = 1")
    return connection


async def open_writer(path: str, durability: Durability) -> aiosqlite.Connection:
    """The read-write connection. The file exists already; the caller holds the gate (WAL is switched on here)."""
    connection = await _connect(_uri(path, "rw"))
    await _pragmas(
        connection,
        "journal_mode = WAL",
        "wal_autocheckpoint = 0",
        f"synchronous = {durability.upper()}",
        f"journal_size_limit = {_JOURNAL_SIZE_LIMIT_BYTES}",
    )
    return connection


def _uri(path: str, mode: Literal["ro", "rw"]) -> str:
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


async def _connect(uri: str) -> aiosqlite.Connection:
    connection = aiosqlite.Connection(_connector(uri), iter_chunk_size=1)
    connection._thread.daemon = True  # else one whose close was forgotten would hang the interpreter at its end
    try:
        return await uncancelled(connection)
    except asyncio.CancelledError:
        # Its thread has opened the file all the same, and whoever was cancelled will not close it.
        with contextlib.suppress(sqlite3.Error):
            await uncancelled(connection.close())
        raise


def _connector(uri: str) -> Callable[[], sqlite3.Connection]:
    return lambda: sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)


async def abandon(connection: aiosqlite.Connection) -> None:
    """Close a connection of a loop that is closed. Its thread may have died of having nobody to tell a result to."""
    stopped = connection.stop()
    if stopped is not None:
        await asyncio.wait([stopped], timeout=1)
    connection._connection = None  # which closes it, if the thread did not


async def _pragmas(connection: aiosqlite.Connection, *pragmas: str) -> None:
    try:
        for pragma in (*pragmas, "trusted_schema = 0"):
            await connection.execute_fetchall(f"PRAGMA {pragma}")
    except BaseException:
        await uncancelled(connection.close())
        raise
