"""What a source says about the keys that were written: which shapes hold them now, and the rows."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from shapestore.errors import InvalidRowError
from shapestore.following.registry import Registry
from shapestore.following.routing import Fault, Match, Router, RoutingError, joined
from shapestore.following.source_table import SourceTable
from shapestore.following.template import ROW
from shapestore.shape.quoting import quoted
from shapestore.source.sqlite_feed.changes import Changes, Key
from shapestore.source.sqlite_feed.file import NotUtf8, any_text
from shapestore.source.values import Values
from shapestore.storage.log.keys import encode_key, json_string
from shapestore.storage.log.live import queries
from shapestore.storage.log.wanted import RoundContents, packed_match
from shapestore.storage.row_codec import as_json, encode_row
from shapestore.storage.sqlite_errors import is_environmental

MAX_MATCHES = 20_000
"""Rows times the shapes that match them, and that hold them, in one round; but one change is always taken whole."""
MAX_BYTES = 16 * 1024 * 1024
"""Of all these rows."""

_ROWS_AT_FIRST = 16
"""They may be large; if they are not, more are read at once."""
_ROWS_AT_ONCE = 500


class ContentsReader:
    """Reads the contents of one round, in the transaction of its look at the source."""

    def __init__(
        self,
        source: sqlite3.Connection,
        store: sqlite3.Connection,
        registry: Registry,
        tables: Mapping[int, SourceTable],
        *,
        nan_as_null: bool,
    ) -> None:
        self._source = source
        self._store = store
        self._registry = registry
        self._tables = tables
        self._nan_as_null = nan_as_null

    def read(self, router: Router, changes: Changes, *, whole: bool) -> RoundContents | None:
        """The contents; None if that is too much for one round, and it need not be ``whole``.

        Raises RoutingError for shapes whose rows cannot be told.
        """
        asked: dict[int, Sequence[str]] = {}
        contents = _Contents(MAX_MATCHES, MAX_BYTES)
        if whole:
            contents = _Contents(len(self._registry.shapes) * len(changes.keys), math.inf)
        for number, table in self._tables.items():
            keys = changes.keys.get(table.feed_number, ())
            if not keys:
                continue
            texts = asked[number] = list(map(encode_key, keys))
            matches = router.route(number, keys, contents.room)
            if len(matches) > contents.room or not self._add_rows(contents, table, keys, texts, matches):
                return None
        all_asked = as_json(asked)
        if not whole and self._has_too_many(all_asked, sum(map(len, asked.values())), len(contents.matches)):
            return None
        return RoundContents(all_asked, f"{{{','.join(contents.rows)}}}", as_json(contents.matches))

    def _has_too_many(self, asked: str, keys: int, matches: int) -> bool:
        """Whether matches, and holders of the keys that were asked for, are more than go into one round."""
        if keys * len(self._registry.shapes) + matches <= MAX_MATCHES:
            return False
        ((holders,),) = self._store.execute(queries.COUNT_HOLDERS, {"asked": asked}).fetchall()
        return bool(holders + matches > MAX_MATCHES)

    def _add_rows(
        self,
        contents: _Contents,
        table: SourceTable,
        keys: Sequence[Key],
        texts: Sequence[str],
        matches: Iterable[Match],
    ) -> bool:
        """Read each row once for all shapes that want the same columns of it. False if they are too large."""
        for columns, wanting in self._by_columns(table, matches).items():
            rows = _Rows(self._source, table, columns, nan_as_null=self._nan_as_null)
            for places in _in_batches(sorted({match.place for match in wanting})):
                rows.read(keys, places)
                if rows.bytes > contents.most_bytes:
                    return False
            if rows.faults:
                raise RoutingError(
                    {match.shape: rows.faults[match.place] for match in wanting if match.place in rows.faults}
                )
            contents.add(wanting, texts, rows.rows)
            if contents.bytes > contents.most_bytes:
                return False
        return True

    def _by_columns(self, table: SourceTable, matches: Iterable[Match]) -> dict[tuple[str, ...], list[Match]]:
        """The matches by the columns that their shapes want."""
        shapes, all_columns = self._registry.shapes, tuple(table.columns)
        by_columns: dict[tuple[str, ...], list[Match]] = defaultdict(list)
        for match in matches:
            by_columns[shapes[match.shape].shape.columns or all_columns].append(match)
        return by_columns


class _Contents:
    """Gathers matches, and each row once, up to so many matches, and so many bytes of their rows."""

    def __init__(self, most_matches: int, most_bytes: float) -> None:
        self._most_matches = most_matches
        self.most_bytes = most_bytes
        self.rows: list[str] = []
        """Each with its key before it."""
        self.matches: list[int] = []
        self.bytes = 0

    @property
    def room(self) -> int:
        """For how many more matches there is room."""
        return self._most_matches - len(self.matches)

    def add(self, wanting: Sequence[Match], keys: Sequence[str], rows: Mapping[int, str]) -> None:
        """Add what shapes match. Where no row is, another key was found, which the column takes for equal."""
        nth = dict(zip(rows, count(len(self.rows))))
        self.rows += [f"{json_string(keys[place])}:{row}" for place, row in rows.items()]
        for place, shape in wanting:
            if place in nth:
                self.matches.append(packed_match(shape, nth[place]))
                self.bytes += len(rows[place])


class _Rows:
    """The rows of one table that are there under some keys, with some columns, as JSON."""

    def __init__(
        self, connection: sqlite3.Connection, table: SourceTable, columns: Sequence[str], *, nan_as_null: bool
    ) -> None:
        self._connection = connection
        self._columns = columns
        self._width = len(table.key)
        self._values = Values(columns, nan_as_null=nan_as_null, time_is_timedelta=False)
        selected = ", ".join(f"{ROW}.{quoted(name)}" for name in (*table.key, *columns))
        self._statement = (
            f"SELECT changed.n, {selected} FROM json_each(:places) AS place CROSS JOIN "
            f"{joined(table)} AND changed.n = place.value"
        )
        self.rows: dict[int, str] = {}
        """By the places of the keys."""
        self.bytes = 0
        self.faults: dict[int, Fault] = {}

    def read(self, keys: Sequence[Key], places: Sequence[int]) -> None:
        """Read the rows under the keys at these places."""
        first = 1 + self._width
        try:
            found = self._fetched(places)
        except sqlite3.Error as error:
            if is_environmental(error):
                raise
            fault = Fault(type(error).__name__, f"the rows of the table cannot be read: {error}")
            self.faults |= dict.fromkeys(places, fault)
            return
        for row in found:
            place = row[0]
            if _is_same(keys[place], row[1:first]):
                self._take(place, row[first:])

    def _take(self, place: int, values: Sequence[Any]) -> None:
        if NotUtf8 in map(type, values):
            self.faults[place] = Fault("OperationalError", "a row that was written holds text that is not UTF-8")
            return
        try:
            converted = self._values.convert(values)
            row = self.rows[place] = encode_row(dict(zip(self._columns, converted, strict=True)), place)
            self.bytes += len(row)
        except InvalidRowError as error:
            self.faults[place] = Fault("InvalidRowError", f"a row that was written cannot be stored: {error}")

    def _fetched(self, places: Sequence[int]) -> list[Any]:
        given = {"places": as_json(places)}
        try:
            return self._connection.execute(self._statement, given).fetchall()
        except sqlite3.OperationalError as error:
            if "decode to UTF-8" not in str(error):
                raise
        with any_text(self._connection):
            return self._connection.execute(self._statement, given).fetchall()


def _in_batches(places: Sequence[int]) -> Iterator[Sequence[int]]:
    start, size = 0, _ROWS_AT_FIRST
    while start < len(places):
        yield places[start : start + size]
        start, size = start + size, min(4 * size, _ROWS_AT_ONCE)


def _is_same(asked: Key, own: tuple[Any, ...]) -> bool:
    """Whether a row has this very key, and not one that a collation or a type takes for equal."""
    return asked == own and [*map(type, asked)] == [*map(type, own)]
