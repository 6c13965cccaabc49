"""A SQLite source in WAL mode, and the keys that change capture logs in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from shapestore.source.sqlite_feed import changes, followed_table, installation

Key = tuple[object, ...]


class Source:
    """The application's database, over a connection of the application's that waits for nobody."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = OFF")  # no test cuts the power

    def run(self, script: str) -> None:
        for statement in filter(None, map(str.strip, script.split(";\n"))):
            self.connection.execute(statement)

    def follow(self, *tables: str) -> None:
        installation.install(self.path, *tables)

    def seq(self) -> int:
        position = changes.newest(self.connection)
        assert position is not None
        return position.seq

    def logged(self, table: str, by: Callable[[], object]) -> list[Key]:
        """The keys of ``table`` that ``by`` logs."""
        before = self.seq()
        by()
        return self.keys_since(before, table)

    def keys_since(self, seq: int, table: str, width: int | None = None) -> list[Key]:
        number = changes.table_number(self.connection, table)
        assert number is not None
        width = width or len(followed_table.describe(self.connection, table).key)
        found = changes.keys_between(self.connection, seq, self.seq(), {number: width}, 1_000_000)
        return list(found.keys.get(number, ()))

    def schema(self) -> list[tuple[str, ...]]:
        statement = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
        return self.connection.execute(statement).fetchall()
