"""A store's file of revision 0001, as an older shapestore left it: what revision 0002 has to keep."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

from alembic import command
from alembic.config import Config
from migrated_file import definitions

from shapestore import Shape
from shapestore.storage import migrations

ALBUMS = Shape("albums", where="id = :id AND name LIKE 'ä%'", params={"id": 1}, columns=["id", "name"])
EMPTY = Shape("empty")
TRACKS = Shape("tracks")
FAILED = Shape("failed")
CREATING = Shape("creating")

HANDLES = {ALBUMS: "b" * 32, EMPTY: "c" * 32, TRACKS: "a" * 32, FAILED: "f" * 32, CREATING: "d" * 32}
DROPPED = "e" * 32
ROWS: dict[Shape, list[dict[str, Any]]] = {
    ALBUMS: [{"id": 1, "name": "ärger 🎵"}, {"id": 2, "name": None}],
    EMPTY: [],
    TRACKS: [{"n": number} for number in range(2_500)],
}


def make(path: str) -> None:
    """Make an empty file of revision 0001."""
    migrate(path, "0001")


def migrate(path: str, revision: str) -> None:
    """Up or down, to a revision."""
    with migrations.opened(path) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations.scripts_folder()))
        current = migrations.current_revision(connection)
        is_older = revision != "base" and (current is None or current < revision)
        (command.upgrade if is_older else command.downgrade)(config, revision)


def make_filled(path: str) -> None:
    """Make a file of revision 0001 in which there is something of everything."""
    make(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        for order, (shape, rows) in enumerate(ROWS.items(), 1):
            add_shape(connection, HANDLES[shape], shape, [_text(row) for row in rows], order)
        add_lock(connection, CREATING, "in_progress", None, None, None, None)
        add_rows(connection, HANDLES[CREATING], ["{}"] * 3)
        add_lock(connection, FAILED, "failed", 60_000, "OSError", "the source is away", 5_000)
        connection.execute("INSERT INTO discarded (handle) VALUES (?)", (DROPPED,))
        add_rows(connection, DROPPED, ["{}"] * 4)
        connection.execute(
            "INSERT INTO owners (owner, pid, hostname, program, opened_at_ms) VALUES ('owner', 1, 'host', 'app.py', 7)"
        )
        for ended in (
            (7, HANDLES[TRACKS], TRACKS.comparable, "created", None, None, None, 30, 2_500, 9, 70_000),
            (
                9,
                HANDLES[FAILED],
                FAILED.comparable,
                "failed",
                "OSError",
                "the source is away",
                5_000,
                4,
                None,
                1,
                60_000,
            ),
        ):
            connection.execute(
                "INSERT INTO creations (number, handle, comparable, outcome, error_type, error_message, retry_after_ms,"
                " duration_ms, row_count, followers, finished_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ended,
            )


def add_shape(connection: sqlite3.Connection, handle: str, shape: Shape, rows: list[str], order: int) -> None:
    connection.execute(
        "INSERT INTO shapes (handle, comparable, table_name, row_count, created_at_ms, last_read_at_ms, read_order)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (handle, shape.comparable, shape.table, len(rows), 1_000 * order, 2_000 * order, 10 - order),
    )
    add_rows(connection, handle, rows)


def add_rows(connection: sqlite3.Connection, handle: str, rows: list[str]) -> None:
    connection.executemany(
        "INSERT INTO shape_rows (handle, position, value) VALUES (?, ?, ?)",
        [(handle, position, row) for position, row in enumerate(rows, 1)],
    )


def add_lock(connection: sqlite3.Connection, shape: Shape, state: str, *failure: int | str | None) -> None:
    connection.execute(
        "INSERT INTO create_locks (comparable, table_name, state, owner, handle, started_at_ms, failed_at_ms,"
        " error_type, error_message, retry_after_ms) VALUES (?, ?, ?, 'owner', ?, 50000, ?, ?, ?, ?)",
        (shape.comparable, shape.table, state, HANDLES[shape], *failure),
    )


def contents(path: str) -> dict[str, Any]:
    """Every row of every table, whatever the revision is."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'")
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for (name,) in tables.fetchall()
        }


def definitions_of_the_file(path: str) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return definitions(connection)


def _text(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
