"""Clients of a source that is followed: what any program writes reaches them, and they know their own writes again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from followed_store import Hold
from served_shapes import Api, app_of, changes_of, client_of, make_source, served
from sync_client import SyncClient

from shapestore import Shape, ShapeStore, SQLSource
from shapestore.following import source_look
from shapestore.http import txid

PATIENCE = 60.0


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with served(tmp_path, follow=True, long_poll=PATIENCE) as api:
        yield api


def write(api: Api, statement: str) -> int:
    """Write to the source; the txid."""
    with (
        contextlib.closing(sqlite3.connect(api.source.removeprefix("sqlite:///"), timeout=60)) as connection,
        connection,
    ):
        connection.execute(statement)
        return txid(connection)


async def test_a_write_reaches_a_client_that_is_live_with_its_txid(api: Api) -> None:
    before = await api.up_to_date()
    for price in range(3):
        poll = asyncio.create_task(api.after(before, live="true"))
        written = write(api, f"UPDATE Track SET Price = 1{price} WHERE TrackId = 2")
        before = await poll
        [change] = changes_of(before)
        assert change["value"] == {"TrackId": "2", "Price": f"1{price}"}
        assert written in change["headers"]["txids"]
        assert len(set(change["headers"]["txids"])) == len(change["headers"]["txids"])


async def test_a_write_of_many_rows_is_known_by_its_txid_where_only_its_last_ones_are_of_the_shape(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its round is written in parts; in the first ones nothing is different."""
    monkeypatch.setattr(source_look, "MAX_CHANGES", 2)
    before = await api.up_to_date()
    poll = asyncio.create_task(api.after(before, live="true"))
    with contextlib.closing(sqlite3.connect(api.source.removeprefix("sqlite:///"), timeout=60)) as source, source:
        written = txid(source)
        source.execute("UPDATE Track SET Price = Price WHERE TrackId <> 2")
        source.execute("UPDATE Track SET Price = 17 WHERE TrackId = 2")
    [change] = changes_of(await poll)
    assert change["value"] == {"TrackId": "2", "Price": "17"}
    assert written in change["headers"]["txids"]


async def test_a_write_that_a_refresh_brings_is_known_by_its_txid(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sooner than the round that would bring it."""
    before = await api.up_to_date()
    hold = Hold()
    monkeypatch.setattr(source_look, "begin_look", hold.before(source_look.begin_look))
    hold.set()
    try:
        written = write(api, "UPDATE Track SET Price = 7 WHERE TrackId = 2")
        api.write("UPDATE Track SET Price = 8 WHERE TrackId = 1")
        await api.store.refresh(Shape("Track"))
        changes = changes_of(await api.after(before))
        assert [written in change["headers"]["txids"] for change in changes] == [True, True]
    finally:
        hold.let_go()


async def test_the_end_of_a_snapshot_tells_which_writes_it_has_seen(api: Api) -> None:
    """So a client that begins again while it waits for a write of its own finds it among the rows."""
    await api.get()
    written = write(api, "UPDATE Track SET Price = 7 WHERE TrackId = 2")
    await api.store.invalidate("Track")
    for _ in range(3):
        answer = await api.get()
        end = answer.json()[-1]["headers"]
        assert end["control"] == "snapshot-end"
        assert int(end["xmin"]) == int(end["xmax"]) == written + 1
        # The next round must not make it forget what the snapshot has seen.
        poll = asyncio.create_task(api.after(await api.up_to_date(), live="true"))
        write(api, "UPDATE Track SET Price = Price + 1 WHERE TrackId = 3")
        await poll


async def test_a_subset_has_seen_what_was_written_before_it_and_its_client_drops_no_more(api: Api) -> None:
    await api.get()
    written = write(api, "UPDATE Track SET Price = 7 WHERE TrackId = 2")
    subset = await api.get("now", subset__where='"TrackId" = 2')
    metadata = subset.json()["metadata"]
    assert subset.json()["data"][0]["value"]["Price"] == "7"
    assert int(metadata["xmax"]) == written + 1
    later = write(api, "UPDATE Track SET Price = 8 WHERE TrackId = 2")
    answer = await api.after(subset, live="true")
    while not any(later in change["headers"]["txids"] for change in changes_of(answer)):
        answer = await api.after(answer, live="true")
    for change in changes_of(answer):
        is_seen = max(change["headers"]["txids"]) < int(metadata["xmax"])
        assert is_seen == (change["value"]["Price"] == "7")
        assert is_seen == (int(change["headers"]["lsn"]) <= int(metadata["database_lsn"]))


@pytest.mark.parametrize("seed", range(2))
async def test_clients_of_two_workers_converge_by_following_alone(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    source = make_source(tmp_path / "source.db")

    def write_something() -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "source.db", timeout=60)) as connection, connection:
            for _ in range(choose.randint(1, 5)):
                number, price = choose.randint(1, 12), choose.randint(0, 6) / 2
                connection.execute(
                    choose.choice(
                        [
                            "INSERT OR REPLACE INTO Track VALUES (:number, 'track', :price)",
                            "UPDATE Track SET Price = :price WHERE TrackId = :number",
                            "UPDATE OR REPLACE Track SET TrackId = TrackId + 1 WHERE TrackId = :number",
                            "DELETE FROM Track WHERE TrackId = :number",
                        ]
                    ),
                    {"number": number, "price": price},
                )

    def prices(part: str) -> dict[str, str | None]:
        with contextlib.closing(sqlite3.connect(tmp_path / "source.db")) as connection:
            rows = connection.execute(f"SELECT TrackId, Price FROM Track WHERE {part}").fetchall()
        return {f'"public"."Track"/"{number}"': None if price is None else f"{price:g}" for number, price in rows}

    clients = [SyncClient(**part) for part in ({}, {"where": "Price >= $1", "params[1]": "2"}) * 3]
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(ShapeStore(tmp_path / "shapes.db", create=SQLSource(source, follow=True)))
            for _ in range(2)
        ]
        apps = [app_of(store, long_poll=0.02, sse_length=0.02, keep_alive=0.01) for store in stores]
        workers = [await stack.enter_async_context(client_of(app)) for app in apps]
        for turn in range(60):
            write_something()
            client = choose.choice(clients)
            await client.step(choose.choice(workers), live=True, sse=turn % 2 == 0)
            if turn == 30:
                await stores[0].invalidate("Track")
        async with asyncio.timeout(PATIENCE):
            for client in clients:
                expected = prices("Price >= 2" if "where" in client.params else "true")
                held: dict[str, str | None] = {}
                while held != expected:
                    await client.catch_up(choose.choice(workers))
                    held = {key: row["Price"] for key, row in client.rows.items()}
                    await asyncio.sleep(0.01)
