"""A store's file as the tests of its migrations see it, and commands run on it in another process."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from shapestore.storage import migrations, schema
from shapestore.storage.schema import views

ROOT = Path(__file__).resolve().parents[2]

# Migrating needs no such version, only comparing does.
needs_computed_columns = pytest.mark.skipif(
    tuple(map(int, re.findall(r"\d+", sa.__version__)[:3])) < (2, 0, 44),
    reason="SQLAlchemy before 2.0.44 cannot read the computed columns of a STRICT table",
)

MIGRATE = """
import sys
from shapestore.storage import migrations
from shapestore.locking.gate import Gate
import alembic.command, shapestore.storage.schema  # what takes long, before the start
print("ready", flush=True)
sys.stdin.readline()
with Gate(sys.argv[1]).hold_blocking():
    migrations.upgrade(sys.argv[1])
"""

# Counts the steps of SQLite's virtual machine on every connection, and kills this process at the one asked for.
MIGRATE_AND_DIE = """
import os, signal, sqlite3, sys
from shapestore.storage import migrations

path, last_step = sys.argv[1], int(sys.argv[2])
steps = 0

def step():
    global steps
    steps += 1
    if steps == last_step:
        os.kill(os.getpid(), signal.SIGKILL)

def connect(*args, connect=sqlite3.connect, **kwargs):
    connection = connect(*args, **kwargs)
    connection.set_progress_handler(step, 1)
    return connection

sqlite3.connect = connect
migrations.upgrade(path)
print(steps)
"""


@contextlib.contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def revision_of(path: str) -> str | None:
    with opened(path) as connection:
        return migrations.current_revision(connection)


def definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """The SQL of everything in the file but alembic's own table and SQLite's, without what means nothing in it."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_schema"
        " WHERE sql IS NOT NULL AND name <> 'alembic_version' AND name NOT GLOB 'sqlite_*'"
    )
    return {name: plain(sql) for name, sql in found.fetchall()}


def plain(sql: str) -> str:
    """Without white space and quotes that mean nothing."""
    sql = re.sub(r'"(\w+)"', r"\1", " ".join(sql.split()))
    for mark in "(),":
        sql = sql.replace(f" {mark}", mark).replace(f"{mark} ", mark)
    return sql


def definitions_of_the_metadata() -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        engine = sa.create_engine("sqlite://", creator=lambda: connection, poolclass=sa.StaticPool)
        schema.metadata.create_all(engine)
        for statement in (schema.TRIGGERS | views.VIEWS).values():
            connection.execute(statement)
        return definitions(connection)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def alembic(path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "alembic", "-x", f"db={path}", *arguments)


def run_at_once(count: int, path: str) -> None:
    """So many processes migrate the file at one moment; all of them succeed."""
    command = [sys.executable, "-c", MIGRATE, path]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    started = [threading.Thread(target=process.communicate, args=("go\n",)) for process in processes]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert [process.returncode for process in processes] == [0] * count
