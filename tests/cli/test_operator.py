"""What an operator asks for: filters, failures, dropping by filter, backup, and less to type."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import ROOT, in_a_pipe, process, process_on_a_terminal
from example_store import ALBUM_HANDLE, GENRES_HANDLE, NOTES_HANDLE, NOW
from file_rows import add_shape
from processes import PATIENCE, Workers, read

from shapestore import Shape
from shapestore.cli.arguments import moment


def listed(*arguments: str) -> list[dict[str, Any]]:
    ran = in_a_pipe(*arguments, "--json")
    assert (ran.status, ran.err) == (0, "")
    return [json.loads(line) for line in ran.out.splitlines()]


# --- ls


@pytest.mark.parametrize(
    ("options", "handles"),
    [
        ([], [GENRES_HANDLE, NOTES_HANDLE, ALBUM_HANDLE]),
        (["--sort", "table"], [GENRES_HANDLE, NOTES_HANDLE, ALBUM_HANDLE]),
        (["--sort", "created"], [GENRES_HANDLE, ALBUM_HANDLE, NOTES_HANDLE]),
        (["--sort", "read"], [ALBUM_HANDLE, GENRES_HANDLE, NOTES_HANDLE]),
        (["--sort", "rows"], [ALBUM_HANDLE, NOTES_HANDLE, GENRES_HANDLE]),
        (["--sort", "bytes"], [NOTES_HANDLE, ALBUM_HANDLE, GENRES_HANDLE]),
        (["--sort", "bytes", "--reverse"], [GENRES_HANDLE, ALBUM_HANDLE, NOTES_HANDLE]),
        (["--sort", "read", "-r", "-n", "1"], [NOTES_HANDLE]),
        (["--limit", "2"], [GENRES_HANDLE, NOTES_HANDLE]),
    ],
)
def test_shapes_are_listed_in_the_order_that_is_asked_for(example: str, options: list[str], handles: list[str]) -> None:
    assert [shape["handle"] for shape in listed("ls", example, *options)] == handles


def test_bytes_are_those_of_the_rows_in_utf8(example: str) -> None:
    of_album = "shape = (SELECT number FROM shapes WHERE handle = ?)"
    texts = read(example, f"SELECT value FROM shape_rows WHERE {of_album}", ALBUM_HANDLE)
    assert any(not text.isascii() for text in texts)
    [album] = listed("ls", example, "--table", "Track")
    assert album["bytes"] == sum(len(text.encode()) for text in texts)


@pytest.fixture
def albums(empty_path: str) -> str:
    """A store with shapes of one predicate and several values, and others; without rows."""
    shapes = {
        "a1": Shape("Track", where="AlbumId = :a AND Size > :n", params={"a": 1, "n": 0}),
        "a1.0": Shape("Track", where="AlbumId = :a AND Size > :n", params={"a": 1.0, "n": 0}),
        "a-text": Shape("Track", where="AlbumId = :a AND Size > :n", params={"a": "1", "n": 0}),
        "a-true": Shape("Track", where="AlbumId = :a AND Size > :n", params={"a": True, "n": 0}),
        "a2": Shape("Track", where="AlbumId = :a AND Size > :n", params={"a": 2, "n": 5}),
        "columns": Shape("Track", where="AlbumId = :a AND Size > :n", params={"a": 2, "n": 5}, columns=["Name"]),
        "none": Shape("Track", where="Name = :a", params={"a": None}),
        "all": Shape("Track"),
        "other": Shape("Tracks", where="AlbumId = :a AND Size > :n", params={"a": 1, "n": 0}),
    }
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        for n, (handle, shape) in enumerate(shapes.items()):
            add_shape(connection, handle, shape, read_order=n)
    return empty_path


@pytest.mark.parametrize(
    ("options", "handles"),
    [
        ("--table Track", "a1 a1.0 a-text a-true a2 columns none all"),
        ("--table Tracks", "other"),
        ("--where Size>:n|AND|AlbumId=:a", "a1 a1.0 a-text a-true a2 columns other"),
        ("--table Track --where Size>:n|AND|AlbumId=:a", "a1 a1.0 a-text a-true a2 columns"),
        ("--table Track --where Size>:n|AND|AlbumId=:a --param a=1", "a1"),
        ("--table Track --where Size>:n|AND|AlbumId=:a --param a=1.0", "a1.0"),
        ('--table Track --where Size>:n|AND|AlbumId=:a --param a="1"', "a-text"),
        ("--table Track --where Size>:n|AND|AlbumId=:a --param a=true", "a-true"),
        ("--table Track --where Size>:n|AND|AlbumId=:a --param a=2", "a2 columns"),
        ("--table Track --where Size>:n|AND|AlbumId=:a --param n=5 --param a=2", "a2 columns"),
        ("--table Track --where Size>:n|AND|AlbumId=:a --param n=5 --param a=1", ""),
        ("--where Name=:a --param a=null", "none"),
        ("--where Name=:a --param a=0", ""),
        ("--where Size>1", ""),
    ],
)
def test_ls_shows_and_rm_drops_the_shapes_of_a_predicate_and_of_values_exactly(
    albums: str, options: str, handles: str
) -> None:
    words = [word.replace("|", " ") for word in options.split()]
    assert {shape["handle"] for shape in listed("ls", albums, *words)} == set(handles.split())
    if "--table" not in options:
        return
    before = set(read(albums, "SELECT handle FROM shapes"))
    [answer] = listed("rm", albums, *words)
    assert sorted(answer["dropped"]) == sorted(handles.split())
    assert before - set(read(albums, "SELECT handle FROM shapes")) == set(handles.split())


# --- rm


def test_rm_drops_many_and_says_how_many_and_asks_nothing_in_a_pipe(empty_path: str) -> None:
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        for n in range(1_050):
            add_shape(connection, f"{n:04}", Shape("t", where=f"n = {n}"), read_order=n)
    assert in_a_pipe("rm", empty_path, "--table", "t") == (0, "", "dropped 1,050 shapes of the table 't'\n")
    assert read(empty_path, "SELECT count(*) FROM shapes") == [0]


@pytest.mark.parametrize(
    ("answer", "status", "left"), [("y\n", 0, 2), ("n\n", 130, 3), ("\n", 130, 3), ("\x04", 130, 3), (None, 0, 2)]
)
def test_on_a_terminal_rm_asks_before_it_drops_by_table(
    example: str, answer: str | None, status: int, left: int
) -> None:
    controller, keyboard = os.openpty()
    yes = [] if answer else ["--yes"]
    command = ("rm", os.path.abspath(example), "--table", "Track", *yes)
    started, screen = process_on_a_terminal(*command, stdin=keyboard)
    with screen, os.fdopen(controller, "wb", buffering=0) as keys:
        shown = ""
        while answer and "[y/N]" not in shown:
            shown += screen.read(65_536).decode()
        keys.write((answer or "").encode())
        assert started.wait(PATIENCE) == status
    os.close(keyboard)
    assert ("Drop 1 shape of Track? [y/N]" in shown) == bool(answer)
    assert len(listed("ls", example)) == left


def test_a_handle_that_is_dropped_needs_no_answer(example: str) -> None:
    started, screen = process_on_a_terminal("rm", os.path.abspath(example), "a1")
    with screen:
        assert started.wait(PATIENCE) == 0


# --- history


def test_history_shows_the_failures_since(workers: Workers, empty_path: str) -> None:
    [worker] = workers.open(empty_path)
    worker.call("get_or_create", key="fine")
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        connection.executemany(
            "INSERT INTO creations (handle, comparable, outcome, error_type, finished_at_ms)"
            " VALUES (?, ?, ?, 'OSError', (unixepoch('now') - ?) * 1000)",
            [
                (f"{outcome}-{ago}", Shape(f"t{n}").comparable, outcome, ago)
                for n, outcome in enumerate(("failed", "died", "released", "invalidated", "abandoned"))
                for ago in (100_000, 100)
            ],
        )
    handles = [creation["handle"] for creation in listed("history", empty_path, "--failed")]
    assert handles == ["died-100", "died-100000", "failed-100", "failed-100000"]
    handles = [creation["handle"] for creation in listed("history", empty_path, "--failed", "--since", "1h")]
    assert handles == ["died-100", "failed-100"]
    handles = [creation["handle"] for creation in listed("history", empty_path, "--failed", "--table", "t0")]
    assert handles == ["failed-100", "failed-100000"]
    assert len(listed("history", empty_path, "--since", "1h")) == 6
    assert len(listed("history", empty_path, "--since", "1 day", "-n", "2")) == 2
    assert len(listed("history", empty_path, "--since", "2 days")) == 11
    assert listed("history", empty_path, "--since", "2999-01-01") == []


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("0s", 0),
        ("90s", 90),
        ("90 s", 90),
        ("1.5m", 90),
        ("15min", 900),
        ("66 min", 3_960),
        ("2h", 7_200),
        ("3 h", 10_800),
        ("1 day", 86_400),
        ("10 days", 864_000),
        ("3d", 259_200),
        ("2w", 1_209_600),
    ],
)
def test_a_time_may_be_so_long_ago_in_the_words_of_the_tables(
    monkeypatch: pytest.MonkeyPatch, text: str, ago: int
) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    assert moment(text) == datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=ago)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2024-05-01", "2024-05-01T00:00:00+00:00"),
        ("2024-05-01T11:59:55Z", "2024-05-01T11:59:55+00:00"),
        ("2024-05-01 11:59", "2024-05-01T11:59:00+00:00"),
        ("2024-05-01T11:59+02:00", "2024-05-01T11:59:00+02:00"),
    ],
)
def test_or_it_is_a_date_in_utc_unless_it_names_a_zone(text: str, iso: str) -> None:
    assert moment(text).isoformat() == iso


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1 fortnight", "now", "99999999999d", f"{'9' * 400}s"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        moment(text)


# --- SHAPESTORE_PATH


@pytest.fixture
def named(example: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example store, named by the environment."""
    monkeypatch.setenv("SHAPESTORE_PATH", example)
    return example


