"""The command line beside other programs, and beside processes that have the store open; real processes, all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from command_line import ROOT, in_a_pipe, process, process_on_a_terminal
from file_rows import add_shape
from processes import PATIENCE, Workers, attempt_of, edit, lock_of, owner_files, read, until

from shapestore import Shape
from shapestore.cli import main
from shapestore.locking.gate import Gate

MANY = 20_000


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """A pipeline, as it is typed; its status is that of the first program."""
    return subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        env=os.environ | {"SHAPESTORE": f"{sys.executable} -m shapestore"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def large(empty_path: str) -> str:
    """A store with a shape of many rows."""
    with closing(sqlite3.connect(empty_path)) as connection, connection:
        rows = [f'{{"n":{n},"long":"{n:0300}","text":"text of row {n}"}}' for n in range(1, MANY + 1)]
        add_shape(connection, "aa", Shape("t"), rows=rows)
    return empty_path


@pytest.mark.parametrize("form", ["", "--json", "--csv"])
def test_a_reader_that_has_seen_enough_ends_it_without_a_word(large: str, form: str) -> None:
    ran = shell(f"$SHAPESTORE rows {large} aa {form} | head -2 | wc -l")
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (141, "2", "")


def test_a_reader_of_watch_that_has_seen_enough_ends_it_as_well(large: str) -> None:
    ran = shell(f"$SHAPESTORE watch {large} -n 100000 -i 0.05 | head -1 | wc -l")
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (141, "1", "")


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_a_long_shape_is_streamed_whole_and_never_held_whole(large: str, form: list[str]) -> None:
    lines = in_a_pipe("rows", large, "aa", *form).out.splitlines()
    assert len(lines) == MANY + (form != ["--json"])
    assert f"text of row {MANY}" in lines[-1]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        tracemalloc.start()
        try:
            assert main(["rows", large, "aa", *form]) == 0
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4_000_000  # of six million bytes of text


def test_a_full_disk_at_the_other_end_is_told_and_is_no_traceback(large: str) -> None:
    ran = shell(f"$SHAPESTORE rows {large} aa > /dev/full")
    assert ran.returncode == 1
    assert ran.stderr == "Error: No space left on device\n"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_a_full_disk_is_told_where_no_command_runs(option: str) -> None:
    ran = shell(f"$SHAPESTORE {option} > /dev/full")
    assert (ran.returncode, ran.stderr) == (1, "Error: No space left on device\n")


def test_a_closed_stdout_is_no_trouble(large: str) -> None:
    ran = shell(f"$SHAPESTORE ls {large} >&-")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_closed_stderr_is_no_trouble(empty_path: str) -> None:
    source = f"{empty_path}-source"
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO numbers VALUES (7)")
    for _ in range(2):
        ran = shell(f"$SHAPESTORE get {empty_path} --source sqlite:///{source} --table numbers 2>&-")
        assert (ran.returncode, ran.stdout) == (0, "n\n7\n")
    ran = shell(f"$SHAPESTORE rm {empty_path} zz 2>&-")
    assert (ran.returncode, ran.stdout) == (1, "")


def test_characters_that_stdout_does_not_know_are_written_as_escapes(example: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "shapestore", "rows", os.path.abspath(example), "a1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Gr\\xf6\\xdfe \\u5f62" in ran.stdout


def test_rows_that_go_while_they_are_read_end_in_an_error_and_never_short(large: str) -> None:
    reading = process("rows", large, "aa", "--json")
    assert reading.stdout is not None
    assert json.loads(reading.stdout.readline())["text"] == "text of row 1"
    assert in_a_pipe("rm", large, "aa").status == 0  # the reader waits: its pipe is full
    _, complaint = reading.communicate(timeout=PATIENCE)
    assert reading.returncode == 1
    assert "no shape has the handle 'aa' (any more)" in complaint


def test_ctrl_c_ends_watch_with_the_status_of_an_interrupt(example: str) -> None:
    watching, screen = process_on_a_terminal("watch", os.path.abspath(example), "-i", "0.05")
    with screen:
        while b"Invoice" not in screen.read(65_536):
            pass
        watching.send_signal(signal.SIGINT)
        rest = _all_of(screen.read)
    assert watching.wait(PATIENCE) == 130
    assert b"Traceback" not in rest


def test_ctrl_c_gives_up_a_creation_and_leaves_nothing(empty_path: str) -> None:
    # A view that never ends: its reader is in the middle of a row, in a thread that nothing can stop.
    source = f"{empty_path}-source"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute(
            "CREATE VIEW endless AS WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT n FROM n"
        )
    getting = process("get", empty_path, "--source", f"sqlite:///{source}", "--table", "endless")
    until(lambda: lock_of(empty_path, "endless"), "it is being created")
    getting.send_signal(signal.SIGINT)
    out, err = getting.communicate(timeout=PATIENCE)
    assert (getting.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert read(empty_path, "SELECT handle FROM create_locks") == []
    assert owner_files(empty_path) == set()


def test_progress_is_shown_on_a_terminal_and_the_rows_go_to_the_pipe(empty_path: str) -> None:
    source = f"{empty_path}-source"
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
        connection.execute(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?)"
            " INSERT INTO numbers SELECT n FROM n",
            (MANY,),
        )
    controller, terminal = os.openpty()
    getting = process("get", empty_path, "--source", f"sqlite:///{source}", "--table", "numbers", stderr=terminal)
    os.close(terminal)
    out, _ = getting.communicate(timeout=PATIENCE)
    with os.fdopen(controller, "rb", buffering=0) as screen:
        shown = _all_of(screen.read).decode()
    assert getting.returncode == 0
    assert out.splitlines()[0] == "n"
    assert out.count("\n") == MANY + 1
    assert "reading numbers" in shown
    assert " rows, " in shown
    assert "/s" in shown
    assert f"{MANY:,} rows, created in" in shown


def _all_of(read_some: Callable[[int], bytes]) -> bytes:
    content = b""
    try:
        while chunk := read_some(65_536):
            content += chunk
    except OSError:  # how a terminal says that its other end is closed
        pass
    return content


# --- beside processes that have the store open


def one(path: str, *command: str) -> Any:
    name, *rest = command
    ran = in_a_pipe(name, path, *rest, "--json")
    return json.loads(ran.out)


def test_the_locks_of_a_running_process_a_stopped_one_and_a_killed_one_are_told_apart(
    workers: Workers, empty_path: str
) -> None:
    living, stopped, dead = workers.open(empty_path, 3)
    for worker, key in ((living, "a"), (stopped, "b"), (dead, "c")):
        worker.lead(key, rows=5_000)
    until(lambda: read(empty_path, "SELECT count(*) FROM shape_rows")[0] >= 12_000, "rows are there")
    stopped.stop()
    dead.kill()
    seen = {lock["table"]: lock for lock in map(json.loads, in_a_pipe("locks", empty_path, "--json").out.splitlines())}
    assert {table: lock["owner"]["alive"] for table, lock in seen.items()} == {"a": True, "b": True, "c": False}
    assert {table: lock["owner"]["pid"] for table, lock in seen.items()} == {
        "a": living.pid,
        "b": stopped.pid,
        "c": dead.pid,
    }
    assert all(lock["rows_so_far"] >= 4_000 for lock in seen.values())
    assert (watched := one(empty_path, "watch"))["stores_open"] == 2
    assert watched["stores_dead"] == 1
    assert watched["wal_bytes"] > 0
    stopped.go_on()


def test_reading_waits_for_no_writer_and_changes_nothing(workers: Workers, empty_path: str) -> None:
    [worker] = workers.open(empty_path)
    worker.lead("key")
    owners = owner_files(empty_path)
    looks = ["ls", "locks", "history", "watch", "doctor", "explain --table key"]
    with Gate(empty_path).hold_blocking(), closing(sqlite3.connect(empty_path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        for look in looks:
            name, *rest = look.split()
            assert in_a_pipe(name, empty_path, *rest).status == 0
        writer.execute("ROLLBACK")
    assert owner_files(empty_path) == owners
    assert lock_of(empty_path, "key") is not None


def test_unlock_frees_the_lock_of_a_stopped_process_and_the_next_caller_creates_the_shape(
    workers: Workers, empty_path: str
) -> None:
    stopped, other = workers.open(empty_path, 2)
    stopped.lead("key")
    stopped.stop()
    ran = in_a_pipe("unlock", empty_path, "--table", "key")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err.startswith("freed ")
    assert isinstance(other.call("get_or_create", key="key"), str)
    assert read(empty_path, "SELECT outcome FROM creations ORDER BY number") == ["released", "created"]
    stopped.go_on()


def test_unlock_by_handle_frees_the_lock_of_the_dead(workers: Workers, empty_path: str) -> None:
    [worker] = workers.open(empty_path)
    worker.lead("key")
    handle = attempt_of(empty_path, "key")
    worker.kill()
    assert in_a_pipe("unlock", empty_path, "--handle", handle[:8]).status == 0
    assert lock_of(empty_path, "key") is None


def test_rm_and_invalidate_are_seen_at_once_by_processes_that_have_the_store_open(
    workers: Workers, empty_path: str
) -> None:
    [worker] = workers.open(empty_path, keep_replaced=0)
    handles = [worker.call("get_or_create", key=key) for key in ("a", "b", "c")]
    assert in_a_pipe("rm", empty_path, handles[0], handles[1][-12:]).status == 0
    assert [worker.call("get", key=key) for key in ("a", "b", "c")] == [None, None, handles[2]]
    assert one(empty_path, "invalidate", "c") == {"table": "c", "dropped": 1}
    assert one(empty_path, "invalidate", "c") == {"table": "c", "dropped": 0}
    assert worker.call("count") == 0
    until(lambda: read(empty_path, "SELECT count(*) FROM shape_rows") == [0], "the worker has deleted the rows")


def test_vacuum_is_refused_beside_an_open_store_unless_forced(workers: Workers, empty_path: str) -> None:
    [worker] = workers.open(empty_path)
    handle = worker.call("get_or_create", key="a", rows=3_000)
    ran = in_a_pipe("vacuum", empty_path)
    assert ran.status == 1
    assert f"is open in process {worker.pid}" in ran.err
    assert "--force" in ran.err
    assert in_a_pipe("vacuum", empty_path, "--force").status == 0
    assert len(worker.call("rows", handle=handle)) == 3_000
    worker.call("get_or_create", key="b")
    worker.end()
    assert in_a_pipe("doctor", empty_path).status == 0


def test_vacuum_deletes_what_is_left_behind_and_gives_its_space_back(large: str) -> None:
    before = os.stat(large).st_size
    edit(large, "DELETE FROM shapes")  # by a foreign hand: the rows belong to no shape
    report = one(large, "vacuum")
    assert report["bytes_before"] == before
    assert report["bytes_after"] == os.stat(large).st_size < before / 10
    assert read(large, "SELECT count(*) FROM shape_rows") == [0]
    assert in_a_pipe("doctor", large).status == 0


def test_vacuum_is_refused_while_litestream_may_have_the_file_open(large: str) -> None:
    edit(large, "DELETE FROM shapes")
    with closing(sqlite3.connect(large)) as litestream:
        litestream.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
        log = os.stat(f"{large}-wal")
        for force in ([], ["--force"]):
            ran = in_a_pipe("vacuum", large, *force)
            assert ran.status == 1
            assert "stop Litestream" in ran.err
            assert os.path.samestat(os.stat(f"{large}-wal"), log)
            assert os.stat(f"{large}-wal").st_size == log.st_size > 0, "nothing was written, nothing checkpointed"
    before = os.stat(large).st_size
    assert one(large, "vacuum")["bytes_after"] == os.stat(large).st_size < before / 10
    assert read(large, "PRAGMA journal_mode") == ["wal"]


def test_rm_leaves_no_rows_behind_where_no_store_is_open(large: str) -> None:
    assert in_a_pipe("rm", large, "aa").status == 0
    assert read(large, "SELECT count(*) FROM shape_rows") == [0]
    assert read(large, "SELECT number FROM discarded") == []


def test_a_writer_that_cannot_have_the_gate_says_so(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shapestore.locking.gate.WAIT_SECONDS", 0.05)
    with Gate(empty_path).hold_blocking():
        for command in (("invalidate", empty_path, "t"), ("vacuum", empty_path), ("migrate", empty_path)):
            ran = in_a_pipe(*command)
            assert ran.status == 1
            assert "the write gate" in ran.err
