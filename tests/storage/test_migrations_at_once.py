from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from migrated_file import (
    MIGRATE_AND_DIE,
    definitions,
    definitions_of_the_metadata,
    opened,
    python,
    revision_of,
    run_at_once,
)

from shapestore.storage import migrations, schema


async def test_a_running_event_loop_upgrades_in_a_thread(path: str) -> None:
    await asyncio.to_thread(migrations.upgrade, path)
    assert revision_of(path) == migrations.HEAD


async def test_threads_may_upgrade_different_files_at_once(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.db") for number in range(8)]
    await asyncio.gather(*(asyncio.to_thread(migrations.upgrade, path) for path in paths))
    assert [revision_of(path) for path in paths] == [migrations.HEAD] * 8


def test_four_processes_migrate_one_new_file_at_once(path: str) -> None:
    run_at_once(4, path)
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
            assert dict(connection.execute("SELECT name, value FROM totals")) == dict.fromkeys(schema.TOTALS, 0)
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
