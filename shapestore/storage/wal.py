"""The write-ahead log of a store's file: on the disk soon after it is written, and in the database before it is long.

The writer asks for both after its commits, under the gate: no checkpoint runs beside a commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from functools import partial

import aiosqlite

from shapestore.concurrency.uncancelled import Uncancelled
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.events import Checkpointed
from shapestore.storage import queries
from shapestore.storage.connection import BUSY_TIMEOUT_MS, on_thread
from shapestore.telemetry import Telemetry

# It is checkpointed when it has grown by this much.
CHECKPOINT_BYTES = 8 * 1024 * 1024
# Whenever it has grown by so much, what it holds is written to the disk, while the writer goes on. A checkpoint, for
# which all writers wait, has to wait for that before anything else.
SYNC_BYTES = 2 * 1024 * 1024
# Where Litestream replicates the file, checkpoints are its work. It never lets the log grow by as much as this; if the
# log has, Litestream is not running any more.
LITESTREAM_IS_GONE_BYTES = 256 * 1024 * 1024


class WriteAheadLog:
    """The log beside the database at ``path``, whose read-write connection is ``connection``."""

    def __init__(
        self, path: str, connection: aiosqlite.Connection, threads: WorkerThreads, telemetry: Telemetry
    ) -> None:
        self._path = path
        self._connection = connection
        self._threads = threads
        self._telemetry = telemetry
        self._left_bytes = 0
        """What the last checkpoint has left."""
        self._synced_bytes = 0
        self._syncing: asyncio.Future[None] | None = None

    def size(self) -> int:
        return wal_bytes(self._path)

    async def committed(self) -> None:
        """It may have grown. A failure here does not fail what was committed."""
        size = self.size()
        self._left_bytes = min(self._left_bytes, size)  # it may have been cut
        self._synced_bytes = min(self._synced_bytes, size)
        if size >= self._left_bytes + CHECKPOINT_BYTES:
            await self.checkpoint()
        elif size >= self._synced_bytes + SYNC_BYTES and (self._syncing is None or self._syncing.done()):
            self._synced_bytes = size
            self._syncing = self._threads.run(partial(sync, f"{self._path}-wal"), name="shapestore sync")

    def checkpoint_soon(self) -> None:
        """With the next commit, if it is long, though it has not grown: what was in the way may be gone."""
        self._left_bytes = 0

    async def checkpoint(self) -> None:
        """Copy it into the database and cut it, as far as readers allow. The caller holds the gate."""
        if self.size() >= LITESTREAM_IS_GONE_BYTES or not await self._is_litestreams():
            await on_thread(self._connection, _checkpoint, Uncancelled())
            self._telemetry.tell(Checkpointed, self.size())
        self._left_bytes = self.size()

    async def _is_litestreams(self) -> bool:
        """Whether Litestream replicates the file, which it marks by a table.

        It copies from the log, and reads the database while it thinks that no other process writes there: a checkpoint
        by another may spoil its replica. The read lock by which it keeps others off does not always hold.
        """
        with contextlib.suppress(sqlite3.Error):
            return bool(await self._connection.execute_fetchall(queries.HAS_LITESTREAM))
        return False


def wal_bytes(path: str) -> int:
    """The size of the write-ahead log of the database at ``path``; 0 if there is none."""
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


def sync(path: str) -> None:
    """Have what was written to a file reach the disk. An error is left for SQLite to meet, which has it open too.

    Not for the database itself, nor its shared memory: to close them would drop the locks that SQLite holds on them.
    """
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _checkpoint(connection: sqlite3.Connection) -> None:
    """It waits for no reader: the rest is copied next time."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 0").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").fetchall()
