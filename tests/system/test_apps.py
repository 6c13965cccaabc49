"""The example apps as people run them: several uvicorn workers over one file, and a herd over HTTP."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from uvicorn_server import PATIENCE, Server

CALLERS = 200


@pytest.fixture(params=["starlette_app", "fastapi_app"])
def server(request: pytest.FixtureRequest, workers: int, tmp_path: Path) -> Iterator[Server]:
    make_slow_database(tmp_path / "music.db")
    server = Server(request.param, workers, tmp_path)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def make_slow_database(path: Path) -> None:
    """A ``track`` that takes a while to read, and reads differently each time."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE VIEW track AS
            WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count LIMIT 600000)
            SELECT n AS id, hex(randomblob(8)) AS title, 1 AS album FROM count WHERE n % 60000 = 0;
        """)


def read(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE)) as connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize("workers", [3])
async def test_a_herd_over_http_on_several_workers_is_one_creation(server: Server, workers: int) -> None:
    pids = read(server.path, "SELECT DISTINCT pid FROM owners")
    assert len(pids) == workers
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=PATIENCE, trust_env=False) as client:
        answers = await asyncio.gather(*(client.get("/albums/1/tracks") for _ in range(CALLERS)))
        missing = await client.get("/albums/2/tracks")
        [etag] = {answer.headers["ETag"] for answer in answers}
        known = await client.get("/albums/1/tracks", headers={"If-None-Match": etag})
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    rows = answers[0].json()
    assert [row["id"] for row in rows] == [60_000 * number for number in range(1, 11)]
    assert missing.json() == []
    assert (known.status_code, known.content) == (304, b"")

    server.stop()
    assert read(server.path, "SELECT outcome, row_count FROM creations ORDER BY number") == [
        ("created", 10),
        ("created", 0),
    ]
    assert read(server.path, "SELECT * FROM owners UNION ALL SELECT handle, 0, '', '', 0 FROM create_locks") == []
    assert os.listdir(f"{server.path}-owners") == []
    assert "Traceback" not in server.said
    assert server.said.count("Application shutdown complete") == workers


@pytest.mark.parametrize("workers", [1])
async def test_when_the_database_is_down_callers_are_told_when_to_come_back(server: Server) -> None:
    sqlite3.connect(server.path.with_name("music.db")).execute("DROP VIEW track").connection.close()
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        answer = await client.get("/albums/1/tracks")
        no_shape = await client.get(f"/albums/{2**64}/tracks")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["error"].startswith("UnknownTableError: ")
    assert (no_shape.status_code, "64-bit" in no_shape.json()["error"]) == (422, True)
