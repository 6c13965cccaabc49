"""What is printed for programs reads back exactly; what is printed for people never holds a control sequence."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import Ran, in_a_pipe, on_a_terminal
from file_rows import add_lock, add_outcome, add_owner, add_shape

from shapestore import Shape
from shapestore.cli import main
from shapestore.cli.printing.output import say
from shapestore.locking.create_lock import Failure

# Every character that some reader or terminal treats in its own way, and some of each width in UTF-8 and UTF-16.
CHARACTERS = (
    "".join(map(chr, range(0x250))) + "\u0e01\u200b\u200e\u2028\u2029\u202e\u2066\u3042\ufeff\uffff😀\U0010ffff"
)
ROWS: list[dict[str, Any]] = [
    {"id": 1, "all": CHARACTERS, "none": None, CHARACTERS: [CHARACTERS]},
    *({"id": 2, "all": f"a{character}b", "none": character} for character in CHARACTERS),
    {"id": 3, "all": "", "none": "\r", CHARACTERS: "\\x1b \\"},
]
NAMES = ["id", "all", "none", CHARACTERS]

ENCODINGS = [
    "utf-8",
    "ascii",
    "latin-1",
    "cp1252",
    "shift_jis",
    "cp864",
    "koi8-r",
    "utf-16",
    "utf-8-sig",
    "cp037",
    "gb18030",
]


def store_of(path: str, table: str, rows: list[dict[str, Any]]) -> None:
    """Put a shape into the store at ``path``, under the handle "aa"."""
    with closing(sqlite3.connect(path)) as connection, connection:
        add_shape(connection, "aa", Shape(table), rows=[json.dumps(row, ensure_ascii=False) for row in rows])


def run(encoding: str, *arguments: str) -> tuple[int, str, str]:
    """The status, and what comes through a stdout of that encoding."""
    content, err = io.BytesIO(), io.StringIO()
    with (
        io.TextIOWrapper(content, encoding=encoding, newline="\n") as out,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = main(arguments)
        out.flush()
        return status, content.getvalue().decode(encoding), err.getvalue()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_reads_back_through_any_encoding_a_line_at_a_time(empty_path: str, encoding: str) -> None:
    store_of(empty_path, "t", ROWS)
    status, out, err = run(encoding, "rows", empty_path, "aa", "--json")
    assert (status, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == ROWS
    if encoding != "utf-8":
        assert out.isascii()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_fields_read_back_through_any_encoding_a_line_at_a_time(empty_path: str, encoding: str) -> None:
    store_of(empty_path, "t", ROWS)
    status, out, err = run(encoding, "rows", empty_path, "aa")
    assert (status, err) == (0, "")
    header, *lines = [[unescaped(field) for field in line.split("\t")] for line in out.splitlines()]
    assert header == NAMES
    assert lines == expected()


def unescaped(field: str) -> str:
    return field.encode("latin-1", "backslashreplace").decode("unicode_escape")


def expected() -> list[list[str]]:
    """The rows as text."""

    def text(value: Any) -> str:
        nested = isinstance(value, list)
        return json.dumps(value, ensure_ascii=False) if nested else "" if value is None else str(value)

    return [[text(row.get(name)) for name in NAMES] for row in ROWS]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "gb18030"])
def test_csv_reads_back_where_the_encoding_has_all_characters(empty_path: str, encoding: str) -> None:
    store_of(empty_path, "t", ROWS)
    status, out, err = run(encoding, "rows", empty_path, "aa", "--csv")
    assert (status, err) == (0, "")
    assert list(csv.reader(io.StringIO(out, newline=""), strict=True)) == [NAMES, *expected()]


def test_csv_is_refused_rather_than_written_otherwise(empty_path: str) -> None:
    store_of(empty_path, "t", [{"a": "é"}, {"a": "ü"}, {"a": "Ł"}, {"a": "e"}])
    assert run("latin-1", "rows", empty_path, "aa", "--csv") == (
        1,
        "a\né\nü\n",
        "Error: row 3 has the character '\\u0141', which the encoding of stdout (latin-1) cannot represent, and CSV "
        "has no escapes: use --json, or set PYTHONIOENCODING=utf-8\n",
    )


def test_csv_tells_an_empty_text_from_none_and_a_row_of_it_from_no_row(empty_path: str) -> None:
    store_of(empty_path, "t", [{"a": "", "b": None}, {"a": None, "b": ""}])
    assert in_a_pipe("rows", empty_path, "aa", "--csv").out == 'a,b\n"",\n,""\n'
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        connection.execute("""UPDATE shape_rows SET value = '{"a":null}'""")
    assert in_a_pipe("rows", empty_path, "aa", "--csv").out == 'a\n""\n""\n'


def test_rows_without_columns_are_no_line_and_a_later_one_that_has_some_is_told(empty_path: str) -> None:
    store_of(empty_path, "t", [{}] * 2_000)
    for form in ([], ["--csv"]):
        assert in_a_pipe("rows", empty_path, "aa", *form) == Ran(0, "", "")
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        connection.execute("""UPDATE shape_rows SET value = '{"late":1}' WHERE position = 2000""")
    for form in ([], ["--csv"]):
        ran = in_a_pipe("rows", empty_path, "aa", *form)
        assert (ran.status, ran.out) == (1, "")
        assert "row 2000 has 'late'" in ran.err


def test_a_path_that_is_not_utf8_reads_back_too(empty_path: str, tmp_path: Path) -> None:
    path = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xff\x9b.db"))
    shutil.copyfile(empty_path, path)
    os.chmod(path, 0o600)
    for encoding in ("utf-8", "ascii", "utf-16"):
        status, out, _ = run(encoding, "doctor", path, "--json")
        assert status == 0
        assert json.loads(out)["path"] == path


# --- for people

EVIL = "[red]a[/b]c\x1b]0;owned\x07\x9b31m\r\u202e\x85d"


def is_harmless(text: str, *, lines: str = "\n") -> bool:
    """Whether a terminal shows it as it is: without styles, there are only printable characters and line ends."""
    return all(character.isprintable() or character in lines for character in text)


def is_harmless_on_the_screen(text: str) -> bool:
    """The same, where rich may set styles and move the cursor."""
    return is_harmless(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r(?=\n|\x1b)", "", text))


@pytest.fixture
def evil(empty_path: str) -> str:
    """A store whose every text is as bad as can be."""
    store_of(empty_path, EVIL, [{EVIL: EVIL, "n": 1}])
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        failure = Failure(EVIL, EVIL, 1000)
        add_lock(connection, "bb", Shape(f"{EVIL}2"), owner="o", failure=failure)
        add_owner(connection, "o", hostname=EVIL, program=EVIL)
        add_outcome(connection, "cc", Shape(EVIL), failure=failure)
    return empty_path


@pytest.mark.parametrize(
    "command",
    [
        ["ls", "FILE"],
        ["ls", "FILE", "--table", f"{EVIL}."],
        ["show", "FILE", "aa"],
        ["rows", "FILE", "aa"],
        ["rows", "FILE", "aa", "--csv"],
        ["rows", "FILE", "aa", "--json"],
        ["locks", "FILE"],
        ["history", "FILE"],
        ["history", "FILE", "--table", f"{EVIL}."],
        ["explain", "FILE", "--table", EVIL],
        ["explain", "FILE", "--table", f"{EVIL}2"],
        ["explain", "FILE", "--table", EVIL, "--columns", EVIL],
        ["watch", "FILE", "-n", "1"],
        ["doctor", "FILE"],
        ["invalidate", "FILE", f"{EVIL}."],
        ["unlock", "FILE", "--table", f"{EVIL}2"],
        # Where it is the argument that is wrong, much of the message is click's.
        [EVIL, "FILE"],
        ["ls", EVIL],
        ["ls", "FILE", EVIL],
        ["ls", "FILE", f"--{EVIL}"],
        ["ls", "FILE", f"-{EVIL}"],
        ["ls", "FILE", f"--json={EVIL}"],
        ["show", "FILE", EVIL],
        ["history", "FILE", "-n", EVIL],
        ["watch", "FILE", "-i", EVIL],
        ["explain", "FILE", "--table", "t", "--where", EVIL],
        ["explain", "FILE", "--table", "t", "--where", "a = :p", "--param", EVIL],
        ["explain", "FILE", "--table", "t", "--where", "a = :p", "--param", f'p="{EVIL}'],
        ["explain", "FILE", "--table", "t", "--columns", f'"{EVIL}'],
        ["unlock", "FILE", "--handle", EVIL],
        ["vacuum", EVIL],
        ["migrate", EVIL],
        ["get", "FILE", "--table", EVIL, "--source", f"sqlite:///{EVIL}"],
        ["get", "FILE", "--table", EVIL, "--source", EVIL],
    ],
)
@pytest.mark.parametrize("go", [in_a_pipe, on_a_terminal])
def test_nothing_from_data_is_markup_or_a_control_sequence(
    evil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go: Callable[..., Ran], command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = go(*(evil if word == "FILE" else word for word in command))
    assert ran.out + ran.err
    assert is_harmless(ran.err)
    if "--csv" in command and go is in_a_pipe:
        assert EVIL in ran.out  # as it is: CSV has no escapes
    else:
        assert is_harmless_on_the_screen(ran.out) if go is on_a_terminal else is_harmless(ran.out, lines="\t\n")
    if "[red]" in ran.out + ran.err:
        assert "[/b]" in ran.out + ran.err


def test_a_tab_in_a_message_is_a_space(capsys: pytest.CaptureFixture[str]) -> None:
    say("connection refused\n\tIs the server running?\x1b")
    assert capsys.readouterr().err == "connection refused\n   Is the server running?\\x1b\n"


def test_the_progress_of_a_table_of_any_name_is_shown(path: str, tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute(f'CREATE TABLE "{EVIL}" (id INTEGER PRIMARY KEY)')
    ran = on_a_terminal("get", path, "--source", f"sqlite:///{source}", "--table", EVIL)
    assert ran.status == 0
    assert r"reading [red]a[/b]c\x1b]0;owned\x07\x9b31m\r\u202e\x85d" in ran.out
    assert is_harmless_on_the_screen(ran.out)


def test_further_lines_of_a_message_cannot_pass_for_messages(path: str) -> None:
    ran = in_a_pipe("ls", f"{path}\nError: all is lost")
    assert ran.status == 1
    assert [line for line in ran.err.splitlines() if line.startswith("Error")] == [ran.err.splitlines()[0]]
