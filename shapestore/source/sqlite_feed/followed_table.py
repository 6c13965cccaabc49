"""A table of a SQLite source as change capture sees it, and the tables that cannot be followed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shapestore.shape.quoting import quoted
from shapestore.source.sqlite_feed.changes import PREFIX
from shapestore.source.sqlite_feed.columns import Affinity, Column, Index, columns_of, unique_indexes_of
from shapestore.source.sqlite_feed.file import ask, path_of
from shapestore.source.sqlite_feed.refusals import null_key, refusal, unknown_table

MOST_KEY_COLUMNS = 4
"""The change table has a column for each."""

_ROWID_NAMES = ("rowid", "_rowid_", "oid")
_COLLATIONS = ("BINARY", "NOCASE", "RTRIM")
"""Those that every connection has."""

_STORE = ("shapes", "shape_rows", "create_locks", "alembic_version")
"""Tables that every revision of a store's file has; no other database has all of them."""
_IS_TABLE_OF_A_STORE = f"type = 'table' AND name IN {_STORE}"


class Unique(NamedTuple):
    """What REPLACE compares rows by: a unique index, or the rowid."""

    columns: Sequence[tuple[str, str]]
    """Names and collations."""
    condition: str | None = None
    """Of a partial index."""


class KeyColumn(NamedTuple):
    name: str
    is_textual: bool
    """Whether it may hold a text that looks like a number."""
    is_rowid: bool = False
    """Whether it holds nothing but integers, since it is the rowid."""


@dataclass(frozen=True, slots=True)
class FollowedTable:
    """A table that can be followed."""

    name: str
    columns: Sequence[Column]
    key: Sequence[KeyColumn]
    """The columns of the primary key, in the key's own order."""
    rowid: str | None
    """A name of the rowid; None if the key is the rowid, or there is none, or columns have all of its names."""
    replacing: Sequence[Unique]
    """By these REPLACE may remove a row of another key than the new row's."""
    defaults: Mapping[str, str]
    """Columns that are NOT NULL, with the SQL of what REPLACE puts in the place of a NULL."""
    definition: str
    """The text that made it."""


def refuse_unfollowable(connection: sqlite3.Connection, table: str) -> None:
    """Raise InvalidSourceError if changes of ``table`` cannot be captured, and UnknownTableError if it is missing.

    A primary key whose columns hold NULL is refused as well: it names no row.
    """
    refuse_store(connection, table)
    followed = describe(connection, table)
    refuse_other_modes(connection, table)
    first, *further = (quoted(column.name) for column in followed.key)
    # Apart, since an index finds the first by one search.
    parts = [f"SELECT 1 FROM main.{quoted(table)} WHERE {column} IS NULL" for column in (first, *further)]
    if ask(connection, f"SELECT 1 WHERE {' OR '.join(f'EXISTS ({part})' for part in parts)}"):
        raise null_key(table)


def refuse_store(connection: sqlite3.Connection, table: str) -> None:
    """Raise InvalidSourceError if the file is one of this package's own, under whatever name it was given."""
    if ask(connection, f"SELECT 1 FROM main.sqlite_schema WHERE {_IS_TABLE_OF_A_STORE}") == [(1,)] * len(_STORE):
        raise refusal(
            table,
            f"{path_of(connection)!r} is itself a store of shapes, into which nothing else is put; name the database "
            "of the application, whose rows the shapes are made of",
        )


def refuse_other_modes(connection: sqlite3.Connection, table: str) -> None:
    """Raise InvalidSourceError unless the source is in WAL mode."""
    if why := wrong_mode(connection):
        raise refusal(table, why)


def wrong_mode(connection: sqlite3.Connection) -> str | None:
    """Why a source cannot be followed that is not in WAL mode: in others, readers make writers fail."""
    [(mode,)] = ask(connection, "PRAGMA main.journal_mode")
    if mode == "wal":
        return None
    return (
        f"its database is in the journal mode {mode.upper()}, where readers make the application's writes fail; "
        "run `PRAGMA journal_mode = WAL` on it once, which stays"
    )


