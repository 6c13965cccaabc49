"""The doctor names what is wrong with a file, and nothing else; of a sound one it finds nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from damaged_files import overwrite_a_page
from file_rows import add_lock, add_owner, add_rows, next_number
from live_file import CapturedSource
from processes import Workers, read, until

from shapestore import Shape, ShapeStore, StorageError
from shapestore.admin import inspector, sources
from shapestore.admin.doctor import Finding, Severity, examine, following, is_sound
from shapestore.admin.doctor.database import has_wal_reset_bug, sqlite_version
from shapestore.admin.sources import opened_source
from shapestore.locking.create_lock import Failure
from shapestore.locking.gate import Gate
from shapestore.source.sqlite_feed.installation import install
from shapestore.storage.connection import open_point_reader


@pytest.fixture(scope="session")
def filled_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with some shapes, to copy."""
    path = tmp_path_factory.mktemp("filled") / "shapes.db"

    def rows(shape: Shape) -> Iterator[dict[str, Any]]:
        return ({"n": n} for n in range(int(shape.table)))

    async def fill() -> None:
        async with ShapeStore(path, create=rows) as store:
            for count in range(40):
                await store.get_or_create(Shape(str(count)))

    asyncio.run(fill())
    return path


@pytest.fixture
def store(filled_store: Path, tmp_path: Path) -> str:
    """The path of a copy of the filled store."""
    path = tmp_path / "shapes.db"
    shutil.copy(filled_store, path)
    shutil.copy(f"{filled_store}-gate", f"{path}-gate")
    os.mkdir(f"{path}-owners", 0o700)
    return str(path)


