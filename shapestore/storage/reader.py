"""Reading, on connections that cannot write.

Point reads run on the event loop's own thread: one takes a few microseconds, in WAL mode waits for no writer,
and any hop to another thread would cost ten times as much. Whatever may take longer runs on a thread of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import aiosqlite
import msgspec

from shapestore.errors import ShapeGoneError, StoreClosedError
from shapestore.locking.create_lock import CreateLock, Failure, KeyState, LockState, State
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape, at, from_row
from shapestore.storage import queries
from shapestore.storage.connection import abandon, open_point_reader, open_reader
from shapestore.storage.row_codec import decode_row
from shapestore.storage.sqlite_errors import damaged, is_busy, translated

_PAGE = 1_000

_NONSENSE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, OSError)


class Reader:
    """The two read-only connections of an open store."""

    def __init__(self, path: str, point: sqlite3.Connection, pages: aiosqlite.Connection) -> None:
        self._path = path
        self._point = point
        self._pages = pages

    @classmethod
    async def open(cls, path: str) -> Reader:
        point = open_point_reader(path)
        try:
            return cls(path, point, await open_reader(path))
        except BaseException:
            point.close()
            raise

    async def close(self) -> None:
        self._point.close()
        await self._pages.close()

    def abandon(self) -> None:
        """Close without waiting: in another loop, and it may be in another thread, than that of the opening."""
        self._point.close()
        abandon(self._pages)

    # --- point reads

    async def find(self, shape: Shape) -> StoredShape | None:
        """The stored shape, if it is there. The hottest of all: it is written out, for a call more would be felt."""
        try:
            rows = self._point.execute(queries.FIND, (shape.comparable,)).fetchall()
        except sqlite3.Error as error:
            self._raise_unless_busy(error)
            rows = await self._page(queries.FIND, shape.comparable)
        for handle, row_count, created_at_ms in rows:
            try:
                return from_row(handle, shape, row_count, created_at_ms)
            except _NONSENSE as error:
                raise damaged(error, self._path) from error
        return None

    async def find_handle(self, handle: str) -> StoredShape | None:
        """The stored shape with this handle, if there is one."""
        for row in await self._point_or_page(queries.FIND_BY_HANDLE, handle):
            with self._making_sense():
                return from_row(handle, Shape.from_comparable(row[0]), row[1], row[2])
        return None

    async def count(self) -> int:
        """How many shapes are stored."""
        rows = await self._point_or_page(queries.COUNT)
        with self._making_sense():
            ((count,),) = rows
            return int(count)

    def look(self, shape: Shape, awaited: str | None) -> tuple[KeyState, StoredShape | None] | None:
        """All about a key, of one moment: its shape, its lock row, and how the attempt ``awaited`` failed, if it did.

        None if the file was busy: look again.
        """
        try:
            (row,) = self._point.execute(queries.LOOK, (shape.comparable, awaited)).fetchall()
        except sqlite3.Error as error:
            self._raise_unless_busy(error)
            return None
        try:
            stored = None if row[0] is None else from_row(row[0], shape, row[1], row[2])
            lock = None if row[3] is None else LockState(row[3], State(row[4]), row[5], _failure(*row[6:9]))
        except _NONSENSE as error:
            raise damaged(error, self._path) from error
        return KeyState(row[0], lock, _failure(*row[9:12])), stored

    @contextlib.contextmanager
    def one_moment(self, looks: int) -> Iterator[None]:
        """So many point reads, made in here without a pause, see the file as it is at the first of them."""
        if looks < 2:  # a single statement is of one moment anyway
            yield
            return
        self._point.execute("BEGIN")
        try:
            yield
        finally:
            if self._point.in_transaction:  # which an error of the disk has ended by itself
                self._point.execute("COMMIT")

    def has_discarded(self) -> bool:
        """Whether rows are left to be deleted."""
        return bool(self._point_read(queries.NEXT_DISCARDED))

    def stored_count(self) -> int:
        """As ``count``, at once. Raises StoreBusyError if the file is busy."""
        rows = self._point_read(queries.COUNT)
        with self._making_sense():
            ((count,),) = rows
            return int(count)

    def _raise_unless_busy(self, error: sqlite3.Error) -> None:
        if not is_busy(error):
            raise translated(error, self._path)

    async def _point_or_page(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """A point read; in the rare moments in which the file is busy (recovery), one that can wait."""
        try:
            return self._point.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            self._raise_unless_busy(error)
        return await self._page(statement, *parameters)

    def _point_read(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        try:
            return self._point.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    # --- pages

    async def rows(self, stored: StoredShape, after: int, limit: int) -> list[dict[str, Any]]:
        """The next rows behind position ``after``, ``limit`` at most, in one short read.

        A shape has all its rows or is gone: a batch that is short of what the shape row promised means gone, or, if
        the shape is still there, that rows of it were lost.
        """
        expected = max(0, min(limit, stored.row_count - after))
        found = await self._page(queries.ROWS, stored.handle, after, expected)
        if len(found) < expected:
            if await self.find_handle(stored.handle) is not None:
                raise damaged(f"the shape {stored.handle!r} lacks rows", self._path)
            raise ShapeGoneError(stored.handle)
        with self._making_sense():
            return [decode_row(text) for (text,) in found]

    async def shapes(self, table: str | None) -> AsyncIterator[StoredShape]:
        """Every stored shape, a page at a time, in the order of the handles (which is none)."""
        after = ""
        while page := await self.some_shapes(table, after=after, limit=_PAGE):
            if page[-1].handle <= after:  # else a damaged index might be gone through for ever
                raise damaged("its shapes are in no order", self._path)
            for stored in page:
                yield stored
            after = page[-1].handle

    async def some_shapes(self, table: str | None, *, after: str = "", limit: int = 10_000) -> list[StoredShape]:
        """The stored shapes behind a handle: of a table, or of all."""
        if table is None:
            page = await self._page(queries.SHAPES, after, limit)
        else:
            page = await self._page(queries.SHAPES_OF_TABLE, after, limit, table)
        with self._making_sense():
            return [from_row(handle, Shape.from_comparable(key), count, at_ms) for handle, key, count, at_ms in page]

    async def in_progress(self, owner: str) -> list[str]:
        """The handles under which this owner's lock rows are in progress."""
        return [handle for (handle,) in await self._page(queries.IN_PROGRESS_OF_OWNER, owner)]

    async def locks(self) -> list[CreateLock]:
        page = await self._page(queries.LOCKS)
        with self._making_sense():
            return [create_lock(row) for row in page]

    async def _page(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        try:
            return list(await self._pages.execute_fetchall(statement, parameters))  # type: ignore[arg-type]
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        except UnicodeDecodeError as error:
            raise damaged(error, self._path) from error
        except ValueError as error:  # aiosqlite's word for a connection that is closed
            raise StoreClosedError("the store was closed during this read") from error

    @contextlib.contextmanager
    def _making_sense(self) -> Iterator[None]:
        """What is read was written by this library: where it makes no sense, the file is damaged."""
        try:
            yield
        except _NONSENSE as error:
            raise damaged(error, self._path) from error


def create_lock(row: Sequence[Any]) -> CreateLock:
    """A lock from the columns of ``queries.LOCKS``."""
    comparable, table, state, owner, handle, started_at_ms, failed_at_ms, *failure = row
    return CreateLock(
        comparable=comparable,
        table=table,
        state=State(state),
        owner=owner,
        handle=handle,
        started_at=at(started_at_ms),
        failed_at=None if failed_at_ms is None else at(failed_at_ms),
        failure=_failure(*failure),
    )


def _failure(error_type: str | None, message: str | None, retry_after_ms: int | None) -> Failure | None:
    if error_type is None:
        return None
    return Failure(error_type, message or "", retry_after_ms or 0)
