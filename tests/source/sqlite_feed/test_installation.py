"""Installing change capture, telling whether it is whole, repairing it, removing it."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from followed_source import Source

from shapestore.errors import InvalidSourceError
from shapestore.source.sqlite_feed import changes
from shapestore.source.sqlite_feed.installation import install, signature, uninstall

TRACK = "CREATE TABLE track (id INTEGER PRIMARY KEY, isrc TEXT UNIQUE, title TEXT);\n"


@pytest.fixture
def tracks(source: Source) -> Source:
    source.run(TRACK + "CREATE TABLE album (title TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;\n")
    return source


def test_removing_it_leaves_the_schema_exactly_as_it_was(tracks: Source) -> None:
    before = tracks.schema()
    tracks.follow("track", "album")
    assert len(tracks.schema()) > len(before)
    assert uninstall(tracks.path) == ["album", "track"]
    assert tracks.schema() == before
    assert uninstall(tracks.path) == []


def test_removing_it_leaves_alone_what_is_called_alike(tracks: Source) -> None:
    tracks.run("""
        CREATE TABLE shapestore_orders (id INTEGER PRIMARY KEY);
        CREATE TABLE shapestore_tables (mine);
        CREATE TRIGGER shapestore_mine AFTER INSERT ON track BEGIN SELECT 1; END;
    """)
    before = tracks.schema()
    with pytest.raises(InvalidSourceError, match='has a "shapestore_tables" that this version'):
        install(tracks.path, "track")
    assert uninstall(tracks.path) == []
    assert tracks.schema() == before


def test_installing_again_changes_nothing(tracks: Source) -> None:
    assert install(tracks.path, "track") == ["track"]
    before = tracks.schema(), signature(tracks.connection, "track"), tracks.seq()
    assert install(tracks.path, "track") == []
    assert (tracks.schema(), signature(tracks.connection, "track"), tracks.seq()) == before


def test_a_further_table_is_installed_beside_the_first(tracks: Source) -> None:
    tracks.follow("track")
    before = signature(tracks.connection, "track"), tracks.seq()
    assert install(tracks.path, "track", "album", "album") == ["album"]
    assert (signature(tracks.connection, "track"), tracks.seq()) == before
    assert None is not signature(tracks.connection, "album") != before[0]


def test_of_several_tables_all_are_installed_or_none(tracks: Source) -> None:
    tracks.run("CREATE VIEW titles AS SELECT title FROM track")
    before = tracks.schema()
    with pytest.raises(InvalidSourceError, match='"titles" cannot be followed'):
        install(tracks.path, "track", "titles")
    assert tracks.schema() == before


def test_the_application_writes_while_it_is_installed_and_removed(tracks: Source) -> None:
    """Its connections wait for other writers, as those of Python's sqlite3 do, for 5 s unless told otherwise."""
    ended = threading.Event()

    def write() -> int:
        with closing(sqlite3.connect(tracks.path, timeout=60, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            count = 0
            while count < 50 or not ended.is_set():
                connection.execute("REPLACE INTO track VALUES (?, ?, 'x')", (count % 7, str(count % 5)))
                connection.execute("DELETE FROM track WHERE id = ?", (count % 3,))
                count += 1
            return count

    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(write) for _ in range(2)]
        try:
            for _ in range(10):
                assert install(tracks.path, "track") == ["track"]
                assert signature(tracks.connection, "track") is not None
                assert uninstall(tracks.path) == ["track"]
        finally:
            ended.set()
        assert min(writer.result() for writer in writers) >= 50


def test_many_stores_may_install_at_once(tracks: Source) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert sum(map(len, threads.map(install, [tracks.path] * 8, ["track"] * 8))) == 1


def test_no_signature_without_an_installation(tracks: Source) -> None:
    assert signature(tracks.connection, "track") is None
    assert changes.newest(tracks.connection) is None
    assert changes.nonce_at(tracks.connection, 1) is None
    tracks.follow("album")
    assert signature(tracks.connection, "track") is None
    assert signature(tracks.connection, "nothing") is None


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TRIGGER {inserted}",
        "DROP TABLE shapestore_changes",
        "DROP TABLE shapestore_tables",
        "DELETE FROM shapestore_changes",
        "DELETE FROM shapestore_tables",
        "DROP TRIGGER shapestore_ring",
        "CREATE UNIQUE INDEX another ON track (title)",
    ],
)
def test_what_is_damaged_has_no_signature_and_is_repaired_under_another_one(tracks: Source, damage: str) -> None:
    tracks.follow("track")
    before = signature(tracks.connection, "track")
    [inserted] = [row[1] for row in tracks.schema() if row[1].endswith("_inserted")]
    tracks.run(damage.format(inserted=inserted))
    assert signature(tracks.connection, "track") is None
    tracks.follow("track")
    assert signature(tracks.connection, "track") not in (before, None)
    assert tracks.logged("track", lambda: tracks.run("INSERT INTO track VALUES (7, 'x', 'y')")) == [(7,)]


def test_an_older_row_of_a_file_that_was_put_back_is_told_by_its_nonce(tracks: Source, tmp_path: Path) -> None:
    tracks.follow("track")
    with closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
        tracks.connection.backup(backup)
        tracks.run("INSERT INTO track (title) VALUES ('a')")
        lost = changes.newest(tracks.connection)
        backup.backup(tracks.connection)
    tracks.run("INSERT INTO track (title) VALUES ('b')")
    again = changes.newest(tracks.connection)
    assert lost is not None
    assert again is not None
    assert lost.seq == again.seq
    assert changes.nonce_at(tracks.connection, lost.seq) == again.nonce != lost.nonce
