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
from typing import NamedTuple

from shapestore.errors import InvalidRowError
from shapestore.storage.log import queries
from shapestore.storage.log.chunks import Chunk
from shapestore.storage.log.keys import quoted
from shapestore.storage.log.positions import MAX_POSITION, Standing

# What one transaction takes.
MAX_CHANGES = 10_000
MAX_BYTES = 4 * 1024 * 1024
# What is held in memory.
MAX_WAITING = 100_000
MAX_HELD_BYTES = 64 * 1024 * 1024
_REST_AT_ONCE = 2_000


class RowChange(NamedTuple):
    """How one row differs."""

    operation: str
    position: int | None
    """Of the stored row; None for a new one."""
    key: str
    new: str | None
    old: str | None


class Difference:
    """Changes that make stored rows equal to those that a creator gave."""

    def __init__(self) -> None:
        self.changes: list[RowChange] = []
        self.more_rows = 0
        self.more_bytes = 0
        self.log_bytes = 0
        """Of the rows as they were."""
        self.bytes = 0
        """What the changes bring into a transaction."""

    def add(self, change: RowChange) -> None:
        new, old = (0 if text is None else len(text.encode()) for text in (change.new, change.old))
        self.changes.append(change)
        self.more_rows += (change.old is None) - (change.new is None)
        self.more_bytes += new - old
        self.log_bytes += old
        self.bytes += new + old

    @property
    def is_too_large(self) -> bool:
        """Whether it is more than one transaction takes."""
        return len(self.changes) > MAX_CHANGES or self.bytes > MAX_BYTES

    def as_json(self) -> str:
        """As ``queries.ADD_CHANGES`` takes it."""
        return f"[{','.join(map(_as_json, self.changes))}]"


class Run:
    """Rows that came as they are stored: ``count`` of them, behind the stored position ``after`` up to ``last``.

    The first of them came as row number ``first``.
    """

    __slots__ = ("after", "count", "first", "last")

    def __init__(self, first: int, after: int, last: int, count: int) -> None:
        self.first = first
        self.after = after
        self.last = last
        self.count = count


class Comparison:
    """One creator's rows beside those of the stored shape ``log``. Its methods run on a reader's thread, in turn."""

    def __init__(self, log: Standing, *, keyed: bool) -> None:
        self.number = log.number
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
        parameters = {"number": self.number, "after": self._after, "limit": len(chunk.rows)}
        ((last, count, values, keys),) = connection.execute(queries.ROWS_AS_TEXT, parameters).fetchall()
        same = count == len(chunk.rows) and values == ",".join(chunk.rows)
        if same and (not self._keyed or keys == ",".join(chunk.keys or ())):
            self._note_run(chunk.first, self._after, last, count)
            self._after = last
        elif self._keyed and chunk.keys is not None:
            self._store(connection.execute(queries.KEYED_ROWS, parameters).fetchall())
            self._take(chunk)
        else:
            self._came.append(chunk)
            self.is_too_different = True

    def finish(self, connection: sqlite3.Connection) -> None:
        """No more rows come: what is stored beyond them, and what waits, is different."""
        while rest := self._stored_rest(connection):
            if not self._keyed:
                self.is_too_different = True
                return
            self._store(rest)
        if self.is_too_different:
            return
        self._refuse_repeated_keys(connection)
        for key, stored in self._old.items():
            self.difference.add(RowChange("delete", stored.position, key, None, stored.value))
        for key, new in self._new.items():
            self.difference.add(RowChange("insert", None, key, new, None))
        self._judge()

    def replay(self) -> Iterator[Run | Chunk]:
        """All rows that came, in order: runs of stored rows, and chunks of others. They are forgotten on the way."""
        self._new.clear()
        self._old.clear()
        came, self._came = self._came, []
        came.reverse()
        while came:
            yield came.pop()

    def _stored_rest(self, connection: sqlite3.Connection) -> list[tuple[int, str, str]]:
        parameters = {"number": self.number, "after": self._after, "limit": _REST_AT_ONCE}
        return [] if self.is_too_different else connection.execute(queries.KEYED_ROWS, parameters).fetchall()

    def _store(self, rows: list[tuple[int, str, str]]) -> None:
        """Rows that are stored: each pairs with one that waits, or waits."""
        for position, key, value in rows:
            if (new := self._new.pop(key, None)) is None:
                self._old[key] = _Stored(self._after, position, value)
                self._held_bytes += len(value)
            else:
                self._held_bytes -= len(new)
                self._note_update(position, key, new, value)
            self._after = position
        self._judge()

    def _take(self, chunk: Chunk) -> None:
        """Rows that came: each pairs with one that waits, or waits."""
        assert chunk.keys is not None
        for number, (key, new) in enumerate(zip(chunk.keys, chunk.rows, strict=True), chunk.first):
            stored = self._old.pop(key, None)
            if stored is not None and stored.value == new:
                self._note_run(number, stored.after, stored.position, 1)
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
            self.difference.add(RowChange("update", position, key, new, old))

    def _note_run(self, first: int, after: int, last: int, count: int) -> None:
        previous = self._came[-1] if self._came else None
        if isinstance(previous, Run) and previous.last == after:
            previous.last = last
            previous.count += count
        else:
            self._came.append(Run(first, after, last, count))

    def _note_text(self, handle: str, number: int, key: str, text: str) -> None:
        previous = self._came[-1] if self._came else None
        if not isinstance(previous, Chunk) or previous.is_full:
            previous = Chunk(handle, number, keyed=True)
            self._came.append(previous)
        previous.add(text, len(text), key)
        self._held_bytes += len(text)

    def _judge(self) -> None:
        waiting = len(self._new) + len(self._old) + len(self._came)
        if self.difference.is_too_large or waiting > MAX_WAITING or self._held_bytes > MAX_HELD_BYTES:
            self.is_too_different = True

    def _refuse_repeated_keys(self, connection: sqlite3.Connection) -> None:
        """All stored keys have been paired: a row that is left and whose key is stored came a second time."""
        if self._new:
            parameters = {"number": self.number, "keys": f"[{','.join(map(quoted, self._new))}]"}
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


def _as_json(change: RowChange) -> str:
    position = "null" if change.position is None else change.position
    return f'["{change.operation}",{position},{quoted(change.key)},{change.new or "null"}]'
