"""The example of an application with Flask, and that of a script, as people run them."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from processes import owner_files, read

from shapestore.sync import ShapeStore

APPS = Path(__file__).resolve().parents[1] / "apps"

CALLERS = 60
PATIENCE_SECONDS = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a database that takes a while to read, and reads differently each time."""
    with closing(sqlite3.connect(tmp_path / "music.db")) as connection:
        connection.executescript("""
            CREATE VIEW track AS
            WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count LIMIT 500000)
            SELECT n AS id, hex(randomblob(8)) AS title, 1 AS album FROM count WHERE n % 100000 = 0;
        """)
    return tmp_path


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{APPS}{os.pathsep}{APPS.parents[1]}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def flask(folder: Path) -> Iterator[str]:
    """Flask's server of one process with a thread for each request, which Ctrl-C ends; its address.

    It logs no traceback.
    """
    with started(folder, "-m", "flask", "--app", "flask_app", "run", "--port=0") as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found[0]
                    break
            server.send_signal(signal.SIGINT)
            said = server.stdout.read()
            assert server.wait(PATIENCE_SECONDS) == 0, said
            assert "Traceback" not in said, said
        finally:
            server.kill()


def http_client() -> httpx.Client:
    limits = httpx.Limits(max_connections=CALLERS)
    return httpx.Client(limits=limits, timeout=PATIENCE_SECONDS, trust_env=False)


def test_a_herd_over_http_on_two_processes_of_flask_is_one_creation(folder: Path) -> None:
    with ExitStack() as stack:
        urls = [f"{stack.enter_context(flask(folder))}/albums/1/tracks" for _ in range(2)]
        client = stack.enter_context(http_client())
        threads = stack.enter_context(ThreadPoolExecutor(CALLERS))
        answers = list(threads.map(client.get, urls * (CALLERS // 2)))
        [etag] = {answer.headers["ETag"] for answer in answers}
        known = client.get(urls[0], headers={"If-None-Match": etag})
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert [row["id"] for row in answers[0].json()] == [100_000 * number for number in range(1, 6)]
    assert (known.status_code, known.content) == (304, b"")
    path = folder / "shapes.db"
    assert read(path, "SELECT outcome FROM creations") == ["created"]
    with ShapeStore(
        path
    ):  # a server that a busy machine gave too little time to close is proved dead, and cleared away
        assert len(owner_files(path)) == 1
    assert read(path, "SELECT count(*) FROM create_locks") == [0]


def test_when_the_database_is_down_callers_are_told_when_to_come_back(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "music.db")) as connection:
        connection.execute("DROP VIEW track")
    with flask(folder) as url, http_client() as client:
        answer = client.get(f"{url}/albums/1/tracks")
        no_shape = client.get(f"{url}/albums/{2**64}/tracks")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["error"].startswith("UnknownTableError: ")
    assert (no_shape.status_code, "64-bit" in no_shape.json()["error"]) == (422, True)


def test_a_script_reads_what_the_first_of_its_runs_created(folder: Path) -> None:
    said = []
    for _ in range(2):
        with started(folder, "-W", "error", str(APPS / "script.py"), "1") as script:
            said.append(script.communicate(timeout=PATIENCE_SECONDS)[0])
            assert script.returncode == 0, said
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == 5
    assert read(folder / "shapes.db", "SELECT outcome FROM creations") == ["created"]