@pytest.mark.parametrize(
    ("command", "same"),
    [
        ("ls", "ls FILE"),
        ("ls --table Track", "ls FILE --table Track"),
        ("show a1", "show FILE a1"),
        ("show a1 --json", "show FILE a1 --json"),
        ("rows --csv b2", "rows FILE b2 --csv"),
        ("locks", "locks FILE"),
        ("history -n 1", "history FILE -n 1"),
        ("explain --table Track", "explain FILE --table Track"),
        ("watch -n 1", "watch FILE -n 1"),
        ("doctor", "doctor FILE"),
        ("invalidate Genre", "invalidate FILE Genre"),
        ("unlock --handle e6", "unlock FILE --handle e6"),
        ("rm a1", "rm FILE a1"),
        ("rm a1 b2", "rm FILE a1 b2"),
        ("rm shapes.db a1 b2", "rm FILE a1 b2"),
        ("rm a1 zz", "rm FILE a1 zz"),
        ("rm --table Track", "rm FILE --table Track"),
        ("rm shapes.db --table Track", "rm FILE --table Track"),
        ("rm", "rm FILE"),
        ("backup copy.db", "backup FILE copy.db"),
        ("migrate", "migrate FILE"),
        ("vacuum", "vacuum FILE"),
    ],
)
def test_the_path_may_be_left_out_where_the_environment_names_it(named: str, command: str, same: str) -> None:
    shutil.copy(named, "before.db")
    ran = in_a_pipe(*command.split())
    after = read(named, "SELECT handle FROM shapes"), read(named, "SELECT handle FROM create_locks")
    Path("copy.db").unlink(missing_ok=True)
    os.replace("before.db", named)
    assert ran == in_a_pipe(*same.replace("FILE", named).split())
    assert after == (read(named, "SELECT handle FROM shapes"), read(named, "SELECT handle FROM create_locks"))


