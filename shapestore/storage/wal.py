"""The write-ahead log of a store's file: on the disk soon after it is written, and in the database before it is long.

The writer asks for both after its commits, under the gate: no checkpoint runs beside a commit. A log that is in the
database is begun again: its file keeps its size, and is written over. A page by which it grows takes half as long again
to write; if it were cut instead, a small transaction would take a tenth longer, and more beside a busy disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from bisect import bisect_left
from functools import partial
from typing import Literal, Self

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

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24


class WriteAheadLog:
    """The log beside the database at ``path``, whose read-write connection is ``connection``."""

    def __init__(
        self, path: str, connection: aiosqlite.Connection, threads: WorkerThreads, telemetry: Telemetry
    ) -> None:
        self._path = path
        self._connection = connection
        self._threads = threads
        self._telemetry = telemetry
        self._salt = b""
        """Of the log that these are of, each so many bytes from its beginning:"""
        self._looked_at = 0
        """How long it was when a checkpoint was last due."""
        self._synced = 0
        self._copied = 0
        """What is in the database."""
        self._syncing: asyncio.Future[None] | None = None

    def size(self) -> int:
        """How many bytes of it are not in the database, as far as this store knows."""
        with self._frames() as frames:
            return frames.size() - self._copied

    async def committed(self) -> None:
        """It may have grown. A failure here does not fail what was committed."""
        with self._frames() as frames:
            is_long = frames.reach(self._looked_at + CHECKPOINT_BYTES)
            if not is_long and frames.reach(self._synced + SYNC_BYTES) and (not self._syncing or self._syncing.done()):
                self._synced = frames.size()
                self._syncing = self._threads.run(partial(sync, f"{self._path}-wal"), name="shapestore sync")
        if is_long:
            await self.checkpoint()

    def checkpoint_soon(self) -> None:
        """With the next commit, if it is long, though it has not grown: what was in the way may be gone."""
        self._looked_at = 0

    async def checkpoint(self, how: Literal["RESTART", "TRUNCATE"] = "RESTART") -> None:
        """Copy it into the database, as far as readers allow. The caller holds the gate."""
        with self._frames() as frames:
            size = frames.size()
        if size >= LITESTREAM_IS_GONE_BYTES or not await self._is_litestreams():
            if await on_thread(self._connection, partial(_checkpoint, how=how), Uncancelled()):
                self._copied = size
            self._telemetry.tell(Checkpointed, size - self._copied)
        self._looked_at = size

    async def cut(self) -> None:
        """The same, and leave nothing of it. Otherwise a file put in the database's place would take it for its own."""
        await self.checkpoint("TRUNCATE")

    def _frames(self) -> _Frames:
        """What is in its file; of another log, perhaps, than the last time."""
        frames = _Frames(f"{self._path}-wal")
        if frames.salt != self._salt:
            self._salt = frames.salt
            self._looked_at = self._synced = self._copied = 0
        return frames

    async def _is_litestreams(self) -> bool:
        """Whether Litestream replicates the file, which it marks by a table.

        It copies from the log, and reads the database while it thinks that no other process writes there: a checkpoint
        by another may spoil its replica. The read lock by which it keeps others off does not always hold.
        """
        with contextlib.suppress(sqlite3.Error):
            return bool(await self._connection.execute_fetchall(queries.HAS_LITESTREAM))
        return False


class _Frames:
    """The pages in the file at ``path``, each behind a header, to be read within ``with``; none, if it cannot be read.

    Those of the log that was begun last bear its salt, and come first; behind them are what is left of earlier ones.
    The format: https://www.sqlite.org/fileformat2.html#walformat
    """

    def __init__(self, path: str) -> None:
        self._fd, header = -1, b""
        with contextlib.suppress(OSError):
            self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            header = os.pread(self._fd, _HEADER_BYTES, 0)
        self.salt = header[16:24]
        self._bytes = _FRAME_HEADER_BYTES + int.from_bytes(header[8:12], "big")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def reach(self, size: int) -> bool:
        """Whether the log has more than so many bytes."""
        return self._is_used(size // self._bytes)

    def size(self) -> int:
        """How many bytes the log has."""
        if not self.salt:
            return 0
        there = range(os.fstat(self._fd).st_size // self._bytes)
        return bisect_left(there, True, key=lambda number: not self._is_used(number)) * self._bytes

    def _is_used(self, number: int) -> bool:
        begin = _HEADER_BYTES + number * self._bytes
        return self.salt != b"" and os.pread(self._fd, 8, begin + 8) == self.salt


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


def _checkpoint(connection: sqlite3.Connection, *, how: str) -> bool:
    """It waits for no reader: the rest is copied next time. Whether all of the log is in the database now."""
    copied = False
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 0").fetchall()
        # Not PASSIVE: this keeps other programs from writing meanwhile. Nor does any commit begin the log again.
        ((_, pages, copied_pages),) = connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        copied = pages == copied_pages >= 0  # they are -1 where another program is in the middle of one
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").fetchall()
    return copied
