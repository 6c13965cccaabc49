"""A table of a SQLite source as change capture sees it, and the tables that cannot be followed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from shapestore.errors import InvalidSourceError, UnknownTableError
from shapestore.shape.listing import listed
from shapestore.source.sqlite_feed.file import ask, quoted
from shapestore.source.sqlite_feed.index_condition import index_condition
from shapestore.source.suggest import near

MOST_KEY_COLUMNS = 4
"""The change table has a column for each."""
PREFIX = "shapestore_"
"""With it begin the names of all that we put into a source."""

_ROWID_NAMES = ("rowid", "_rowid_", "oid")
_COLLATIONS = ("BINARY", "NOCASE", "RTRIM")
"""Those that every connection has."""
_KEYWORDS = ("null", "true", "false", "current_time", "current_date", "current_timestamp")


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


@dataclass(frozen=True, slots=True)
class FollowedTable:
    """A table that can be followed."""

    name: str
    key: Sequence[KeyColumn]
    """The columns of the primary key, in the key's own order."""
    rowid: str | None
    """A name of the rowid; None if the key is the rowid, or there is none, or columns have all of its names."""
    replacing: Sequence[Unique]
    """By these REPLACE may remove a row of another key than the new row's."""
    defaults: Mapping[str, str]
    """Columns that are NOT NULL, with the SQL of what REPLACE puts in the place of a NULL."""
    definition: Sequence[str]
    """The texts of the table and its unique indexes."""


class _Column(NamedTuple):
    name: str
    type: str
    is_not_null: bool
    default: str | None
    key_place: int


class _Index(NamedTuple):
    name: str
    origin: str
    """How it was made; "pk" by the primary key."""
    is_partial: bool
    columns: Sequence[_IndexColumn]


class _IndexColumn(NamedTuple):
    number: int
    name: str
    collation: str


_EXPRESSION = -2
_ROWID = -1
"""Numbers that stand for no column of the table."""


def refuse_unfollowable(connection: sqlite3.Connection, table: str) -> None:
    """Raise InvalidSourceError if changes of ``table`` cannot be captured, and UnknownTableError if it is missing.

    A primary key whose columns hold NULL is refused as well: it names no row.
    """
    followed = describe(connection, table)
    refuse_other_modes(connection, table)
    first, *further = (quoted(column.name) for column in followed.key)
    # Apart, since an index finds the first by one search.
    parts = [f"SELECT 1 FROM main.{quoted(table)} WHERE {column} IS NULL" for column in (first, *further)]
    if ask(connection, f"SELECT 1 WHERE {' OR '.join(f'EXISTS ({part})' for part in parts)}"):
        raise null_key(table)


def refuse_other_modes(connection: sqlite3.Connection, table: str) -> None:
    """Raise InvalidSourceError unless the source is in WAL mode: in others, readers make writers fail."""
    [(mode,)] = ask(connection, "PRAGMA main.journal_mode")
    if mode != "wal":
        raise _refusal(
            table,
            f"its database is in the journal mode {mode.upper()}, where readers make the application's writes fail; "
            "run `PRAGMA journal_mode = WAL` on it once, which stays",
        )


def null_key(table: str) -> InvalidSourceError:
    return _refusal(
        table,
        "a row has NULL in its primary key, which SQLite allows and which names no row; give these rows a key, and "
        "declare its columns NOT NULL",
    )


def describe(connection: sqlite3.Connection, table: str) -> FollowedTable:
    """The table of this exact name in the main database. Raises UnknownTableError, InvalidSourceError."""
    has_rowid = _has_rowid(connection, table)
    columns = _columns(connection, table)
    indexes = list(_unique_indexes(connection, table))
    texts = _texts(connection, table)
    key = sorted((column for column in columns if column.key_place), key=lambda column: column.key_place)
    _refuse_key(table, key)
    replacing = list(_replacing(table, indexes, columns, texts))
    rowid = None
    if has_rowid and any(index.origin == "pk" for index in indexes):  # else the rowid is the key
        rowid = _rowid_name(columns)
    if rowid is not None:
        replacing.append(Unique([(rowid, "BINARY")]))
    return FollowedTable(
        name=table,
        key=[KeyColumn(column.name, _affinity(column.type) in (_Affinity.TEXT, _Affinity.NONE)) for column in key],
        rowid=rowid,
        replacing=replacing,
        defaults=_defaults(columns),
        definition=[str(texts[table]), *sorted(f"{index} {texts.get(index.name)}" for index in indexes)],
    )


# --- the catalogue


