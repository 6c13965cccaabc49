"""Which shapes a changed row is of: the source itself says, one statement for each template.

The rows that changed are in one temporary table, by their keys, and the values of all shapes of a template in another.
The where is never evaluated here, nor on a copy of a row: it runs in the source, on the row that is there.

For each column that a where requires to be equal to a value there is a copy of that value, with the column's type and
collation and an index. It only finds the shapes that come into question: the exact where runs after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence, Set
from itertools import count
from typing import NamedTuple

from shapestore.following.registry import LiveShape
from shapestore.following.source_table import SourceTable
from shapestore.following.template import ROW, VALUES, Template, functions_of, template_of
from shapestore.shape.quoting import quoted
from shapestore.source.sqlite_feed.changes import Key
from shapestore.source.sqlite_feed.followed_table import MOST_KEY_COLUMNS
from shapestore.storage.sqlite_errors import is_environmental

MAX_TEMPLATES = 1_000
CHANGED = "shapestore_changed"
_ROWS_AT_ONCE = 200


class Match(NamedTuple):
    """A changed row that a shape's where is true for."""

    place: int
    """The place of its key among those that were asked for."""
    shape: int


class Fault(NamedTuple):
    """Why a shape cannot be followed."""

    error_type: str
    message: str


class RoutingError(Exception):
    """The wheres of some shapes cannot be evaluated on the rows that are there, or their rows not be stored."""

    def __init__(self, faults: Mapping[int, Fault]) -> None:
        super().__init__(faults)
        self.faults = faults
        """By the numbers of the shapes."""


class _Table(NamedTuple):
    """The table of a template's values."""

    name: str
    statement: str
    """Which rows match which shapes; ``:limit`` of them."""
    statement_for_one: str
    """Which rows match ``:shape``."""
    template: Template


