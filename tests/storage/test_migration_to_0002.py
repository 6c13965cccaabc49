"""Revision 0002 stores shapes under numbers and gives them a log; all that revision 0001 stored is kept."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import old_file
import pytest
from file_rows import insert
from inspections import eventually
from migrated_file import MIGRATE_AND_DIE, definitions_of_the_metadata, python, revision_of, run_at_once
from old_file import ALBUMS, CREATING, DROPPED, EMPTY, FAILED, HANDLES, ROWS, TRACKS
from processes import assert_sound

from shapestore import (
    CorruptStoreError,
    CreateFailedError,
    MigrationRequiredError,
    Shape,
    ShapeStore,
    StorageError,
    maintenance,
)
from shapestore.shape.stored_shape import at
from shapestore.storage import migrations


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled file of revision 0001, to be copied."""
    path = tmp_path_factory.mktemp("old") / "shapes.db"
    old_file.make_filled(str(path))
    return path


@pytest.fixture
def old_path(old: Path, tmp_path: Path) -> str:
    return str(shutil.copy(old, tmp_path))


@pytest.fixture
def file(old_path: str) -> Iterator[sqlite3.Connection]:
    """The migrated file."""
    migrations.upgrade(old_path)
    with closing(sqlite3.connect(old_path)) as connection:
        yield connection


async def test_every_shape_is_served_as_before(old_path: str) -> None:
    async with ShapeStore(old_path) as store:
        assert await store.count() == 3
        for order, (shape, rows) in enumerate(ROWS.items(), 1):
            stored = await store.get(shape)
            assert stored is not None
            assert (stored.handle, stored.row_count, stored.position) == (HANDLES[shape], len(rows), len(rows))
            assert stored.created_at == stored.refreshed_at == at(1_000 * order)
            assert stored == await store.get_by_handle(stored.handle)
            assert [row async for row in store.rows(stored)] == rows
            assert await store.fetch(shape) == rows
            log = await store.read_log(stored, limit=10_000)
            assert [(change.position, change.row) for change in log] == list(enumerate(rows, 1))
        assert {stored.handle async for stored in store.shapes(table="albums")} == {HANDLES[ALBUMS]}
    assert_sound(old_path)


async def test_a_shape_that_was_migrated_is_refreshed_dropped_and_made_anew_as_any_other(old_path: str) -> None:
    async with ShapeStore(old_path, create=lambda _: [{"id": 3}], keep_replaced=0) as store:
        fresh = await store.refresh(ALBUMS)
        assert fresh.handle != HANDLES[ALBUMS]
        assert await store.fetch(ALBUMS) == [{"id": 3}]
        assert await store.delete(HANDLES[TRACKS])
        again = await store.get_or_create(TRACKS)
        assert await store.fetch(TRACKS) == [{"id": 3}]
        assert again.handle != HANDLES[TRACKS]
    assert_sound(old_path)


def test_numbers_are_given_in_the_order_of_the_handles_and_go_on_behind_them(file: sqlite3.Connection) -> None:
    assert file.execute("SELECT handle FROM shapes ORDER BY number").fetchall() == sorted(
        (HANDLES[shape],) for shape in ROWS
    )
    [(newest,)] = file.execute("SELECT max(number) FROM create_locks")
    assert newest > 3
    assert file.execute("SELECT seq FROM sqlite_sequence WHERE name = 'create_locks'").fetchall() == [(newest,)]


def test_the_order_of_reads_is_kept_and_so_is_what_eviction_and_listing_go_by(file: sqlite3.Connection) -> None:
    columns = "handle, namespace, table_name, where_as_written, last_read_at_ms"
    assert file.execute(f"SELECT {columns} FROM shapes ORDER BY read_order").fetchall() == [
        (HANDLES[TRACKS], "", "tracks", None, 6_000),
        (HANDLES[EMPTY], "", "empty", None, 4_000),
        (HANDLES[ALBUMS], "", "albums", ALBUMS.where, 2_000),
    ]


def test_a_shape_was_confirmed_by_its_own_attempt_at_a_time_that_only_the_wall_clock_knows(
    file: sqlite3.Connection,
) -> None:
    columns = "confirmed_by, confirmed_boot, confirmed_at_ms, stale, live"
    assert file.execute(f"SELECT {columns} FROM shapes WHERE handle = ?", (HANDLES[EMPTY],)).fetchall() == [
        (HANDLES[EMPTY], "", 2_000, 0, 0)
    ]


