from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

import pytest
from migrated_file import (
    alembic,
    definitions,
    definitions_of_the_metadata,
    needs_computed_columns,
    opened,
    python,
    revision_of,
)

from shapestore.locking.gate import Gate
from shapestore.storage import migrations


@needs_computed_columns
def test_the_command_line_upgrades_checks_and_downgrades(tmp_path: Path) -> None:
    path = str(tmp_path / "50% of it's #1?.db")
    said = alembic(path, "upgrade", "head").stderr
    assert "Running upgrade  -> 0001" in said
    assert "Running upgrade 0001 -> 0002" in said
    assert os.path.exists(f"{path}-gate")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert alembic(path, "current").stdout == "0002 (head)\n"
    assert alembic(path, "check").stdout == "No new upgrade operations detected.\n"
    assert "(head)" in alembic(path, "history").stdout
    assert alembic(path, "downgrade", "base").returncode == 0
    assert revision_of(path) is None
    migrations.upgrade(path)
    assert revision_of(path) == migrations.HEAD


def test_a_downgrade_leaves_nothing_behind(path: str) -> None:
    migrations.upgrade(path)
    assert alembic(path, "downgrade", "base").returncode == 0
    with opened(path) as connection:
        assert definitions(connection) == {}


def test_looking_at_an_older_file_leaves_its_views_and_it_can_be_downgraded_further(path: str) -> None:
    migrations.upgrade(path)
    assert alembic(path, "downgrade", "0001").returncode == 0
    with opened(path) as connection:
        before = definitions(connection)
    assert alembic(path, "current").stdout == "0001\n"
    with opened(path) as connection:
        assert definitions(connection) == before
    assert alembic(path, "downgrade", "base").returncode == 0
    with opened(path) as connection:
        assert definitions(connection) == {}


def test_the_command_line_prints_the_statements_without_a_file() -> None:
    ran = python("-m", "alembic", "upgrade", "head", "--sql")
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(ran.stdout)
        assert definitions(connection) == definitions_of_the_metadata()


def test_the_statements_of_a_downgrade_are_those_that_it_executes(path: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    migrations.upgrade(path)
    migrations.upgrade(other)
    assert alembic(path, "downgrade", "0001").returncode == 0
    ran = python("-m", "alembic", "downgrade", "0002:0001", "--sql")
    with opened(path) as executed, opened(other) as printed:
        printed.executescript(ran.stdout)
        assert definitions(printed) == definitions(executed)
        assert migrations.current_revision(printed) == "0001"


def test_the_command_line_says_what_is_missing(path: str) -> None:
    ran = python("-m", "alembic", "upgrade", "head")
    assert ran.returncode != 0
    assert "alembic -x db=/path/to/shapes.db upgrade head" in ran.stdout + ran.stderr
    ran = alembic(os.path.dirname(path), "upgrade", "head")
    assert ran.returncode != 0
    assert (ran.stdout + ran.stderr).count("is a folder") == 1
    ran = alembic(path, "current")
    assert ran.returncode != 0
    assert "there is no file" in ran.stdout + ran.stderr
    assert not os.path.exists(path)
    assert not os.path.exists(f"{path}-gate")


def test_the_command_line_makes_nothing_beside_the_database_of_another_program(path: str) -> None:
    with opened(path) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY)")
    ran = alembic(path, "upgrade", "head")
    assert ran.returncode != 0
    assert "is a database of another program" in ran.stdout + ran.stderr
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


@pytest.mark.slow  # it waits as long as the gate is waited for, ten seconds
def test_the_command_line_waits_for_the_gate(path: str) -> None:
    with Gate(path).hold_blocking():
        ran = alembic(path, "upgrade", "head")
    assert ran.returncode != 0
    assert "the write gate" in ran.stdout + ran.stderr
    assert not os.path.exists(path)
