"""Reading on a thread of its own: rows, logs, and whatever else may take longer than a point read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import aiosqlite
import msgspec

from shapestore.concurrency.futures import refuse
from shapestore.errors import CorruptStoreError, ForkedStoreError, InvalidShapeError, StoreClosedError
from shapestore.locking import boot_clock
from shapestore.locking.create_lock import CreateLock
from shapestore.shape.change import Change, Operation
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.storage import drop_queries, queries
from shapestore.storage.connection import on_thread
from shapestore.storage.from_row import to_create_lock, to_stored
from shapestore.storage.log import queries as log_queries
from shapestore.storage.log import read
from shapestore.storage.log.keys import decode_key
from shapestore.storage.log.positions import Standing
from shapestore.storage.sqlite_errors import damaged, translated

T = TypeVar("T")

Parameters = Mapping[str, Any] | Sequence[Any]
"""Those of a statement, by name or in order."""

_PAGE = 1_000

_decode = msgspec.json.Decoder().decode

# aiosqlite's words for a connection that is closed.
_CLOSED = {"Connection closed", "no active connection"}

NONSENSE = (msgspec.MsgspecError, InvalidShapeError, ValueError, TypeError, OverflowError, OSError)
"""What is raised by values in a file that no store has written."""


class PageReader:
    """A read-only connection on its own thread."""

    def __init__(self, path: str, pages: aiosqlite.Connection) -> None:
        self._path = path
        self._pages = pages
        self._pid = os.getpid()

    # --- rows and logs

    async def standing(self, handle: str, public: int | None) -> tuple[Standing, int]:
        """Where the log of a handle stands, and the position as of which its rows are asked for; see log.read."""
        return await self.run(lambda connection: read.standing(connection, handle, public))

    async def standing_of_key(self, comparable: str) -> Standing | None:
        """Where the log of the stored shape of a key stands; None if there is none."""
        for row in await self._page(log_queries.LOCATE_KEY, {"comparable": comparable}):
            return Standing(*row)
        return None

    async def repeated_key(self, handle: str) -> str | None:
        """A key that several rows of the attempt ``handle`` have; None if all keys differ."""
        for (key,) in await self._page(log_queries.REPEATED_KEY, {"handle": handle}):
            return str(key)
        return None

    def decode(self, inside: bytes) -> list[dict[str, Any]]:
        """The rows that stand inside of a JSON array."""
        try:
            rows: list[dict[str, Any]] = _decode(b"[%b]" % inside)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise damaged(error, self._path) from error
        return rows

    async def changes(self, handle: str, after: int, limit: int) -> list[Change]:
        """What a log says behind a public position, decoded. It is read in parts, so that others have their turns."""
        changes: list[Change] = []
        size = 0
        while len(changes) < limit and size < read.MOST_PAGE_BYTES:
            asked = min(limit - len(changes), _PAGE)
            entries = await self.log_entries(handle, after, asked)
            changes += map(self.change, entries)
            if len(entries) < asked:
                break
            after = entries[-1].position
            size += sum(len(entry.row or b"") for entry in entries)
        return changes

    async def log_entries(self, handle: str, after: int, limit: int) -> list[read.LogEntry]:
        """What a log says behind a public position; see log.read."""
        return await self.run(lambda connection: read.log_entries(connection, handle, after, limit))

    def change(self, entry: read.LogEntry) -> Change:
        """An entry of a log, decoded."""
        with self._making_sense():
            key = () if entry.key is None else decode_key(entry.key)
            row = None if entry.row is None else msgspec.json.decode(entry.row)
            return Change(entry.position, cast(Operation, entry.operation), key, row)

    # --- pages

    async def shapes(self, namespace: str, table: str | None) -> AsyncIterator[StoredShape]:
        """Every stored shape, a page at a time, in the order of their numbers."""
        after = 0
        while True:
            page = await self.some_shapes(namespace, table, after=after, limit=_PAGE)
            for _, stored in page:
                yield stored
            if len(page) < _PAGE:
                return
            if page[-1][0] <= after:  # else a damaged index might be gone through for ever
                raise damaged("its shapes are in no order", self._path)
            after = page[-1][0]

    async def some_shapes(
        self, namespace: str, table: str | None, *, after: int = 0, limit: int = 10_000
    ) -> list[tuple[int, StoredShape]]:
        """Stored shapes behind a number, with their numbers: of a table, or of all."""
        statement = queries.SHAPES if table is None else queries.SHAPES_OF_TABLE
        page = await self._page(statement, {"namespace": namespace, "table": table, "after": after, "limit": limit})
        with self._making_sense():
            return [
                (number, to_stored(Shape.from_comparable(key, where), columns)) for number, key, where, *columns in page
            ]

    async def in_progress(self, owner: str) -> list[str]:
        """The handles under which this owner's lock rows are in progress."""
        return [handle for (handle,) in await self._page(queries.IN_PROGRESS_OF_OWNER, {"owner": owner})]

    async def owners(self) -> list[str]:
        """The owners of which something is in the file."""
        return [owner for (owner,) in await self._page(queries.OWNERS)]

    async def expired(self, keep_ms: int) -> list[int]:
        """The numbers of some handles that were kept for so long, and that no registered reader reads."""
        now = boot_clock.now()
        given = {"boot": now.boot, "oldest": now.boot_ms - keep_ms, "limit": _PAGE}
        return [number for (number,) in await self._page(drop_queries.EXPIRED, given)]

    async def oldest_kept(self) -> list[tuple[int, int]]:
        """Numbers and sizes of some handles that were kept for longest, and that no registered reader reads."""
        given = {"limit": _PAGE, **boot_clock.now()._asdict()}
        return [(number, size) for number, size in await self._page(drop_queries.OLDEST_KEPT, given)]

    async def locks(self) -> list[CreateLock]:
        page = await self._page(queries.LOCKS)
        with self._making_sense():
            return [to_create_lock(row) for row in page]

    async def _page(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        return await self.run(lambda connection: connection.execute(statement, parameters).fetchall())

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` on the reader's thread, with its connection."""
        return await self.result_of(self.start(work))

    def start(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have ``work`` called on the reader's thread; what becomes of it is told by ``result_of``."""
        if os.getpid() != self._pid:  # whose thread is not there
            raise ForkedStoreError("the store was opened before a fork and is used in the child")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def unless_cancelled(connection: sqlite3.Connection) -> T:
            if answer.cancelled():  # what comes next need not wait for an answer without a caller
                raise asyncio.CancelledError
            return work(connection)

        try:
            return on_thread(self._pages, unless_cancelled, answer)
        except ValueError as error:
            refuse(answer, error)
            return answer

    async def result_of(self, answer: asyncio.Future[T]) -> T:
        """What was read, once it is; or its error, in the words of this package."""
        try:
            return await answer
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        except UnicodeDecodeError as error:
            raise damaged(error, self._path) from error
        except ValueError as error:
            if str(error) in _CLOSED:
                raise StoreClosedError("the store was closed during this read") from error
            raise

    def damage(self, how: str) -> CorruptStoreError:
        """The error that says that the file is corrupt."""
        return damaged(how, self._path)

    @contextlib.contextmanager
    def _making_sense(self) -> Iterator[None]:
        """What is read was written by this library: where it makes no sense, the file is damaged."""
        try:
            yield
        except NONSENSE as error:
            raise damaged(error, self._path) from error
