"""What a creator gives, compared with what is stored, as it comes: nothing is staged.

As many stored rows as a chunk holds are read as one text. If it is the chunk's, that is all. Else rows are paired by
key: what does not pair at once waits in one of two tables, and each arrival looks in the other. What waits at the end
are inserts and deletes. Any order gives the right answer; the order decides how much waits.

A shape without a key is compared as a sequence, and any difference is too much. What is too different for one
transaction makes a new handle: ``replay`` gives all that came so far, in the creator's order, so that the creator need
not be asked again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from shapestore.errors import InvalidRowError
from shapestore.storage.log import queries
from shapestore.storage.log.chunks import CHUNK_BYTES, CHUNK_ROWS, Chunk, byte_length
from shapestore.storage.log.keys import json_string
from shapestore.storage.log.positions import MAX_POSITION, Standing
from shapestore.storage.log.read import one_moment, text_limit

# What one transaction takes.
MAX_CHANGES = 10_000
MAX_BYTES = 4 * 1024 * 1024
# What is held in memory.
MAX_WAITING = 100_000
MAX_HELD_BYTES = 64 * 1024 * 1024
# SQLite counts the header of a row as a part of it.
_MOST_OF_A_HEADER = 1_000

# As a rule there is a row at each position. Where there are fewer, the rows of more positions are compared.
_COMPARE = (queries.COMPARE_ROWS, queries.COMPARE_ROWS_FAR_BETWEEN)
_COMPARE_AS_OF = (queries.COMPARE_ROWS_AS_OF,)


class RowChange(NamedTuple):
    """How one row differs."""

    position: int | None
    """Of the stored row; None for a new one."""
    key: str
    new: str | None
    """None for a row that is not there any more."""
    old: str | None


class Difference:
    """Changes that make stored rows equal to those that a creator gave."""

    def __init__(self) -> None:
        self.changes: list[RowChange] = []
        self.bytes = 0
        """What the changes bring into a transaction."""

    def add(self, change: RowChange) -> None:
        self.changes.append(change)
        self.bytes += byte_length(change.new or "") + byte_length(change.old or "")

    @property
    def is_too_large(self) -> bool:
        """Whether it is more than one transaction takes."""
        return len(self.changes) > MAX_CHANGES or self.bytes > MAX_BYTES


@dataclass(slots=True)
class Run:
    """Rows that came as they are stored: ``count`` of them, behind the stored position ``after`` up to ``last``.

    The first of them came as row number ``first``. Together they have ``size`` bytes. A run is no larger than a chunk.
    """

    first: int
    after: int
    last: int
    count: int
    size: int

    def has_room_for(self, count: int, size: int) -> bool:
        """Whether so many more rows, of so many bytes, keep it as small as a chunk."""
        return self.count + count <= CHUNK_ROWS and self.size + size <= CHUNK_BYTES


class Comparison:
    """One creator's rows beside those of the stored shape ``log``. Its methods run on a reader's thread, in turn."""

    def __init__(self, log: Standing, *, keyed: bool) -> None:
        self.number = log.number
        self.position = log.written
        """The rows are compared with those as of this position, whatever is appended meanwhile."""
        self._goes_on = False
        self.is_overtaken = False
        """Whether these are forgotten already."""
        self._keyed = keyed
        self.difference = Difference()
        self.is_too_different = log.written + 2 * MAX_CHANGES > MAX_POSITION
        self._after = 0
        """Stored rows up to this position have been read."""
        self._came: list[Run | Chunk] = []
        self._new: dict[str, str] = {}
        self._old: dict[str, _Stored] = {}
        self._held_bytes = 0
        """Of the rows that are held in memory."""

    def add(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        """Compare the next rows. Afterwards ``is_too_different`` says whether a new handle is needed."""
        if not chunk.rows:
            return
        with one_moment(connection):
            self._add(connection, chunk)

    def _add(self, connection: sqlite3.Connection, chunk: Chunk) -> None:
        self._look(connection)
        run = self._stored_as(connection, chunk)
        if run is not None:
            self._note_run(run)
            self._after = run.last
        elif self._keyed and chunk.keys is not None:
            self._store(self._stored_next(connection, len(chunk.rows)))
            self._take(chunk)
        else:
            self._came.append(chunk)
            self.is_too_different = True

    def finish(self, connection: sqlite3.Connection) -> None:
        """No more rows come: what is stored beyond them, and what waits, is different."""
        with one_moment(connection):
            self._look(connection)
            self._finish(connection)

    def _finish(self, connection: sqlite3.Connection) -> None:
        if self._keyed:
            self._store(self._stored_next(connection, MAX_POSITION))
        elif next(self._stored_next(connection, 1), None) is not None:
            self.is_too_different = True
        if self.is_too_different:
            return
        self._refuse_repeated_keys(connection)
        for key, stored in self._old.items():
            self.difference.add(RowChange(stored.position, key, None, stored.value))
        for key, new in self._new.items():
            self.difference.add(RowChange(None, key, new, None))
        self._judge()

    def replay(self) -> Iterator[Run | Chunk]:
        """All rows that came, in order: runs of stored rows, and chunks of others. They are forgotten on the way."""
        self._new.clear()
        self._old.clear()
        came, self._came = self._came, []
        came.reverse()
        while came:
            yield came.pop()

    def _look(self, connection: sqlite3.Connection) -> None:
        """Whether something was appended meanwhile, or even forgotten."""
        ((written, floor),) = connection.execute(queries.WRITTEN, {"number": self.number}).fetchall() or [(0, 0)]
        self._goes_on = written > self.position
        self.is_overtaken |= floor > self.position

    def _stored_as(self, connection: sqlite3.Connection, chunk: Chunk) -> Run | None:
        """The next stored rows, if they are those of the chunk."""
        count, values, keys = len(chunk.rows), ",".join(chunk.rows), ",".join(chunk.keys or ())
        given = self._parameters(count) | {"values": values, "keys": keys, "keyed": self._keyed}
        with text_limit(connection, byte_length(values) + byte_length(keys) + _MOST_OF_A_HEADER):
            for statement in _COMPARE_AS_OF if self._goes_on else _COMPARE:
                try:
                    ((last, found, are_these),) = connection.execute(statement, given).fetchall()
                except sqlite3.DataError:  # the stored rows are larger, and it may be by far
                    return None
                if found == count:
                    return Run(chunk.first, self._after, last, count, chunk.size) if are_these else None
        return None

    def _stored_next(self, connection: sqlite3.Connection, limit: int) -> Iterator[tuple[int, str, str]]:
        statement = queries.KEYED_ROWS_AS_OF if self._goes_on else queries.KEYED_ROWS
        yield from connection.execute(statement, self._parameters(limit))

    def _parameters(self, limit: int) -> dict[str, int]:
        return {"number": self.number, "after": self._after, "position": self.position, "limit": limit}

    def _store(self, rows: Iterator[tuple[int, str, str]]) -> None:
        """Rows that are stored, as far as they do not differ too much: each pairs with one that waits, or waits."""
        for position, key, value in rows:
            if (new := self._new.pop(key, None)) is None:
                self._old[key] = _Stored(self._after, position, value)
                self._held_bytes += len(value)
            else:
                self._held_bytes -= len(new)
                self._note_update(position, key, new, value)
            self._after = position
            if self._judge():
                return

    def _take(self, chunk: Chunk) -> None:
        """Rows that came: each pairs with one that waits, or waits."""
        assert chunk.keys is not None
        for number, (key, new) in enumerate(zip(chunk.keys, chunk.rows, strict=True), chunk.first):
            stored = self._old.pop(key, None)
            if stored is not None and stored.value == new:
                self._note_run(Run(number, stored.after, stored.position, 1, byte_length(new)))
                self._held_bytes -= len(new)
                continue
            self._note_text(chunk.handle, number, key, new)
            if stored is not None:
                self._held_bytes -= len(stored.value)
                self._note_update(stored.position, key, new, stored.value)
            elif key in self._new:
                raise repeated_key(key)
            else:
                self._new[key] = new
                self._held_bytes += len(new)
        self._judge()

    def _note_update(self, position: int, key: str, new: str, old: str) -> None:
        if new != old:
            self.difference.add(RowChange(position, key, new, old))

    def _note_run(self, run: Run) -> None:
        previous = self._came[-1] if self._came else None
        if isinstance(previous, Run) and previous.last == run.after and previous.has_room_for(run.count, run.size):
            previous.last = run.last
            previous.count += run.count
            previous.size += run.size
        else:
            self._came.append(run)

    def _note_text(self, handle: str, number: int, key: str, text: str) -> None:
        previous = self._came[-1] if self._came else None
        if not isinstance(previous, Chunk) or previous.is_full:
            previous = Chunk(handle, number, keyed=True)
            self._came.append(previous)
        previous.add(text, byte_length(text), key)
        self._held_bytes += len(text)

    def _judge(self) -> bool:
        waiting = len(self._new) + len(self._old) + len(self._came)
        if self.difference.is_too_large or waiting > MAX_WAITING or self._held_bytes > MAX_HELD_BYTES:
            self.is_too_different = True
        return self.is_too_different

    def _refuse_repeated_keys(self, connection: sqlite3.Connection) -> None:
        """All stored keys have been paired: a row that is left and whose key is stored came a second time."""
        if self._new:
            parameters = {
                "number": self.number,
                "position": self.position,
                "keys": f"[{','.join(map(json_string, self._new))}]",
            }
            for (key,) in connection.execute(queries.STORED_KEYS, parameters).fetchall():
                if key not in self._old:
                    raise repeated_key(key)


class _Stored(NamedTuple):
    """A stored row that waits; ``after`` is the position of the row before it."""

    after: int
    position: int
    value: str


def repeated_key(key: str) -> InvalidRowError:
    """The error of a creator that gave two rows for one key."""
    return InvalidRowError(f"two rows have the key {key}: a key names one row; see key_columns of the creator")
