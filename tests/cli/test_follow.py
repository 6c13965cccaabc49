"""The commands follow and unfollow: change capture is put into a SQLite source, and removed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command_line import in_a_pipe, on_a_terminal
from file_rows import add_shape
from live_file import CapturedSource

from shapestore import Shape
from shapestore.cli import follow
from shapestore.source.sqlite_feed import installation

URL = "sqlite:///app.db"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("app.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE track (id INTEGER PRIMARY KEY, title TEXT)")
        connection.execute("CREATE TABLE album (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE VIEW titles AS SELECT title FROM track")
        yield connection


def schema(source: sqlite3.Connection) -> list[object]:
    return source.execute("SELECT * FROM sqlite_schema ORDER BY name").fetchall()


def test_follow_says_what_it_has_done_and_unfollow_undoes_it(source: sqlite3.Connection) -> None:
    before = schema(source)
    assert in_a_pipe("follow", URL, "track") == (0, "", "track: changes are logged from now on\n")
    told = "track: changes are logged already\nalbum: changes are logged from now on\n"
    assert in_a_pipe("follow", URL, "track", "album", "track") == (0, "", told)
    source.execute("INSERT INTO track (title) VALUES ('So What')")
    assert source.execute("SELECT count(*) FROM shapestore_changes WHERE tab > 0").fetchone() == (1,)
    assert in_a_pipe("unfollow", URL) == (0, "", "changes of album, track are no longer logged\n")
    assert schema(source) == before
    assert in_a_pipe("unfollow", URL) == (0, "", "no changes were logged\n")


def test_for_programs_both_print_json(source: sqlite3.Connection) -> None:
    in_a_pipe("follow", URL, "track")
    assert json.loads(in_a_pipe("follow", URL, "track", "album", "--json").out) == {
        "followed": ["track", "album"],
        "installed": ["album"],
    }
    assert json.loads(in_a_pipe("unfollow", URL, "--json").out) == {"unfollowed": ["album", "track"]}


def test_unfollow_says_that_a_store_has_put_back_what_it_has_removed(
    source: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uninstalled_beside_a_store(path: str) -> list[str]:
        tables = installation.uninstall(path)
        installation.install(path, "track")
        return tables

    in_a_pipe("follow", URL, "track")
    monkeypatch.setattr(follow, "uninstall", uninstalled_beside_a_store)
    status, out, complaint = in_a_pipe("unfollow", URL)
    assert (status, out) == (1, "")
    assert "has put its triggers back" in complaint
    assert source.execute("SELECT 1 FROM sqlite_schema WHERE name = 'shapestore_changes'").fetchone()


def test_a_store_is_not_followed(source: sqlite3.Connection, empty_path: str) -> None:
    """However it is named: triggers in it would log every write of its own."""
    for url in (f"sqlite:///{empty_path}", f"sqlite:///file:{empty_path}?uri=true"):
        ran = in_a_pipe("follow", url, "shapes")
        assert (ran.status, ran.out) == (1, "")
        assert "is itself a store of shapes" in ran.err


@pytest.mark.parametrize(
    ("command", "status", "complaint"),
    [
        ("follow", 2, "Missing argument 'URL'"),
        (f"follow {URL}", 2, "Missing argument 'TABLE...'"),
        ("follow app.db track", 2, "a source is an SQLAlchemy URL"),
        ("follow postgresql+psycopg://localhost/x track", 2, "a source on postgresql cannot be followed"),
        ("unfollow sqlite:///other.db", 1, "other.db is not a file"),
        (f"follow {URL} trakc", 1, 'has no table "trakc"; did you mean "track"? It has "track", "album"'),
        (f"follow {URL} track titles", 1, 'the table "titles" cannot be followed: it is a view'),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_changed(
    source: sqlite3.Connection, command: str, status: int, complaint: str
) -> None:
    before = schema(source)
    ran = in_a_pipe(*command.split())
    assert (ran.status, ran.out) == (status, "")
    assert complaint in ran.err
    assert schema(source) == before
    assert not Path("other.db").exists()


def test_ls_and_show_say_which_source_a_shape_follows(
    empty_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHAPESTORE_PATH", empty_path)
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        add_shape(connection, "a frozen one", Shape("album"))
    assert "follows" not in on_a_terminal("ls").out
    source = CapturedSource(tmp_path / "source.db")
    source.add_live_shapes(empty_path, Shape("track"))

    listed = [line.split("\t") for line in in_a_pipe("ls").out.splitlines()]
    assert [[line[1], line[-1]] for line in listed] == [["shape", "follows"], ["album", ""], ["track", source.path]]
    assert on_a_terminal("ls").out.splitlines()[2].split()[-1] == "source.db"
    listed_as_json = map(json.loads, in_a_pipe("ls", "--json").out.splitlines())
    assert [shape["follows"] for shape in listed_as_json] == [None, source.path]
    assert "\nlive\tno\n" in in_a_pipe("show", "--", "a frozen one").out
    assert f"\nlive\tyes, follows {source.path}\n" in in_a_pipe("show", "--", "handle None").out
