from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import aiosqlite
import pytest
from children import child
from inspections import eventually, left_open

from shapestore import ShapeStore, StorageError
from shapestore.locking.gate import WAIT_SECONDS
from shapestore.storage.connection import (
    BUSY_TIMEOUT_MS,
    OLDEST_SQLITE,
    Durability,
    check_sqlite_version,
    open_point_reader,
    open_reader,
    open_writer,
)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file with one table, in WAL mode, under a name that an URI cannot hold as it is."""
    path = str(tmp_path / "100% of a?b#c.db")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE numbers (n)")
    connection.close()
    return path


async def value(connection: aiosqlite.Connection, pragma: str) -> object:
    [(found,)] = await connection.execute_fetchall(f"PRAGMA {pragma}")
    return found


# --- the version of SQLite


@pytest.mark.parametrize("version", [(3, 37, 2), (3, 7, 17), (2, 8, 17)])
def test_a_sqlite_that_is_too_old_is_named_with_what_is_needed(version: tuple[int, ...]) -> None:
    found = ".".join(map(str, version))
    with pytest.raises(StorageError, match=rf"SQLite {found} is too old: shapestore needs 3\.38\.0"):
        check_sqlite_version(version)


@pytest.mark.parametrize("version", [OLDEST_SQLITE, (3, 100, 0), (4, 0, 0)])
def test_a_newer_sqlite_will_do(version: tuple[int, ...]) -> None:
    check_sqlite_version(version)


def test_the_sqlite_at_hand_will_do() -> None:
    check_sqlite_version()


# --- the three connections


@pytest.mark.parametrize(("durability", "synchronous"), [("normal", 1), ("full", 2)])
async def test_the_writers_connection_is_set_up_as_it_must_be(
    file: str, durability: Durability, synchronous: int
) -> None:
    connection = await open_writer(file, durability)
    assert await value(connection, "journal_mode") == "wal"
    assert await value(connection, "wal_autocheckpoint") == 0  # only the writer makes checkpoints, under the gate
    assert await value(connection, "synchronous") == synchronous
    assert await value(connection, "trusted_schema") == 0
    assert await value(connection, "busy_timeout") == BUSY_TIMEOUT_MS
    assert connection.isolation_level is None
    await connection.execute_fetchall("INSERT INTO numbers VALUES (1)")
    await connection.close()


async def test_a_write_waits_for_a_foreign_writer_for_less_than_others_wait_for_the_gate() -> None:
    assert BUSY_TIMEOUT_MS / 1000 < WAIT_SECONDS


@pytest.mark.parametrize("statement", ["INSERT INTO numbers VALUES (1)", "CREATE TABLE more (n)", "DROP TABLE numbers"])
async def test_neither_of_the_readers_can_write(file: str, statement: str) -> None:
    look, pages = open_point_reader(file), await open_reader(file)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        look.execute(statement)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await pages.execute_fetchall(statement)
    assert await value(pages, "query_only") == 1
    assert await value(pages, "trusted_schema") == 0
    assert look.execute("PRAGMA trusted_schema").fetchall() == [(0,)]
    look.close()
    await pages.close()


async def test_a_look_waits_for_nobody(file: str) -> None:
    look = open_point_reader(file)
    assert look.execute("PRAGMA busy_timeout").fetchall() == [(0,)]
    look.close()


async def test_readers_read_on_while_another_writes_and_see_what_is_committed(file: str) -> None:
    writer, look, pages = await open_writer(file, "normal"), open_point_reader(file), await open_reader(file)
    await writer.execute_fetchall("BEGIN IMMEDIATE")
    await writer.execute_fetchall("INSERT INTO numbers VALUES (1)")
    assert look.execute("SELECT n FROM numbers").fetchall() == []
    assert list(await pages.execute_fetchall("SELECT n FROM numbers")) == []
    await writer.execute_fetchall("COMMIT")
    assert look.execute("SELECT n FROM numbers").fetchall() == [(1,)]
    assert list(await pages.execute_fetchall("SELECT n FROM numbers")) == [(1,)]
    look.close()
    await pages.close()
    await writer.close()


async def test_no_connection_makes_a_file_that_is_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "missing.db")
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        open_point_reader(path).execute("SELECT 1")
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        await open_reader(path)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        await open_writer(path, "normal")
    assert os.listdir(tmp_path) == []
    await eventually(lambda: not left_open(path))


# --- the durability a store was asked for reaches its connection


@pytest.mark.parametrize("durability", ["Normal", "off", "", None, 1])
def test_another_durability_is_refused(path: str, durability: Durability) -> None:
    with pytest.raises(ValueError, match="durability is one of 'normal', 'full'"):
        ShapeStore(path, durability=durability)


# --- a store whose closing was forgotten hangs no interpreter

FORGET_TO_CLOSE = """
import asyncio, sys
from shapestore import ShapeStore

async def main():
    store = ShapeStore(sys.argv[1])
    await store.open()
    if sys.argv[2] == "kept":
        global kept
        kept = store
    elif sys.argv[2] == "fails":
        raise SystemExit(3)

asyncio.run(main())
print("end of main", flush=True)
"""


@pytest.mark.parametrize(("how", "status"), [("kept", 0), ("dropped", 0), ("fails", 3)])
def test_an_interpreter_ends_though_a_store_was_not_closed(path: str, how: str, status: int) -> None:
    with child(FORGET_TO_CLOSE, path, how) as process:
        assert process.hear() == ("" if status else "end of main")
        assert process.ended() == status


async def test_what_such_an_interpreter_left_is_cleared_away_by_the_next(path: str) -> None:
    with child(FORGET_TO_CLOSE, path, "kept") as process:
        process.ended()
    folder = f"{path}-owners"
    assert len(os.listdir(folder)) == 1
    async with ShapeStore(path):
        assert len(os.listdir(folder)) == 1  # its own
    assert os.listdir(folder) == []
