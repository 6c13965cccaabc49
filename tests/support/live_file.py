"""A SQLite source whose changes are captured, and a store's file with live shapes of it, made by hand."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from file_rows import add_shape, insert

from shapestore import Shape
from shapestore.source.sqlite_feed.changes import newest
from shapestore.source.sqlite_feed.installation import install, signature


class CapturedSource:
    """A source in WAL mode with the table ``track``, which is captured."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.write("PRAGMA journal_mode = WAL")
        self.write("CREATE TABLE track (id INTEGER PRIMARY KEY, album INTEGER, name TEXT)")
        self.write("INSERT INTO track VALUES (1, 1, 'one'), (2, 1, 'two'), (3, 2, 'three')")
        install(self.path, "track")

    def write(self, statement: str, *parameters: Any) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as connection:
            connection.execute(statement, parameters)

    def add_live_shapes(self, store: str, *shapes: Shape) -> None:
        """Live shapes in the file of a store, which are followed up to now."""
        with closing(sqlite3.connect(self.path)) as source:
            position, signed = newest(source), signature(source, "track")
        assert position is not None
        with closing(sqlite3.connect(store)) as connection, connection:
            followed = {"followed_seq": position.seq, "followed_nonce": position.nonce, "followed_at_ms": 1}
            insert(connection, "sources", number=7, name=self.path, **followed)
            insert(connection, "source_tables", number=9, source=7, name="track")
            insert(connection, "rounds", number=5, source=7, ended_boot="b", ended_at_boot_ms=0, ended_at_ms=0)
            for shape in shapes:
                live: dict[str, Any] = {"live": 1, "source": 7, "source_table": 9, "source_signature": signed}
                add_shape(connection, f"handle {shape.where}", shape, **live)
