"""The application changes its schema while its tables are followed: its statements work, and nothing is lost unseen."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from followed_source import Source
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine
from sqlalchemy.pool import NullPool

from shapestore import SQLSource
from shapestore.source import sqlite_feed
from shapestore.source.sqlite_feed.installation import signature, uninstall

README = Path(sqlite_feed.__file__).parents[1] / "README.md"


@pytest.fixture
def tracks(source: Source) -> Source:
    source.run("""
        CREATE TABLE track (id INTEGER PRIMARY KEY, code TEXT NOT NULL, title TEXT, length INT);
        CREATE UNIQUE INDEX by_code ON track (code);
        INSERT INTO track VALUES (1, 'a', 'So What', 9), (2, 'b', 'Blue in Green', 5)
    """)
    source.follow("track")
    return source


def is_captured(source: Source, table: str = "track") -> bool:
    return signature(source.connection, table) is not None


# --- statements that keep what is captured


@pytest.mark.parametrize(
    ("ddl", "write"),
    [
        ("ALTER TABLE track ADD COLUMN year INT", "UPDATE track SET year = 1959 WHERE id = 1"),
        ("ALTER TABLE track DROP COLUMN title", "UPDATE track SET length = 1 WHERE id = 1"),
        ("ALTER TABLE track RENAME COLUMN title TO name", "UPDATE track SET name = 'x' WHERE id = 1"),
        ("ALTER TABLE track RENAME COLUMN id TO number", "UPDATE track SET title = 'x' WHERE number = 1"),
        ('ALTER TABLE track RENAME COLUMN code TO "it\'s"', "UPDATE track SET \"it's\" = 'x' WHERE id = 1"),
        ("DROP INDEX by_code", "REPLACE INTO track VALUES (1, 'b', 'x', 1)"),
        ("CREATE INDEX by_title ON track (title)", "UPDATE track SET title = 'x' WHERE id = 1"),
        ("VACUUM", "UPDATE track SET title = 'x' WHERE id = 1"),
        ("ANALYZE", "UPDATE track SET title = 'x' WHERE id = 1"),
        ("CREATE TABLE album (id INTEGER PRIMARY KEY)", "UPDATE track SET title = 'x' WHERE id = 1"),
    ],
)
def test_writes_go_on_and_are_logged(tracks: Source, ddl: str, write: str) -> None:
    before = signature(tracks.connection, "track")
    tracks.run(ddl)
    assert (1,) in tracks.logged("track", lambda: tracks.run(write))
    same = not ddl.startswith(("ALTER", "DROP"))
    assert (signature(tracks.connection, "track") == before) is same
    tracks.follow("track")
    assert is_captured(tracks)
    assert tracks.logged("track", lambda: tracks.run("DELETE FROM track")) != []


def test_a_renamed_table_is_logged_under_its_number_until_it_is_followed_by_its_new_name(tracks: Source) -> None:
    tracks.run("ALTER TABLE track RENAME TO song")
    assert not is_captured(tracks)
    assert not is_captured(tracks, "song")
    before = tracks.seq()
    tracks.run("REPLACE INTO song VALUES (3, 'a', 'x', 1)")
    assert set(tracks.keys_since(before, "track", width=1)) == {(1,), (3,)}
    tracks.follow("song")
    assert tracks.logged("song", lambda: tracks.run("REPLACE INTO song VALUES (4, 'b', 'x', 1)")) == [(2,), (4,)]
    tracks.run("CREATE TABLE track (code TEXT PRIMARY KEY)")
    tracks.follow("track")
    assert tracks.logged("track", lambda: tracks.run("INSERT INTO track VALUES ('x')")) == [("x",)]
    assert uninstall(tracks.path) == ["song", "track"]


def test_a_table_in_the_place_of_one_that_is_written_still_is_logged_under_a_number_of_its_own(tracks: Source) -> None:
    """A key of the one may name nothing in the other, of which all shapes would end again and again."""
    tracks.run("ALTER TABLE track RENAME TO track_before")
    tracks.run("CREATE TABLE track (code TEXT NOT NULL, place INT NOT NULL, PRIMARY KEY (code, place))")
    tracks.follow("track")
    before = tracks.seq()
    tracks.run("UPDATE track_before SET title = 'x'")
    tracks.run("INSERT INTO track VALUES ('a', 1)")
    assert tracks.keys_since(before, "track", width=2) == [("a", 1)]


# --- tables that are built again


DJANGO = """
    CREATE TABLE "new__track" ("id" INTEGER PRIMARY KEY, "code" TEXT NOT NULL UNIQUE, "title" TEXT);
    INSERT INTO "new__track" ("id", "code", "title") SELECT "id", "code", "title" FROM "track";
    DROP TABLE "track";
    ALTER TABLE "new__track" RENAME TO "track"
"""
DJANGO_BEFORE_2_1 = """
    ALTER TABLE "track" RENAME TO "track__old";
    CREATE TABLE "track" ("id" INTEGER PRIMARY KEY, "code" TEXT NOT NULL UNIQUE, "title" TEXT);
    INSERT INTO "track" ("id", "code", "title") SELECT "id", "code", "title" FROM "track__old";
    DROP TABLE "track__old"
