"""The command refresh: only what differs is written, and it says what that was."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aging import edit
from command_line import in_a_pipe
from processes import read

from shapestore import Shape, ShapeStore, SQLSource, StoredShape, WaitTimeoutError
from shapestore.cli.keeping import kept_seconds


@pytest.fixture
def source(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "source.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE Track (id INTEGER PRIMARY KEY, name TEXT)")
        connection.executemany("INSERT INTO Track VALUES (?, ?)", [(n, f"track {n}") for n in range(100)])
        connection.execute("CREATE VIEW Names AS SELECT name FROM Track")
        yield connection


@pytest.fixture
def url(source: sqlite3.Connection, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/source.db"


def handle_of(path: str, table: str) -> str:
    [handle] = read(path, "SELECT handle FROM shapes WHERE table_name = ?", table)
    return str(handle)


def test_it_says_what_changed(source: sqlite3.Connection, url: str, empty_path: str) -> None:
    assert in_a_pipe("get", empty_path, "--source", url, "--table", "Track").status == 0
    handle = handle_of(empty_path, "Track")
    end = handle[-8:]
    status, out, err = in_a_pipe("refresh", empty_path, end, "--source", url)
    assert (status, out) == (0, "")
    assert err.endswith("unchanged, 100 rows\n")
    source.execute("UPDATE Track SET name = 'renamed' WHERE id < 3")
    source.execute("DELETE FROM Track WHERE id = 99")
    [line] = in_a_pipe("refresh", empty_path, "--table", "Track", "--source", url, "--json").out.splitlines()
    assert json.loads(line) == {"handle": handle, "now": handle, "rows": 99, "changes": 4}
    assert handle_of(empty_path, "Track") == handle


def test_rows_without_a_key_get_a_new_handle_if_they_differ(
    source: sqlite3.Connection, url: str, empty_path: str
) -> None:
    in_a_pipe("get", empty_path, "--source", url, "--table", "Names")
    handle = handle_of(empty_path, "Names")
    assert in_a_pipe("refresh", empty_path, handle, "--source", url).err.endswith("unchanged, 100 rows\n")
    source.execute("DELETE FROM Track WHERE id > 9")
    status, _, err = in_a_pipe("refresh", empty_path, handle, "--source", url)
    assert status == 0
    assert err.endswith("10 rows\n")
    assert "replaced by" in err
    assert handle_of(empty_path, "Names") != handle


def test_what_is_wrong_is_said_and_counted(source: sqlite3.Connection, url: str, empty_path: str) -> None:
    in_a_pipe("get", empty_path, "--source", url, "--table", "Track")
    source.execute("DROP VIEW Names")
    source.execute("DROP TABLE Track")
    status, out, err = in_a_pipe("refresh", empty_path, "--table", "Track", "--source", url)
    assert (status, out) == (1, "")
    assert 'no table or view "Track"' in err
    assert err.endswith("Error: 1 shape could not be refreshed from the source\n")
    assert read(empty_path, "SELECT row_count FROM shapes") == [100]


def test_one_that_takes_another_process_too_long_keeps_no_other_from_being_refreshed(
    source: sqlite3.Connection, url: str, empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh, asked = ShapeStore.refresh, []

    async def late_at_first(store: ShapeStore, shape: Shape) -> StoredShape:
        asked.append(shape)
        if len(asked) == 1:
            raise WaitTimeoutError("another process is creating it")
        return await refresh(store, shape)

    for where in ("id < 5", "id > 90"):
        in_a_pipe("get", empty_path, "--source", url, "--table", "Track", "--where", where)
    source.execute("UPDATE Track SET name = 'other'")
    monkeypatch.setattr(ShapeStore, "refresh", late_at_first)
    status, _, err = in_a_pipe("refresh", empty_path, "--table", "Track", "--source", url)
    assert status == 1
    assert ": another process is creating it\n" in err
    assert "9 changes, 9 rows" in err
    assert err.endswith("Error: 1 shape could not be refreshed from the source\n")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--table", "Track"], 2, "--source"),
        (["--source", "sqlite:///source.db"], 2, "Missing argument 'HANDLE...'"),
        (["h1", "--table", "Track", "--source", "sqlite:///source.db"], 2, "not both"),
        (["--table", "Track", "--source", "nonsense"], 2, "--source"),
        (["h1", "--source", "sqlite:///source.db"], 1, "no shape has the handle 'h1'"),
        (["--table", "Track", "--source", "sqlite:///source.db"], 0, "no shape of the table 'Track' is stored"),
    ],
)
def test_misuse_is_told(empty_path: str, arguments: list[str], status: int, said: str) -> None:
    ran = in_a_pipe("refresh", empty_path, *arguments)
    assert ran.status == status
    assert said in ran.err


def test_the_store_itself_is_no_source(empty_path: str) -> None:
    ran = in_a_pipe("refresh", empty_path, "--table", "t", "--source", f"sqlite:///{empty_path}")
    assert ran.status == 2
    assert "is the store itself" in ran.err


@pytest.mark.parametrize("command", ["refresh", "rm"])
async def test_what_an_application_keeps_for_its_readers_is_kept_by_commands_too(
    source: sqlite3.Connection, url: str, empty_path: str, command: str
) -> None:
    """They kept for a minute, and what the store that has the file open keeps for an hour was gone."""
    async with ShapeStore(empty_path, create=SQLSource(url), keep_replaced=3600) as store:
        replaced = await store.get_or_create(Shape("Names"))
        source.execute("DELETE FROM Track WHERE id > 9")
        assert (await store.refresh(Shape("Names"))).handle != replaced.handle
        edit(empty_path, "UPDATE kept SET gone_at_boot_ms = gone_at_boot_ms - ?", 600_000)
        source.execute("DELETE FROM Track WHERE id > 5")
        options = ["--source", url] if command == "refresh" else ["--yes"]
        ran = await asyncio.to_thread(in_a_pipe, command, empty_path, "--table", "Names", *options)
        assert ran.status == 0, ran.err
        assert len([row async for row in store.rows(replaced)]) == 100


async def test_where_no_application_has_the_file_open_a_command_keeps_for_a_minute(empty_path: str) -> None:
    async with ShapeStore(empty_path):
        assert kept_seconds(empty_path) > 1e6
    assert kept_seconds(empty_path) == kept_seconds(f"{empty_path}-missing") == 60
