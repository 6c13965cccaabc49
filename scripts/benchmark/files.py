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
    upgrade = "import sys; from shapestore.storage import migrations; migrations.upgrade(sys.argv[1])"
    subprocess.run([sys.executable, "-c", upgrade, path], check=True)
    return path


def new_file(folder: Path) -> str:
    """A migrated file with nothing in it."""
    return shutil.copy(_empty(folder), tempfile.mkdtemp(dir=folder))


_ROW = '{"TrackId":1,"Name":"Track"}'
_ADD_SHAPE = """
    INSERT INTO shapes (
        number, handle, comparable, namespace, table_name, where_as_written, row_count, snapshot, position, written,
        bytes, confirmed_by, confirmed_boot, confirmed_at_boot_ms, confirmed_at_ms, created_at_ms, refreshed_at_ms,
        last_read_at_ms, read_order)
    VALUES (:number, :handle, :comparable, '', :table, :where, 1, 1, 1, 1, :bytes, :handle, '', 0, 1, 1, 1, 1, :number)
"""


def fill(path: str, shapes: Iterable[Shape]) -> None:
    """Put shapes there, a row each, as creations would have done."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN")
        number = 0
        for number, shape in enumerate(shapes, 1):
            stored = {
                "number": number,
                "handle": secrets.token_hex(16),
                "comparable": shape.comparable,
                "table": shape.table,
                "where": shape.where_as_written,
                "bytes": len(_ROW),
                "row": _ROW,
            }
            database.execute(_ADD_SHAPE, stored)
            database.execute("INSERT INTO shape_rows (id, value) VALUES ((:number << 28) + 1, :row)", stored)
        database.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'create_locks'", (number,))
        database.execute("COMMIT")


def plain(path: str) -> sqlite3.Connection:
    """A connection as people open one who know SQLite."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
