"""Shapes that are asked for, and stores' files to ask in."""

from __future__ import annotations

import itertools
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from shapestore import Shape

Row = dict[str, Any]

_numbers = itertools.count(1_000_000_000)


def numbered(number: int) -> Shape:
    """A shape of a usual size."""
    return Shape("Track", where="AlbumId = :album", params={"album": number}, columns=["TrackId", "Name"])


def another() -> Shape:
    """A shape that nobody has asked for yet."""
    return numbered(next(_numbers))


def one_row(shape: Shape) -> list[Row]:
    return [{"TrackId": 1, "Name": shape.table}]


async def at_once(shape: Shape) -> list[Row]:
    """A creator that takes no time."""
    return one_row(shape)


@cache
def _empty(folder: Path) -> Path:
    """Migrated by another process: what alembic loads would be a burden on the garbage collector of this one."""
    path = folder / "empty.db"
    upgrade = "import sys; from shapestore import migrations; migrations.upgrade(sys.argv[1])"
    subprocess.run([sys.executable, "-c", upgrade, path], check=True)
    return path


def new_file(folder: Path) -> str:
    """A migrated file with nothing in it."""
    return shutil.copy(_empty(folder), tempfile.mkdtemp(dir=folder))


def fill(path: str, shapes: Iterable[Shape]) -> None:
    """Put shapes there, a row each, as creations would have done."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN")
        for order, shape in enumerate(shapes, 1):
            handle = secrets.token_hex(16)
            database.execute(
                "INSERT INTO shapes (handle, comparable, table_name, row_count, created_at_ms, last_read_at_ms,"
                " read_order) VALUES (?, ?, ?, 1, 1, 1, ?)",
                (handle, shape.comparable, shape.table, order),
            )
            database.execute("INSERT INTO shape_rows VALUES (?, 1, ?)", (handle, '{"TrackId":1,"Name":"Track"}'))
        database.execute("COMMIT")


def plain(path: str) -> sqlite3.Connection:
    """A connection as people open one who know SQLite."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