def test_failures_and_outcomes_are_kept_and_attempts_that_nobody_can_end_any_more_are_not(
    file: sqlite3.Connection,
) -> None:
    columns = "handle, comparable, state, owner, started_at_ms, failed_at_ms, error_type, error_message, retry_after_ms"
    assert file.execute(f"SELECT {columns} FROM create_locks").fetchall() == [
        *[
            (
                HANDLES[FAILED],
                FAILED.comparable,
                "failed",
                "owner",
                50_000,
                60_000,
                "OSError",
                "the source is away",
                5_000,
            )
        ]
    ]
    columns = "number, handle, comparable, outcome, error_message, duration_ms, row_count, changes, followers"
    assert file.execute(f"SELECT {columns} FROM creations ORDER BY number").fetchall() == [
        (7, HANDLES[TRACKS], TRACKS.comparable, "created", None, 30, 2_500, None, 9),
        (9, HANDLES[FAILED], FAILED.comparable, "failed", "the source is away", 4, None, None, 1),
    ]
    assert file.execute("SELECT owner, pid FROM owners").fetchall() == [("owner", 1)]


def test_rows_of_no_shape_are_left_behind_and_the_totals_count_what_there_is(file: sqlite3.Connection) -> None:
    total = sum(len(old_file._text(row).encode()) for rows in ROWS.values() for row in rows)
    assert file.execute("SELECT count(*) FROM shape_rows").fetchall() == [(2_502,)]
    assert file.execute("SELECT count(*) FROM discarded").fetchall() == [(0,)]
    assert dict(file.execute("SELECT name, value FROM totals")) == {
        "shapes": 3,
        "bytes": total,
        "kept": 0,
        "kept_bytes": 0,
    }
    assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_failure_is_still_shared_by_a_living_owner_and_claimable_of_a_dead_one(old_path: str) -> None:
    """Its owner is dead: the opening clears it away, and a caller leads."""
    async with ShapeStore(old_path, create=lambda _: [{"id": 1}]) as store:
        assert await store.locks() == []
        for shape in (FAILED, CREATING):
            assert (await store.get_or_create(shape)).row_count == 1
        with pytest.raises(CreateFailedError):
            await store.refresh(FAILED, lambda _: [{"id": object()}])


def test_down_and_up_again_keeps_what_revision_0001_can_hold(old_path: str, tmp_path: Path) -> None:
    fresh = str(tmp_path / "fresh.db")
    old_file.make(fresh)
    before = old_file.contents(old_path)
    migrations.upgrade(old_path)
    up = old_file.contents(old_path)
    old_file.migrate(old_path, "0001")
    assert revision_of(old_path) == "0001"
    assert old_file.definitions_of_the_file(old_path) == old_file.definitions_of_the_file(fresh)
    gone = {HANDLES[CREATING], DROPPED}
    assert old_file.contents(old_path) == {
        table: [row for row in rows if not gone & set(row)] for table, rows in before.items()
    }
    migrations.upgrade(old_path)
    assert old_file.definitions_of_the_file(old_path) == definitions_of_the_metadata()
    numbers = "create_locks"  # whose numbers go on
    again = old_file.contents(old_path)
    assert {name: rows for name, rows in again.items() if name != numbers} == {
        name: rows for name, rows in up.items() if name != numbers
    }


