"""A small source, and a store that follows it, whose follower and creators can be held at a step."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

from inspections import PATIENCE, eventually

from shapestore import Shape, SQLSource


def make_source(path: str, rows: int = 5) -> None:
    """A table ``t`` with the rows 1 to ``rows``, each ``a`` = "x"."""
    with written(path) as source:
        source.execute("PRAGMA journal_mode = WAL")
        source.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER)")
        source.executemany("INSERT INTO t VALUES (?, 'x', ?)", [(n, n) for n in range(1, rows + 1)])


@contextlib.contextmanager
def written(path: str) -> Iterator[sqlite3.Connection]:
    """A connection of the application's."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)) as connection:
        yield connection


def write(path: str, statement: str, *values: Any) -> None:
    """One statement of the application's."""
    with written(path) as connection:
        connection.execute(statement, values)


def looked_up(path: str, statement: str, *values: Any) -> list[Any]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE)) as connection:
        return connection.execute(statement, values).fetchall()


def is_followed(path: str, source: str) -> bool:
    """Whether all that was written to the source is in the shapes."""
    ((newest,),) = looked_up(source, "SELECT max(seq) FROM shapestore_changes")
    states = looked_up(path, "SELECT followed_seq, unfinished_round FROM sources")
    newcomers = looked_up(path, "SELECT 1 FROM shapes WHERE source_seq IS NOT NULL")
    return states == [(newest, None)] and not newcomers


async def followed(path: str, source: str) -> None:
    await eventually(lambda: is_followed(path, source))


class Hold:
    """Holds who comes to a step, from when it is ``set``, until they are let go."""

    def __init__(self) -> None:
        self._is_set = threading.Event()
        self._arrived = threading.Event()
        self._go = threading.Event()

    def set(self) -> None:
        self._arrived.clear()
        self._go = threading.Event()  # who is let go by the one before may only be about to wait for it
        self._is_set.set()

    async def arrived(self, *, only: bool = False) -> None:
        """Wait until one is held; ``only`` that one: others pass from then on."""
        await eventually(self._arrived.is_set)
        if only:
            self._is_set.clear()

    def let_go(self) -> None:
        self._is_set.clear()
        self._go.set()

    def __call__(self) -> None:
        if self._is_set.is_set():
            go = self._go
            self._arrived.set()
            assert go.wait(PATIENCE)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with the step before it."""

        def held(*args: Any, **kwargs: Any) -> Any:
            self()
            return function(*args, **kwargs)

        return held


class HeldSource(SQLSource):
    """Reads as SQLSource does, and is held once the moment of its rows is settled."""

    def __init__(self, path: str) -> None:
        super().__init__(f"sqlite:///{path}", follow=True)
        self.hold = Hold()

    def keyed_rows(self, shape: Shape) -> Any:
        rows = super().keyed_rows(shape)
        self.hold()
        return rows
