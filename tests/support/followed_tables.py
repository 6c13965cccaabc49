"""Random tables of a SQLite source that are followed, and the check that no changed key is missed."""

from __future__ import annotations

import random
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import random_writes
from followed_source import Source
from random_writes import Table

Rows = dict[tuple[Any, ...], Any]


class Followed:
    """Tables that are followed; ``said`` is what was done to them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rnd = random.Random(seed)
        self.sources = [Source(folder / f"{seed}.db")]
        self.followed = self.sources[0]
        self.said: list[str] = []

    def make(self, setting: str, triggers: int) -> None:
        self.on_all(f"PRAGMA {setting} = ON")
        self.tables: list[Table] = []
        for table_name in self.rnd.sample(random_writes.NAMES, 2):
            self.tables.append(self._made(table_name))
        for number in range(triggers):
            self.on_all(random_writes.a_trigger(self.rnd, self.tables[-1], number))
        self.followed.follow(*(name(table) for table in self.tables))
        self.settle()

    def _made(self, table_name: str) -> Table:
        while True:
            table = random_writes.a_table(self.rnd, table_name, self.tables[-1] if self.tables else None)
            with suppress(sqlite3.OperationalError):  # as where two constraints on one column conflict
                for statement in table.statements:
                    self.on_all(statement)
                return table

    def on_all(self, statement: str) -> None:
        for source in self.sources:
            source.connection.execute(statement)

    def go(self, statement: str) -> None:
        self.said.append(statement)
        outcome(self.followed, statement)
        self.check()

    def settle(self) -> None:
        self.seq = self.followed.seq()
        self.before = {table.name: rows(self.followed, table) for table in self.tables}

    def check(self) -> None:
        if self.followed.connection.in_transaction:
            return
        for table in self.tables:
            before, after = self.before[table.name], rows(self.followed, table)
            changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
            logged = {exact_key(key) for key in self.followed.keys_since(self.seq, name(table))}
            assert changed <= logged, (changed - logged, self.story())
        self.settle()

    def story(self) -> str:
        schema = [sql for _, of, _, sql in self.followed.schema() if sql and not of.startswith("shapestore")]
        return ";\n".join(["", *schema, *self.said[-30:], ""])

    def close(self) -> None:
        for source in self.sources:
            source.connection.close()


def name(table: Table) -> str:
    return table.name[1:-1].replace('""', '"') if table.name.startswith('"') else table.name


def exact(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Values that are equal only if they are of the same type."""
    return tuple((type(value).__name__, repr(value)) for value in values)


def exact_key(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same for a key, in which -0.0 is 0.0."""
    return exact(tuple(value + 0.0 if type(value) is float else value for value in values))


def rows(source: Source, table: Table) -> Rows:
    key = ", ".join(table.key)
    found = source.connection.execute(f"SELECT {key}, * FROM {table.name}").fetchall()
    return {exact_key(row[: len(table.key)]): exact(row[len(table.key) :]) for row in found}


def outcome(source: Source, statement: str) -> tuple[str, Any, int]:
    connection = source.connection
    try:
        found = connection.execute(statement).fetchall()
    except sqlite3.Error as error:
        return "failed", str(error), connection.in_transaction
    return "done", found, connection.execute("SELECT changes() + last_insert_rowid() * 0").fetchone()[0]