def test_a_downgrade_keeps_the_present_rows_of_a_shape_with_a_log_and_of_no_other_namespace(old_path: str) -> None:
    migrations.upgrade(old_path)
    with closing(sqlite3.connect(old_path)) as connection, connection:
        [(number,)] = connection.execute("SELECT number FROM shapes WHERE handle = ?", (HANDLES[ALBUMS],))
        connection.execute("DELETE FROM shape_rows WHERE id = ?", (number << 28 | 1,))
        insert(connection, "shape_rows", id=number << 28 | 4, value='{"id":4}')
        for position, operation, old in ((3, "delete", "{}"), (4, "insert", None)):
            row_id = number << 28 | (1 if operation == "delete" else 4)
            change = {"round": 2, "operation": operation, "row_id": row_id, "key": "[1]", "old": old}
            insert(connection, "shape_changes", id=number << 28 | position, **change)
        connection.execute("UPDATE shapes SET namespace = 'another' WHERE handle = ?", (HANDLES[TRACKS],))
        insert(connection, "kept", **kept_columns())
    old_file.migrate(old_path, "0001")
    with closing(sqlite3.connect(old_path)) as connection:
        rows = connection.execute("SELECT handle, position, value FROM shape_rows ORDER BY handle, position").fetchall()
        assert rows == [(HANDLES[ALBUMS], 1, '{"id":2,"name":null}'), (HANDLES[ALBUMS], 2, '{"id":4}')]
        assert connection.execute("SELECT value FROM totals").fetchall() == [(2,)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_after_a_downgrade_no_position_that_was_given_out_stands_for_other_rows(old_path: str) -> None:
    """The positions of a log are forgotten, and an upgrade begins with them anew."""
    migrations.upgrade(old_path)
    changed, same = HANDLES[ALBUMS], HANDLES[TRACKS]
    with closing(sqlite3.connect(old_path)) as connection, connection:
        connection.execute(
            "UPDATE shapes SET round = 2, position = position + 1, written = written + 1 WHERE handle = ?", (changed,)
        )
    old_file.migrate(old_path, "0001")
    migrations.upgrade(old_path)
    with closing(sqlite3.connect(old_path)) as connection:
        rows = "SELECT count(*) FROM shapes JOIN shape_rows ON shape = number WHERE handle = ?"
        shapes = dict(connection.execute("SELECT comparable, handle FROM shapes"))
        assert len(shapes) == 3
        assert shapes[TRACKS.comparable] == same
        assert shapes[ALBUMS.comparable] != changed
        assert connection.execute(rows, (shapes[ALBUMS.comparable],)).fetchall() == [(len(ROWS[ALBUMS]),)]
    assert_sound(old_path)


@pytest.mark.parametrize("is_so", ["written = written + 1", "stale = 1"])
def test_a_downgrade_drops_a_shape_whose_rows_are_of_no_moment_or_known_to_be_old(old_path: str, is_so: str) -> None:
    """A round goes on in it, or its source was touched: 0001 would serve it all the same, or call it corrupt."""
    migrations.upgrade(old_path)
    execute(old_path, f"UPDATE shapes SET {is_so} WHERE handle = '{HANDLES[ALBUMS]}'")
    old_file.migrate(old_path, "0001")
    with closing(sqlite3.connect(old_path)) as connection:
        for table in ("shapes", "shape_rows"):
            handles = {handle for (handle,) in connection.execute(f"SELECT handle FROM {table}")}
            assert HANDLES[TRACKS] in handles
            assert HANDLES[ALBUMS] not in handles
        assert connection.execute("SELECT value FROM totals").fetchall() == [(2,)]


def kept_columns() -> dict[str, int | str]:
    times = ("created_at_ms", "refreshed_at_ms", "gone_at_boot_ms", "gone_at_ms")
    counts = ("number", "row_count", "snapshot", "position", "written", "bytes")
    texts = {"handle": "kept", "comparable": "{}", "table_name": "t", "gone_boot": ""}
    return texts | dict.fromkeys((*times, *counts), 0)


# --- what people have added to a file, or removed from it


def execute(path: str, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_views_and_foreign_keys_of_somebodys_own_still_mean_the_same_tables(old_path: str) -> None:
    execute(
        old_path,
        "CREATE VIEW mine AS SELECT handle, row_count FROM shapes",
        "CREATE TABLE starred (handle TEXT REFERENCES shapes (handle))",
        "INSERT INTO starred SELECT handle FROM shapes",
        "CREATE TABLE gone (a)",
        "CREATE VIEW broken AS SELECT a FROM gone",
        "DROP TABLE gone",
    )
    for revision in ("0002", "0001"):
        old_file.migrate(old_path, revision)
        with closing(sqlite3.connect(old_path)) as connection:
            assert len(connection.execute("SELECT * FROM mine").fetchall()) == len(ROWS)
            assert connection.execute("PRAGMA foreign_key_list (starred)").fetchone()[2] == "shapes"
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert connection.execute("SELECT count(*) FROM starred").fetchone() == (len(ROWS),)


def test_what_is_to_be_replaced_may_be_missing(old_path: str) -> None:
    execute(old_path, "DROP INDEX shapes_by_table", "DROP TRIGGER shapes_counted_in", "DROP VIEW shapes_in_words")
    migrations.upgrade(old_path)
    assert old_file.definitions_of_the_file(old_path) == definitions_of_the_metadata()


@pytest.mark.parametrize("name", ["sources", "shapes_of_0001", "kept_by_key"])
def test_a_name_that_is_taken_is_said_to_be_and_nothing_is_changed(old_path: str, name: str) -> None:
    execute(old_path, f"CREATE TABLE {name} (a)")
    before = old_file.contents(old_path)
    with pytest.raises(StorageError, match=f"{name}.* a name which the store needs") as caught:
        migrations.upgrade(old_path)
    assert not isinstance(caught.value, CorruptStoreError)
    assert (revision_of(old_path), old_file.contents(old_path)) == ("0001", before)


# --- at once, and killed


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_a_killed_migration_left_the_old_file_whole_and_the_next_one_finishes(
    old: Path, tmp_path: Path, kills: int
) -> None:
    before, definitions = old_file.contents(str(old)), old_file.definitions_of_the_file(str(old))
    whole = str(shutil.copy(old, tmp_path / "whole.db"))
    steps = int(python("-c", MIGRATE_AND_DIE, whole, "0").stdout)
    after = old_file.contents(whole)
    seen = set()
    for kill in range(kills):
        path = str(shutil.copy(old, tmp_path / f"{kill}.db"))
        ran = python("-c", MIGRATE_AND_DIE, path, str(1 + steps * kill // kills))
        assert ran.returncode == -signal.SIGKILL
        is_old = revision_of(path) == "0001"
        seen.add(is_old)
        assert old_file.contents(path) == (before if is_old else after)
        assert old_file.definitions_of_the_file(path) == (definitions if is_old else definitions_of_the_metadata())
        migrations.upgrade(path)
        assert old_file.contents(path) == after
        assert_sound(path)
    assert True in seen


def test_four_processes_migrate_one_old_file_at_once(old_path: str) -> None:
    run_at_once(4, old_path)
    assert old_file.definitions_of_the_file(old_path) == definitions_of_the_metadata()
    assert_sound(old_path)


async def test_a_file_of_ten_thousand_shapes_migrates_and_serves(path: str) -> None:
    old_file.make(path)
    shapes = [Shape("albums", where="id = :id", params={"id": number}) for number in range(10_000)]
    with closing(sqlite3.connect(path)) as connection, connection:
        for number, shape in enumerate(shapes):
            old_file.add_shape(connection, f"{number:032x}", shape, [f'{{"id":{number}}}'], number)
    async with ShapeStore(path) as store:
        assert await store.count() == 10_000
        for number in (0, 4_999, 9_999):
            assert await store.fetch(shapes[number]) == [{"id": number}]
    assert_sound(path)


@pytest.mark.parametrize(("revision", "found"), [("0001", "has the schema '0001'"), ("base", "has no tables any more")])
async def test_a_store_whose_file_is_downgraded_beneath_it_says_so(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, revision: str, found: str
) -> None:
    """It is not damaged: nothing has to be restored, or moved away."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)

    async def create(shape: Shape) -> list[dict[str, int]]:
        return [{"n": 1}]

    async with ShapeStore(empty_path, create=create) as store:
        stored = await store.get_or_create(Shape("t"))
        old_file.migrate(empty_path, revision)
        calls: tuple[Callable[[], Coroutine[Any, Any, object]], ...] = (
            partial(store.fetch, Shape("t")),
            partial(store.get_or_create, Shape("u")),
            partial(store.refresh, Shape("t")),
            partial(store.read_log, stored),
            partial(store.delete, stored),
        )
        for call in calls:
            with pytest.raises(MigrationRequiredError, match=f"{found}, and .* run `shapestore migrate .*, and open"):
                await call()
        await eventually(lambda: f"tries again every second: {empty_path!r} {found}" in caplog.text)
    migrations.upgrade(empty_path)
    async with ShapeStore(empty_path, create=create) as store:
        assert await store.fetch(Shape("t")) == [{"n": 1}]
