"""Logs of shapes in a real file, and beside them the plainest model of what they should say.

The model keeps, for each round, all rows as they were at its end. Whatever is read from the file is held against that.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from file_rows import add_rows, add_shape

from shapestore.storage.log import read
from shapestore.storage.log.difference import RowChange
from shapestore.storage.log.positions import locate, pack
from shapestore.storage.log.wanted import append_difference
from shapestore.storage.transaction import Transaction

HANDLE = "h1"

Rows = dict[str, str]
"""The present rows by their keys, in the order of their positions."""


class Moment(NamedTuple):
    """The shape at the end of a round."""

    round: int
    position: int
    rows: Rows


def row(**columns: object) -> str:
    return json.dumps(columns, separators=(",", ":"), ensure_ascii=False)


def key(number: int) -> str:
    return f"[{number}]"


class ModelledLog:
    """A shape of rows with keys, whose log grows as it is told."""

    def __init__(self, connection: sqlite3.Connection, rows: Mapping[str, str]) -> None:
        self.connection = connection
        count = len(rows)
        size = sum(len(value.encode()) for value in rows.values())
        self.number = add_shape(connection, HANDLE, "the shape", row_count=count, bytes=size, key_columns='["id"]')
        add_rows(connection, self.number, rows.values(), keys=rows)
        self._positions = {key: position for position, key in enumerate(rows, 1)}
        self.moments = [Moment(0, count, dict(rows))]
        self.changes: list[tuple[int, int, str, str, str | None]] = []
        """Round, position, operation, key and the row after it."""

    @property
    def rows(self) -> Rows:
        return self.moments[-1].rows

    def advance(self, new: Mapping[str, str | None]) -> None:
        """Append a round that gives these keys new rows, or none."""
        changes = [
            RowChange(self._positions.get(changed), changed, value, self.rows.get(changed))
            for changed, value in new.items()
            if value != self.rows.get(changed)
        ]
        if changes:
            transact(self.connection, lambda tx: append_difference(tx, self.number, changes))
            self._note(sorted(changes, key=lambda change: change.position or math.inf))

    def _note(self, changes: list[RowChange]) -> None:
        log = locate(self.connection, HANDLE)
        assert log is not None
        first = self.moments[-1].position + 1
        for position, change in enumerate(changes, first):
            operation = "delete" if change.new is None else "update" if change.position else "insert"
            self.changes.append((log.round, position, operation, change.key, change.new))
            if change.new is None:
                del self._positions[change.key]
            else:
                self._positions.setdefault(change.key, position)
        new = self.rows | {change.key: change.new for change in changes if change.new is not None}
        rows = {key: new[key] for key in sorted(self._positions, key=self._positions.__getitem__)}
        self.moments.append(Moment(log.round, log.position, rows))

    def public(self, moment: Moment) -> int:
        return pack(moment.round, moment.position)


@contextlib.contextmanager
def copy_of(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of a file that lasts as long: for tests that hypothesis calls again and again."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(sqlite3.connect(shutil.copy(file, folder), isolation_level=None)) as connection,
    ):
        yield connection


def transact(
    connection: sqlite3.Connection, work: Callable[[Transaction], object], *, newest_round: int = 0
) -> Transaction:
    """Do ``work`` in a transaction of its own, as the writer does it."""
    transaction = Transaction(connection, "me")
    transaction.newest_round = newest_round
    transaction.commit(work)
    return transaction


def rows_as_of(connection: sqlite3.Connection, public: int | None, batch_size: int, handle: str = HANDLE) -> list[str]:
    """All rows of a moment, in batches, as the readers of a store are given them."""
    found: list[str] = []
    for batch in read.RowsReading(handle, public, 0, batch_size, "\n").all(connection):
        rows = batch.text.decode().split("\n") if batch.row_count else []
        assert len(rows) == batch.row_count <= batch_size
        found += rows
    return found


def entries(connection: sqlite3.Connection, after: int, page: int, handle: str = HANDLE) -> list[read.LogEntry]:
    """All that a log says behind a public position, page by page, as a client goes through it."""
    found: list[read.LogEntry] = []
    while some := read.log_entries(connection, handle, found[-1].position if found else after, page):
        assert len(some) <= page
        found += some
    return found


def materialized(log: Iterable[read.LogEntry], rows: Mapping[str, str]) -> Rows:
    """What a client holds that had ``rows`` and was told this."""
    held = dict(rows)
    for entry in log:
        assert entry.key is not None
        if entry.row is None:
            del held[entry.key]
        else:
            held[entry.key] = entry.row.decode()
    return held
