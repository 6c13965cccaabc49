"""The example apps as people run them: several uvicorn workers over one file, and a herd over HTTP."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

APPS = Path(__file__).resolve().parents[1] / "apps"

CALLERS = 200

# Nothing takes nearly as long; it only keeps a test that hangs from hanging for ever.
PATIENCE = 60.0


class Server:
    """``uvicorn --workers``, on a port that the system chose."""

    def __init__(self, app: str, workers: int, folder: Path) -> None:
        self._workers = workers
        self.path = folder / "shapes.db"
        self._said: list[str] = []
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", f"{app}:app", f"--workers={workers}", "--port=0"),
                # A worker on a slow machine is not to be taken for one that hangs.
                f"--timeout-worker-healthcheck={PATIENCE:.0f}",
                # Nor is a connection to be closed between a client's two requests.
                f"--timeout-keep-alive={PATIENCE:.0f}",
            ],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": f"{APPS}{os.pathsep}{APPS.parent.parent}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._heard:
                self._said.append(line)
                self._heard.notify_all()

    @property
    def said(self) -> str:
        return "".join(self._said)

    def wait_until_ready(self) -> None:
        with self._heard:
            ready = self._heard.wait_for(
                lambda: self.said.count("Application startup complete") == self._workers and "http://" in self.said,
                PATIENCE,
            )
        assert ready, self.said

    @property
    def url(self) -> str:
        [url] = re.findall(r"http://127\.0\.0\.1:\d+", self.said)
        return str(url)

    def stop(self) -> None:
        """Stop it as a service manager does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
        self._listener.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


@pytest.fixture(params=["starlette_app", "fastapi_app"])
def server(request: pytest.FixtureRequest, workers: int, tmp_path: Path) -> Iterator[Server]:
    make_slow_database(tmp_path / "chinook.db")
    server = Server(request.param, workers, tmp_path)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def make_slow_database(path: Path) -> None:
    """A ``Track`` that takes a while to read, and reads differently each time."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE VIEW "Track" AS
            WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count LIMIT 2000000)
            SELECT n AS "TrackId", 1 AS "AlbumId", hex(randomblob(8)) AS "Name" FROM count WHERE n % 200000 = 0;
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
    assert [row["TrackId"] for row in rows] == [200_000 * number for number in range(1, 11)]
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
    sqlite3.connect(server.path.with_name("chinook.db")).execute('DROP VIEW "Track"').connection.close()
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        answer = await client.get("/albums/1/tracks")
        no_shape = await client.get(f"/albums/{2**64}/tracks")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["error"].startswith("UnknownTableError: ")
    assert (no_shape.status_code, "64-bit" in no_shape.json()["error"]) == (422, True)