def describe(connection: sqlite3.Connection, table: str) -> FollowedTable:
    """The table of this exact name in the main database. Raises UnknownTableError, InvalidSourceError."""
    has_rowid = _has_rowid(connection, table)
    columns = columns_of(connection, table)
    indexes = list(unique_indexes_of(connection, table))
    _refuse_key(table, [column.name for column in columns if column.key_place])
    key = sorted((column for column in columns if column.key_place), key=lambda column: column.key_place)
    replacing = list(_replacing(table, indexes, columns))
    key_is_rowid = has_rowid and not any(index.is_of_key for index in indexes)
    rowid = _rowid_name(columns) if has_rowid and not key_is_rowid else None
    if rowid is not None:
        replacing.append(Unique([(rowid, "BINARY")]))
    [(definition,)] = ask(connection, "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?", table)
    return FollowedTable(
        name=table,
        columns=columns,
        key=[KeyColumn(column.name, column.affinity in (Affinity.TEXT, Affinity.NONE), key_is_rowid) for column in key],
        rowid=rowid,
        replacing=replacing,
        defaults={column.name: column.default for column in columns if column.is_not_null and column.default},
        definition=definition,
    )


def _has_rowid(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the table has a rowid. Raises the error that fits, if it is not a table that a program writes to."""
    listed_tables = ask(connection, f"PRAGMA main.table_list({quoted(table)})")
    found = [row for row in listed_tables if row[0] == "main" and row[1] == table]
    if not found:
        raise unknown_table(connection, table)
    [(_, _, kind, _, without_rowid, _)] = found
    if kind == "view":
        raise refusal(table, "it is a view, on which no trigger sees what changes; give its shapes a max_age instead")
    if kind != "table" or table.lower().startswith(("sqlite_", PREFIX)):
        raise refusal(table, "it is not an ordinary table, and fires no triggers; give its shapes a max_age instead")
    if table.lower() in ("new", "old"):
        raise refusal(table, f'a trigger cannot name it, since "{table}" is the row that fired it; rename the table')
    return not without_rowid


def _refuse_key(table: str, key: Sequence[str]) -> None:
    if not key:
        raise refusal(table, "it has no primary key, so nothing names its rows; give its shapes a max_age instead")
    if len(key) > MOST_KEY_COLUMNS:
        raise refusal(
            table,
            f"its primary key has {len(key)} columns, and at most {MOST_KEY_COLUMNS} are captured; give its shapes a "
            "max_age instead",
        )


def _replacing(table: str, indexes: Sequence[Index], columns: Sequence[Column]) -> Iterator[Unique]:
    affinities = {column.name: column.affinity for column in columns}
    for index in indexes:
        named = [(name, collation) for name, collation in index.columns if name is not None]
        if len(named) < len(index.columns):
            raise refusal(
                table,
                f'its unique index "{index.name}" is on an expression, and a row that REPLACE removes by it would not '
                "be seen; make it a unique index on a generated column instead",
            )
        if index.is_of_key:
            _refuse_collations(table, named)
            if all(_is_exact(affinities[name], collation) for name, collation in named):
                continue
        yield Unique(named, index.condition)


def _refuse_collations(table: str, key: Sequence[tuple[str, str]]) -> None:
    for name, collation in key:
        if collation.upper() not in _COLLATIONS:
            raise refusal(
                table,
                f'the column "{name}" of its primary key has the collation {collation}, which only the application '
                "has; give its shapes a max_age instead",
            )


def _is_exact(affinity: Affinity, collation: str) -> bool:
    """Whether values of a column that its index takes for equal are the same, of the same type.

    Not so under NOCASE and RTRIM; nor where 1 may stand beside 1.0: without a type or, for the least integer, as a
    NUMERIC.
    """
    return collation.upper() == "BINARY" and affinity in (Affinity.TEXT, Affinity.REAL)


def _rowid_name(columns: Sequence[Column]) -> str | None:
    taken = {column.name.lower() for column in columns}
    return next((name for name in _ROWID_NAMES if name not in taken), None)
