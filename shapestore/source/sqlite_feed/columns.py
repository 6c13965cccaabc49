"""The columns and unique indexes of a table, as SQLite's catalogue tells them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from shapestore.shape.quoting import quoted, unquoted
from shapestore.source.sqlite_feed.file import ask
from shapestore.source.sqlite_feed.index_condition import index_condition

_KEYWORDS = ("null", "true", "false", "current_time", "current_date", "current_timestamp")


class Affinity(Enum):
    """What a column makes of the values that it is given."""

    NUMERIC = "numeric or integer"
    TEXT = "text"
    NONE = "none"
    REAL = "real"


class Column(NamedTuple):
    name: str
    affinity: Affinity
    is_not_null: bool
    default: str | None
    """As an expression, if there is one."""
    key_place: int
    """From 1 on, in the primary key; 0 if it is not in it."""


class Index(NamedTuple):
    """A unique index."""

    name: str
    is_of_key: bool
    """Whether it was made by PRIMARY KEY."""
    columns: Sequence[tuple[str | None, str]]
    """Names, None for an expression, and collations."""
    condition: str | None
    """Of a partial index."""


def columns_of(connection: sqlite3.Connection, table: str) -> list[Column]:
    """The columns of a table of the main database."""
    return [
        Column(name, _affinity(declared.upper()), bool(not_null), None if default is None else _sql(default), key)
        for _, name, declared, not_null, default, key, _ in ask(connection, f"PRAGMA main.table_xinfo({quoted(table)})")
    ]


def unique_indexes_of(connection: sqlite3.Connection, table: str) -> Iterator[Index]:
    """The unique indexes of a table of the main database; that of a rowid is not among them."""
    for _, name, is_unique, origin, is_partial in ask(connection, f"PRAGMA main.index_list({quoted(table)})"):
        if is_unique:
            parts = ask(connection, f"PRAGMA main.index_xinfo({quoted(name)})")
            columns = [(column, collation) for _, _, column, _, collation, is_key in parts if is_key]
            yield Index(name, origin == "pk", columns, _condition(connection, name) if is_partial else None)


def _condition(connection: sqlite3.Connection, index: str) -> str:
    [(text,)] = ask(connection, "SELECT sql FROM main.sqlite_schema WHERE type = 'index' AND name = ?", index)
    return index_condition(text)


def _affinity(declared: str) -> Affinity:
    """That of a column by its declared type, by the rules of SQLite's datatype3.html; ANY of STRICT tables has none."""
    parts = {
        "INT": Affinity.NUMERIC,
        **dict.fromkeys(("CHAR", "CLOB", "TEXT"), Affinity.TEXT),
        "BLOB": Affinity.NONE,
        **dict.fromkeys(("REAL", "FLOA", "DOUB"), Affinity.REAL),
    }
    if declared in ("", "ANY"):
        return Affinity.NONE
    return next((affinity for part, affinity in parts.items() if part in declared), Affinity.NUMERIC)


def _sql(default: str) -> str:
    """A column's default as an expression. A word or a name in quotes is a string there, and a column elsewhere."""
    if default[0] in '"`[':
        return quoted(unquoted(default), "'")
    is_word = re.fullmatch(r"[^\W\d]\w*", default) and default.lower() not in _KEYWORDS
    return quoted(default, "'") if is_word else f"({default})"
