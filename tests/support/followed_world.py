"""A source that is written to at random, and stores that follow it: what random tests of live shapes are made of.

Run as a program, it is one of the processes of such a test: a writer of the source, or a store that follows it, which
sleeps between its steps so that what races does so often.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shapestore import Shape, ShapeStore, SQLSource
from shapestore.following import registry, source_look, store_side

TABLES = {
    "t": "CREATE TABLE {} (id INTEGER PRIMARY KEY, a TEXT, n, u UNIQUE, parent INTEGER REFERENCES p ON DELETE CASCADE)",
    "w": "CREATE TABLE {} (k TEXT PRIMARY KEY COLLATE NOCASE, v REAL) WITHOUT ROWID",
    "c": "CREATE TABLE {} (x, y TEXT, z BLOB, PRIMARY KEY (x, y))",
}

SHAPES = [
    Shape("t"),
    *(Shape("t", where="a = :a", params={"a": a}) for a in "abc"),
    *(Shape("t", where="n > :n", params={"n": n}, columns=["id", "n"]) for n in (2, 5)),
    Shape("t", where="a LIKE 'B%' OR n IN (1, 2, '3')", columns=["a", "u"]),
    Shape("t", where="u IS NULL AND a = 'a'"),
    Shape("w"),
    *(Shape("w", where="k = :k", params={"k": k}) for k in ("a", "B")),
    Shape("w", where="v >= 2.5"),
    Shape("c"),
    *(Shape("c", where="x = :x AND y <> 'q'", params={"x": x}) for x in (1, "1", 2)),
]


def make_source(path: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as source:
        source.execute("PRAGMA journal_mode = WAL")
        source.execute("CREATE TABLE p (id INTEGER PRIMARY KEY)")
        for name, definition in TABLES.items():
            source.execute(definition.format(name))
        source.executemany("INSERT INTO p VALUES (?)", [(n,) for n in range(5)])
        source.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?, NULL)", [(n, "abcd"[n % 4], n % 7, n * 10) for n in range(30)]
        )


# --- writers

Statement = tuple[Any, ...]
"""Its text, and its values."""


class RandomWriter:
    """Statements that change a few rows, in every way in which SQLite can change them."""

    def __init__(self, path: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.source = sqlite3.connect(path, isolation_level=None, timeout=30)
        self.source.execute("PRAGMA foreign_keys = ON")
        self.source.execute("PRAGMA synchronous = OFF")

    def write(self, *, rebuilds: bool) -> None:
        """One transaction."""
        chance = self.random.random()
        with contextlib.suppress(sqlite3.IntegrityError):
            if rebuilds and chance < 0.004:
                self._rebuild()
                return
            self.source.execute("BEGIN IMMEDIATE")
            for _ in range(self.random.choice((1, 1, 1, 2, 5, 30))):
                if self.random.random() < 0.1:
                    self._savepoint()
                else:
                    self._statement()
            self.source.execute("ROLLBACK" if chance > 0.95 else "COMMIT")
        if self.source.in_transaction:
            self.source.execute("COMMIT")

    def _savepoint(self) -> None:
        self.source.execute("SAVEPOINT s")
        with contextlib.suppress(sqlite3.IntegrityError):
            self._statement()
        self.source.execute("ROLLBACK TO s" if self.random.random() < 0.5 else "RELEASE s")

    def _statement(self) -> None:
        choose = self.random.choice
        statement, *given = choose((self._of_t, self._of_t, self._of_w, self._of_c))(choose)
        with contextlib.suppress(sqlite3.IntegrityError):
            self.source.execute(statement, given)

    def _of_t(self, choose: Callable[..., Any]) -> Statement:
        id_, a, n, u = (
            choose(range(40)),
            choose(["a", "b", "c", "B", "bc", None]),
            choose([1, 2, "3", 3, 6.5, None, b"2"]),
            choose([None, *range(0, 400, 10)]),
        )
        return self.random.choice(
            [
                ("INSERT OR REPLACE INTO t VALUES (?, ?, ?, ?, ?)", id_, a, n, u, choose([None, 0, 1, 2, 3, 4])),
                ("INSERT INTO t (id, a) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET a = excluded.a", id_, a),
                ("UPDATE t SET a = ?, n = ? WHERE id = ?", a, n, id_),
                ("UPDATE OR REPLACE t SET u = ? WHERE id = ?", u, id_),
                ("UPDATE OR REPLACE t SET id = ? WHERE id = ?", choose(range(40)), id_),
                ("UPDATE OR REPLACE t SET rowid = ? WHERE rowid = ?", choose(range(40)), id_),
                ("DELETE FROM t WHERE id = ?", id_),
                ("DELETE FROM t WHERE n = ?", n),
                ("INSERT OR REPLACE INTO p VALUES (?)", choose(range(5))),
                ("DELETE FROM p WHERE id = ?", choose(range(5))),
            ]
        )

    def _of_w(self, choose: Callable[..., Any]) -> Statement:
        k, v = choose(["a", "A", "b", "B", "cc", "Cc"]), choose([1, 2.5, 3, -0.0, 0.0, None])
        return self.random.choice(
            [
                ("INSERT OR REPLACE INTO w VALUES (?, ?)", k, v),
                ("UPDATE w SET k = ? WHERE k = ?", k, k),
                ("UPDATE w SET v = ? WHERE k = ?", v, k),
                ("UPDATE OR REPLACE w SET k = ? WHERE k = ?", choose(["a", "B", "cc"]), k),
                ("DELETE FROM w WHERE k = ?", k),
            ]
        )

    def _of_c(self, choose: Callable[..., Any]) -> Statement:
        x, y, z = choose([1, 1.0, "1", b"1", 2]), choose(["p", "q", "ß\0"]), choose([None, b"\xff", "text", 7])
        return self.random.choice(
            [
                ("INSERT OR REPLACE INTO c VALUES (?, ?, ?)", x, y, z),
                ("UPDATE OR REPLACE c SET x = ?, z = ? WHERE y = ?", x, z, y),
                ("DELETE FROM c WHERE x = ?", x),
            ]
        )

    def _rebuild(self) -> None:
        """A table is made anew, as migrations do it; or gets another column for a while."""
        table = self.random.choice(list(TABLES))
        self.source.execute("PRAGMA foreign_keys = OFF")
        try:
            self.source.execute("BEGIN IMMEDIATE")
            columns = ", ".join(row[1] for row in self.source.execute(f"PRAGMA table_info({table})"))
            self.source.execute(TABLES[table].format("made_anew"))
            self.source.execute(f"INSERT INTO made_anew ({columns}) SELECT {columns} FROM {table}")
            self.source.execute(f"DROP TABLE {table}")
            self.source.execute(f"ALTER TABLE made_anew RENAME TO {table}")
            self.source.execute("COMMIT")
        finally:
            if self.source.in_transaction:
                self.source.execute("ROLLBACK")
            self.source.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        self.source.close()


def write_until_told(path: str, seed: int, pause: float) -> None:
    """Write until standard input ends."""
    writer = RandomWriter(path, seed)
    stop = Path(f"{path}-stop")
    while not stop.exists():
        writer.write(rebuilds=seed % 2 == 0)
        time.sleep(pause * writer.random.random())
    writer.close()


# --- stores


def sleep_between_steps(longest: float) -> None:
    """Let followers of this process sleep between the steps of a round, for some time at random."""

    def sleepy(function: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def slept(*args: Any, **kwargs: Any) -> Any:
            if not after:
                _sleep(longest)
            answer = function(*args, **kwargs)
            if after:
                _sleep(longest)
            return answer

        return slept

    registry.Registry.load = sleepy(registry.Registry.load, after=True)  # type: ignore[method-assign]
    source_look.begin_look = sleepy(source_look.begin_look, after=True)
    source_look.SourceConnection._look = sleepy(source_look.SourceConnection._look, after=True)  # type: ignore[method-assign]
    store_side.StoreSide.written = sleepy(store_side.StoreSide.written, after=False)  # type: ignore[method-assign]


def _sleep(longest: float) -> None:
    time.sleep(longest * random.random() if random.random() < 0.3 else 0)


class SleepyRows:
    """A creator that reads as SQLSource does, and waits between the rows."""

    def __init__(self, source: SQLSource, longest: float) -> None:
        self._source = source
        self._longest = longest
        self.follow = True
        self.nan_as_null = False
        self.source_path = source.source_path
        self.named_path = source.named_path
        self.meanings = source.meanings
        self.describe = source.describe

    def __call__(self, shape: Shape) -> Any:
        return self._source(shape)

    def keyed_rows(self, shape: Shape) -> Any:
        rows = self._source.keyed_rows(shape)
        _sleep(self._longest)
        return rows


async def use_until_told(path: str, source: str, seed: int, longest: float) -> None:
    """Create, read, refresh, invalidate and drop shapes until the file ``SOURCE-stop`` is there."""
    sleep_between_steps(longest)
    chance = random.Random(seed)
    creator = SleepyRows(SQLSource(f"sqlite:///{source}", follow=True), longest)
    stop = Path(f"{source}-stop")
    async with ShapeStore(path, create=creator) as store:
        while not stop.exists():
            shape = chance.choice(SHAPES)
            with contextlib.suppress(Exception):  # whatever fails now is tried again later
                match chance.random():
                    case dice if dice < 0.02:
                        await store.invalidate(chance.choice(list(TABLES)))
                    case dice if dice < 0.05:
                        if stored := await store.get(shape):
                            await store.delete(stored)
                    case dice if dice < 0.3:
                        await store.refresh(shape)
                    case _:
                        await store.get_or_create(shape)
            await asyncio.sleep(0.02 * chance.random())


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    Path(f"{given[1 if what == 'use' else 0]}-ready-{os.getpid()}").touch()
    if what == "write":
        write_until_told(given[0], int(given[1]), float(given[2]))
    else:
        asyncio.run(use_until_told(given[0], given[1], int(given[2]), float(given[3])))