def sql(path: str, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def names(findings: list[Finding], *severities: Severity) -> list[str]:
    return [finding.name for finding in findings if finding.severity in (severities or (Severity.ERROR, "warning"))]


def open_and_close(path: str) -> None:
    async def run() -> None:
        async with ShapeStore(path):
            pass

    asyncio.run(run())


def handle_of(path: str, table: str) -> str:
    [handle] = read(path, "SELECT handle FROM shapes WHERE table_name = ?", table)
    return str(handle)


# --- sound stores


@pytest.mark.parametrize("quick", [False, True])
def test_a_sound_store_is_sound(store: str, quick: bool) -> None:
    findings = examine(store, quick=quick)
    assert (names(findings), is_sound(findings)) == ([], True)


def test_a_store_at_work_is_sound(workers: Workers, store: str) -> None:
    leading, idle = workers.open(store, 2)
    leading.lead("key", rows=5_000)
    until(lambda: read(store, "SELECT count(*) FROM shape_rows WHERE shape NOT IN (SELECT number FROM shapes)")[0], "")
    idle.call("invalidate", table="39")
    assert names(examine(store)) == []


def test_examining_changes_nothing_and_waits_for_no_writer(store: str) -> None:
    before = Path(store).read_bytes()
    with Gate(store).hold_blocking():
        assert is_sound(examine(store))
    assert Path(store).read_bytes() == before


@pytest.mark.parametrize("quick", [False, True])
def test_examining_a_closed_file_leaves_nothing_beside_it(store: str, quick: bool) -> None:
    before = sorted(Path(store).parent.iterdir())
    assert f"{store}-wal" not in map(str, before)
    assert is_sound(examine(store, quick=quick))
    assert sorted(Path(store).parent.iterdir()) == before


def test_a_file_that_changes_while_it_is_examined_is_examined_again_with_locks(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bool] = []

    def opened_by_a_store_meanwhile(real: str, *, immutable: bool) -> contextlib.AbstractContextManager[Any]:
        opened.append(immutable)
        open_and_close(store)
        return inspector.opened(real, immutable=immutable)

    monkeypatch.setattr("shapestore.admin.doctor.opened", opened_by_a_store_meanwhile)
    assert is_sound(examine(store))
    assert opened == [True, False]


def test_a_file_that_is_missing_is_no_finding(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no file"):
        examine(tmp_path / "shapes.db")
    assert os.listdir(tmp_path) == []


# --- damaged ones, each named right


def flip_a_bit_of_an_index(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        [(page_size,)] = connection.execute("PRAGMA page_size")
        [(page,)] = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'shapes_by_table' AND type = 'index'"
        )
    content = bytearray(Path(path).read_bytes())
    content[page * page_size - 1] ^= 1  # of the cell at the page's end: the last character of a handle
    Path(path).write_bytes(content)


def write_a_novel(path: str) -> None:
    Path(path).write_text("It was a dark and stormy night. " * 1000)


SEVENTH = "shape = (SELECT number FROM shapes WHERE table_name = '7')"


def lose_a_row(path: str) -> None:
    sql(path, f"DELETE FROM shape_rows WHERE {SEVENTH} AND position = 7")


def lose_a_row_from_the_middle(path: str) -> None:
    sql(path, f"DELETE FROM shape_rows WHERE {SEVENTH} AND position = 3")


def spoil_a_row(path: str) -> None:
    sql(path, f"UPDATE shape_rows SET value = '{{' WHERE {SEVENTH} AND position = 3")


def lose_all_rows_of_a_shape(path: str) -> None:
    sql(path, f"DELETE FROM shape_rows WHERE {SEVENTH}")


def miscount(path: str) -> None:
    sql(path, "UPDATE totals SET value = value + 1")


def lose_the_counter(path: str) -> None:
    sql(path, "DELETE FROM totals")


def leave_rows_of_no_shape(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        add_rows(connection, next_number(connection), 1)


def leave_rows_to_be_deleted(path: str, table: str = "7") -> None:
    sql(
        path,
        f"INSERT INTO discarded (number) SELECT number FROM shapes WHERE table_name = '{table}'",
        f"DELETE FROM shapes WHERE table_name = '{table}'",
    )


def rename_the_table_of_a_shape(path: str) -> None:
    sql(path, "UPDATE shapes SET table_name = 'other' WHERE table_name = '7'")


def rename_the_namespace_of_a_shape(path: str) -> None:
    sql(path, "UPDATE shapes SET namespace = 'other' WHERE table_name = '7'")


def spoil_the_key_of_a_shape(path: str) -> None:
    sql(path, "UPDATE shapes SET comparable = 'nonsense' WHERE table_name = '7'")


def leave_wal_mode(path: str) -> None:
    sql(path, "PRAGMA journal_mode = DELETE")


def drop_an_index(path: str) -> None:
    sql(path, "DROP INDEX shapes_by_table")


def drop_a_trigger(path: str) -> None:
    sql(path, "DROP TRIGGER shapes_counted_in")


def drop_all_tables(path: str) -> None:
    sql(path, "DROP TABLE shapes", "DROP TABLE create_locks")


def make_it_newer(path: str) -> None:
    sql(path, "UPDATE alembic_version SET version_num = '9999'")


def let_all_read(path: str) -> None:
    os.chmod(path, 0o644)


def let_all_read_the_owners(path: str) -> None:
    os.chmod(f"{path}-owners", 0o755)


def link_it_hard(path: str) -> None:
    os.link(path, f"{path}-copy")


def make_the_gate_a_link(path: str) -> None:
    os.replace(f"{path}-gate", f"{path}-gate2")
    os.symlink(f"{path}-gate2", f"{path}-gate")


def make_the_log_large(path: str) -> None:
    with open(f"{path}-wal", "wb") as log:
        log.truncate(65 * 1024 * 1024)  # nothing is in it, so SQLite takes nothing from it
    os.chmod(f"{path}-wal", 0o600)


def leave_an_owner_file(path: str) -> None:
    Path(f"{path}-owners", "0123456789abcdef").touch(0o600)


def leave_an_old_failure(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        add_lock(connection, "h", Shape("failed"), failure=Failure("OSError", "no", 1000))


@pytest.mark.parametrize(
    ("damage", "name", "severity"),
    [
        (flip_a_bit_of_an_index, "integrity", Severity.ERROR),
        (overwrite_a_page, "integrity", Severity.ERROR),
        (write_a_novel, "no-store", Severity.ERROR),
        (lose_a_row, "row-count", Severity.ERROR),
        (lose_a_row_from_the_middle, "row-count", Severity.ERROR),
        (spoil_a_row, "row-count", Severity.ERROR),
        (lose_all_rows_of_a_shape, "row-count", Severity.ERROR),
        (miscount, "totals", Severity.ERROR),
        (lose_the_counter, "totals", Severity.ERROR),
        (leave_rows_of_no_shape, "orphaned-rows", Severity.WARNING),
        (rename_the_table_of_a_shape, "shape", Severity.ERROR),
        (rename_the_namespace_of_a_shape, "shape", Severity.ERROR),
        (spoil_the_key_of_a_shape, "shape", Severity.ERROR),
        (leave_wal_mode, "journal-mode", Severity.WARNING),
        (drop_an_index, "schema", Severity.ERROR),
        (drop_a_trigger, "schema", Severity.ERROR),
        (drop_all_tables, "no-store", Severity.ERROR),
        (make_it_newer, "schema", Severity.ERROR),
        (let_all_read, "permissions", Severity.WARNING),
        (let_all_read_the_owners, "permissions", Severity.WARNING),
        (link_it_hard, "hard-link", Severity.ERROR),
        (make_the_gate_a_link, "gate", Severity.ERROR),
        (make_the_log_large, "wal-size", Severity.WARNING),
    ],
)
def test_damage_is_named_and_nothing_else_is(
    store: str, damage: Callable[[str], None], name: str, severity: Severity
) -> None:
    damage(store)
    findings = examine(store)
    assert names(findings) == [name]
    assert not is_sound(findings)
    assert findings[0].severity is severity
    assert len(findings[0].what) > 20
    assert findings[0].to_do


@pytest.mark.parametrize("damage", [lose_a_row, miscount, leave_rows_of_no_shape, write_a_novel, drop_an_index])
def test_a_quick_look_finds_what_needs_no_reading_of_every_page(store: str, damage: Callable[[str], None]) -> None:
    damage(store)
    assert not is_sound(examine(store, quick=True))


def test_what_a_round_that_goes_on_has_written_and_not_shown_yet_is_no_damage(store: str) -> None:
    """The doctor called each shape of such a source damaged, and had it dropped."""
    sql(
        store,
        "UPDATE shapes SET written = written + 3 WHERE table_name = '10'",
        *(
            "INSERT INTO shape_changes (id, round, operation, row_id, key, old) "
            f"SELECT (number << 28) + 10 + {nth}, 2, '{operation}', (number << 28) + {nth}, '[]', {old} "
            "FROM shapes WHERE table_name = '10'"
            for nth, (operation, old) in enumerate([("delete", "'{}'"), ("delete", "'{}'"), ("update", "'{}'")], 1)
        ),
        "DELETE FROM shape_rows WHERE id IN (SELECT row_id FROM shape_changes WHERE operation = 'delete')",
    )
    assert is_sound(examine(store))
    sql(store, "DELETE FROM shape_rows WHERE id = (SELECT row_id FROM shape_changes WHERE operation = 'update')")
    [finding] = [finding for finding in examine(store) if finding.name == "row-count"]
    assert "should have 8 rows and has 7" in finding.what


def test_all_that_is_wrong_is_named_the_gravest_first(store: str) -> None:
    for damage in (let_all_read, leave_rows_of_no_shape, lose_a_row, miscount):
        damage(store)
    assert names(examine(store)) == ["row-count", "totals", "permissions", "orphaned-rows"]


def empty_it(path: str) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("is_none", [drop_all_tables, write_a_novel, empty_it])
def test_where_no_store_is_nothing_else_is_said(store: str, is_none: Callable[[str], None]) -> None:
    let_all_read(store)
    os.unlink(f"{store}-gate")
    is_none(store)
    [finding] = examine(store)
    assert (finding.severity, finding.name) == (Severity.ERROR, "no-store")
    assert finding.what.startswith("this is not a store: ")


@pytest.mark.parametrize(("trace", "name"), [(leave_an_owner_file, "dead-owner"), (leave_an_old_failure, "stale-lock")])
def test_what_the_next_opening_clears_away_is_only_noted(store: str, trace: Callable[[str], None], name: str) -> None:
    trace(store)
    findings = examine(store)
    assert is_sound(findings)
    assert name in names(findings, Severity.NOTE)
    open_and_close(store)
    assert name not in names(examine(store), Severity.NOTE)


def test_a_failure_that_a_living_store_did_not_sweep_is_named(workers: Workers, store: str) -> None:
    [worker] = workers.open(store)
    leave_an_old_failure(store)
    with Gate(store).hold_blocking():
        sql(store, "UPDATE create_locks SET owner = (SELECT owner FROM owners)")
    [finding] = [finding for finding in examine(store) if finding.severity is not Severity.NOTE]
    assert (finding.name, finding.severity) == ("unswept-failure", Severity.WARNING)
    assert f"process {worker.pid} " in finding.what


def test_a_gate_that_was_lost_is_only_noted(store: str) -> None:
    os.unlink(f"{store}-gate")
    findings = examine(store)
    assert is_sound(findings)
    assert "gate" in names(findings, Severity.NOTE)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_gate_of_another_user_is_named(store: str) -> None:
    os.chown(f"{store}-gate", 12345, 12345)
    assert names(examine(store)) == ["file-owner"]


# --- what killed, stopped and running processes leave


def test_a_killed_process_is_named_with_its_lock_and_the_next_store_clears_both_away(
    workers: Workers, store: str
) -> None:
    [worker] = workers.open(store)
    worker.lead("key", rows=5_000)
    worker.kill()
    assert is_sound(examine(store))
    findings = {finding.name: finding for finding in examine(store)}
    assert {"dead-owner", "stale-lock"} <= findings.keys()
    assert f"process {worker.pid} " in findings["dead-owner"].what
    [handle] = read(store, "SELECT handle FROM create_locks")
    assert f"shapestore unlock {shlex.quote(store)} --handle {handle}" in findings["stale-lock"].to_do
    workers.open(store)[0].end()
    assert not {"dead-owner", "stale-lock"} & {finding.name for finding in examine(store)}


def test_a_creation_of_a_stopped_process_is_named_when_it_has_taken_an_hour(workers: Workers, store: str) -> None:
    [worker] = workers.open(store)
    worker.lead("key")
    worker.stop()
    assert names(examine(store)) == []
    with Gate(store).hold_blocking():
        sql(store, "UPDATE create_locks SET started_at_ms = started_at_ms - 2 * 3600 * 1000")
    [finding] = [finding for finding in examine(store) if finding.severity is not Severity.NOTE]
    assert finding.name == "long-creation"
    assert f"process {worker.pid} " in finding.what
    worker.go_on()


def test_a_store_that_closes_during_the_examination_is_not_taken_for_dead(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row was read, then it closed: its file is gone, and so is its row."""
    with closing(sqlite3.connect(store)) as connection, connection:
        add_owner(connection, "o")
        add_lock(connection, "h", Shape("key"), owner="o", started_at_ms=time.time_ns() // 1_000_000)

    def closes_and_is_probed(_folder: str, _owner: str) -> bool:
        sql(store, "DELETE FROM owners", "DELETE FROM create_locks")
        return False

    traces = {"dead-owner", "stale-lock"}
    assert traces <= set(names(examine(store), Severity.NOTE))
    monkeypatch.setattr("shapestore.admin.inspector.is_alive", closes_and_is_probed)
    assert not traces & set(names(examine(store), Severity.NOTE))


def test_rows_that_are_about_to_be_deleted_are_only_noted(workers: Workers, store: str) -> None:
    leave_rows_to_be_deleted(store)
    [note] = [finding for finding in examine(store) if finding.name == "discarded"]
    assert note.severity is Severity.NOTE
    assert is_sound(examine(store))
    assert f"shapestore vacuum {shlex.quote(store)}" in note.to_do
    [worker] = workers.open(store)
    until(lambda: read(store, "SELECT count(*) FROM discarded") == [0], "the worker has deleted them")
    worker.stop()  # and not within the transaction that deletes
    leave_rows_to_be_deleted(store, "8")
    [note] = [finding for finding in examine(store) if finding.name == "discarded"]
    assert note.to_do == "Nothing: an open store deletes them."
    worker.go_on()


# --- SQLite's own bug


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_the_versions_with_the_wal_reset_bug_are_these(version: tuple[int, int, int], has_it: bool) -> None:
    assert has_wal_reset_bug(version) is has_it


def test_an_affected_sqlite_is_a_note_since_the_gate_protects_stores_and_too_old_a_one_is_an_error() -> None:
    [note] = sqlite_version((3, 40, 1))
    assert (note.severity, "3.40.1" in note.what, "gate" in note.what) == (Severity.NOTE, True, True)
    [error] = sqlite_version((3, 37, 2))
    assert error.severity is Severity.ERROR
    assert list(sqlite_version((3, 52, 0))) == []


# --- the sources of live shapes


@pytest.fixture
def source(store: str, tmp_path: Path) -> CapturedSource:
    followed = CapturedSource(tmp_path / "source.db")
    followed.add_live_shapes(store, Shape("track"), Shape("track", where="album = 1"))
    return followed


def test_a_source_that_is_captured_and_followed_is_sound(store: str, source: CapturedSource) -> None:
    source.write("INSERT INTO track VALUES (7, 1, 'seven')")
    before = sorted(Path(source.path).parent.glob("source.db*"))
    assert names(examine(store)) == []
    assert sorted(Path(source.path).parent.glob("source.db*")) == before


def test_a_source_that_nobody_follows_though_stores_are_open_is_named(
    store: str, source: CapturedSource, workers: Workers
) -> None:
    [worker] = workers.open(store)
    assert names(examine(store)) == []
    source.write("INSERT INTO track VALUES (7, 1, 'seven')")
    assert names(examine(store)) == ["not-followed"]
    worker.end()
    assert names(examine(store)) == []


def remove(source: CapturedSource) -> None:
    os.remove(source.path)


def rebuild(source: CapturedSource) -> None:
    source.write("DROP TABLE track")
    source.write("CREATE TABLE track (id INTEGER PRIMARY KEY, album INTEGER, name TEXT)")


def overtake(source: CapturedSource) -> None:
    source.write("INSERT INTO track VALUES (7, 1, 'seven')")
    source.write("DELETE FROM shapestore_changes WHERE seq < (SELECT max(seq) FROM shapestore_changes)")


def install_anew(source: CapturedSource) -> None:
    rebuild(source)
    install(source.path, "track")


TROUBLES: dict[str, tuple[Callable[[CapturedSource], object], str]] = {
    "source-unreadable": (remove, "2 live shapes follow '/.*/source.db', which cannot be read: unable to open"),
    "source-not-in-wal": (
        lambda source: source.write("PRAGMA journal_mode = DELETE"),
        "source.db' is not in WAL mode",
    ),
    "triggers-missing": (rebuild, "changes of track in '/.*/source.db' are not captured, or not all"),
    "ring-overtaken": (overtake, "no longer has the change 1, up to which it was followed"),
    "signature-off": (install_anew, "2 shapes of track in '/.*/source.db' were read before the table or its triggers"),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_what_is_wrong_with_a_source_is_named(store: str, source: CapturedSource, name: str) -> None:
    make, what = TROUBLES[name]
    make(source)
    [finding] = [finding for finding in examine(store) if finding.name in TROUBLES]
    assert (finding.severity, finding.name) == (Severity.WARNING, name)
    assert re.search(what, finding.what)
    assert finding.to_do


def test_a_source_that_is_written_while_it_is_read_without_a_lock_is_read_again(
    store: str, source: CapturedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program without a write-ahead log has put some of its pages into the file, and others not yet."""
    looks: list[str] = []

    @contextlib.contextmanager
    def opened_half_way(path: str) -> Iterator[sqlite3.Connection]:
        with opened_source(path) as connection:
            looks.append(path)
            if len(looks) == 1:
                source.write("INSERT INTO track VALUES (7, 1, 'seven')")
                raise sqlite3.DatabaseError("database disk image is malformed")
            yield connection

    monkeypatch.setattr(following, "opened_source", opened_half_way)
    assert names(examine(store)) == []
    assert len(looks) == 2


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_source_that_is_locked_for_a_moment_is_waited_for(
    store: str, source: CapturedSource, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """As where the last program that had it open closes it, or one commits without a write-ahead log."""
    with closing(sqlite3.connect(source.path, isolation_level=None, check_same_thread=False)) as writer:
        writer.execute(f"PRAGMA journal_mode = {mode}")
        writer.execute("PRAGMA locking_mode = EXCLUSIVE")
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("INSERT INTO track VALUES (7, 1, 'seven')")
        release = threading.Timer(0.05, writer.close)

        def opened_while_locked(path: str, **options: Any) -> sqlite3.Connection:
            if release.ident is None:  # the first time
                release.start()
            return open_point_reader(path, **options)

        monkeypatch.setattr(sources, "open_point_reader", opened_while_locked)
        assert [name for name in names(examine(store)) if name != "source-not-in-wal"] == []
        release.join()
