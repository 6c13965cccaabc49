"""Rows that a test puts into a store's file by hand. What does not matter to the test has a default.

A shape's number is taken as a claim takes it, so that no attempt of a store that has the file open gets the same one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from shapestore import Shape
from shapestore.locking import boot_clock
from shapestore.locking.create_lock import Failure, State

POSITIONS = 28
"""So many bits of an id are the position."""


def insert(connection: sqlite3.Connection, table: str, **columns: Any) -> None:
    """Insert one row; the columns that are not given have the defaults of the schema."""
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", columns)


def next_number(connection: sqlite3.Connection) -> int:
    """A number that nothing in the file has, nor will have."""
    ((number,),) = connection.execute(
        "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'create_locks' RETURNING seq"
    ).fetchall()
    return int(number)


def add_shape(
    connection: sqlite3.Connection,
    handle: str,
    shape: Shape | str,
    *,
    rows: Iterable[str] = (),
    number: int | None = None,
    **columns: Any,
) -> int:
    """A stored shape with these rows, as JSON; its number. ``shape`` may be given as the text of its key."""
    number = next_number(connection) if number is None else number
    values = list(rows)
    count = columns.pop("row_count", len(values))
    defaults = {
        "handle": handle,
        **_definition(shape),
        "row_count": count,
        "snapshot": count,
        "position": columns.get("snapshot", count),
        "written": columns.get("position", columns.get("snapshot", count)),
        "bytes": sum(len(value.encode()) for value in values),
        "confirmed_by": columns.get("handle", handle),
        **_moment("confirmed"),
        "created_at_ms": 0,
        "refreshed_at_ms": columns.get("created_at_ms", 0),
        "last_read_at_ms": 0,
        "read_order": 1,
    }
    insert(connection, "shapes", number=number, **defaults | columns)
    add_rows(connection, number, values)
    return number


def add_rows(
    connection: sqlite3.Connection,
    number: int,
    rows: Iterable[str] | int,
    *,
    first: int = 1,
    keyed: bool = False,
    keys: Iterable[str] | None = None,
) -> None:
    """Rows under a number, at the positions from ``first`` on: these, or so many empty ones.

    ``keyed``: the key of each is its position; ``keys``: the texts of all keys.
    """
    values = ["{}"] * rows if isinstance(rows, int) else list(rows)
    positions = range(first, first + len(values))
    texts = list(keys) if keys is not None else [f"[{position}]" if keyed else None for position in positions]
    connection.executemany(
        "INSERT INTO shape_rows (id, value, key) VALUES (?, ?, ?)",
        [
            (number << POSITIONS | position, value, text)
            for position, value, text in zip(positions, values, texts, strict=True)
        ],
    )


def add_lock(
    connection: sqlite3.Connection,
    handle: str,
    shape: Shape | str,
    *,
    owner: str = "nobody",
    failure: Failure | None = None,
    number: int | None = None,
    **columns: Any,
) -> int:
    """The lock row of an attempt, in progress, or failed by ``failure``; its number."""
    number = next_number(connection) if number is None else number
    defaults = {
        "handle": handle,
        **_definition(shape),
        "state": State.IN_PROGRESS if failure is None else State.FAILED,
        "owner": owner,
        **_moment("started"),
        "failed_at_ms": None if failure is None else 0,
        **_error(failure),
    }
    insert(connection, "create_locks", number=number, **defaults | columns)
    return number


def add_owner(connection: sqlite3.Connection, owner: str, **columns: Any) -> None:
    """The row of an open store."""
    defaults = {"owner": owner, "pid": 1, "hostname": "host", "program": "app.py", "opened_at_ms": 0}
    insert(connection, "owners", **defaults | columns)


def add_outcome(
    connection: sqlite3.Connection,
    handle: str,
    shape: Shape | str = "",
    outcome: str = "created",
    *,
    failure: Failure | None = None,
    **columns: Any,
) -> None:
    """The record of an attempt that has ended."""
    defaults = {
        "handle": handle,
        "comparable": _comparable(shape),
        "outcome": outcome if failure is None else "failed",
        **_error(failure),
        "finished_at_ms": 0,
    }
    insert(connection, "creations", **defaults | columns)


def discard(connection: sqlite3.Connection, *numbers: int) -> None:
    """Say that the rows of these numbers are pending deletion."""
    for number in numbers:
        insert(connection, "discarded", number=number)


def add_kept(
    connection: sqlite3.Connection,
    handle: str,
    shape: Shape | str = "",
    *,
    rows: Iterable[str] = (),
    number: int | None = None,
    **columns: Any,
) -> int:
    """A handle that is kept for its readers, with its rows; its number."""
    number = next_number(connection) if number is None else number
    values = list(rows)
    count = columns.pop("row_count", len(values))
    moment = boot_clock.now()
    defaults = {
        "handle": handle,
        "comparable": _comparable(shape),
        "table_name": _table(shape),
        "row_count": count,
        "snapshot": count,
        "position": count,
        "written": count,
        "bytes": sum(len(value.encode()) for value in values),
        "created_at_ms": 0,
        "refreshed_at_ms": 0,
        "gone_boot": moment.boot,
        "gone_at_boot_ms": moment.boot_ms,
        "gone_at_ms": moment.wall_ms,
    }
    insert(connection, "kept", number=number, **defaults | columns)
    add_rows(connection, number, values)
    return number


def _definition(shape: Shape | str) -> dict[str, Any]:
    where = None if isinstance(shape, str) else shape.where_as_written
    return {
        "comparable": _comparable(shape),
        "namespace": "",
        "table_name": _table(shape),
        "where_as_written": where,
    }


def _comparable(shape: Shape | str) -> str:
    return shape if isinstance(shape, str) else shape.comparable


def _table(shape: Shape | str) -> str:
    return "t" if isinstance(shape, str) else shape.table


def _moment(what: str) -> dict[str, Any]:
    """A moment long ago, of another start of the machine."""
    return {f"{what}_boot": "", f"{what}_at_boot_ms": 0, f"{what}_at_ms": 0}


def _error(failure: Failure | None) -> dict[str, Any]:
    columns = ("error_type", "error_message", "retry_after_ms")
    values = (None,) * 3 if failure is None else (failure.error_type, failure.message, failure.retry_after_ms)
    return dict(zip(columns, values, strict=True))
