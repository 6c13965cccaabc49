"""What the command line and the views say of the sources that live shapes follow."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from command_line import in_a_pipe
from live_file import CapturedSource

from shapestore import Shape
from shapestore.admin.inspector import open_inspector
from shapestore.admin.sources import sources
from shapestore.locking.file_lock import FileLock


@pytest.fixture
def source(empty_path: str, tmp_path: Path) -> CapturedSource:
    followed = CapturedSource(tmp_path / "source.db")
    followed.add_live_shapes(empty_path, Shape("track"), Shape("track", where="album = 1"))
    return followed


def test_a_source_is_as_far_behind_as_it_has_changed_since(empty_path: str, source: CapturedSource) -> None:
    for changes in range(3):
        with open_inspector(empty_path) as inspector:
            [record] = sources(inspector)
        assert (record.source, record.live_shapes, record.behind) == (source.path, 2, changes)
        source.write("INSERT INTO track (name) VALUES ('another')")
    source.write("DROP TABLE shapestore_changes")
    with open_inspector(empty_path) as inspector:
        assert [record.behind for record in sources(inspector)] == [None]


def follower_of(path: str, process: int) -> FileLock:
    """The lock of one that follows the source."""
    Path(f"{path}-owners").mkdir(exist_ok=True)
    lock = FileLock(f"{path}-owners/follow-7")
    assert lock.try_lock()
    lock.write(f"{process:<20}\n".encode())
    return lock


def test_a_store_without_live_shapes_has_no_sources(empty_path: str) -> None:
    with open_inspector(empty_path) as inspector:
        assert sources(inspector) == []


def test_watch_says_how_far_behind_a_source_is(empty_path: str, source: CapturedSource) -> None:
    def watched() -> str:
        return in_a_pipe("watch", empty_path).out

    assert f"2 live shapes of {source.path}: up to date, followed by no process, last" in watched()
    source.write("INSERT INTO track (name) VALUES ('another')")
    with closing(follower_of(empty_path, 4711)):
        assert f"2 live shapes of {source.path}: 1 change behind, followed by process 4711, last" in watched()
    [said] = json.loads(in_a_pipe("watch", empty_path, "--json").out)["sources"]
    assert (said["source"], said["behind"], said["is_in_a_round"]) == (source.path, 1, False)
    assert said["follower"] is None


def test_the_views_say_what_follows_what(empty_path: str, source: CapturedSource) -> None:
    with closing(sqlite3.connect(empty_path)) as connection:
        [followed] = connection.execute(
            "SELECT source, live_shapes, tables, followed_up_to, what, rounds, changes_in_logs FROM sources_in_words"
        )
        assert followed == (source.path, 2, "track", 1, "between rounds", 1, 0)
        follows = connection.execute("SELECT DISTINCT follows FROM shapes_in_words").fetchall()
        assert follows == [(source.path,)]