def test_a_path_that_is_given_comes_first(named: str, empty_store: Path) -> None:
    shutil.copy(empty_store, "other.db")
    assert listed("ls", "other.db") == []
    assert in_a_pipe("show", "other.db", "a1").status == 1
    assert in_a_pipe("rm", "missing.db", "a1").status == 1
    assert len(listed("ls", named)) == 3


def test_without_either_it_is_said_how_to_name_it(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAPESTORE_PATH", "")
    ran = in_a_pipe("ls")
    assert ran.status == 2
    assert "Missing argument 'PATH'. Give the path of a store, or set SHAPESTORE_PATH." in ran.err
    assert "Missing argument 'HANDLE'" in in_a_pipe("show", example).err


# --- completion, as a shell asks for it


def completions(shell: str, *words: str, **environment: str) -> list[str]:
    line = " ".join(words)
    ran = subprocess.run(
        [sys.executable, "-c", "import sys; from shapestore.cli import main; sys.exit(main())"],
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "_SHAPESTORE_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1) if shell != "fish" else words[-1],
        }
        | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == ""
    return list(filter(None, ran.stdout.splitlines()))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["d"], ["plain,doctor"]),
        (["show", "shapes.db", ""], [f"plain,{h}" for h in (ALBUM_HANDLE, GENRES_HANDLE, NOTES_HANDLE)]),
        (["show", "shapes.db", "a"], [f"plain,{h}" for h in (ALBUM_HANDLE, GENRES_HANDLE)]),
        (["rows", "shapes.db", "--csv", "b"], [f"plain,{NOTES_HANDLE}"]),
        (["rm", "shapes.db", "a1", "b"], [f"plain,{NOTES_HANDLE}"]),
        (["unlock", "shapes.db", "--handle", "e"], [f"plain,{'e6' * 16}"]),
        (["invalidate", "shapes.db", ""], ["plain,Genre", "plain,Note", "plain,Track"]),
        (["ls", "shapes.db", "--table", "T"], ["plain,Track"]),
        (["ls", "shapes.db", "--sort", "b"], ["plain,bytes"]),
        (["show", "missing.db", ""], []),
        (["show", "sh"], ["file,sh"]),
    ],
)
def test_a_shell_completes_commands_handles_and_tables(example: str, words: list[str], expected: list[str]) -> None:
    assert completions("bash", "shapestore", *words) == expected


