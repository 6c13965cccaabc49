"""A SQLite source that remembers every state that it has had, and creators that read it."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from shapestore import Shape, SQLSource, keyed

SHAPES = [
    Shape("t"),
    *(Shape("t", where="a = :a", params={"a": a}) for a in "xy"),
    Shape("t", where="n % 2 = 0"),
    Shape("s"),
]
COLUMNS = ("id", "a", "n")
KEYS = range(1, 8)

Row = tuple[int, str, int]
Rows = tuple[Row, ...]


class RecordedSource:
    """The tables ``t`` and ``s``. A version is how many transactions there were."""

    def __init__(self, path: str, chance: random.Random) -> None:
        self.path = path
        self._random = chance
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        for table in ("t", "s"):
            self._connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT, n INTEGER)")
            self._connection.executemany(
                f"INSERT INTO {table} VALUES (?, ?, ?)", [(id_, "xy"[id_ % 2], id_) for id_ in range(1, 6)]
            )
        self._states: dict[Shape, list[Rows]] = {shape: [] for shape in SHAPES}
        self._values = 100
        self._remember()

    @property
    def version(self) -> int:
        """The present one."""
        return len(self._states[SHAPES[0]]) - 1

    def write(self) -> tuple[str, list[int]]:
        """One transaction; the table that it has written, and the keys."""
        choose = self._random.choice
        table, keys = choose("ttts"), self._random.sample(KEYS, choose((1, 1, 2, 4)))
        self._connection.execute("BEGIN IMMEDIATE")
        for key in keys:
            self._values += 1
            if self._random.random() < 0.2:
                self._connection.execute(f"DELETE FROM {table} WHERE id = ?", (key,))
            else:  # some values come again and again
                row = key, choose("xxyz"), choose((0, 1, self._values, self._values))
                self._connection.execute(
                    f"INSERT INTO {table} VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET a = excluded.a, n = excluded.n",
                    row,
                )
        self._connection.execute("COMMIT")
        self._remember()
        return table, keys

    def _remember(self) -> None:
        for shape, states in self._states.items():
            states.append(tuple(rows_of(self._connection, shape)))

    def version_of(self, shape: Shape, rows: Sequence[Row], *, since: int) -> int | None:
        """The first version, from ``since`` on, in which the shape had these rows; None if there is none."""
        wanted = tuple(sorted(rows))
        states = self._states[shape]
        return next((version for version in range(since, len(states)) if states[version] == wanted), None)

    def version_of_row(self, shape: Shape, key: int, row: Row | None, *, since: int) -> int | None:
        """The first version, from ``since`` on, in which the shape had this row under the key, or none."""
        states = self._states[shape]
        return next(
            (
                version
                for version in range(since, len(states))
                if next((found for found in states[version] if found[0] == key), None) == row
            ),
            None,
        )

    def close(self) -> None:
        self._connection.close()


def rows_of(connection: sqlite3.Connection, shape: Shape) -> list[Row]:
    """What the query of a shape gives."""
    statement = f"SELECT id, a, n FROM {shape.table} WHERE {shape.where_as_written or '1'} ORDER BY id"
    return connection.execute(statement, dict(shape.params)).fetchall()


class PausedSource(SQLSource):
    """Reads as SQLSource does, and pauses once the moment of its rows is settled."""

    def __init__(self, path: str, pause: Callable[[str], None], *, follow: bool, batch_size: int) -> None:
        super().__init__(f"sqlite:///{path}", follow=follow, batch_size=batch_size)
        self._pause = pause

    def keyed_rows(self, shape: Shape) -> Any:
        rows = super().keyed_rows(shape)
        try:
            self._pause("has read")
        except BaseException:
            rows.close()
            raise
        return rows

    def rows_by_key(self, shapes: Sequence[Shape], keys: Sequence[Any]) -> Generator[Any, None, None]:
        found = list(super().rows_by_key(shapes, keys))
        self._pause("has read by key")
        yield from found


def function_of(path: str, pause: Callable[[str], None]) -> Any:
    """The same by a plain function."""

    def read(shape: Shape) -> Iterator[dict[str, Any]]:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows = rows_of(connection, shape)
        pause("has read")
        for row in rows:
            yield dict(zip(COLUMNS, row, strict=True))

    return keyed(read, "id")
