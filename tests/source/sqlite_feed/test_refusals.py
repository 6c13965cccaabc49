"""Tables and databases whose changes cannot be captured are refused, with the reason and what to do."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

import old_file
import pytest
from followed_source import Source

from shapestore.errors import InvalidSourceError, UnknownTableError
from shapestore.source.sqlite_feed.followed_table import refuse_unfollowable
from shapestore.source.sqlite_feed.installation import install
from shapestore.storage import migrations


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("CREATE TABLE u (id INTEGER PRIMARY KEY);\nCREATE VIEW t AS SELECT * FROM u", "it is a view"),
        ("CREATE VIRTUAL TABLE t USING fts5(x)", "it is not an ordinary table"),
        ("CREATE TABLE t (a, b)", "it has no primary key"),
        ("CREATE TABLE t (a, b, c, d, e, PRIMARY KEY (a, b, c, d, e))", "its primary key has 5 columns, and at most 4"),
        ("CREATE TABLE t (a PRIMARY KEY);\nINSERT INTO t VALUES (1), (NULL)", "a row has NULL in its primary key"),
        (
            "CREATE TABLE t (a, b, PRIMARY KEY (a, b));\nINSERT INTO t VALUES (1, 1), (1, NULL)",
            "a row has NULL in its primary key",
        ),
        (
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b);\nCREATE UNIQUE INDEX i ON t (lower(b))",
            'its unique index "i" is on an expression',
        ),
        (
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b);\nCREATE UNIQUE INDEX i ON t (b, a + 1)",
            'its unique index "i" is on an expression',
        ),
        (
            "CREATE TABLE t (a TEXT COLLATE German PRIMARY KEY)",
            'the column "a" of its primary key has the collation German',
        ),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused(source: Source, schema: str, why: str) -> None:
    source.connection.create_collation("German", lambda a, b: (a > b) - (a < b))
    source.run(schema)
    before = source.schema()
    with pytest.raises(InvalidSourceError, match=f'the table "t" cannot be followed: {re.escape(why)}') as refused:
        install(source.path, "t")
    assert "; " in str(refused.value)  # and what to do
    assert source.schema() == before


@pytest.mark.parametrize("name", ["old", "NEW"])
def test_a_table_called_as_the_rows_of_triggers_is_refused(source: Source, name: str) -> None:
    source.run(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")
    with pytest.raises(InvalidSourceError, match="a trigger cannot name it"):
        install(source.path, name)


@pytest.mark.parametrize("name", ["sqlite_sequence", "shapestore_changes", "f_content"])
def test_tables_of_sqlite_and_of_ours_are_refused(source: Source, name: str) -> None:
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT);\nCREATE VIRTUAL TABLE f USING fts5(x)")
    source.follow("t")
    with pytest.raises(InvalidSourceError, match="it is not an ordinary table"):
        refuse_unfollowable(source.connection, name)


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, UNIQUE (a, id))",
        "CREATE TABLE t (a TEXT COLLATE rtrim, b INT, c REAL, d BLOB, PRIMARY KEY (a, b, c, d))",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a);\nCREATE INDEX i ON t (lower(a))",
        "CREATE TABLE t (a ANY PRIMARY KEY) STRICT, WITHOUT ROWID",
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT UNIQUE COLLATE NOCASE)",
        "CREATE TABLE t (rowid PRIMARY KEY, oid, _rowid_)",
        'CREATE TABLE t ("a""b" TEXT PRIMARY KEY, "select" UNIQUE, [x y] UNIQUE)',
    ],
)
def test_these_are_followed(source: Source, schema: str) -> None:
    source.run(schema)
    assert install(source.path, "t") == ["t"]


@pytest.mark.parametrize("mode", ["DELETE", "TRUNCATE", "PERSIST"])
def test_a_source_in_rollback_mode_is_refused(source: Source, mode: str) -> None:
    source.run(f"CREATE TABLE t (id INTEGER PRIMARY KEY);\nPRAGMA journal_mode = {mode}")
    with pytest.raises(InvalidSourceError, match=r"is in the journal mode .* run `PRAGMA journal_mode = WAL`"):
        install(source.path, "t")
    source.run("PRAGMA journal_mode = WAL")
    assert install(source.path, "t") == ["t"]


@pytest.mark.parametrize("revision", migrations.REVISIONS)
def test_a_store_s_own_file_is_refused_whatever_revision_it_has(tmp_path: Path, revision: str) -> None:
    path = str(tmp_path / "shapes.db")
    old_file.migrate(path, revision)
    with pytest.raises(InvalidSourceError, match=r"shapes\.db' is itself a store of shapes, .*; name the database"):
        install(path, "shapes")


def test_an_unknown_table_is_told_with_those_there_are(source: Source) -> None:
    with pytest.raises(UnknownTableError, match='has no table "track"; it has none at all'):
        install(source.path, "track")
    source.run("CREATE TABLE Track (id INTEGER PRIMARY KEY);\nCREATE TABLE album (id INTEGER PRIMARY KEY)")
    source.follow("album")
    with pytest.raises(UnknownTableError, match=r'did you mean "Track"\? It has "Track", "album"$'):
        install(source.path, "track")


def test_a_file_that_is_missing_or_not_a_database_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidSourceError, match=r"gone\.db' could not be changed: unable to open"):
        install(str(tmp_path / "gone.db"), "t")
    assert os.listdir(tmp_path) == []
    (tmp_path / "text.db").write_text("It was a dark and stormy night. " * 100)
    with pytest.raises(InvalidSourceError, match="file is not a database"):
        install(str(tmp_path / "text.db"), "t")


def test_a_locked_file_is_told_and_nothing_is_changed(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shapestore.source.sqlite_feed.file.TIMEOUT", 0.01)
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY);\nBEGIN IMMEDIATE")
    with pytest.raises(InvalidSourceError, match="database is locked; nothing was changed"):
        install(source.path, "t")
    source.run("ROLLBACK")
    assert install(source.path, "t") == ["t"]


def test_reading_goes_on_while_a_writer_is_in_a_transaction(source: Source) -> None:
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    source.follow("t")
    source.run("BEGIN;\nINSERT INTO t VALUES (1)")
    other = sqlite3.connect(source.path, timeout=0)
    refuse_unfollowable(other, "t")
    other.close()
