"""The newest changes of sources, as far as their live shapes can still follow them."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from functools import partial

from shapestore.concurrency.futures import refuse, resolve
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.errors import ShapeStoreError, fresh
from shapestore.source.sqlite_feed.changes import SourcePosition, newest, nonce_at
from shapestore.source.sqlite_feed.file import ask, opened, transaction
from shapestore.source.sqlite_feed.installation import signature
from shapestore.storage.connection import BUSY_TIMEOUT_MS, open_point_reader
from shapestore.storage.log.live import queries
from shapestore.storage.reader import Reader

Followed = tuple[int, int | None, int]
"""A change up to which a source is followed: seq and nonce; and whether there are shapes that no round has reached."""


class NewestChanges:
    """Reads them. Callers share a reading that begins after they have called."""

    def __init__(self, reader: Reader, threads: WorkerThreads) -> None:
        self._reader = reader
        self._threads = threads
        self._running: dict[int, asyncio.Future[SourcePosition | None]] = {}
        self._next: dict[int, asyncio.Future[SourcePosition | None]] = {}
        self._schemas: dict[int, int] = {}
        """The version of each source's schema in which its tables were found to be captured. Used by one thread."""

    async def read(self, source: int, path: str) -> SourcePosition | None:
        """The newest change of a source, as of a moment after this call.

        None if it cannot be read; and if rounds will end some of its live shapes: it is not the source whose changes
        were followed, as where a backup was put back, or a table has other triggers than when a shape was read.
        """
        if source not in self._running:
            return await asyncio.shield(self._run(source, path))
        if source not in self._next:
            self._next[source] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._next[source])

    def close(self, error: ShapeStoreError) -> None:
        """All callers get a copy of the error."""
        for waited_for in (*self._running.values(), *self._next.values()):
            refuse(waited_for, fresh(error))
        self._next.clear()

    def _run(self, source: int, path: str) -> asyncio.Future[SourcePosition | None]:
        followed = self._reader.followed_up_to(source)
        reading = self._threads.run(lambda: self._newest(source, path, followed), name="shapestore followed")
        self._running[source] = reading
        reading.add_done_callback(partial(self._ended, source, path))
        return reading

    def _ended(self, source: int, path: str, _: asyncio.Future[SourcePosition | None]) -> None:
        del self._running[source]
        waited_for = self._next.pop(source, None)
        if waited_for is not None:
            try:
                self._run(source, path).add_done_callback(partial(_hand_on, waited_for))
            except Exception as error:  # the store's file cannot be read, or the system has no thread for it
                refuse(waited_for, error)

    # --- in a thread

    def _newest(self, source: int, path: str, followed: Followed | None) -> SourcePosition | None:
        try:
            with opened(path) as connection, transaction(connection, "DEFERRED"):
                position = newest(connection)
                if position is None or followed is None:
                    return None
                seq, nonce, has_newcomers = followed
                if nonce is not None and nonce_at(connection, seq) != nonce:
                    return None
                if has_newcomers:  # one may have been read before the last migration, and published after it
                    self._schemas.pop(source, None)
                return position if self._is_captured(source, connection) else None
        except sqlite3.Error:
            return None

    def _is_captured(self, source: int, connection: sqlite3.Connection) -> bool:
        """Whether the tables of live shapes have the triggers under which these were read."""
        [(version,)] = ask(connection, "PRAGMA main.schema_version")
        if self._schemas.get(source) != version:
            with closing(open_point_reader(self._reader.path, busy_timeout_ms=BUSY_TIMEOUT_MS)) as store:
                signatures = set(store.execute(queries.SIGNATURES, {"source": source}).fetchall())
            if any(signature(connection, table) != signed for table, signed in signatures):
                return False
            self._schemas[source] = version
        return True


def _hand_on(waited_for: asyncio.Future[SourcePosition | None], reading: asyncio.Future[SourcePosition | None]) -> None:
    error = reading.exception()
    if error is None:
        resolve(waited_for, reading.result())
    else:
        refuse(waited_for, error)
