from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from migrated_file import ROOT, definitions, definitions_of_the_metadata, opened, python, revision_of

from shapestore.storage import migrations

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


async def test_a_running_event_loop_upgrades_in_a_thread(path: str) -> None:
    await asyncio.to_thread(migrations.upgrade, path)
    assert revision_of(path) == migrations.HEAD


async def test_threads_may_upgrade_different_files_at_once(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.db") for number in range(8)]
    await asyncio.gather(*(asyncio.to_thread(migrations.upgrade, path) for path in paths))
    assert [revision_of(path) for path in paths] == [migrations.HEAD] * 8


def test_four_processes_migrate_one_new_file_at_once(path: str) -> None:
    command = [sys.executable, "-c", MIGRATE, path]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    started = [threading.Thread(target=process.communicate, args=("go\n",)) for process in processes]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert [process.returncode for process in processes] == [0] * 4
    with opened(path) as connection:
        assert definitions(connection) == definitions_of_the_metadata()


@pytest.mark.parametrize("kills", [4, pytest.param(150, marks=pytest.mark.slow)])
def test_a_killed_migration_changed_nothing_or_all_and_the_next_one_finishes(tmp_path: Path, kills: int) -> None:
    whole = python("-c", MIGRATE_AND_DIE, str(tmp_path / "whole.db"), "0")
    steps = int(whole.stdout)
    assert steps > 1_000
    for kill in range(kills):
        path = str(tmp_path / f"{kill}.db")
        ran = python("-c", MIGRATE_AND_DIE, path, str(1 + steps * kill // kills))
        assert ran.returncode == -signal.SIGKILL
        with opened(path) as connection:
            assert definitions(connection) in ({}, definitions_of_the_metadata())
        migrations.upgrade(path)
        with opened(path) as connection:
            assert definitions(connection) == definitions_of_the_metadata()
            assert connection.execute("SELECT * FROM totals").fetchall() == [("shapes", 0)]
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
