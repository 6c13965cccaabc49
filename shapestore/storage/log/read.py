"""Reading a handle's rows as of a position, and its log: each call is one moment, in one short transaction.

These run on a reader's thread, on a connection that cannot write. What comes back is bounded in rows and in bytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from shapestore.errors import ShapeGoneError
from shapestore.storage.log import queries
from shapestore.storage.log.positions import MAX_POSITION, Standing, accepted, locate, pack, pack_row

# A batch is meant to have so many bytes: decoding it holds Python's lock for about a millisecond.
BATCH_BYTES = 256 * 1024
# The first one is smaller, since the consumer waits for it; the others are read while it is busy.
_FIRST_PART = 4
# It never has more than this, unless it is a single row.
MOST_BATCH_BYTES = 4 * BATCH_BYTES

_PRESENT_ROWS = {",": queries.ROWS, "\n": queries.ROWS_AS_LINES}
"""By the separator of the rows."""

# A page of a log ends once its rows have more than this.
MOST_PAGE_BYTES = 16 * 1024 * 1024


class Batch(NamedTuple):
    """Some rows of a handle, in order, as JSON in UTF-8 with a separator between them."""

    text: bytes
    row_count: int
    last: int
    """The position of the last row."""
    is_last: bool
    """Whether no row follows."""


class LogEntry(NamedTuple):
    """One entry of a log: of a row that the snapshot holds, or a change."""

    position: int
    """The public position."""
    operation: str
    key: str | None
    row: bytes | None
    """The row after it, as JSON; None for a delete."""


@contextmanager
def one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read inside is of one moment."""
    try:
        connection.execute("BEGIN")
        yield
    finally:
        if connection.in_transaction:  # an error of the disk has ended it by itself
            connection.execute("COMMIT")


@contextmanager
def text_limit(connection: sqlite3.Connection, size: int) -> Iterator[None]:
    """A text or a row of more than ``size`` bytes is a DataError inside, before it takes any memory."""
    before = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, size)
    try:
        yield
    finally:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)


def standing(connection: sqlite3.Connection, handle: str, public: int | None) -> tuple[Standing, int]:
    """Where the log of a handle stands, and the position as of which its rows are asked for: its end if it is None.

    Raises ShapeGoneError if the handle is gone, or if the public position is not one of its log any more.
    """
    with one_moment(connection):
        return _asked_for(connection, handle, public)


def _asked_for(connection: sqlite3.Connection, handle: str, public: int | None) -> tuple[Standing, int]:
    log = locate(connection, handle)
    position = None if log is None else log.position if public is None else accepted(connection, log, public)
    # The log can be read from 0 at any time; but rows as of 0, of an empty snapshot, are forgotten as any others.
    if log is None or position is None or (public == 0 and log.floor):
        raise ShapeGoneError(handle)
    return log, max(position, log.base)


def ends_behind(connection: sqlite3.Connection, handle: str, public: int) -> tuple[Standing, bool]:
    """Where the log of a stored shape stands, and whether anything follows a public position.

    Raises ShapeGoneError if the shape was dropped, kept for its readers or not, or if the public position is not one of
    its log any more.
    """
    with one_moment(connection):
        log = locate(connection, handle)
        position = None if log is None or log.kept else accepted(connection, log, public)
        if log is None or position is None:
            raise ShapeGoneError(handle)
        if position < log.base == log.position:  # the last row of the snapshot may stand far before its end
            given = {"number": log.number, "after": position, "position": log.position}  # not what a round has hidden
            return log, bool(connection.execute(queries.ANY_ROW_BEHIND, given).fetchall())
        return log, log.position > position


