"""How a store's file is opened: one connection that writes, and two that only read.

Every connection makes no checkpoint of SQLite's own accord (the writer makes them, under the gate; see gate.py), opens
no transaction by itself (``isolation_level=None``), and trusts no function that a schema names.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import aiosqlite
from aiosqlite.core import _STOP_RUNNING_SENTINEL

from shapestore.concurrency import at_fork
from shapestore.concurrency.futures import refuse, resolve
from shapestore.concurrency.uncancelled import uncancelled, until_done
from shapestore.errors import StorageError

T = TypeVar("T")

Durability = Literal["normal", "full"]

OLDEST_SQLITE = (3, 38, 0)  # unixepoch(), ->> (3.38), STRICT (3.37), RETURNING (3.35)

SCHEMA = "0002"
"""The revision of the schema that the statements of this code are for."""

# How long a write waits for a foreign writer (the shell, Litestream) that holds SQLite's lock, and a long read for
# the moment in which a closing process recovers the file. Less than the gate's own limit.
BUSY_TIMEOUT_MS = 5_000
_JOURNAL_SIZE_LIMIT_BYTES = 8 * 1024 * 1024
# For the point reads: a thousand shapes that are asked for again and again, anywhere among a million, stay in memory
# with the upper pages of their indexes (a quarter less time for a hit). A small file takes no more than its own size.
_POINT_CACHE_KIB = 16 * 1024


def check_sqlite_version(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raise StorageError if the SQLite that Python was built with is too old for the schema."""
    if version < OLDEST_SQLITE:
        found, needed = (".".join(map(str, v)) for v in (version, OLDEST_SQLITE))
        raise StorageError(f"SQLite {found} is too old: shapestore needs {needed}; use a newer Python build")


def open_point_reader(path: str, *, busy_timeout_ms: int = 0) -> sqlite3.Connection:
    """Open a read-only connection for point reads on the event loop's own thread. It never waits: busy is an answer.

    An inspector, which has no loop, may let it wait for ``busy_timeout_ms``.
    """
    return _connected(_uri(path, "ro"), ["query_only = 1", f"cache_size = -{_POINT_CACHE_KIB}"], busy_timeout_ms)


def open_immutable(path: str) -> sqlite3.Connection:
    """Open a file that may not be a store's: reading it leaves no file beside it that is not there already.

    Without a log beside it, everything is in the file itself, and SQLite need neither make a log nor lock to read it.
    """
    immutable = "" if os.path.exists(f"{path}-wal") else "&immutable=1"
    return sqlite3.connect(f"{_uri(path, 'ro')}{immutable}", uri=True, isolation_level=None, timeout=0)


async def open_reader(path: str) -> aiosqlite.Connection:
    """Open a read-only connection on a thread of its own, for what takes longer than a point read."""
    return await _Connection(partial(_connected, _uri(path, "ro"), ["query_only = 1"], BUSY_TIMEOUT_MS))


async def open_writer(
    path: str, durability: Durability, check: Callable[[sqlite3.Connection], None] = lambda _: None
) -> aiosqlite.Connection:
    """Open the read-write connection. The file exists; the caller holds the gate, since this switches WAL on.

    ``check`` is called before that, on the connection's thread; what it raises is raised.
    """
    pragmas = [
        "journal_mode = WAL",
        "wal_autocheckpoint = 0",
        # Where SQLite was built with it, deleting wrote three times the log. What is deleted then stays in free pages.
        "secure_delete = 0",
        "temp_store = MEMORY",
        f"synchronous = {durability.upper()}",
        f"journal_size_limit = {_JOURNAL_SIZE_LIMIT_BYTES}",
    ]
    return await _Connection(partial(_connected, _uri(path, "rw"), pragmas, BUSY_TIMEOUT_MS, check))


def _uri(path: str, mode: Literal["ro", "rw"]) -> str:
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


def on_thread(
    connection: aiosqlite.Connection, work: Callable[[sqlite3.Connection], T], answer: asyncio.Future[T]
) -> asyncio.Future[T]:
    """Have ``work`` called with the SQLite connection on its own thread: one hop, however many statements.

    Returns ``answer``, a future that is resolved by what it returns. aiosqlite has no public way to do so, and a way
    through a task takes the event loop three turns more.
    """
    if not connection._running:
        raise ValueError("Connection closed")  # as aiosqlite does
    connection._tx.put_nowait((answer, lambda: work(connection._conn)))
    return answer


def abandon(connection: aiosqlite.Connection) -> None:
    """Have the connection closed by its thread, and the thread end, without waiting for it; its loop may be closed."""
    if connection._running:
        connection.stop()


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection, apart from its thread and its beginning.

    Its thread does not keep the interpreter from exiting, and outlives its event loop: aiosqlite's own one ends by an
    error, and leaves the connection open, if the loop is closed while a statement runs. And a connection that was
    being opened when its opener was cancelled is closed again.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=1)
        # The thread does not refer to the connection, which is closed where it was forgotten.
        self._thread = threading.Thread(target=_serve, args=[self._tx], name="shapestore connection", daemon=True)

    async def _connect(self) -> Self:
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((opened, self._open))
        try:
            await uncancelled(opened)
        except BaseException:
            stopped = self.stop()
            assert stopped is not None
            await until_done(stopped)
            raise
        return self

    def _open(self) -> None:
        self._connection = self._connector()


def _connected(
    uri: str, pragmas: Iterable[str], busy_timeout_ms: int, check: Callable[[sqlite3.Connection], None] = lambda _: None
) -> sqlite3.Connection:
    """A connection, and all that it needs, in one go. It may be closed by another thread, if its loop ended first."""
    timeout = busy_timeout_ms / 1000
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout, check_same_thread=False)
    try:
        check(connection)
        for pragma in (*pragmas, "trusted_schema = 0"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _serve(sent: SimpleQueue[tuple[asyncio.Future[Any] | None, Callable[[], Any]]]) -> None:
    """Call what is sent to the thread, and answer it, until the connection is closed."""
    section = at_fork.Section()
    with at_fork.pausing(section):
        while _serve_one(section.lock, *sent.get()) is not _STOP_RUNNING_SENTINEL:
            pass


def _serve_one(lock: threading.Lock, future: asyncio.Future[Any] | None, function: Callable[[], Any]) -> Any:
    result: Any = None
    failure: BaseException | None = None
    try:
        with lock:
            result = function()
    except BaseException as error:
        failure = error
    if future is not None:
        _send_back(future, result, failure)
    del failure  # or it and this frame, in its traceback, would keep each other in memory
    return result


def _send_back(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    try:
        future.get_loop().call_soon_threadsafe(_answer, future, result, failure)
    except RuntimeError:  # the loop is closed, and the waiter with it
        return


def _answer(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if failure is None:
        resolve(future, result)
    else:
        refuse(future, failure)
