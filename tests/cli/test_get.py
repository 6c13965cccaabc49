from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import in_a_pipe, on_a_terminal, without_styles

from shapestore import Shape, ShapeStore, SQLSource, StoredShape
from shapestore.cli import get
from shapestore.cli.shape_arguments import column_names, param_value


@pytest.fixture
def source(tmp_path: Path) -> str:
    """The URL of a database with a table of tracks."""
    file = tmp_path / "chinook.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE Track (TrackId INTEGER PRIMARY KEY, Name TEXT, AlbumId INTEGER, Zip TEXT)")
        connection.executemany(
            "INSERT INTO Track VALUES (?, ?, ?, ?)",
            [(1, "Rock", 1, "01234"), (2, "Balls", 2, "1"), (3, None, 1, "true"), (4, "Wall", 3, "null")],
        )
    return f"sqlite:///{file}"


def test_a_shape_is_created_and_printed_and_the_second_time_found(path: str, source: str) -> None:
    command = ("get", path, "--source", source, "--table", "Track", "--where", "AlbumId = :a", "--param", "a=1")
    first = in_a_pipe(*command)
    assert first == (0, "TrackId\tName\tAlbumId\tZip\n1\tRock\t1\t01234\n3\t\t1\ttrue\n", "")
    status, out, told = in_a_pipe(*command)
    assert (status, out) == first[:2]
    assert re.fullmatch(r"[0-9a-f]{12}: 2 rows, created \d+ s ago; the source was not asked\n", told)
    [stored] = in_a_pipe("ls", path, "--json").out.splitlines()
    assert json.loads(stored)["row_count"] == 2
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_rows_that_were_replaced_or_dropped_before_they_are_printed_are_printed_all_the_same(
    path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another process, as soon as the command has closed its store."""
    get_or_create = get._get_or_create

    async def then_dropped(*given: Any) -> StoredShape:
        stored = await get_or_create(*given)
        async with ShapeStore(path) as store:
            await store.delete(stored)
        return stored

    monkeypatch.setattr(get, "_get_or_create", then_dropped)
    command = ("get", path, "--source", source, "--table", "Track", "--where", "AlbumId = 2", "--columns", "Name")
    assert in_a_pipe(*command) == (0, "Name\nBalls\n", "")


def test_columns_json_and_csv(path: str, source: str) -> None:
    command = ("get", path, "--source", source, "--table", "Track", "--where", "AlbumId > 1", "--columns", "Name, Zip")
    assert in_a_pipe(*command, "--json").out == '{"Name":"Balls","Zip":"1"}\n{"Name":"Wall","Zip":"null"}\n'
    assert in_a_pipe(*command, "--csv").out == "Name,Zip\nBalls,1\nWall,null\n"


def test_on_a_terminal_a_person_is_told_what_happened(path: str, source: str) -> None:
    command = ("get", path, "--source", source, "--table", "Track")
    screen = without_styles(on_a_terminal(*command).out)
    assert ": 4 rows, created in " in screen
    assert "      1  Rock         1  01234\n" in screen
    screen = without_styles(on_a_terminal(*command).out)
    assert " ago; the source was not asked\n" in screen
    assert "reading" not in screen


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("True", "True"),
        ("01234", "01234"),
        ("+1", "+1"),
        ("1.", "1."),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("0x10", "0x10"),
        ("", ""),
        (" 1", " 1"),
        ("1_000", "1_000"),
        ("a=b", "a=b"),
        ('"1"', "1"),
        ('""', ""),
        ('x"', 'x"'),
        ("-9223372036854775808", -(2**63)),
        (r'"a\nb"', r"a\nb"),
        (r'"C:\temp\new"', r"C:\temp\new"),
        ('"say "hi""', 'say "hi"'),
        ('""""', '""'),
        ('"\\""', '\\"'),
        ('" 1"', " 1"),
        ("[1]", "[1]"),
        ("{}", "{}"),
        ("'1'", "'1'"),
    ],
)
def test_a_parameter_is_what_a_person_means_by_it(text: str, value: object) -> None:
    found = param_value(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("id", ["id"]),
        ("id, Name ,Zip", ["id", "Name", "Zip"]),
        ('id," points"', ["id", " points"]),
        ('"a,b" , "c ""d""", e', ["a,b", 'c "d"', "e"]),
        ('"a\nb"', ["a\nb"]),
        ('5" disk,b', ['5" disk', "b"]),
        ("Größe,形", ["Größe", "形"]),
        ('"",a', ["", "a"]),
        ("a,", ["a", ""]),
        ("", [""]),
        (" ", [""]),
    ],
)
def test_columns_are_names_separated_by_commas_and_what_is_in_quotes_is_left_as_it_is(
    given: str, names: list[str]
) -> None:
    assert column_names(given) == names


