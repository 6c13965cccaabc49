"""A followed table of a source: what routing and reading need to know of it, as of one version of the schema."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shapestore.shape.quoting import quoted
from shapestore.source.sqlite_feed.columns import Affinity, Column
from shapestore.source.sqlite_feed.installation import captured
from shapestore.storage.sqlite_errors import is_environmental

_COLLATION = re.compile(r"(BINARY|NOCASE|RTRIM)-8")

# REAL would lose integers beyond 2^53.
_COPY_AFFINITIES = {
    Affinity.NUMERIC: "NUMERIC",
    Affinity.REAL: "NUMERIC",
    Affinity.TEXT: "TEXT",
    Affinity.NONE: "BLOB",
}


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
    found = captured(connection, name)
    if found is None:
        return None
    columns = {column.name: _copy_type(connection, name, column) for column in found.table.columns}
    return SourceTable(name, found.number, found.signature, columns, [column.name for column in found.table.key])


def _copy_type(connection: sqlite3.Connection, table: str, column: Column) -> str | None:
    """Comparing a column with a copy of this type takes at least those values for equal that the column does.

    SQLite tells a column's collation only where it explains a comparison, which it cannot if only the application has
    the collation.
    """
    try:
        comparison = f"EXPLAIN SELECT {quoted(column.name)} = ? FROM main.{quoted(table)}"
        steps = connection.execute(comparison, (None,)).fetchall()
    except sqlite3.Error as error:
        if is_environmental(error):
            raise
        return None
    collations = {str(step[5]) for step in steps if step[1] == "Eq"} or {"BINARY-8"}
    found = _COLLATION.fullmatch(collations.pop()) if len(collations) == 1 else None
    return None if found is None else f"{_COPY_AFFINITIES[column.affinity]} COLLATE {found[1]}"
