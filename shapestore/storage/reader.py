"""Reading, on connections that cannot write.

Point reads run on the event loop's own thread: one takes a few microseconds, in WAL mode waits for no writer,
and any hop to another thread would cost ten times as much. Whatever may take longer is in page_reader.py.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import aiosqlite

from shapestore.locking.create_lock import KeyState, LockState, State
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.storage import queries
from shapestore.storage.connection import abandon, open_point_reader, open_reader
from shapestore.storage.from_row import Confirmation, to_confirmation, to_failure, to_stored
from shapestore.storage.log import pages as log_pages
from shapestore.storage.log import queries as log_queries
from shapestore.storage.log import read
from shapestore.storage.log.live import queries as live_queries
from shapestore.storage.log.positions import Standing, pack
from shapestore.storage.page_reader import NONSENSE, PageReader, Parameters
from shapestore.storage.sqlite_errors import damaged, is_busy, translated

# So many bytes of rows are read on the event loop's thread, at once with the shape: about a third of a millisecond.
FETCH_BYTES = 128 * 1024

Served = tuple[str, int, int, Confirmation | None]
"""The handle of a stored shape, its public position, its mark (see ``queries.MARK``), and where that is asked for, what
its age is counted from."""

_SERVED = f"handle, position, round, {queries.MARK}"
# Without and with what the age is counted from: (comparable), and (most bytes, comparable)
SERVED = tuple(f"SELECT {_SERVED}{aged} FROM shapes WHERE comparable = ?" for aged in ("", f", {queries.CONFIRMED}"))
FETCH = tuple(statement.replace("SELECT", f"SELECT {log_queries.ROWS_OF_SMALL},", 1) for statement in SERVED)

_TOTALS = {"shapes", "bytes", "kept", "kept_bytes"}

_NOTHING = KeyState(stored=None, lock=None, awaited_failure=None)


class Reader(PageReader):
    """The two read-only connections of an open store: that for pages, and one for point reads."""

    def __init__(self, path: str, point: sqlite3.Connection, pages: aiosqlite.Connection) -> None:
        super().__init__(path, pages)
        self._point = point
        self._execute = point.cursor().execute
        """Executes a point read, of which all rows are fetched at once. A cursor for each would be felt by hits."""

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

    async def find(self, comparable: str, shape: Shape) -> StoredShape | None:
        """The stored shape, if it is there."""
        found = await self.find_marked(comparable, shape)
        return None if found is None else found[0]

    async def find_marked(self, comparable: str, shape: Shape) -> tuple[StoredShape, int] | None:
        """The stored shape, if it is there, and its mark (see ``queries.MARK``)."""
        for row in await self._point_or_page(queries.FIND, (comparable,)):
            with self._making_sense():
                return to_stored(shape, row), row[6]
        return None

    def find_at_once(self, comparable: str, shape: Shape) -> tuple[StoredShape, int] | None:
        """As ``find_marked``; raises StoreBusyError if the file is busy.

        The hottest of all: it is written out, for a call more would be felt.
        """
        try:
            for row in self._execute(queries.FIND, (comparable,)):  # one at most, so nothing is left half read
                return to_stored(shape, row), row[6]
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        except NONSENSE as error:
            raise damaged(error, self._path) from error
        return None

    async def find_with_age(self, comparable: str, shape: Shape) -> tuple[StoredShape, int, Confirmation] | None:
        """The stored shape, if it is there, its mark, and what its age is counted from."""
        for row in await self._point_or_page(queries.FIND_WITH_AGE, (comparable,)):
            with self._making_sense():
                return to_stored(shape, row[:7]), row[6], to_confirmation(*row[7:])
        return None

    async def read_too_early(self, comparable: str) -> set[str]:
        """The attempts at a key that may have read the source before it was said to have changed."""
        found = await self._point_or_page(queries.READ_TOO_EARLY, (comparable, comparable))
        return {handle for (handle,) in found}

    def served(self, comparable: str, *, aged: bool) -> Served | None:
        """What says whether a stored shape is an answer, and as of which position its rows are.

        At once, on this thread. None if it is missing, or the file is busy.
        """
        for handle, position, round_, mark, *confirmed in self._unless_busy(SERVED[aged], (comparable,)) or ():
            public = pack(round_, position) if round_ else position
            return handle, public, mark, self._confirmation(confirmed) if confirmed else None
        return None

    def fetch_small(self, comparable: str, *, aged: bool) -> tuple[bytes, *Served] | None:
        """The rows of a small shape, as the inside of a JSON array, and what ``served`` says.

        At once, on this thread. None if it is missing, or has more than ``FETCH_BYTES``, or the file is busy, or if its
        rows have not the bytes that they should have: those who read it in batches are told what is wrong.
        """
        try:
            found = self._execute(FETCH[aged], (FETCH_BYTES, comparable))
            for inside, size, handle, position, round_, mark, *confirmed in found:
                if inside is not None and len(inside) == size:
                    public = pack(round_, position) if round_ else position
                    return inside, handle, public, mark, self._confirmation(confirmed) if aged else None
        except sqlite3.Error as error:
            self._raise_unless_busy(error)
        return None

    def _confirmation(self, columns: list[Any]) -> Confirmation:
        with self._making_sense():
            return to_confirmation(*columns)

    async def find_handle(self, handle: str) -> StoredShape | None:
        """The stored shape with this handle, if there is one."""
        for row in await self._point_or_page(queries.FIND_BY_HANDLE, (handle,)):
            with self._making_sense():
                return to_stored(Shape.from_comparable(row[0], row[1]), row[2:])
        return None

    async def count(self) -> int:
        """How many shapes are stored."""
        return self._totals(await self._point_or_page(queries.TOTALS))["shapes"]

    def poll(self, comparable: str, shape: Shape, awaited: str | None) -> tuple[KeyState, StoredShape | None] | None:
        """All about a key, of one moment: its shape, its lock row, and how the attempt ``awaited`` failed, if it did.

        None if the file was busy: poll again.
        """
        try:
            if not self._execute(queries.IS_KNOWN, (comparable, comparable, awaited)).fetchall():
                return _NOTHING, None
            (row,) = self._execute(queries.POLL, {"comparable": comparable, "awaited": awaited}).fetchall()
        except sqlite3.Error as error:
            self._raise_unless_busy(error)
            return None
        return self._seen(shape, row)

    async def poll_surely(self, comparable: str, shape: Shape) -> tuple[KeyState, StoredShape | None]:
        """As ``poll``; it waits for a file that is busy."""
        (row,) = await self._point_or_page(queries.POLL, {"comparable": comparable, "awaited": None})
        return self._seen(shape, row)

    def _seen(self, shape: Shape, row: tuple[Any, ...]) -> tuple[KeyState, StoredShape | None]:
        shape_row, confirmed_by, lock_row, failure = row[:7], row[7], row[8:14], row[14:]
        try:
            stored = None if confirmed_by is None else to_stored(shape, shape_row)
            lock = None
            if lock_row[0] is not None:
                lock = LockState(lock_row[0], State(lock_row[1]), lock_row[2], to_failure(*lock_row[3:]))
        except NONSENSE as error:
            raise damaged(error, self._path) from error
        return KeyState(confirmed_by, lock, to_failure(*failure)), stored

    def one_moment(self, reads: int) -> contextlib.AbstractContextManager[None]:
        """So many point reads, made in here without a pause, see the file as it is at the first of them."""
        # A single statement is of one moment anyway.
        return read.one_moment(self._point) if reads > 1 else contextlib.nullcontext()

    @property
    def path(self) -> str:
        """The path of the file."""
        return self._path

    def data_version(self) -> int | None:
        """A number that is another one whenever another connection has committed. None if the file is busy."""
        rows = self._unless_busy("PRAGMA data_version")
        return None if rows is None else int(rows[0][0])

    def ends(self, numbers: str) -> dict[int, tuple[Any, ...]] | None:
        """What says whether anything has become of shapes, by their numbers, of which a JSON array is given.

        None if the file is busy.
        """
        rows = self._unless_busy(log_queries.ENDS, {"numbers": numbers})
        return None if rows is None else {number: tuple(end) for number, *end in rows}

    def ends_behind(self, handle: str, public: int) -> tuple[Standing, bool] | None:
        """Where a log stands, and whether anything follows a public position; see log.read. None if it is busy."""
        try:
            return read.ends_behind(self._point, handle, public)
        except sqlite3.Error as error:
            self._raise_unless_busy(error)
            return None

    def served_log(self, handle: str) -> log_pages.ServedLog | None:
        """Where the log of a stored shape stands. None if no shape has this handle (any more), or the file is busy."""
        try:
            return log_pages.served_log(self._point, handle)
        except sqlite3.Error as error:
            self._raise_unless_busy(error)
            return None

    def find_by_handle_with_age(self, handle: str) -> tuple[str, Shape, bool, Confirmation] | None:
        """The key of a stored shape, the shape, whether it is live, and what its age is counted from.

        Raises StoreBusyError.
        """
        for key, where, live, *confirmed in self._point_read(queries.FIND_BY_HANDLE_WITH_AGE, (handle,)):
            with self._making_sense():
                return key, Shape.from_comparable(key, where), live != 0, to_confirmation(*confirmed)
        return None

    def live_sources(self) -> dict[int, str]:
        """The sources that live shapes follow: their paths by their numbers. Raises StoreBusyError."""
        return {number: str(path) for number, path in self._point_read(queries.LIVE_SOURCES)}

    def source_of(self, comparable: str) -> dict[int, str]:
        """The one that the shape of this key follows; none if it is not live. Raises StoreBusyError."""
        return {number: str(path) for number, path in self._point_read(queries.SOURCE_OF, (comparable,))}

    def followed_up_to(self, source: int) -> tuple[int, int | None, int] | None:
        """Up to which change a source is followed, its nonce, and whether it has newcomers; None if the file is busy.

        Newcomers are live shapes that no round has reached since they were read.
        """
        rows = self._unless_busy(live_queries.FOLLOWED_UP_TO, {"source": source})
        return rows[0] if rows else None

    def has_reached(self, source: int, seq: int) -> bool:
        """Whether the shapes of a source hold what was in it as of the change ``seq``. False if the file is busy."""
        rows = self._unless_busy(queries.HAS_REACHED, {"source": source, "seq": seq})
        return rows in ([(1,)], [])

    def totals(self) -> dict[str, int]:
        """How many shapes and kept handles there are, and their bytes. Raises StoreBusyError if the file is busy."""
        return self._totals(self._point_read(queries.TOTALS))

    def _totals(self, rows: list[tuple[Any, ...]]) -> dict[str, int]:
        with self._making_sense():
            totals = {name: int(value) for name, value in rows}
        if not totals.keys() >= _TOTALS:
            raise damaged("it lacks some of its totals", self._path)
        return totals

    def newest_round(self, seen: int) -> int:
        """The newest round that the file knows; the one after it, if the next one has to jump far beyond it.

        It has to, too, if the round ``seen`` before is not in the file: then it is another copy.
        """
        with self._making_sense():
            ((round_, jump_due, _),) = self._point_read(log_queries.LOG_STATE)
            lost = round_ > seen > 1 and not self._point_read(log_queries.HAS_ROUND, {"round": seen})
            return int(round_) + int(bool(jump_due) or lost)

    def has_discarded(self) -> bool:
        """Whether rows are pending deletion."""
        return bool(self._point_read(queries.DISCARDED, {"limit": 1}))

    def _raise_unless_busy(self, error: sqlite3.Error) -> None:
        if not is_busy(error):
            raise translated(error, self._path)

    def _point_read(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """A point read. Raises StoreBusyError if the file is busy."""
        try:
            return self._execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    def _unless_busy(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]] | None:
        """A point read; None if the file is busy."""
        try:
            return self._execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            self._raise_unless_busy(error)
            return None

    async def _point_or_page(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """A point read; in the rare moments in which the file is busy (recovery), one that can wait."""
        rows = self._unless_busy(statement, parameters)
        return await self._page(statement, parameters) if rows is None else rows
