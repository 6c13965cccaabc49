"""A followed table of a source: what routing and reading need to know of it, as of one version of the schema."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shapestore.shape.where.lexer import quoted
from shapestore.source.sqlite_feed.changes import table_number
from shapestore.source.sqlite_feed.file import ask
from shapestore.source.sqlite_feed.followed_table import describe
from shapestore.source.sqlite_feed.installation import signature
from shapestore.storage.sqlite_errors import is_environmental

_COLLATION = re.compile(r"(BINARY|NOCASE|RTRIM)-8")


class SourceTable(NamedTuple):
    """A table whose changes are captured."""

    name: str
    feed_number: int
    """What stands for it in the source's change table."""
    signature: str
    columns: Mapping[str, str | None]
    """The columns that a row has, with the type and collation of a copy that holds what is equal to their values.

    None where that is not known.
    """
    key: Sequence[str]
    """The columns of the primary key, in the key's own order."""


def read_table(connection: sqlite3.Connection, name: str) -> SourceTable | None:
    """The table as it is in the transaction of ``connection``; None unless all of its changes are captured."""
    found, number = signature(connection, name), None
    if found is not None:
        number = table_number(connection, name)
    if found is None or number is None:
        return None
    columns = {
        column: _copy_type(connection, name, column, kind)
        for _, column, kind, _, _, _, hidden in ask(connection, f"PRAGMA main.table_xinfo({quoted(name)})")
        if hidden != 1
    }
    return SourceTable(name, number, found, columns, [column.name for column in describe(connection, name).key])


def _copy_type(connection: sqlite3.Connection, table: str, column: str, declared: str) -> str | None:
    """Comparing a column with a copy of this type takes at least those values for equal that the column does.

    SQLite tells a column's collation only where it explains a comparison, which it cannot if only the application has
    the collation.
    """
    try:
        steps = connection.execute(f"EXPLAIN SELECT {quoted(column)} = ? FROM main.{quoted(table)}", (None,)).fetchall()
    except sqlite3.Error as error:
        if is_environmental(error):
            raise
        return None
    collations = {str(step[5]) for step in steps if step[1] == "Eq"} or {"BINARY-8"}
    found = _COLLATION.fullmatch(collations.pop()) if len(collations) == 1 else None
    return None if found is None else f"{_copy_affinity(declared.upper())} COLLATE {found[1]}"


def _copy_affinity(declared: str) -> str:
    """By SQLite's rules, in their order. REAL would lose integers beyond 2^53."""
    if "INT" in declared:
        return "NUMERIC"
    if any(part in declared for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    return "BLOB" if "BLOB" in declared or declared in ("", "ANY") else "NUMERIC"
