"""A backup is the store as of one moment, checked, private, and under its name only when it is complete."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from damaged_files import overwrite_a_page
from disks import SmallDisk, refusing_disk, small_disk
from file_rows import add_shape
from processes import PATIENCE, Workers, owner_files, read

from shapestore import CorruptStoreError, Shape, ShapeStore, StorageError
from shapestore.admin import backup as module
from shapestore.admin.backup import backup
from shapestore.admin.doctor import examine, is_sound

ROOT = Path(__file__).resolve().parents[2]


def sql(path: str, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def store(empty_path: str) -> str:
    """A store of a few hundred pages, in a folder of its own."""
    os.chmod(empty_path, 0o600)
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        add_shape(connection, "aa", Shape("t"), rows=[f'{{"n":{n},"text":"{n:0100}"}}' for n in range(5_000)])
    return empty_path


@pytest.fixture
def to(tmp_path: Path) -> str:
    folder = tmp_path / "backups"
    folder.mkdir()
    return str(folder / "copy.db")


def files(to: str) -> list[str]:
    return sorted(os.listdir(os.path.dirname(to)))


def test_a_backup_beside_a_store_at_work_opens_as_a_store_with_all_that_was_committed(
    workers: Workers, empty_path: str, to: str
) -> None:
    leading, idle = workers.open(empty_path, 2)
    handle = idle.call("get_or_create", key="done", rows=3_000)
    leading.lead("key", rows=5_000)
    made = backup(empty_path, to)
    assert (made.path, made.bytes, made.shapes) == (to, os.stat(to).st_size, 1)
    assert files(to) == ["copy.db"]
    assert stat.S_IMODE(os.stat(to).st_mode) == 0o600
    findings = examine(to)
    assert is_sound(findings), findings
    assert len(owner_files(empty_path)) == 2

    async def rows_and_locks() -> tuple[int, int]:
        async with ShapeStore(to, migrate=False) as store:
            return len([row async for row in store.rows(handle)]), len(await store.locks())

    assert asyncio.run(rows_and_locks()) == (3_000, 0)


def test_what_is_committed_meanwhile_neither_gets_in_nor_begins_the_backup_again(
    store: str, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def commit(_status: int, _remaining: int, total: int) -> None:
        nonlocal steps
        steps += 1
        sql(store, f"UPDATE shapes SET last_read_at_ms = {steps}", f"UPDATE totals SET value = {steps}")
        assert steps <= total

    monkeypatch.setattr(module, "_PAGES_A_STEP", 10)
    monkeypatch.setattr(module, "_progress", commit)
    backup(store, to)
    assert steps > 10
    assert read(to, "SELECT last_read_at_ms FROM shapes") == [0]
    assert read(to, "SELECT value FROM totals WHERE name = 'shapes'") == [1]
    assert read(to, "SELECT count(*) FROM shape_rows") == [5_000]


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "🎵" * 63])
def test_a_backup_has_any_name_that_the_file_system_takes(store: str, tmp_path: Path, name: str) -> None:
    """That of the unfinished copy is longer, in bytes, unless it is cut."""
    to = str(tmp_path / name)
    assert backup(store, to).path == to
    assert os.path.isfile(to)


def test_whatever_the_umask_only_its_user_can_read_it(store: str, to: str) -> None:
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            backup(store, to, overwrite=True)
        finally:
            os.umask(before)
        assert stat.S_IMODE(os.stat(to).st_mode) == 0o600


# --- names that are refused


def a_file(to: str) -> None:
    Path(to).write_text("precious")


def a_folder(to: str) -> None:
    os.mkdir(to)


def a_pipe(to: str) -> None:
    os.mkfifo(to)


def a_link_to_a_file(to: str) -> None:
    Path(f"{to}-precious").write_text("precious")
    os.symlink(f"{to}-precious", to)


def a_link_to_nothing(to: str) -> None:
    os.symlink(f"{to}-nothing", to)


def a_log_beside_it(to: str) -> None:
    Path(f"{to}-wal").write_text("of another database")


def a_journal_beside_it(to: str) -> None:
    Path(f"{to}-journal").write_text("of another database")


@pytest.mark.parametrize(
    ("there", "complaint", "also_by_force"),
    [
        (a_file, "exists already", False),
        (a_folder, "is a folder", True),
        (a_pipe, "not a regular file", True),
        (a_link_to_a_file, "is a symbolic link", True),
        (a_link_to_nothing, "is a symbolic link", True),
        (a_log_beside_it, "copy.db-wal' belongs to another database", True),
        (a_journal_beside_it, "copy.db-journal' belongs to another database", True),
    ],
)
def test_what_is_there_is_left_as_it_is(
    store: str, to: str, there: Callable[[str], None], complaint: str, also_by_force: bool
) -> None:
    there(to)
    before = {name: os.lstat(os.path.join(os.path.dirname(to), name)) for name in files(to)}
    for overwrite in (False, True)[: 1 + also_by_force]:
        with pytest.raises(StorageError, match=complaint):
            backup(store, to, overwrite=overwrite)
        assert {name: os.lstat(os.path.join(os.path.dirname(to), name)) for name in files(to)} == before


def test_a_file_is_replaced_if_that_is_asked_for(store: str, to: str) -> None:
    a_file(to)
    backup(store, to, overwrite=True)
    assert (files(to), read(to, "SELECT count(*) FROM shapes")) == (["copy.db"], [1])


def test_a_backup_that_was_opened_and_closed_is_replaced_with_its_log(store: str, to: str) -> None:
    for _ in range(2):
        backup(store, to, overwrite=True)
        assert files(to) == ["copy.db"]
        read(to, "SELECT count(*) FROM shapes")
        assert "copy.db-wal" in files(to), "a reader cannot remove it"
        sql(to, "DELETE FROM shapes")  # and its log holds changes until it is closed


def test_a_backup_takes_the_place_of_a_killed_store_whose_log_is_still_there(
    workers: Workers, empty_path: str, to: str
) -> None:
    """Moved there beside the log it would be mixed with it, and corrupt: SQLite cannot tell whose log it is."""
    [worker] = workers.open(empty_path, 1)
    handle = worker.call("get_or_create", key="kept", rows=100)
    backup(empty_path, to)
    worker.call("get_or_create", key="lost", rows=5_000)
    with pytest.raises(StorageError, match="is a database that is open elsewhere"):
        backup(to, empty_path, overwrite=True)
    worker.kill()
    assert os.path.getsize(f"{empty_path}-wal") > 0
    backup(to, empty_path, overwrite=True)
    assert not os.path.exists(f"{empty_path}-wal")
    assert is_sound(examine(empty_path))
    assert read(empty_path, "SELECT handle FROM shapes") == [handle]


def test_a_backup_that_is_open_is_not_replaced(store: str, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(store, to)
    before = Path(to).read_bytes()
    with closing(sqlite3.connect(to)) as user:
        user.execute("SELECT count(*) FROM shapes").fetchall()
        with pytest.raises(StorageError, match="is a database that is open elsewhere"):
            backup(store, to, overwrite=True)
    with closing(sqlite3.connect(to)) as user, monkeypatch.context() as patch:  # which is opened meanwhile
        patch.setattr(module, "_progress", lambda *_: user.execute("PRAGMA journal_mode = WAL").fetchall())
        with pytest.raises(StorageError, match="is a database that is open elsewhere"):
            backup(store, to, overwrite=True)
    assert [name for name in files(to) if "partial" in name] == []
    assert len(Path(to).read_bytes()) == len(before)
    backup(store, to, overwrite=True)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", "-gate", "-owners", "-owners/x"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_store_itself_is_not_its_backup(store: str, suffix: str, overwrite: bool) -> None:
    os.mkdir(f"{store}-owners")
    folder, name = os.path.split(store)
    with pytest.raises(StorageError, match="is a part of the store itself"):
        backup(store, f"{folder}/../{os.path.basename(folder)}/{name}{suffix}", overwrite=overwrite)
    assert os.listdir(f"{store}-owners") == []


@pytest.mark.parametrize(
    ("to", "complaint"),
    [
        ("", "does not name a file"),
        ("backups/", "does not name a file"),
        ("..", "does not name a file"),
        ("a\0b", "does not name a file"),
        ("missing/copy.db", "does not exist"),
    ],
)
def test_a_name_that_is_none_is_refused(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=complaint):
        backup(store, to)


def test_a_relative_name_is_in_the_working_folder(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert backup(store, "copy.db").path == str(tmp_path / "copy.db")


# --- what cannot be backed up


def empty(path: str) -> None:
    os.truncate(path, 0)


def of_another_program(path: str) -> None:
    os.unlink(path)
    sql(path, "CREATE TABLE albums (title)")


def no_database(path: str) -> None:
    Path(path).write_text("It was a dark and stormy night. " * 100)


@pytest.mark.parametrize(
    ("spoil", "error", "complaint"),
    [
        (os.unlink, StorageError, "there is no file"),
        (empty, StorageError, "is not a store"),
        (of_another_program, StorageError, "other program"),
        (no_database, CorruptStoreError, "database"),
        (overwrite_a_page, CorruptStoreError, "no backup was made: the file is damaged"),
    ],
)
def test_what_is_no_sound_store_has_no_backup(
    store: str, to: str, spoil: Callable[[str], None], error: type[Exception], complaint: str
) -> None:
    spoil(store)
    with pytest.raises(error, match=complaint):
        backup(store, to)
    assert files(to) == []


def test_a_store_of_an_older_or_newer_schema_has_one(store: str, to: str) -> None:
    sql(store, "UPDATE alembic_version SET version_num = '9999'")
    backup(store, to)
    assert read(to, "SELECT version_num FROM alembic_version") == ["9999"]


# --- never a half file


def test_a_full_disk_leaves_nothing(store: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as disk:
        if disk is None:
            pytest.skip("this user cannot mount a small disk")
        fill_up_to(disk, 100_000)
        with pytest.raises(StorageError, match="full"):
            backup(store, f"{tmp_path}/small/copy.db")
        assert os.listdir(tmp_path / "small") == ["filler"]


def fill_up_to(disk: SmallDisk, room: int) -> None:
    disk.fill()
    filler = f"{os.path.dirname(disk.path)}/filler"
    os.truncate(filler, os.stat(filler).st_size - room)


def test_a_disk_that_refuses_leaves_nothing(store: str, to: str, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (small / "shapes.db-wal").write_bytes(bytes(100_000))
    with refusing_disk(small) as disk:
        disk.fill()
        with pytest.raises(StorageError, match="could not be written"):
            backup(store, to)
    assert files(to) == []


def test_an_interrupt_leaves_nothing(store: str, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_PAGES_A_STEP", 10)
    monkeypatch.setattr(module, "_progress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        backup(store, to)
    assert files(to) == []


def test_a_name_that_is_taken_meanwhile_is_left_as_it_is(store: str, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_progress", lambda *_: a_file(to))
    with pytest.raises(StorageError, match="exists already"):
        backup(store, to)
    assert (files(to), Path(to).read_text()) == (["copy.db"], "precious")


def test_where_the_file_system_has_no_hard_links_it_is_renamed(
    store: str, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    backup(store, to)
    assert files(to) == ["copy.db"]
    os.unlink(to)
    monkeypatch.setattr(module, "_progress", lambda *_: a_file(to))
    with pytest.raises(StorageError, match="exists already"):
        backup(store, to)
    assert (files(to), Path(to).read_text()) == (["copy.db"], "precious")


HALF_WAY = """
import signal, sys, time
import shapestore.admin.backup as module
from shapestore.cli import main

