"""Clients come to hold what the query gives, whatever happens to the shape and whichever worker they ask."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served_shapes import app_of, client_of, make_source
from sync_client import SyncClient

from shapestore import Shape, ShapeStore, SQLSource
from shapestore.storage.commands import Compact, TrimLog
from shapestore.storage.log import chunks, compact, compact_queries


class World:
    """A source, two workers on one store, and clients of the whole table and of a part of it."""

    def __init__(self, source: str, stores: list[ShapeStore], workers: list[httpx.AsyncClient], seed: int) -> None:
        self.random = random.Random(seed)
        self.source = source.removeprefix("sqlite:///")
        self.stores = stores
        self.workers = workers
        self.clients = [
            SyncClient(replica=self.random.choice(["default", "full"]), **part)
            for part in ({}, {"where": "Price >= $1", "params[1]": "2"}) * 3
        ]
        self.shapes = [Shape("Track"), Shape("Track", where='"Price" >= :p1', params={"p1": 2.0})]

    def write(self) -> None:
        """A few random writes, in one transaction."""
        with contextlib.closing(sqlite3.connect(self.source, timeout=60)) as connection, connection:
            for _ in range(self.random.randint(1, 6)):
                number = self.random.randint(1, 12)
                match self.random.randint(0, 3):
                    case 0:
                        connection.execute("DELETE FROM Track WHERE TrackId = ?", (number,))
                    case 1:
                        change = (self.random.randint(0, 6) / 2, number)
                        connection.execute("UPDATE Track SET Price = ? WHERE TrackId = ?", change)
                    case _:
                        row = (number, f"track {self.random.random()}", self.random.randint(0, 6) / 2)
                        connection.execute("INSERT OR REPLACE INTO Track VALUES (?, ?, ?)", row)

    async def happen(self) -> None:
        """Something happens."""
        store = self.random.choice(self.stores)
        match self.random.randint(0, 11):
            case 0:
                what: list[Shape | str] = [*self.shapes, "Track"]
                await store.invalidate(self.random.choice(what))
            case 1 | 2:
                await self.compact(store)
            case 3 | 4 | 5:
                self.write()
                await store.refresh(self.random.choice(self.shapes))
            case _:
                client = self.random.choice(self.clients)
                live = {"live": self.random.random() < 0.7, "sse": self.random.random() < 0.5}
                await client.step(self.random.choice(self.workers), **live)

    async def compact(self, store: ShapeStore) -> None:
        """Forget a part of a log, as maintenance does once it is long."""
        stored = await store.get(self.random.choice(self.shapes))
        if stored is None:
            return
        open_store = store._live()
        number = (await open_store.reader.standing(stored.handle, None))[0].number
        if await open_store.writer.submit(Compact(number, 0)):
            while last := await open_store.reader.run(lambda connection: compact.next_trim(connection, number)):
                await open_store.writer.submit(TrimLog(number, last))

    def expected(self, client: SyncClient) -> dict[str, dict[str, Any]]:
        part = "Price >= 2" if "where" in client.params else "true"
        with contextlib.closing(sqlite3.connect(self.source)) as connection:
            rows = connection.execute(f"SELECT TrackId, Name, Price FROM Track WHERE {part}").fetchall()
        return {
            f'"public"."Track"/"{number}"': {
                "TrackId": str(number),
                "Name": name,
                "Price": None if price is None else f"{price:g}",
            }
            for number, name, price in rows
        }

    async def end(self) -> None:
        """All clients catch up, and hold what there is."""
        for shape in self.shapes:
            await self.stores[0].get_or_create(shape)
            await self.stores[0].refresh(shape)
        for client in self.clients:
            await client.catch_up(self.random.choice(self.workers))
            assert client.rows == self.expected(client)


@contextlib.asynccontextmanager
async def world(folder: Path, seed: int, *, follow: bool) -> AsyncIterator[World]:
    source = make_source(folder / "source.db")
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(ShapeStore(folder / "shapes.db", create=SQLSource(source, follow=follow)))
            for _ in range(2)
        ]
        apps = [app_of(store, chunk_bytes=500, long_poll=0.01, sse_length=0.02, keep_alive=0.01) for store in stores]
        workers = [await stack.enter_async_context(client_of(app)) for app in apps]
        yield World(source, stores, workers, seed)


@pytest.mark.parametrize(("seed", "follow"), [(0, False), (1, False), (2, True), (3, True)])
async def test_clients_converge_under_random_changes_refreshes_invalidations_and_compactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, follow: bool
) -> None:
    monkeypatch.setattr(chunks, "PART_BYTES", 500)
    monkeypatch.setattr(compact, "PART_BYTES", 500)
    monkeypatch.setattr(
        compact_queries,
        "LONG_LOG",
        "SELECT max(snapshot, floor), position FROM shapes WHERE number = :number AND position > floor",
    )
    async with world(tmp_path, seed, follow=follow) as everything:
        for _ in range(150):
            await everything.happen()
        await everything.end()
        assert sum(client.begun_again for client in everything.clients) > 0


# --- an older copy of the file


async def test_every_client_notices_that_an_older_copy_of_the_file_was_put_back(tmp_path: Path) -> None:
    source, file = make_source(tmp_path / "source.db"), tmp_path / "shapes.db"
    shape = Shape("Track")

    def write(*statements: str) -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "source.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def prices() -> list[str]:
        with contextlib.closing(sqlite3.connect(tmp_path / "source.db")) as connection:
            return [f"{price:g}" for (price,) in connection.execute("SELECT Price FROM Track ORDER BY TrackId")]

    clients = [SyncClient() for _ in range(4)]
    async with ShapeStore(file, create=SQLSource(source)) as store, client_of(app_of(store)) as worker:
        for client in clients:
            await client.catch_up(worker)
        write("UPDATE Track SET Price = 10 WHERE TrackId = 1")
        await store.refresh(shape)
        for client in clients[1:]:
            await client.catch_up(worker)
    shutil.copy(file, tmp_path / "older.db")
    async with ShapeStore(file, create=SQLSource(source)) as store, client_of(app_of(store)) as worker:
        for number, client in enumerate(clients[2:], 2):
            write(f"UPDATE Track SET Price = 2{number} WHERE TrackId = 2")
            await store.refresh(shape)
            await client.step(worker, live=True, sse=number == 3)
        gone_on = [client.offset for client in clients[2:]]
    shutil.copy(tmp_path / "older.db", file)
    async with (
        ShapeStore(file, create=SQLSource(source)) as store,
        client_of(app_of(store)) as worker,
    ):
        for number in range(4):
            write(f"UPDATE Track SET Price = 3{number} WHERE TrackId = 3")
            await store.refresh(shape)
            for client in clients:
                await client.catch_up(worker)
                values = sorted(client.rows.values(), key=lambda row: int(row["TrackId"]))
                assert [row["Price"] for row in values] == prices()
    assert [client.begun_again for client in clients] == [0, 0, 1, 1]
    assert all(offset not in {client.offset for client in clients} for offset in gone_on)