class Router:
    """Routes changed rows, on a connection to their source, in the transaction in which they are read."""

    def __init__(self, connection: sqlite3.Connection, unknown: Set[str]) -> None:
        """``unknown``: functions that mean something else to the application's connections."""
        self._connection = connection
        self._unknown = unknown
        self._names = count()
        self._tables: dict[Template, _Table] = {}
        self._shapes: dict[int, _Table] = {}
        columns = ", ".join(f"k{place}" for place in range(MOST_KEY_COLUMNS))
        connection.execute(f"CREATE TEMP TABLE {CHANGED} (n INTEGER PRIMARY KEY, {columns})")

    def add(self, shapes: Sequence[LiveShape], tables: Mapping[int, SourceTable]) -> list[int]:
        """Route to these shapes too. Returns the numbers of those that are left out.

        There are too many templates for them, or their where has more values than a table has columns, or it needs what
        only the application's own connections have: a collation, or a function.
        """
        refused = []
        most_columns = self._connection.getlimit(sqlite3.SQLITE_LIMIT_COLUMN)
        for number, shape, table, *_ in shapes:
            template, values = template_of(shape, table)
            known = self._tables.get(template)
            is_too_wide = 1 + template.width + len(template.filters) > most_columns
            is_unknown = bool(self._unknown) and not self._unknown.isdisjoint(functions_of(shape))
            if known is None and not is_too_wide and not is_unknown and len(self._tables) < MAX_TEMPLATES:
                known = self._made(template, tables[table])
            if known is None:
                refused.append(number)
                continue
            row = (number, *values, *(values[place] for _, place in template.filters))
            self._connection.execute(f"INSERT INTO temp.{known.name} VALUES ({', '.join('?' * len(row))})", row)
            self._shapes[number] = known
        return refused

    def remove(self, numbers: Sequence[int]) -> None:
        """Route to these shapes no more."""
        for number in numbers:
            table = self._shapes.pop(number, None)
            if table is not None:
                self._connection.execute(f"DELETE FROM temp.{table.name} WHERE shape = ?", (number,))
                if not self._connection.execute(f"SELECT 1 FROM temp.{table.name} LIMIT 1").fetchall():
                    del self._tables[table.template]
                    self._connection.execute(f"DROP TABLE temp.{table.name}")

    def route(self, table: int, keys: Sequence[Key], limit: int) -> list[Match]:
        """The shapes that the rows under these keys match, as they are now. Ends early beyond ``limit`` matches.

        Raises RoutingError if it cannot be told for some shapes.
        """
        self._put_changed(keys)
        matches: list[Match] = []
        for values in self._tables.values():
            if values.template.table == table:
                matches += self._matches(values, limit + 1 - len(matches))
                if len(matches) > limit:
                    break
        return matches

    def _put_changed(self, keys: Sequence[Key]) -> None:
        self._connection.execute(f"DELETE FROM temp.{CHANGED}")
        width = len(keys[0]) if keys else 0
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            some = keys[start : start + _ROWS_AT_ONCE]
            rows = ", ".join(f"({place}{', ?' * width})" for place in range(start, start + len(some)))
            columns = ", ".join(f"k{place}" for place in range(width))
            self._connection.execute(
                f"INSERT INTO temp.{CHANGED} (n, {columns}) VALUES {rows}", [value for key in some for value in key]
            )

    def _matches(self, values: _Table, limit: int) -> list[Match]:
        try:
            return self._found(values.statement, limit=limit)
        except sqlite3.Error as error:
            if is_environmental(error):
                raise
        return self._one_by_one(values)

    def _one_by_one(self, values: _Table) -> list[Match]:
        """The matches of each shape of a template by itself. Raises RoutingError for those whose where fails."""
        matches: list[Match] = []
        faults: dict[int, Fault] = {}
        for (number,) in self._connection.execute(f"SELECT shape FROM temp.{values.name}").fetchall():
            try:
                matches += self._found(values.statement_for_one, shape=number)
            except sqlite3.Error as error:
                if is_environmental(error):
                    raise
                faults[number] = Fault(type(error).__name__, f"the where fails on a row that was written: {error}")
        if faults:
            raise RoutingError(faults)
        return matches

    def _found(self, statement: str, **values: int) -> list[Match]:
        """One row, however many matches there are: each further one would wait for Python's lock."""
        ((places, shapes),) = self._connection.execute(statement, values).fetchall()
        if places is None:
            return []
        return list(map(Match, map(int, str(places).split(",")), map(int, str(shapes).split(","))))

    def _made(self, template: Template, table: SourceTable) -> _Table | None:
        """A table for the values of a template, with the statements that route by it; None if these make no sense."""
        name = f"shapestore_values_{next(self._names)}"
        copies = [table.columns.get(column) for column, _ in template.filters]
        columns = [
            "shape INTEGER PRIMARY KEY",
            *(f"v{place}" for place in range(template.width)),
            *(f"f{place} {copy or ''}" for place, copy in enumerate(copies)),
        ]
        self._connection.execute(f"CREATE TEMP TABLE {name} ({', '.join(columns)})")
        known = [place for place, copy in enumerate(copies) if copy is not None]
        if known:
            indexed = ", ".join(f"f{place}" for place in known)
            self._connection.execute(f"CREATE INDEX temp.{name}_filtered ON {name} ({indexed})")
        filters = [f"{ROW}.{quoted(template.filters[place][0])} = {VALUES}.f{place}" for place in known]
        both = f"{joined(table)} CROSS JOIN temp.{name} AS {VALUES}"
        where = " AND ".join((*filters, f"({template.where})"))
        made = _Table(
            name,
            _matching(f"{both} WHERE {where} LIMIT :limit"),
            _matching(f"{both} WHERE {VALUES}.shape = :shape AND ({template.where})"),
            template,
        )
        try:
            self._connection.execute(f"EXPLAIN {made.statement_for_one}", {"shape": 0}).fetchall()
        except sqlite3.Error as error:
            if is_environmental(error):
                raise
            self._connection.execute(f"DROP TABLE temp.{name}")
            return None
        self._tables[template] = made
        return made


def joined(table: SourceTable) -> str:
    """The rows that are there under the changed keys: by the index of the primary key, and so by its collation."""
    same = " AND ".join(f"{ROW}.{quoted(column)} = changed.k{place}" for place, column in enumerate(table.key))
    return f"temp.{CHANGED} AS changed CROSS JOIN main.{quoted(table.name)} AS {ROW} ON {same}"


def _matching(rest: str) -> str:
    return f"""
        SELECT group_concat(place), group_concat(shape) FROM (
            SELECT changed.n AS place, {VALUES}.shape AS shape FROM {rest})
    """