def wait(*_):
    print("half way", flush=True)
    while True:  # a signal that comes just before a sleep is handled after it
        time.sleep(0.01)

module._PAGES_A_STEP = 10
module._progress = wait
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_killed_backup_leaves_no_file_of_that_name(store: str, to: str, number: signal.Signals, status: int) -> None:
    command = [sys.executable, "-c", HALF_WAY, "backup", store, to]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as backing_up:
        assert backing_up.stdout is not None
        assert backing_up.stdout.readline() == "half way\n"
        backing_up.send_signal(number)
        _, complaint = backing_up.communicate(timeout=PATIENCE)
    assert (backing_up.returncode, complaint.strip()) == (status, "")  # after ^C, an end of line
    left = files(to)
    if number is signal.SIGKILL:  # which leaves no program to clear away
        assert len(left) == 1
        assert left[0].startswith(".copy.db-")
    else:
        assert left == []
    shutil.rmtree(os.path.dirname(to))


NOHUP = (
    HALF_WAY.replace("SIG_DFL", "SIG_IGN")
    .replace("while True", "for _ in range(20)")
    .replace("_STEP = 10", "_STEP = 100")
)


def test_a_backup_that_nohup_has_started_goes_on_when_its_terminal_goes(store: str, to: str) -> None:
    command = [sys.executable, "-c", NOHUP, "backup", store, to]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as backing_up:
        assert backing_up.stdout is not None
        assert backing_up.stdout.readline() == "half way\n"
        backing_up.send_signal(signal.SIGHUP)
        _, told = backing_up.communicate(timeout=PATIENCE)
    assert backing_up.returncode == 0
    assert told.endswith(", sound\n")
    assert files(to) == ["copy.db"]