def test_a_handle_is_completed_from_its_end_as_tables_show_it(example: str) -> None:
    with closing(sqlite3.connect(example)) as connection, connection:
        connection.execute(
            "UPDATE shapes SET handle = '0000123400005678' || substr(handle, 17) WHERE handle LIKE 'b2%'"
        )
    assert completions("bash", "shapestore", "show", "shapes.db", "b2b") == ["plain,b2b2b2b2b2b2"]
    assert completions("bash", "shapestore", "show", "shapes.db", "0") == [f"plain,0000123400005678{'b2' * 8}"]


def test_where_the_environment_names_the_path_handles_are_completed_in_its_place(example: str) -> None:
    environment = {"SHAPESTORE_PATH": "shapes.db"}
    expected = ["file,b", f"plain,{NOTES_HANDLE}"]
    assert completions("bash", "shapestore", "show", "b", **environment) == expected
    assert completions("bash", "shapestore", "ls", "--table", "T", **environment) == ["plain,Track"]


def test_other_shells_show_what_a_handle_stands_for(example: str) -> None:
    [line] = completions("fish", "shapestore", "show", "shapes.db", "b")
    assert (NOTES_HANDLE in line, "Note" in line) == (True, True)
    lines = completions("zsh", "shapestore", "show", "shapes.db", "b")
    assert lines == ["plain", NOTES_HANDLE, "Note"]


def test_a_table_that_cannot_be_typed_is_not_completed(empty_path: str) -> None:
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        for n, table in enumerate(("fine", "two\nlines", "\x1b[31m")):
            add_shape(connection, f"h{n}", Shape(table), read_order=n)
    assert completions("bash", "shapestore", "ls", empty_path, "--table", "") == ["plain,fine"]
    assert completions("zsh", "shapestore", "show", empty_path, "h1") == ["plain", "h1", r"two\nlines"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_the_script_that_the_readme_shows(example: str) -> None:
    """The completion function, loaded as documented, and called as readline calls it."""
    ran = subprocess.run(
        [
            "bash",
            "-c",
            'eval "$(_SHAPESTORE_COMPLETE=bash_source shapestore)"; COMP_WORDS=(shapestore show shapes.db b);'
            ' COMP_CWORD=3; _shapestore_completion shapestore; echo "${COMPREPLY[@]}"',
        ],
        env=os.environ | {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == [NOTES_HANDLE]


# --- backup


def test_a_backup_is_made_and_told(example: str) -> None:
    ran = in_a_pipe("backup", example, "copy.db", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out) == {
        "path": os.path.abspath("copy.db"),
        "bytes": os.stat("copy.db").st_size,
        "shapes": 3,
    }
    assert in_a_pipe("doctor", "copy.db").status == 0
    again = in_a_pipe("backup", example, "copy.db")
    assert again.status == 1
    assert "'copy.db' exists already and was left as it is; choose another name, or use --force" in again.err
    assert in_a_pipe("backup", example, "copy.db", "--force").status == 0
    assert in_a_pipe("ls", "copy.db", "--json").out == in_a_pipe("ls", example, "--json").out


# --- Ctrl-C


def test_ctrl_c_ends_watch_in_a_pipe_too(example: str) -> None:
    watching = process("watch", os.path.abspath(example), "-i", "0.05", "-n", "100000", "--json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["shapes"] == 3
    watching.send_signal(signal.SIGINT)
    _, complaint = watching.communicate(timeout=PATIENCE)
    assert watching.returncode == 130
    assert "Traceback" not in complaint
