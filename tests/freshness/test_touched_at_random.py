"""Random writes to a source, each told by ``touched``, beside refreshes, invalidations and cancellations: clients that
read the logs end with what the source says."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import assert_sound

from shapestore import Change, Shape, ShapeGoneError, ShapeStore, SQLSource

pytestmark = pytest.mark.usefixtures("untroubled")

SHAPES = [Shape("track"), *(Shape("track", where=f"album = {album}") for album in range(3))]
KEYS = 40
PATIENCE = 60.0

Rows = dict[int, dict[str, Any]]


class World:
    """A source, two stores that read it, and a client for each shape in each of them."""

    def __init__(self, source: sqlite3.Connection, stores: list[ShapeStore], dice: random.Random) -> None:
        self.source = source
        self.stores = stores
        self.dice = dice
        self.held: dict[tuple[int, int], Rows] = {}
        self.told: set[asyncio.Task[Any]] = set()

    async def client(self, store: int, shape: int) -> None:
        """Hold the rows of a shape: all that its log says, from its beginning whenever the handle is gone."""
        while True:
            rows = self.held[store, shape] = {}
            with contextlib.suppress(ShapeGoneError):
                stored = await self.stores[store].get_or_create(SHAPES[shape])
                async with contextlib.aclosing(self.stores[store].changes(stored, after=0)) as changes:
                    async for change in changes:
                        apply(rows, change)

    async def write(self, number: int) -> None:
        """One transaction, and then what an application tells of it, without waiting; and what else may happen."""
        keys = [self.dice.randrange(KEYS) for _ in range(self.dice.randrange(1, 4))]
        self.source.execute("BEGIN")
        for key in keys:
            row = (key, self.dice.randrange(3), str(number))
            if self.dice.random() < 0.3:
                self.source.execute("DELETE FROM track WHERE id = ?", row[:1])
            else:
                self.source.execute("INSERT OR REPLACE INTO track VALUES (?, ?, ?)", row)
        self.source.execute("COMMIT")
        store = self.dice.choice(self.stores)
        telling = self.begin(store.touched("track", keys if self.dice.random() < 0.97 else None))
        if self.dice.random() < 0.1:
            await asyncio.sleep(0)
            telling.cancel()
        if self.dice.random() < 0.1:
            self.begin(store.refresh(self.dice.choice(SHAPES)))
        if self.dice.random() < 0.01:
            await store.invalidate("track")
        await asyncio.sleep(self.dice.choice([0, 0, 0.002, 0.01]))

    def begin(self, call: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(call)
        self.told.add(task)
        task.add_done_callback(self.told.discard)
        return task

    def expected(self, shape: int) -> Rows:
        where = SHAPES[shape].where_as_written or "1"
        rows = self.source.execute(f"SELECT id, album, name FROM track WHERE {where}")
        return {id_: {"id": id_, "album": album, "name": name} for id_, album, name in rows}

    async def converged(self) -> None:
        """Wait until every client holds what the source says. What is stale is refreshed when it is asked for."""
        async with asyncio.timeout(PATIENCE):
            for (store, shape), expected in [(client, self.expected(client[1])) for client in self.held]:
                while self.held[store, shape] != expected:
                    await self.stores[store].get_or_create(SHAPES[shape])
                    await asyncio.sleep(0.005)
                assert {row["id"]: row for row in await self.stores[store].fetch(SHAPES[shape])} == expected


def apply(rows: Rows, change: Change) -> None:
    """An insert is of a new key, an update or delete of one that is there."""
    (key,) = change.key
    assert (key in rows) == (change.operation != "insert"), change
    if change.row is None:
        del rows[key]
    else:
        rows[key] = change.row


@pytest.fixture
def source(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(tmp_path / "source.db", isolation_level=None, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE track (id INTEGER PRIMARY KEY, album INTEGER, name TEXT)")
        yield connection


@pytest.mark.parametrize(
    ("seed", "writes"),
    [(1, 100), *(pytest.param(seed, 2_000, marks=pytest.mark.slow) for seed in range(2, 12))],
)
async def test_clients_end_with_what_the_source_says(
    empty_path: str, tmp_path: Path, source: sqlite3.Connection, seed: int, writes: int
) -> None:
    create = SQLSource(f"sqlite:///{tmp_path / 'source.db'}")
    async with (
        ShapeStore(empty_path, create=create, keep_replaced=0.2) as one,
        ShapeStore(empty_path, create=create, keep_replaced=0.2) as other,
    ):
        world = World(source, [one, other], random.Random(seed))
        clients = [
            asyncio.create_task(world.client(store, shape)) for store in range(2) for shape in range(len(SHAPES))
        ]
        for number in range(writes):
            await world.write(number)
        await asyncio.gather(*world.told, return_exceptions=True)
        await world.converged()
        assert not any(client.done() for client in clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    assert_sound(empty_path)
