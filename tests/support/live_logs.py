"""Live shapes in a store's file, put there by hand: with the rows of a model, and their members."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from file_rows import add_rows, add_shape, insert

SOURCE = 1
TABLE = 1


def add_source(connection: sqlite3.Connection, name: str = "/app.db", table: str = "t", **columns: Any) -> None:
    """The source and its table, both under the number 1."""
    insert(connection, "sources", number=SOURCE, name=name, **columns)
    insert(connection, "source_tables", number=TABLE, source=SOURCE, name=table)


def add_live_shape(connection: sqlite3.Connection, handle: str, rows: Mapping[str, str], **columns: Any) -> int:
    """A live shape with these rows by their keys; its number. Its definition is its handle, if none is given."""
    defaults: dict[str, Any] = {"live": 1, "source": SOURCE, "source_table": TABLE, "key_columns": '["id"]'}
    size = sum(len(value.encode()) for value in rows.values())
    number = add_shape(
        connection, handle, columns.pop("shape", handle), row_count=len(rows), bytes=size, **defaults | columns
    )
    add_rows(connection, number, rows.values(), keys=rows)
    connection.executemany(
        "INSERT INTO members (source_table, key, shape, position) VALUES (?, ?, ?, ?)",
        [(defaults["source_table"], key, number, position) for position, key in enumerate(rows, 1)],
    )
    return number


def members(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """Shape, key and position of all members."""
    return connection.execute("SELECT shape, key, position FROM members ORDER BY shape, position").fetchall()


def assert_members_match(connection: sqlite3.Connection) -> None:
    """Each row of a live shape has its member, and each member its row."""
    rows = connection.execute(
        "SELECT number, key, shape_rows.position FROM shapes JOIN shape_rows"
        " ON shape_rows.id > number << 28 AND shape_rows.id < (number + 1) << 28 WHERE live ORDER BY shape_rows.id"
    ).fetchall()
    assert [member for member in members(connection) if member[0] in {row[0] for row in rows}] == rows
