"""A reader beside the stores, who looks at their file after each step, and remembers what it has seen."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from recorded_source import KEYS, SHAPES, RecordedSource, Row, Rows

from shapestore import ShapeGoneError
from shapestore.storage.log.positions import MAX_POSITION, pack
from shapestore.storage.log.read import RowsReading, log_entries, one_moment

ROUNDED_BY = 0.002
"""Two times in the file, in milliseconds, are as much nearer to each other."""

_SHAPES_OF_KEYS = {shape.comparable: shape for shape in SHAPES}

LOGS = """
    SELECT number, handle, comparable, position, round, floor, snapshot, 0 FROM shapes
    UNION ALL SELECT number, handle, comparable, position, round, floor, snapshot, 1 FROM kept
"""
ROWS = "SELECT position, value FROM shape_rows WHERE id > :number << 28 AND id < (:number + 1) << 28"
CHANGES_SINCE = """
    SELECT operation, row_id & 268435455, old FROM shape_changes
    WHERE id > (:number << 28) + :position AND id < (:number + 1) << 28 ORDER BY id DESC
"""


class Log(NamedTuple):
    """A handle, as it stands in the file."""

    number: int
    handle: str
    comparable: str
    position: int
    round: int
    floor: int
    snapshot: int
    is_kept: int

    @property
    def end(self) -> int:
        """Its public position."""
        return pack(self.round, self.position)


@dataclass
class Seen:
    """What was seen of a handle."""

    log: Log
    at: dict[int, list[Row]] = field(default_factory=dict)
    """Its rows at each public position at which it was seen."""
    superseded: dict[int, float] = field(default_factory=dict)
    """When each of these was the newest one no more."""
    version: int = 0
    """The version of the source that it was seen to have reached."""
    versions: dict[int, int] = field(default_factory=dict)
    """The same of each row by itself."""


class WatchedLogs:
    """Asserts, whenever the file has changed, that no reader sees what never was, and that no log misses anything.

    ``one_moment``: shapes are of one moment of their source. Else, as where an application tells of some rows, each row
    is of a moment of its own. ``keeps``: for so many seconds, of those that ``clock`` tells, nothing that was
    superseded is forgotten.
    """

    def __init__(
        self,
        path: str,
        source: RecordedSource,
        chance: random.Random,
        *,
        one_moment: bool,
        keeps: float,
        clock: Callable[[], float],
    ) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        self._source = source
        self._random = chance
        self._one_moment = one_moment
        self._keeps = keeps
        self._clock = clock
        self._version = 0
        self._seen: dict[str, Seen] = {}

    def look(self) -> None:
        ((version,),) = self._connection.execute("PRAGMA data_version").fetchall()
        if version == self._version:
            return
        self._version = version
        with one_moment(self._connection):
            logs = [Log(*row) for row in self._connection.execute(LOGS).fetchall()]
            rows = [self._rows(log) for log in logs]
        before, self._seen = self._seen, {}
        for log, present in zip(logs, rows, strict=True):
            seen = self._seen[log.handle] = before.get(log.handle, Seen(log))
            self._check_rows(log, present, seen)
            self._check_log(log, present, seen)

    def has(self, comparable: str) -> bool:
        """Whether there is such a shape."""
        return any(seen.log.comparable == comparable and not seen.log.is_kept for seen in self._seen.values())

    def count(self, table: str) -> int:
        [(count,)] = self._connection.execute(f"SELECT count(*) FROM {table}")
        return int(count)

    def close(self) -> None:
        self._connection.close()

    # --- what is visible

    def _rows(self, log: Log) -> list[Row]:
        """The rows at the end of the log: those that are in the file, with later changes taken back."""
        given = log._asdict()
        rows: dict[int, str] = dict(self._connection.execute(ROWS, given).fetchall())
        for operation, row, old in self._connection.execute(CHANGES_SINCE, given).fetchall():
            if operation == "insert":
                del rows[row]
            else:
                rows[row] = old
        return [_row(rows[position]) for position in sorted(rows)]

    def _check_rows(self, log: Log, rows: list[Row], seen: Seen) -> None:
        assert log.position >= seen.log.position, "the end of a log went back"
        if log.end != seen.log.end:
            seen.superseded[seen.log.end] = self._clock()
        seen.log = log
        assert seen.at.setdefault(log.end, rows) == rows, f"the position {log.end} stands for other rows"
        shape = _SHAPES_OF_KEYS[log.comparable]
        assert len({row[0] for row in rows}) == len(rows), f"a key is there twice: {rows}"
        if log.position == log.snapshot:
            assert rows == sorted(rows), "not in the source's order"
        if self._one_moment:
            version = self._source.version_of(shape, rows, since=seen.version)
            assert version is not None, f"{shape} was never so since version {seen.version}: {rows}"
            seen.version = version
        for key, row in by_key(rows).items():
            found = self._source.version_of_row(shape, key, row, since=seen.versions.get(key, 0))
            assert found is not None, f"a row of {shape} is older than before: {row}"
            seen.versions[key] = found

    # --- what clients are told

    def _check_log(self, log: Log, rows: list[Row], seen: Seen) -> None:
        known = list(seen.at)
        for position in [0, *self._random.sample(known, min(3, len(known)))]:
            try:
                told = self._replayed(log, position, seen.at.get(position, []))
                as_of = self._rows_as_of(log, position) if position else []
            except ShapeGoneError:
                assert log.is_kept or self._may_have_forgotten(seen, position), f"{position} of {log} is refused"
                continue
            assert told == rows, f"who goes on from {position} of {log} comes to hold {told}, not {rows}"
            assert not position or as_of == seen.at[position], f"as of {position} of {log} there are {as_of}"

    def _may_have_forgotten(self, seen: Seen, position: int) -> bool:
        """Whether the log may begin behind a position."""
        age = self._clock() - seen.superseded.get(position, self._clock())
        return 0 < position & MAX_POSITION < seen.log.floor and age >= self._keeps - ROUNDED_BY

    def _replayed(self, log: Log, position: int, begin: list[Row]) -> list[Row]:
        """What a client holds that had read up to a position, once it has read to the end, some changes at a time."""
        held = {row[0]: row for row in begin}
        limit = self._random.choice((1, 2, 1_000))
        while page := log_entries(self._connection, log.handle, position, limit):
            for entry in page:
                assert entry.key is not None
                assert entry.position > position, "positions do not grow"
                position = entry.position
                key = msgspec.json.decode(entry.key)[0]
                assert (entry.operation == "insert") == (key not in held), f"{entry} for one who holds {held}"
                if entry.row is None:
                    del held[key]
                else:
                    held[key] = _row(entry.row)
        return list(held.values())

    def _rows_as_of(self, log: Log, position: int) -> list[Row]:
        reading = RowsReading(log.handle, position, 0, self._random.choice((1, 3, 1_000)), "\n")
        return [_row(line) for batch in reading.all(self._connection) for line in batch.text.splitlines()]


def _row(text: str | bytes) -> Row:
    id_, a, n = msgspec.json.decode(text).values()
    return id_, a, n


def by_key(rows: Rows | list[Row]) -> dict[int, Row | None]:
    """The row under each key that there may be."""
    held = {row[0]: row for row in rows}
    return {key: held.get(key) for key in KEYS}
