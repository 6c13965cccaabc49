"""Processes that serve shapes over HTTP, and clients that outlive them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from served import PATIENCE, Served
from sync_client import SyncClient
from synced_app import OPTIONS

LONG = 600
"""Seconds for which live answers would last."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv(OPTIONS, json.dumps({"long_poll": LONG, "sse_length": LONG}))
    served = Served(tmp_path)
    served.start()
    yield served
    served.close()


def waited_for(served: Served) -> int:
    """How many shapes are waited for."""
    with closing(sqlite3.connect(served.path)) as connection:
        ((count,),) = connection.execute("SELECT count(DISTINCT shape) FROM readers").fetchall()
    return int(count)


async def test_a_process_that_is_told_to_stop_ends_its_live_answers_and_clients_go_on_with_another(
    served: Served,
) -> None:
    """Each of ten clients has a shape of its own, so that the file tells when all of them are waiting."""
    served.sql("INSERT INTO todo VALUES (50, 'fifty', 0)")
    clients = [SyncClient(table="todo", where=f"id > {number}") for number in range(10)]
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http:
        for client in clients:
            await client.catch_up(http)
        live = [asyncio.create_task(client.step(http, live=True, sse=n % 2 == 0)) for n, client in enumerate(clients)]
        while waited_for(served) < len(clients):
            await asyncio.sleep(0.02)
        await asyncio.to_thread(served.stop)
        await asyncio.gather(*live)  # each answer has come to its end
    served.start()
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http:
        for client in clients:
            await client.catch_up(http)
    assert [client.begun_again for client in clients] == [0] * len(clients)
    assert {tuple(client.rows) for client in clients} == {('"public"."todo"/"50"',)}
