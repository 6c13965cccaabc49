"""Whatever is wrong with what it is given, the command line says so in a line, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from command_line import ROOT, in_a_pipe, on_a_terminal
from example_store import ALBUM_HANDLE
from file_rows import add_shape
from permissions import as_a_user, needs_permissions

from shapestore import Shape

FAILED, MISUSED = 1, 2

ON_A_MISSING_FILE = [
    "ls",
    "show FILE a1",
    "rows FILE a1",
    "locks",
    "unlock FILE --table t",
    "rm FILE a1",
    "rm FILE --table t",
    "backup FILE copy.db",
    "invalidate FILE t",
    "history",
    "explain FILE --table t",
    "watch",
    "doctor",
    "vacuum",
    "migrate",
]


def on(file: str, command: str) -> list[str]:
    words = command.replace("FILE", file).split()
    return words if file in words else [*words, file]


@pytest.mark.parametrize("command", ON_A_MISSING_FILE)
def test_a_mistyped_path_is_said_to_be_missing_and_is_not_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = in_a_pipe(*on("shpaes.db", command))
    assert (status, out) == (FAILED, "")
    assert "there is no file 'shpaes.db'" in err
    assert os.listdir() == []


@pytest.mark.parametrize("command", ON_A_MISSING_FILE)
@pytest.mark.parametrize("what", ["another program's database", "a text file", "an empty file"])
def test_what_is_no_store_is_refused_and_left_as_it_is(
    what: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (what, command) == ("an empty file", "migrate"):
        pytest.skip("which makes it a store")
    monkeypatch.chdir(tmp_path)
    file = Path("other.db")
    if what == "another program's database":
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE albums (title)")
    else:
        file.write_text("It was a dark and stormy night. " * 100 if what == "a text file" else "")
    before = file.read_bytes()
    status, _, err = in_a_pipe(*on("other.db", command))
    assert status == FAILED
    assert err
    assert "Traceback" not in err
    assert file.read_bytes() == before
    assert os.listdir() == ["other.db"]


def test_a_store_of_a_newer_schema_is_refused_by_name(example: str) -> None:
    with closing(sqlite3.connect(example)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for command in ON_A_MISSING_FILE:
        if command.startswith("backup"):
            continue  # which a file of any schema has
        ran = in_a_pipe(*on(example, command))
        assert ran.status == FAILED
        assert "newer shapestore" in ran.out + ran.err


@pytest.mark.parametrize(
    ("command", "status", "complaint"),
    [
        ("lss FILE", MISUSED, "No such command"),
        ("ls", MISUSED, "Missing argument 'PATH'"),
        ("ls FILE --yaml", MISUSED, "No such option"),
        ("ls FILE more", MISUSED, "unexpected extra argument"),
        ("ls .", FAILED, "is a folder"),
        ("ls /dev/null", FAILED, "is a device, not a regular file"),
        ("ls :memory:", FAILED, "does not name a file"),
        ("ls no/such/folder/x.db", FAILED, "does not exist"),
        ("ls FILE/x.db", FAILED, "cannot be accessed"),
        ("show FILE", MISUSED, "Missing argument 'HANDLE'"),
        ("show FILE zz", FAILED, "no shape has the handle 'zz'"),
        ("show FILE a", FAILED, "several handles begin or end with 'a'"),
        ("show FILE %", FAILED, "no shape has the handle '%'"),
        ("rows FILE zz --csv", FAILED, "no shape has the handle"),
        ("rows FILE a1 --csv --json", MISUSED, "--json or --csv, not both"),
        ("rm FILE", MISUSED, "Missing argument 'HANDLE...'"),
        ("rm FILE --where a=1", MISUSED, "Missing argument 'HANDLE...'"),
        ("rm FILE a1 --table Track", MISUSED, "by HANDLE, or by --table and --where, not both"),
        ("rm FILE --table Track --where a=", MISUSED, "where"),
        ("rm FILE --table Track --where a=:b --param c=1", MISUSED, "--param c is not used in --where"),
        ("ls FILE --param c=1", MISUSED, "--param c is not used in --where"),
        ("ls FILE --sort size", MISUSED, "is not one of"),
        ("ls FILE -n 0", MISUSED, "not in the range"),
        ("history FILE --since yesterday", MISUSED, "'yesterday' is not a time, such as 90s"),
        ("history FILE --since 1e400s", MISUSED, "is not a time"),
        ("history FILE --since 99999999999999d", MISUSED, "is not a time"),
        ("history FILE --since 0001-01-01T00:00+14:00", MISUSED, "is not a time"),
        ("history FILE --since 9999-12-31T23:59-14:00", MISUSED, "is not a time"),
        ("backup FILE", MISUSED, "Missing argument 'TO'"),
        ("backup FILE FILE", FAILED, "is a part of the store itself"),
        ("backup FILE no/such/folder/x.db", FAILED, "does not exist"),
        ("rm FILE a", FAILED, "several handles"),
        ("history FILE -n 0", MISUSED, "not in the range"),
        ("history FILE -n 9223372036854775808", MISUSED, "not in the range"),
        ("ls FILE -n 9223372036854775808", MISUSED, "not in the range"),
        # An argument that is not UTF-8, as Python hands it over.
        ("show FILE \udcff", MISUSED, "an argument is not UTF-8 text: '\\udcff'"),
        ("ls FILE --table \udcff", MISUSED, "an argument is not UTF-8 text: '\\udcff'"),
        ("ls FILE --where a=:b --param b=\udcff", MISUSED, "an argument is not UTF-8 text: "),
        ("history FILE --table \udcff", MISUSED, "an argument is not UTF-8 text: "),
        ("invalidate FILE \udcff", MISUSED, "an argument is not UTF-8 text: "),
        ("rm FILE \udcff", MISUSED, "an argument is not UTF-8 text: "),
        ("serve FILE --source sqlite:// --table t --secret \udcff", MISUSED, "the secret is not UTF-8 text"),
        ("history FILE -n many", MISUSED, "not a valid integer"),
        ("watch FILE -i 0", MISUSED, "not in the range"),
        ("watch FILE -i nan", MISUSED, "not a number of seconds"),
        ("watch FILE -n -1", MISUSED, "not in the range"),
        ("explain FILE", MISUSED, "Missing option '--table'"),
        ("explain FILE --table t --where", MISUSED, "requires an argument"),
        ("explain FILE --table t --where a=", MISUSED, "where"),
        ("explain FILE --table t --where a=:b", MISUSED, "--where uses :b, but there is no --param b=VALUE"),
        ("explain FILE --table t --param b=1", MISUSED, "--param b is not used in --where"),
        ("explain FILE --table t --where a=:b --param b=1 --param c=2", MISUSED, "--param c is not used in --where"),
        ("explain FILE --table t --where a=:b --param b", MISUSED, "not of the form NAME=VALUE"),
        ("explain FILE --table t --where a=:b --param =1", MISUSED, "not of the form NAME=VALUE"),
        ("explain FILE --table t --where a=:b --param b=1 --param b=2", MISUSED, "'b' is given twice"),
        ("explain FILE --table t --where a=:b --param b=99999999999999999999", MISUSED, "too large for a number"),
        ("explain FILE --table t --where a=:b --param b=1e999", MISUSED, "too large for a number"),
        ('explain FILE --table t --where a=:b --param b="x', MISUSED, 'b: the double quote is not closed: "x'),
        ('explain FILE --table t --columns a,"b', MISUSED, "not a list of names separated by commas"),
        ('explain FILE --table t --columns "a"b', MISUSED, "not a list of names separated by commas"),
        ("explain FILE --table t --columns a,,b", MISUSED, "a name must be a str of 1 to 256 characters"),
        ("explain FILE --table t --columns a,a", MISUSED, "more than once"),
        ("unlock FILE", MISUSED, "name the lock"),
        ("unlock FILE --where a=1", MISUSED, "the options of a shape need --table"),
        ("unlock FILE --table t --handle a", MISUSED, "name the lock"),
        ("unlock FILE --table t", FAILED, "there is no such lock"),
        ("unlock FILE --handle zz", FAILED, "there is no such lock"),
        ("get FILE --table t", MISUSED, "Missing option '--source'"),
        ("get FILE --source sqlite:///x.db", MISUSED, "Missing option '--table'"),
        ("get FILE --source nonsense --table t", MISUSED, "SQLAlchemy URL"),
        ("get FILE --source oracle+no://x --table t", MISUSED, "does not know the dialect"),
        ("get FILE --source sqlite:// --table t", MISUSED, "in-memory"),
        ("get FILE --source sqlite:///x.db --table t --json --csv", MISUSED, "--json or --csv, not both"),
        ("get FILE --source sqlite:///x.db --table t --timeout 0", MISUSED, "not in the range"),
        ("get FILE --source sqlite:///x.db --table t --timeout x", MISUSED, "'x' is not a valid number of seconds"),
        ("get FILE --source sqlite:///x.db --table t --timeout nan", MISUSED, "not a number of seconds"),
    ],
)
def test_misuse_is_told_in_a_line_with_the_status_that_scripts_expect(
    example: str, command: str, status: int, complaint: str
) -> None:
    ran = in_a_pipe(*command.replace("FILE", example).split())
    assert (ran.status, ran.out) == (status, "")
    assert complaint in ran.err
    assert "Traceback" not in ran.err
    assert not os.path.exists("x.db")


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ("track", "; did you mean Track?\n"),
        ("Notes", "; did you mean Note?\n"),
        ("zzz", "; there are shapes of Genre, Note, Track\n"),
    ],
)
def test_a_table_of_which_nothing_is_stored_is_told_with_those_that_are_meant(
    example: str, table: str, hint: str
) -> None:
    assert in_a_pipe("invalidate", example, table) == (0, "", f"dropped 0 shapes of the table {table!r}{hint}")
    explained = in_a_pipe("explain", example, "--table", table)
    assert explained.out.endswith(f"\nstored\tno; this namespace has no shapes of that table{hint}")
    assert on_a_terminal("ls", example, "--table", table).out == f"no shapes{hint}"
    assert on_a_terminal("history", example, "--table", table).out == f"no creations of {table}{hint}"
    assert in_a_pipe("rm", example, "--table", table) == (0, "", f"dropped 0 shapes of the table {table!r}{hint}")


def test_where_nothing_is_stored_no_table_is_named(empty_path: str) -> None:
    assert in_a_pipe("invalidate", empty_path, "Track") == (0, "", "dropped 0 shapes of the table 'Track'\n")
    assert in_a_pipe("explain", empty_path, "--table", "Track").out.endswith(
        "\nstored\tno; this namespace has no shapes\n"
    )


@pytest.mark.parametrize(
    ("damage", "command"),
    [
        ("UPDATE shape_rows SET value = 'not JSON'", "rows FILE a1"),
        ("UPDATE shape_rows SET value = '[1]'", "rows FILE a1 --csv"),
        ("UPDATE shape_rows SET value = CAST(x'7b22ff227d' AS TEXT)", "rows FILE a1 --json"),
        ("UPDATE shapes SET created_at_ms = 1e17", "ls FILE"),
        ("UPDATE shapes SET created_at_ms = 1e17", "show FILE a1"),
        ("UPDATE shapes SET created_at_ms = 1e17", "explain FILE --table Track"),
        ("UPDATE creations SET finished_at_ms = 1e17", "history FILE"),
        ("UPDATE create_locks SET started_at_ms = 1e17", "locks FILE"),
    ],
)
def test_what_no_store_has_written_is_said_to_be_damage(example: str, damage: str, command: str) -> None:
    with closing(sqlite3.connect(example)) as connection, connection:
        assert connection.execute(damage).rowcount
    ran = in_a_pipe(*command.replace("FILE", example).replace("a1", ALBUM_HANDLE).split())
    assert (ran.status, ran.out) == (FAILED, "")
    assert ran.err.startswith("Error: ")
    assert "is corrupt (" in ran.err


def test_an_empty_handle_is_no_wish_to_drop_everything(example: str) -> None:
    assert in_a_pipe("rm", example, "").status == MISUSED
    assert in_a_pipe("unlock", example, "--handle", "").status == MISUSED
    assert len(in_a_pipe("ls", example, "--json").out.splitlines()) == 3


def test_a_whole_handle_is_meant_though_others_begin_with_it(example: str) -> None:
    with closing(sqlite3.connect(example)) as connection, connection:
        add_shape(connection, f"{ALBUM_HANDLE}00", Shape("Album"))
    assert in_a_pipe("show", example, ALBUM_HANDLE).status == 0
    assert in_a_pipe("show", example, ALBUM_HANDLE[:-1]).status == FAILED


def test_nothing_is_dropped_if_one_of_the_handles_is_unknown(example: str) -> None:
    assert in_a_pipe("rm", example, "b2", "zz").status == FAILED
    assert in_a_pipe("show", example, "b2").status == 0


@pytest.mark.parametrize("suffix", ["-wal", "-gate", "-owners"])
def test_migrate_makes_nothing_beside_what_is_another_program_s(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"shapes.db{suffix}").write_text("It was a dark and stormy night.")
    ran = in_a_pipe("migrate", "--create", str(tmp_path / "shapes.db"))
    assert (ran.status, ran.out) == (1, "")
    assert "nothing was changed: move it away, or give the store another path" in ran.err
    assert os.listdir(tmp_path) == [f"shapes.db{suffix}"]


def test_migrate_makes_a_file_only_if_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert in_a_pipe("migrate", "new.db") == (FAILED, "", "Error: there is no file 'new.db'; --create makes it\n")
    assert os.listdir() == []
    assert in_a_pipe("migrate", "new.db", "--create") == (0, "", "new.db was migrated to 0002\n")
    assert in_a_pipe("migrate", "new.db", "--create") == (0, "", "new.db is already at 0002\n")
    assert in_a_pipe("doctor", "new.db").status == 0


def test_the_command_alone_lists_all_commands() -> None:
    asked = in_a_pipe("--help")
    assert in_a_pipe() == asked
    assert (asked.status, asked.err) == (0, "")
    assert re.findall(r"^  (\w+)  ", asked.out, re.MULTILINE)[:2] == ["ls", "show"]


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from shapestore.cli import main\n"
        "sys.exit(main(['ls', 'shapes.db']))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "pip install 'shapestore[cli]'" in ran.stderr
    assert "Traceback" not in ran.stderr


@needs_permissions
def test_a_closed_store_in_a_folder_without_write_permission_is_explained(empty_store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    shutil.copyfile(empty_store, folder / "shapes.db")
    folder.chmod(0o555)
    try:
        ran = as_a_user(sys.executable, "-m", "shapestore", "ls", str(folder / "shapes.db"))
    finally:
        folder.chmod(0o755)
    assert (ran.returncode, ran.stdout) == (FAILED, "")
    assert "no permission to write in its folder" in ran.stderr
    assert "copy the file elsewhere" in ran.stderr


@needs_permissions
def test_a_store_that_another_user_has_made_is_refused_with_what_it_takes(tmp_path: Path) -> None:
    store = tmp_path / "shapes.db"
    assert in_a_pipe("migrate", "--create", str(store)).status == 0
    gate = tmp_path / "shapes.db-gate"
    gate.chmod(0)
    ran = as_a_user(sys.executable, "-m", "shapestore", "invalidate", str(store), "track")
    assert (ran.returncode, ran.stdout) == (FAILED, "")
    assert ran.stderr == (
        f"Error: '{store}' cannot be opened: '{gate}': permission denied; this user needs read and write access to the "
        "file, to those beside it whose names begin with its own, and to the folder\n"
    )


@needs_permissions
def test_a_store_whose_owners_may_not_be_looked_at_is_refused_with_what_it_takes(tmp_path: Path) -> None:
    store, owners = tmp_path / "shapes.db", tmp_path / "shapes.db-owners"
    assert in_a_pipe("migrate", "--create", str(store)).status == 0
    owners.mkdir(mode=0, exist_ok=True)
    owners.chmod(0)
    try:
        ran = as_a_user(sys.executable, "-m", "shapestore", "invalidate", str(store), "track")
    finally:
        owners.chmod(0o755)
    assert (ran.returncode, ran.stdout) == (FAILED, "")
    assert f"'{store}' cannot be opened: '{owners}" in ran.stderr
    assert "permission denied; this user needs read and write access to the file" in ran.stderr
