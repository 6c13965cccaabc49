from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import old_file
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from file_rows import add_lock, add_outcome, add_owner, add_shape
from migrated_file import (
    ROOT,
    alembic,
    definitions,
    definitions_of_the_metadata,
    needs_computed_columns,
    opened,
    python,
    revision_of,
)

from shapestore.errors import CorruptStoreError, MigrationRequiredError, StorageError, StoreBusyError
from shapestore.locking.create_lock import Failure
from shapestore.storage import migrations, schema

# What the revisions are


def test_the_code_knows_exactly_the_revisions_there_are() -> None:
    config = Config(toml_file=str(ROOT / "pyproject.toml"))
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == migrations.REVISIONS
    assert scripts.get_current_head() == migrations.HEAD
    assert list(migrations.REVISIONS) == [f"{number:04}" for number in range(1, len(migrations.REVISIONS) + 1)]


def test_a_migrated_file_says_in_sql_what_the_metadata_says(path: str) -> None:
    migrations.upgrade(path)
    with opened(path) as connection:
        assert definitions(connection) == definitions_of_the_metadata()


@needs_computed_columns
def test_alembic_sees_no_difference_between_a_migrated_file_and_the_metadata(path: str) -> None:
    migrations.upgrade(path)
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(path), poolclass=sa.NullPool)
    with engine.connect() as connection:
        options = {"compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata) == []


def test_a_new_file_counts_from_nought(path: str) -> None:
    migrations.upgrade(path)
    with opened(path) as connection:
        assert dict(connection.execute("SELECT name, value FROM totals")) == dict.fromkeys(schema.TOTALS, 0)


def test_the_views_say_the_tables_in_words(path: str) -> None:
    migrations.upgrade(path)
    comparable = '{"table": "Track", "where": "a = 1", "params": {}, "columns": null}'
    with opened(path) as connection:
        add_owner(connection, "o", pid=42)
        add_shape(connection, "h1", comparable, table_name="Track", row_count=7, created_at_ms=1000)
        add_lock(connection, "h2", comparable, owner="o", failure=Failure("ValueError", "no", 1000))
        add_outcome(connection, "h1", comparable, duration_ms=50, row_count=7)
        [shape] = connection.execute('SELECT "table", "where", columns, "rows", created_at FROM shapes_in_words')
        assert shape == ("Track", "a = 1", "all", 7, "1970-01-01T00:00:01Z")
        [(what, who)] = connection.execute("SELECT what, who FROM create_locks_in_words")
        assert re.fullmatch(r"failed \d+ days ago: ValueError: no", what)
        assert who == "process 42 (app.py) on host"
        [(who, age)] = connection.execute("SELECT who, age FROM owners_in_words")
        assert who == "process 42 (app.py) on host"
        assert re.fullmatch(r"\d+ days", age)
        [creation] = connection.execute("SELECT outcome, took, followers_served, error FROM creations_in_words")
        assert creation == ("created", "50 ms", 0, None)


# Looking


def test_an_empty_file_has_no_revision_and_a_migrated_one_has_the_head(path: str) -> None:
    assert revision_of(path) is None
    migrations.upgrade(path)
    assert revision_of(path) == migrations.HEAD
    with opened(path) as connection:
        migrations.check(connection, path)


def test_looking_at_a_current_file_and_upgrading_it_imports_neither_alembic_nor_sqlalchemy(path: str) -> None:
    migrations.upgrade(path)
    ran = python(
        "-c",
        "import sqlite3, sys; from shapestore.storage import migrations; path = sys.argv[1]; migrations.upgrade(path);"
        "migrations.check(sqlite3.connect(path), path); print(sorted({'alembic', 'sqlalchemy'} & set(sys.modules)))",
        path,
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_the_check_of_an_empty_file_names_the_command_that_makes_it_a_store(tmp_path: Path) -> None:
    path = str(tmp_path / "my shapes.db")
    with opened(path) as connection, pytest.raises(MigrationRequiredError, match="has no tables yet") as caught:
        migrations.check(connection, path)
    assert f"alembic -x db='{path}' upgrade head" in str(caught.value)
    assert f"shapestore migrate '{path}'" in str(caught.value)


def test_a_file_whose_text_is_not_utf8_is_refused_and_left_as_it_is(path: str) -> None:
    """It was taken for a damaged one, once something was stored in it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16le'")
        connection.execute("CREATE TABLE first (a)")
        connection.execute("DROP TABLE first")
    before = Path(path).read_bytes()
    with pytest.raises(StorageError, match="a store holds UTF-8") as caught:
        migrations.upgrade(path)
    assert not isinstance(caught.value, CorruptStoreError)
    assert Path(path).read_bytes() == before


def test_the_check_of_an_older_file_names_both_revisions(path: str) -> None:
    old_file.make(path)
    with (
        opened(path) as connection,
        pytest.raises(MigrationRequiredError, match=r"has the schema '0001'.* with '0002'"),
    ):
        migrations.check(connection, path)


def test_a_newer_file_is_neither_accepted_nor_upgraded(path: str) -> None:
    migrations.upgrade(path)
    with opened(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(MigrationRequiredError, match=r"newer shapestore.*'9999'.*upgrade the package"):
            migrations.check(connection, path)
    with pytest.raises(MigrationRequiredError, match="newer shapestore"):
        migrations.upgrade(path)
    assert "FAILED" in (ran := alembic(path, "upgrade", "head")).stdout + ran.stderr
    assert "newer shapestore" in ran.stdout + ran.stderr
    assert revision_of(path) == "9999"


@pytest.mark.parametrize(
    "statements",
    [
        "CREATE TABLE albums (title)",
        "CREATE TABLE albums (title); CREATE TABLE alembic_version (version_num)",
        "CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('4f1c')",
        "CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('0001'); CREATE TABLE a (b)",
        "CREATE TABLE shapes (corners)",
        "CREATE VIEW clock AS SELECT 1",
    ],
)
def test_a_database_of_another_program_is_refused_and_left_as_it_is(path: str, statements: str) -> None:
    with opened(path) as connection:
        connection.executescript(statements)
    before = Path(path).read_bytes()
    with pytest.raises(
        StorageError, match=r"another program.*(albums|a, alembic_version|alembic_version|shapes|clock)"
    ) as caught:
        migrations.upgrade(path)
    assert repr(path) in str(caught.value)
    with opened(path) as connection, pytest.raises(StorageError, match="another program"):
        migrations.check(connection, path)
    assert Path(path).read_bytes() == before


@needs_computed_columns
def test_tables_that_litestream_adds_are_nobody_elses_database(path: str) -> None:
    with opened(path) as connection:
        connection.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
    migrations.upgrade(path)
    assert revision_of(path) == migrations.HEAD
    assert "No new upgrade operations detected" in alembic(path, "check").stdout


# Upgrading


def test_a_new_file_is_put_in_wal_mode_and_one_that_is_in_it_stays_so(path: str, tmp_path: Path) -> None:
    opened_first = str(tmp_path / "opened_first.db")
    with opened(opened_first) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrations.upgrade(opened_first)
        assert migrations.current_revision(connection) == migrations.HEAD
    migrations.upgrade(path)
    for migrated in (path, opened_first):
        with opened(migrated) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_upgrade_is_one_transaction_that_takes_the_write_lock_first_and_checkpoints_nothing(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    migrations.upgrade(path)
    begin, commit = statements.index("BEGIN IMMEDIATE"), statements.index("COMMIT")
    assert [sql for sql in statements if sql.startswith(("BEGIN", "COMMIT", "ROLLBACK"))] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]
    assert [sql for sql in statements[begin:commit] if "CREATE TABLE shapes" in sql]
    assert not [sql for sql in statements[:begin] + statements[commit:] if "CREATE" in sql]
    assert statements.index("PRAGMA wal_autocheckpoint = 0") < begin


@pytest.mark.parametrize(
    "name", ["100%.db", "%(here)s.db", "my shapes.db", "a#b?c.db", 'it\'s "it".db', "größe 形 🟦.db"]
)
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    migrations.upgrade(path)
    assert revision_of(path) == migrations.HEAD
    assert {file.name for file in tmp_path.iterdir()} == {name}


def test_alembic_stays_out_of_the_applications_log(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        migrations.upgrade(path)
    assert caplog.records == []


def test_what_sqlite_refuses_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        migrations.upgrade(str(tmp_path))
    novel = tmp_path / "novel.txt"
    novel.write_text("It was a dark and stormy night. " * 100)
    with pytest.raises(CorruptStoreError, match=r"novel\.txt"):
        migrations.upgrade(str(novel))


def test_a_foreign_writer_in_the_way_is_waited_for_and_then_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "BUSY_TIMEOUT_MS", 10)
    with opened(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match="locked by another connection"):
            migrations.upgrade(path)
        connection.execute("ROLLBACK")
    migrations.upgrade(path)
    assert revision_of(path) == migrations.HEAD