def _has_rowid(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the table has a rowid. Raises the error that fits, if it is not a table that a program writes to."""
    listed_tables = ask(connection, f"PRAGMA main.table_list({quoted(table)})")
    found = [row for row in listed_tables if row[0] == "main" and row[1] == table]
    if not found:
        raise UnknownTableError(f'the source has no table "{table}"{_instead(connection, table)}')
    [(_, _, kind, _, without_rowid, _)] = found
    if kind == "view":
        raise _refusal(table, "it is a view, on which no trigger sees what changes; give its shapes a max_age instead")
    if kind != "table" or table.lower().startswith(("sqlite_", PREFIX)):
        raise _refusal(table, "it is not an ordinary table, and fires no triggers; give its shapes a max_age instead")
    if table.lower() in ("new", "old"):
        raise _refusal(table, f'a trigger cannot name it, since "{table}" is the row that fired it; rename the table')
    return not without_rowid


def _columns(connection: sqlite3.Connection, table: str) -> list[_Column]:
    rows = ask(connection, f"PRAGMA main.table_xinfo({quoted(table)})")
    return [
        _Column(name, kind.upper(), bool(not_null), default, key) for _, name, kind, not_null, default, key, _ in rows
    ]


def _unique_indexes(connection: sqlite3.Connection, table: str) -> Iterator[_Index]:
    for _, name, is_unique, origin, is_partial in ask(connection, f"PRAGMA main.index_list({quoted(table)})"):
        if is_unique:
            rows = ask(connection, f"PRAGMA main.index_xinfo({quoted(name)})")
            columns = [
                _IndexColumn(number, column, collation) for _, number, column, _, collation, is_key in rows if is_key
            ]
            yield _Index(name, origin, bool(is_partial), columns)


def _texts(connection: sqlite3.Connection, table: str) -> dict[str, str | None]:
    """The texts that made the table and its indexes, by their names; None for an index that a constraint made."""
    rows = ask(connection, "SELECT name, sql FROM main.sqlite_schema WHERE tbl_name = ? AND type <> 'trigger'", table)
    return dict(rows)


# --- the key and the unique indexes


def _refuse_key(table: str, key: Sequence[_Column]) -> None:
    if not key:
        raise _refusal(table, "it has no primary key, so nothing names its rows; give its shapes a max_age instead")
    if len(key) > MOST_KEY_COLUMNS:
        raise _refusal(
            table,
            f"its primary key has {len(key)} columns, and at most {MOST_KEY_COLUMNS} are captured; give its shapes a "
            "max_age instead",
        )


def _replacing(
    table: str, indexes: Sequence[_Index], columns: Sequence[_Column], texts: Mapping[str, str | None]
) -> Iterator[Unique]:
    types = {column.name: column.type for column in columns}
    for index in indexes:
        numbers = [column.number for column in index.columns]
        if _EXPRESSION in numbers:
            raise _refusal(
                table,
                f'its unique index "{index.name}" is on an expression, and a row that REPLACE removes by it would not '
                "be seen; make it a unique index on a generated column instead",
            )
        if index.origin == "pk":
            _refuse_collations(table, index)
            if all(_is_exact(types[column.name], column.collation) for column in index.columns):
                continue
        if _ROWID not in numbers:  # with it, a row that it finds has the new row's own key
            condition = index_condition(texts.get(index.name) or "") if index.is_partial else None
            yield Unique([(column.name, column.collation) for column in index.columns], condition)


def _refuse_collations(table: str, key: _Index) -> None:
    for column in key.columns:
        if column.collation.upper() not in _COLLATIONS:
            raise _refusal(
                table,
                f'the column "{column.name}" of its primary key has the collation {column.collation}, which only the '
                "application has; give its shapes a max_age instead",
            )


def _is_exact(declared: str, collation: str) -> bool:
    """Whether values of a column that its index takes for equal are the same, of the same type.

    Not so under NOCASE and RTRIM; nor where 1 may stand beside 1.0: without a type or, for the least integer, as a
    NUMERIC.
    """
    return collation.upper() == "BINARY" and _affinity(declared) in (_Affinity.TEXT, _Affinity.REAL)


class _Affinity(Enum):
    NUMERIC = "numeric or integer"
    TEXT = "text"
    NONE = "none"
    REAL = "real"


def _affinity(declared: str) -> _Affinity:
    """That of a column by its declared type, by the rules of SQLite's datatype3.html; ANY of STRICT tables has none."""
    parts = {
        "INT": _Affinity.NUMERIC,
        **dict.fromkeys(("CHAR", "CLOB", "TEXT"), _Affinity.TEXT),
        "BLOB": _Affinity.NONE,
        **dict.fromkeys(("REAL", "FLOA", "DOUB"), _Affinity.REAL),
    }
    if declared in ("", "ANY"):
        return _Affinity.NONE
    return next((affinity for part, affinity in parts.items() if part in declared), _Affinity.NUMERIC)


def _rowid_name(columns: Sequence[_Column]) -> str | None:
    taken = {column.name.lower() for column in columns}
    return next((name for name in _ROWID_NAMES if name not in taken), None)


def _defaults(columns: Sequence[_Column]) -> dict[str, str]:
    return {column.name: _sql(column.default) for column in columns if column.is_not_null and column.default}


def _sql(default: str) -> str:
    """A column's default as an expression. A word or a name in quotes is a string there, and a column elsewhere."""
    if default[0] in '"`[':
        close = {"[": "]"}.get(default[0], default[0])
        text = default[1:-1].replace(close * 2, close)
    elif re.fullmatch(r"[^\W\d]\w*", default) and default.lower() not in _KEYWORDS:
        text = default
    else:
        return f"({default})"
    return "'" + text.replace("'", "''") + "'"


# --- messages


def _refusal(table: str, why: str) -> InvalidSourceError:
    return InvalidSourceError(f'the table "{table}" cannot be followed: {why}')


def _instead(connection: sqlite3.Connection, table: str) -> str:
    """What to write instead, and what there is."""
    names = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    there = [name for (name,) in ask(connection, names) if not name.startswith(PREFIX)]
    if not there:
        return "; it has none at all"
    meant = [f'"{name}"' for name in near(table, there)]
    has = "t has " + listed([f'"{name}"' for name in there], most=40)
    return f"; did you mean {listed(meant, ' or ')}? I{has}" if meant else f"; i{has}"