def test_text_that_looks_like_a_number_is_found_by_text_in_quotes(path: str, source: str) -> None:
    command = ("get", path, "--source", source, "--table", "Track", "--where", "Zip = :zip", "--columns", "TrackId")
    assert in_a_pipe(*command, "--param", "zip=01234").out == "TrackId\n1\n"
    assert in_a_pipe(*command, "--param", 'zip="1"').out == "TrackId\n2\n"
    assert in_a_pipe(*command, "--param", ':zip="null"').out == "TrackId\n4\n"


def test_what_the_source_refuses_is_the_message_and_the_next_try_tries_again(path: str, source: str) -> None:
    for _ in range(2):
        ran = in_a_pipe("get", path, "--source", source, "--table", "Trakc")
        assert (ran.status, ran.out) == (1, "")
        assert (
            'Error: the shape could not be created from the source: the source has no table or view "Trakc"; did'
            in ran.err
        )
        assert "Traceback" not in ran.err
    outcomes = [json.loads(line)["outcome"] for line in in_a_pipe("history", path, "--json").out.splitlines()]
    assert outcomes == ["failed", "failed"]


def test_a_source_file_that_is_missing_is_told_and_not_made(path: str, tmp_path: Path) -> None:
    ran = in_a_pipe("get", path, "--source", f"sqlite:///{tmp_path}/chinok.db", "--table", "Track")
    assert ran.status == 1
    assert "the source does not exist" in ran.err
    assert not (tmp_path / "chinok.db").exists()


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_no_rows_of_unknown_columns_are_no_line_at_all(path: str, source: str, form: list[str]) -> None:
    command = ("get", path, "--source", source, "--table", "Track", "--where", "AlbumId = 99")
    assert in_a_pipe(*command, *form) == (0, "", "")


def test_the_store_itself_is_no_source(path: str, source: str) -> None:
    assert in_a_pipe("get", path, "--source", source, "--table", "Track").status == 0
    folder, name = os.path.split(path)
    os.symlink(path, f"{folder}/a link.db")
    spellings = (f"{folder}/../{os.path.basename(folder)}/{name}", f"file:{path}?uri=true", f"{folder}/a link.db")
    for spelling in (*spellings, f"file://localhost{folder}/a%20link.db?mode=ro&uri=1"):
        ran = in_a_pipe("get", path, "--source", f"sqlite:///{spelling}", "--table", "shapes")
        assert (ran.status, ran.out) == (2, "")
        assert "is the store itself, not a source for it" in ran.err
    assert len(in_a_pipe("ls", path, "--json").out.splitlines()) == 1


def test_a_creation_that_takes_too_long_is_given_up(path: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "endless.db")) as connection:
        connection.execute(
            "CREATE VIEW endless AS WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)"
            " SELECT n FROM n WHERE n % 100000 = 0"
        )
    ran = in_a_pipe(
        "get", path, "--source", f"sqlite:///{tmp_path}/endless.db", "--table", "endless", "--timeout", "0.2"
    )
    assert ran.status == 1
    assert "did not finish within 0.2 s" in ran.err


async def test_a_stored_shape_is_printed_though_nothing_more_can_be_written(path: str, source: str) -> None:
    command = ("get", path, "--source", source, "--table", "Track")
    async with ShapeStore(path, create=SQLSource(source)) as store:
        first = await asyncio.to_thread(in_a_pipe, *command)
        for n in range(20):
            await store.get_or_create(Shape("Track", where=f"AlbumId = {n}"))
        assert os.path.getsize(f"{path}-wal") > MOST_BYTES
        for table, expected in [("Track", (0, first.out)), ("Other", (1, ""))]:
            ran = await asyncio.to_thread(with_no_room, "get", path, "--source", source, "--table", table)
            assert (ran.returncode, ran.stdout) == expected, ran.stderr
            assert "the store recovers once the cause is fixed" in ran.stderr
            assert ("; the shape is printed as it is stored\n" in ran.stderr) == (not ran.returncode)


MOST_BYTES = 32_768
"""Enough for the file that SQLite's connections share, which a reader needs, and not for a longer log."""


def with_no_room(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that may make no file longer than that."""
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({MOST_BYTES}, {MOST_BYTES}))"
    program = f"{limited}; import sys; from shapestore.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