"""


@pytest.mark.parametrize("script", [DJANGO, DJANGO_BEFORE_2_1])
def test_a_table_that_django_builds_again_loses_its_triggers_which_is_told_and_repaired(
    tracks: Source, script: str
) -> None:
    before = signature(tracks.connection, "track")
    tracks.run(f"BEGIN;\n{script};\nCOMMIT")
    check_that_it_is_told_and_repaired(tracks, before)


def test_a_table_that_alembic_builds_again_loses_its_triggers_which_is_told_and_repaired(tracks: Source) -> None:
    before = signature(tracks.connection, "track")
    engine = create_engine(f"sqlite:///{tracks.path}", poolclass=NullPool)
    with engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("track", recreate="always") as batch:
            batch.drop_column("length")
    check_that_it_is_told_and_repaired(tracks, before)


def check_that_it_is_told_and_repaired(tracks: Source, before: str | None) -> None:
    assert not is_captured(tracks)
    seq = tracks.seq()
    tracks.run("DELETE FROM track WHERE id = 1")
    assert tracks.keys_since(seq, "track") == []  # nobody saw it, and so the signature must tell
    tracks.follow("track")
    assert signature(tracks.connection, "track") not in (before, None)
    assert tracks.logged("track", lambda: tracks.run("REPLACE INTO track (id, code) VALUES (3, 'b')")) == [(2,), (3,)]


def test_a_unique_index_that_is_made_later_is_told_and_repaired(tracks: Source) -> None:
    tracks.run("CREATE UNIQUE INDEX by_title ON track (title)")
    assert not is_captured(tracks)
    tracks.follow("track")
    assert set(tracks.logged("track", lambda: tracks.run("REPLACE INTO track VALUES (3, 'c', 'So What', 9)"))) == {
        (1,),
        (3,),
    }


def test_a_unique_index_on_an_expression_that_is_made_later_ends_it(tracks: Source) -> None:
    tracks.run("CREATE UNIQUE INDEX by_lower ON track (lower(title))")
    assert not is_captured(tracks)


# --- what needs unfollow first


@pytest.mark.parametrize(
    ("ddl", "write", "error"),
    [
        ("DROP INDEX by_code;\nALTER TABLE track DROP COLUMN code", "SELECT 1", "no such column: new.code"),
        (
            "PRAGMA legacy_alter_table = ON;\nALTER TABLE track RENAME TO song",
            "INSERT INTO song VALUES (3, 'c', 'x', 1)",
            "no such table: main.track",
        ),
        (
            "DROP TABLE shapestore_changes",
            "INSERT INTO track VALUES (3, 'c', 'x', 1)",
            "no such table: main.shapestore_changes",
        ),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_fails_works_after_unfollow(tracks: Source, ddl: str, write: str, error: str, when: str) -> None:
    if when == "before":
        uninstall(tracks.path)
        tracks.run(ddl.replace("DROP TABLE shapestore_changes", "SELECT 1"))
    else:
        with pytest.raises(sqlite3.OperationalError, match=error):
            tracks.run(f"{ddl};\n{write}")
        uninstall(tracks.path)
        tracks.run("SELECT count(*) FROM sqlite_schema")  # with its next reading a connection sees another schema
        if ddl.startswith("DROP INDEX"):
            tracks.run("ALTER TABLE track DROP COLUMN code")
    tracks.run(write)
    assert not [name for _, name, *_ in tracks.schema() if name.startswith("shapestore")]


def test_a_dropped_change_table_is_also_repaired_by_following_again(tracks: Source) -> None:
    tracks.run("DROP TABLE shapestore_changes")
    tracks.follow("track")
    assert tracks.logged("track", lambda: tracks.run("DELETE FROM track WHERE id = 1")) == [(1,)]


# --- alembic, as the README shows it


def test_a_migration_puts_the_source_into_wal_mode(tmp_path: Path) -> None:
    [hint] = re.findall(r"```python\n(def upgrade.*?)```", README.read_text(), re.DOTALL)
    engine = create_engine(f"sqlite:///{tmp_path / 'app.db'}", poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        with context.begin_transaction(_per_migration=True), Operations.context(context) as op:
            op.create_table("track", Column("id", Integer, primary_key=True))
            namespace: dict[str, Any] = {"op": op}
            exec(hint, namespace)
            namespace["upgrade"]()
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_the_hint_for_alembic_keeps_autogenerate_from_dropping_our_tables(tracks: Source) -> None:
    [hint] = re.findall(r"```python\n(def include_object.*?)\n\n\n", README.read_text(), re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(hint, namespace)
    metadata = MetaData()
    Table(
        "track",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("code", Text, nullable=False),
        Column("title", Text),
        Column("length", Integer),
    )
    engine = create_engine(f"sqlite:///{tracks.path}", poolclass=NullPool)

    def dropped(**options: Any) -> set[str]:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=options)
            return {change[1].name for change in compare_metadata(context, metadata) if change[0] == "remove_table"}

    assert dropped() == {"shapestore_changes", "shapestore_tables"}
    assert dropped(include_object=namespace["include_object"]) == set()


def test_the_source_can_still_be_read_as_a_source(tracks: Source) -> None:
    assert SQLSource(f"sqlite:///{tracks.path}", follow=True).source_path() == str(Path(tracks.path).resolve())
