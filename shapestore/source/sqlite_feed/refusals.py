"""The errors that say why a table cannot be followed, and what to do."""

from __future__ import annotations

import sqlite3

from shapestore.errors import InvalidSourceError, UnknownTableError
from shapestore.source.sqlite_feed.changes import PREFIX
from shapestore.source.sqlite_feed.file import ask
from shapestore.source.suggest import instead


def refusal(table: str, why: str) -> InvalidSourceError:
    """The error for a table that cannot be followed."""
    return InvalidSourceError(f'the table "{table}" cannot be followed: {why}')


def null_key(table: str) -> InvalidSourceError:
    """The error for a table in which a key names no row."""
    return refusal(
        table,
        "a row has NULL in its primary key, which SQLite allows and which names no row; give these rows a key, and "
        "declare its columns NOT NULL",
    )


def unknown_table(connection: sqlite3.Connection, table: str) -> UnknownTableError:
    """The error for a table that is not there: what to write instead, and what there is."""
    names = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    there = [name for (name,) in ask(connection, names) if not name.startswith(PREFIX)]
    return UnknownTableError(f'the source has no table "{table}"{instead(table, there)}')