class RowsReading:
    """Reads a handle's rows as of one position: ``first``, and then again and again ``following``, batch by batch.

    Each call is one moment, in which the position still has to be that of the same log: an older copy of the file may
    have been put back. They are made on one thread, in turn, and may be asked for ahead: after an error, and after
    the last batch, there is nothing more. A batch has ``limit`` rows at most; before the last it may have none.
    """

    def __init__(self, handle: str, public: int | None, after: int, limit: int, separator: str) -> None:
        self._handle = handle
        self._public = public
        self._after = after
        self._limit = limit
        self._separator = separator
        self._log: Standing | None = None
        self._position = 0
        self._ended = True

    def first(self, connection: sqlite3.Connection) -> tuple[Standing, int, Batch]:
        """What ``standing`` says, and the rows behind the one at ``after``. Raises ShapeGoneError."""
        with one_moment(connection):
            self._log, self._position = _asked_for(connection, self._handle, self._public)
            self._public = self._log.public if self._public is None else self._public
            limit = max(1, _usual(self._log, _FIRST_PART * self._limit) // _FIRST_PART)
            batch = self._next(connection, self._log, limit)
        return self._log, self._position, self._went_on(batch)

    def following(self, connection: sqlite3.Connection) -> Batch:
        """The next rows; none, if it has ended. Raises ShapeGoneError."""
        if self._ended:
            return Batch(b"", 0, self._after, is_last=True)
        self._ended = True
        return self._went_on(self._at_once(connection) or self._in_steps(connection))

    def all(self, connection: sqlite3.Connection) -> Iterator[Batch]:
        """Every batch, without an open transaction between them. Raises ShapeGoneError."""
        _, _, batch = self.first(connection)
        yield batch
        while not batch.is_last:
            batch = self.following(connection)
            yield batch

    def _at_once(self, connection: sqlite3.Connection) -> Batch | None:
        """The next rows in a single statement, if that can be.

        Several would wait for Python's lock between them as long as the consumer decodes the batch before.
        """
        log = self._log
        assert log is not None
        try:
            with text_limit(connection, MOST_BATCH_BYTES):
                given = self._given(log, _usual(log, self._limit))
                (found,) = connection.execute(_PRESENT_ROWS[self._separator], given).fetchall()
        except sqlite3.DataError:  # the text is too large
            return None
        text, count, last, is_last, handle = found
        if handle != self._handle or _lie_far_between(count, last - self._after, is_last):
            return None
        return Batch(text or b"", count, last, is_last != 0)

    def _in_steps(self, connection: sqlite3.Connection) -> Batch:
        with one_moment(connection):
            log, position = _asked_for(connection, self._handle, self._public)
            if position != self._position:  # the beginning is another one, as of a later floor
                raise ShapeGoneError(self._handle)
            return self._next(connection, log, _usual(log, self._limit))

    def _next(self, connection: sqlite3.Connection, log: Standing, limit: int) -> Batch:
        given = self._given(log, limit)
        if log.written != self._position:
            return _bounded(connection, queries.ROWS_AS_OF, given)
        batch = _bounded(connection, _PRESENT_ROWS[self._separator], given)
        if _lie_far_between(batch.row_count, batch.last - self._after, batch.is_last):
            return _bounded(connection, queries.ROWS_FAR_BETWEEN, given)
        return batch

    def _given(self, log: Standing, limit: int) -> dict[str, Any]:
        where = {"number": log.number, "after": self._after, "position": self._position, "round": log.round}
        return {**where, "limit": limit, "separator": self._separator}

    def _went_on(self, batch: Batch) -> Batch:
        self._after = batch.last
        self._ended = batch.is_last
        return batch


def _usual(log: Standing, limit: int) -> int:
    """How many rows make a batch, ``limit`` at most."""
    return max(1, min(limit, BATCH_BYTES * log.row_count // log.bytes if log.bytes else limit))


def _lie_far_between(row_count: int, positions: int, is_last: bool) -> bool:
    """Whether fewer than half of the positions have rows, so that a batch should be of more positions."""
    return not is_last and 2 * row_count <= positions


def _bounded(connection: sqlite3.Connection, statement: str, given: dict[str, Any]) -> Batch:
    """The next rows: fewer than their limit, if they are larger than is usual for the shape."""
    limit = given["limit"]
    with text_limit(connection, MOST_BATCH_BYTES):
        while limit > 1:
            try:
                return _batch(connection, statement, given | {"limit": limit})
            except sqlite3.DataError:  # the text is too large
                limit = max(1, limit // 4)
    return _batch(connection, statement, given | {"limit": 1})


def _batch(connection: sqlite3.Connection, statement: str, given: dict[str, Any]) -> Batch:
    ((text, count, last, is_last, *_),) = connection.execute(statement, given).fetchall()
    return Batch(text or b"", count, last or given["after"], is_last != 0)


def log_entries(connection: sqlite3.Connection, handle: str, after: int, limit: int) -> list[LogEntry]:
    """What comes behind the public position ``after``: the snapshot's rows as inserts, then changes.

    Fewer than ``limit`` if they are large, but one at least. Raises ShapeGoneError for a handle that is gone, and for a
    position that is not one of its log (any more).
    """
    with one_moment(connection):
        log = locate(connection, handle)
        start = None if log is None else accepted(connection, log, after)
        if log is None or start is None:
            raise ShapeGoneError(handle)
        return _page(_entries(connection, log, start, min(limit, MAX_POSITION)), limit)


def _page(entries: Iterator[LogEntry], limit: int) -> list[LogEntry]:
    page: list[LogEntry] = []
    size = 0
    for entry in entries:
        page.append(entry)
        size += len(entry.row or b"")
        if len(page) == limit or size > MOST_PAGE_BYTES:
            break
    return page


def _entries(connection: sqlite3.Connection, log: Standing, after: int, limit: int) -> Iterator[LogEntry]:
    if after < log.base:
        yield from _snapshot_entries(connection, log, after, limit)
    yield from _changes(connection, log, max(after, log.base), limit)


def _snapshot_entries(connection: sqlite3.Connection, log: Standing, after: int, limit: int) -> Iterator[LogEntry]:
    parameters = {"number": log.number, "after": after, "position": log.base, "limit": limit}
    has_keys = log.key_columns is not None  # where a late row has none, those before it were stored with theirs
    for position, key, row in connection.execute(queries.KEYED_ROWS_AS_OF, parameters):
        yield LogEntry(pack_row(log, position), "insert", key if has_keys else None, row.encode())


def _changes(connection: sqlite3.Connection, log: Standing, after: int, limit: int) -> Iterator[LogEntry]:
    parameters = {"number": log.number, "after": after, "position": log.position, "limit": limit}
    for position, round_, operation, key, row, _ in connection.execute(queries.LOG, parameters):
        yield LogEntry(pack(round_, position), operation, key, None if row is None else row.encode())
