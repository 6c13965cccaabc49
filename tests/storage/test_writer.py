from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Self

import aiosqlite
import pytest
from file_rows import add_shape
from inspections import PATIENCE, assert_no_transaction_is_open, eventually, gate_held
from locked import is_locked
from processes import handles_with_rows, read

from shapestore import Shape, ShapeStore, StorageError, StoreBusyError, StoreClosedError
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.errors import ShapeStoreError
from shapestore.events import Checkpointed, Event
from shapestore.locking import boot_clock
from shapestore.locking.create_lock import Failure
from shapestore.locking.gate import Gate
from shapestore.storage import commands, wal
from shapestore.storage.commands import AddRows, Claim, Command, Delete, Fail, Invalidate, Publish, Release
from shapestore.storage.connection import open_writer
from shapestore.storage.log.chunks import Chunk, Encoder
from shapestore.storage.transaction import Transaction
from shapestore.storage.wal import CHECKPOINT_BYTES, SYNC_BYTES
from shapestore.storage.writer import MAX_BATCH, MAX_BATCH_BYTES, QUICK_BYTES, Writer
from shapestore.telemetry import Telemetry

pytestmark = pytest.mark.usefixtures("untroubled")

OWNER = "0123456789abcdef"


class Desk:
    """A writer at work on a file, and what it tells of it."""

    def __init__(self, path: str, connection: aiosqlite.Connection, max_queued: int) -> None:
        self.path = path
        self.connection = connection
        self.gate = Gate(path)
        self.events: list[Event] = []
        self.telemetry = Telemetry(self.events.append)
        self.threads = WorkerThreads()
        self.writer = Writer(
            path,
            connection,
            self.gate,
            OWNER,
            file=os.stat(path),
            threads=self.threads,
            max_queued=max_queued,
            telemetry=self.telemetry,
        )
        self.working = asyncio.create_task(self.writer.run())
        self.sizes: list[int] = []

    async def close(self) -> None:
        self.writer.close()
        await asyncio.wait([self.working])
        await self.connection.close()
        self.threads.close()
        self.gate.close()

    async def write(self, handle: str, size: int) -> None:
        """Add a row of so many bytes to an attempt, and note how large the log is then."""
        assert await self.writer.submit(AddRows(chunk(handle, size)))
        self.sizes.append(self.writer.wal.size())


@contextlib.asynccontextmanager
async def desk_at(path: str, max_queued: int = 1_000) -> AsyncIterator[Desk]:
    desk = Desk(path, await open_writer(path, "normal"), max_queued)
    await asyncio.sleep(0)
    try:
        yield desk
    finally:
        await desk.close()


@pytest.fixture
async def desk(empty_path: str) -> AsyncIterator[Desk]:
    async with desk_at(empty_path) as desk:
        yield desk


def key(name: str) -> str:
    return Shape(name).comparable


def claim(name: str) -> Claim:
    """A claim of the shape of a table, under a handle of the same name."""
    return claim_of(name, name)


def claim_of(table: str, handle: str) -> Claim:
    return Claim(Shape(table), handle, comparable=key(table), namespace="", over=None, older=None)


_positions: defaultdict[str, count[int]] = defaultdict(lambda: count(1))
"""By handle; each test has its own file, where the rows of an attempt begin."""


@pytest.fixture(autouse=True)
def positions_begin_again() -> None:
    _positions.clear()


def chunk(handle: str, size: int) -> Chunk:
    rows = Chunk(handle, next(_positions[handle]))
    rows.add('{"text":"' + "x" * size + '"}', size, None)
    return rows


def publish(name: str, size: int = 1) -> Publish:
    _positions.pop(name, None)
    rest, encoder = chunk(name, size), Encoder(name)
    encoder.row_count, encoder.bytes = 1, rest.size
    return Publish(rest, encoder, replaces=False, duration_ms=0, followers=0)


class Faulty(Command[int]):
    """A command whose parameter SQLite has no form for, as no command should be."""

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[int]:
        tx.run("UPDATE totals SET value = 1000")
        tx.run("SELECT :number", number=2**70)
        return [1] * len(group)


@pytest.fixture
def faulty_is_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "KINDS", (*commands.KINDS, Faulty))


# --- batches


async def test_what_is_submitted_while_the_writer_is_busy_goes_into_one_transaction(desk: Desk) -> None:
    async with gate_held(desk.path):
        first = desk.writer.submit(claim("first"))
        await eventually(lambda: desk.writer.queued == 0)
        rest = [desk.writer.submit(claim(str(number))) for number in range(100)]
    assert await first
    assert all(await asyncio.gather(*rest))
    assert desk.telemetry.batches == 2
    assert desk.telemetry.commands == 101


async def test_a_batch_has_a_greatest_number_of_commands(desk: Desk) -> None:
    async with gate_held(desk.path):
        first = desk.writer.submit(claim("first"))
        await eventually(lambda: desk.writer.queued == 0)
        rest = [desk.writer.submit(claim(str(number))) for number in range(2 * MAX_BATCH + 1)]
    await asyncio.gather(first, *rest)
    assert desk.telemetry.batches == 4


async def test_what_is_answered_is_committed(desk: Desk) -> None:
    for name in "abc":
        assert await desk.writer.submit(claim(name))
        assert name in read(desk.path, "SELECT handle FROM create_locks")
        assert await desk.writer.submit(publish(name))
        assert name in read(desk.path, "SELECT handle FROM shapes")
    assert read(desk.path, "SELECT handle FROM create_locks") == []


async def test_two_claims_of_one_key_in_one_batch_have_one_winner(desk: Desk) -> None:
    async with gate_held(desk.path):
        claims = [desk.writer.submit(claim_of("a", f"h{number}")) for number in range(10)]
    assert sorted(await asyncio.gather(*claims)) == [False] * 9 + [True]
    assert desk.telemetry.batches == 1


async def test_invalidations_of_one_batch_end_the_attempts_of_their_own_tables(desk: Desk) -> None:
    tables = ["a", "b", "c"]
    assert all(await asyncio.gather(*(desk.writer.submit(claim(table)) for table in tables)))
    answers = await asyncio.gather(
        *(
            desk.writer.submit(Invalidate(of, table))
            for of, table in (("", "b"), ("", "a"), ("", "b"), ("another", "c"), ("", "none"))
        )
    )
    assert answers == [(0, ["b"]), (0, ["a"]), (0, []), (0, []), (0, [])]
    assert read(desk.path, "SELECT handle FROM create_locks") == ["c"]


async def test_a_caller_that_has_gone_does_not_take_its_command_with_it(desk: Desk) -> None:
    async with gate_held(desk.path):
        waiting = [desk.writer.submit(claim(name)) for name in "abc"]
        waiting[1].cancel()
    assert (await waiting[0], await waiting[2]) == (True, True)
    assert read(desk.path, "SELECT handle FROM create_locks ORDER BY handle") == ["a", "b", "c"]


# --- the queue


async def test_the_queue_is_bounded_for_what_may_be_refused_and_open_for_outcomes(empty_path: str) -> None:
    async with desk_at(empty_path, max_queued=3) as desk:
        async with gate_held(empty_path):
            first = desk.writer.submit(claim("first"))
            await eventually(lambda: desk.writer.queued == 0)
            queued = [desk.writer.submit(claim(str(number)), refusable=True) for number in range(3)]
            with pytest.raises(StoreBusyError, match="3 commands wait for the writer") as caught:
                desk.writer.submit(claim("refused"), refusable=True)
            assert caught.value.retry_after > 0
            outcome = desk.writer.submit(Fail(key("first"), "first", Failure("E", "", 0), duration_ms=0, followers=0))
            assert desk.writer.queued == 4
        assert await first
        assert await outcome
        assert all(await asyncio.gather(*queued))
        assert await desk.writer.submit(claim("again"), refusable=True)
    assert "refused" not in read(empty_path, "SELECT handle FROM create_locks")


async def test_the_quick_are_not_kept_waiting_by_the_bulky(desk: Desk) -> None:
    """They go first into each batch, and no batch brings much more than one may."""
    assert await desk.writer.submit(claim("bulky"))
    done: list[str] = []

    def note(name: str, waiting: asyncio.Future[Any]) -> asyncio.Future[Any]:
        waiting.add_done_callback(lambda _: done.append(name))
        return waiting

    size = MAX_BATCH_BYTES // 2
    async with gate_held(desk.path):
        all_of_them = [note("bulky", desk.writer.submit(AddRows(chunk("bulky", size)))) for _ in range(10)]
        await eventually(lambda: desk.writer.queued == 8)  # two are in the batch that waits for the gate
        all_of_them += [note("quick", desk.writer.submit(claim(str(number)))) for number in range(5)]
        batches = desk.telemetry.batches
    await asyncio.gather(*all_of_them)
    assert done == ["bulky"] * 2 + ["quick"] * 5 + ["bulky"] * 8
    assert desk.telemetry.batches == batches + 5


async def test_the_bulky_get_on_however_many_quick_ones_there_are(desk: Desk) -> None:
    assert await desk.writer.submit(claim("bulky"))
    async with gate_held(desk.path):
        first = desk.writer.submit(claim("first"))
        await eventually(lambda: desk.writer.queued == 0)
        bulky = desk.writer.submit(AddRows(chunk("bulky", 2 * MAX_BATCH_BYTES)))
        quick = [desk.writer.submit(claim(str(number))) for number in range(3 * MAX_BATCH)]
    assert await bulky
    assert sum(one.done() for one in quick) <= MAX_BATCH
    await asyncio.gather(first, *quick)


async def test_a_line_of_quick_commands_with_rows_is_cut_by_their_size(desk: Desk) -> None:
    assert await desk.writer.submit(claim("a"))
    batches = desk.telemetry.batches
    async with gate_held(desk.path):
        waiting = [
            desk.writer.submit(AddRows(chunk("a", QUICK_BYTES))) for _ in range(3 * MAX_BATCH_BYTES // QUICK_BYTES)
        ]
    assert all(await asyncio.gather(*waiting))
    assert desk.telemetry.batches == batches + 3


# --- a command at fault


async def test_one_command_that_the_file_refuses_does_not_hurt_the_others(desk: Desk) -> None:
    """Somebody has put a shape into the file by hand, under a key that is being created."""
    assert await asyncio.gather(*(desk.writer.submit(claim(name)) for name in "abc")) == [True] * 3
    with contextlib.closing(sqlite3.connect(desk.path)) as connection, connection:
        add_shape(connection, "by hand", Shape("b"))
    async with gate_held(desk.path):
        a, b, c = (desk.writer.submit(publish(name)) for name in "abc")
        d = desk.writer.submit(claim("d"))
    assert await a
    assert await c
    assert await d
    with pytest.raises(StorageError, match="UNIQUE constraint failed") as caught:
        await b
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert read(desk.path, "SELECT handle FROM shapes ORDER BY handle") == ["a", "by hand", "c"]
    assert read(desk.path, "SELECT handle FROM create_locks ORDER BY handle") == ["b", "d"]
    assert handles_with_rows(desk.path) == ["a", "c"]
    # Once the cause is gone, it goes through.
    assert await desk.writer.submit(Delete("by hand"))
    assert await desk.writer.submit(publish("b"))


@pytest.mark.usefixtures("faulty_is_a_kind")
async def test_one_command_that_fails_unexpectedly_does_not_hurt_the_others_nor_the_writer(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async with gate_held(desk.path):
        a, faulty, another, b = (
            desk.writer.submit(command) for command in (claim("a"), Faulty(), Faulty(), claim("b"))
        )
    assert await a
    assert await b
    for one in (faulty, another):
        with pytest.raises(ShapeStoreError, match=r"unexpected OverflowError: .*; please report it"):
            await one
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert set(read(desk.path, "SELECT value FROM totals")) == {0}  # what it had done before it failed is undone
    assert await desk.writer.submit(claim("c"))


# --- a file that is busy, away, or full


async def test_all_commands_of_a_batch_that_met_a_busy_file_are_told_each_by_an_error_of_its_own(desk: Desk) -> None:
    await desk.connection.execute_fetchall("PRAGMA busy_timeout = 1")
    with contextlib.closing(sqlite3.connect(desk.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        async with gate_held(desk.path):
            waiting = [desk.writer.submit(claim(name)) for name in "abc"]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        foreign.execute("ROLLBACK")
    assert len(set(map(id, errors))) == 3
    for error in errors:
        assert isinstance(error, StoreBusyError)
        assert "nothing was changed" in str(error)
        assert isinstance(error.__cause__, sqlite3.OperationalError)
    assert desk.telemetry.batches == 0
    assert await desk.writer.submit(claim("a"))


async def test_what_is_written_bears_the_time_at_which_it_could_be(desk: Desk) -> None:
    """Another program may hold the file until then: what is kept for its readers would be old from the beginning."""
    begins = threading.Event()
    await desk.connection.execute_fetchall("PRAGMA busy_timeout = 60000")
    await desk.connection.set_trace_callback(lambda statement: begins.set() if "BEGIN" in statement else None)
    with contextlib.closing(sqlite3.connect(desk.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        claimed = desk.writer.submit(claim("a"))
        await eventually(begins.is_set)
        await asyncio.sleep(0.01)
        now = boot_clock.now()
        foreign.execute("ROLLBACK")
    assert await claimed
    [started_at] = read(desk.path, "SELECT started_at_boot_ms FROM create_locks")
    assert started_at >= now.boot_ms


async def test_a_gate_that_is_not_to_be_had_is_told_to_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shapestore.locking.gate.WAIT_SECONDS", 0.01)
    async with gate_held(desk.path):
        errors = await asyncio.gather(*(desk.writer.submit(claim(name)) for name in "abc"), return_exceptions=True)
        assert [type(error) for error in errors] == [StoreBusyError] * 3
        assert len(set(map(id, errors))) == 3
    assert await desk.writer.submit(claim("a"))
    assert read(desk.path, "SELECT handle FROM create_locks") == ["a"]


def put_another_file_there(path: str) -> None:
    with contextlib.closing(sqlite3.connect(f"{path}.another")) as connection:
        connection.execute("CREATE TABLE another (one)")
    os.replace(f"{path}.another", path)


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
async def test_a_file_that_is_not_the_one_that_was_opened_is_written_no_more(empty_path: str, how: str) -> None:
    """SQLite itself would go on, and write to a file that nobody can open any more."""
    kept = f"{empty_path}.kept"
    async with desk_at(empty_path) as desk:
        assert await desk.writer.submit(claim("before"))
        os.link(empty_path, kept)
        if how == "replaced":
            put_another_file_there(empty_path)
        else:
            os.unlink(empty_path)
        for _ in range(2):
            with pytest.raises(StorageError, match="was moved, removed or replaced while it was open"):
                await desk.writer.submit(claim("meanwhile"))
        os.replace(kept, empty_path)
        assert await desk.writer.submit(claim("after"))
    assert read(empty_path, "SELECT handle FROM create_locks ORDER BY handle") == ["after", "before"]


async def test_a_full_disk_is_told_to_all_of_a_batch_and_the_writer_goes_on_once_there_is_room(desk: Desk) -> None:
    assert await desk.writer.submit(claim("a"))
    [(pages,)] = await desk.connection.execute_fetchall("PRAGMA page_count")
    await desk.connection.execute_fetchall(f"PRAGMA max_page_count = {pages}")
    async with gate_held(desk.path):
        waiting = [desk.writer.submit(command) for command in (claim("b"), publish("a", 100_000), claim("c"))]
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [StorageError] * 3
    assert "the disk is full" in str(errors[0])
    assert read(desk.path, "SELECT handle, state FROM create_locks") == [("a", "in_progress")]
    assert_no_transaction_is_open(desk.path)
    await desk.connection.execute_fetchall("PRAGMA max_page_count = 1073741823")
    assert await desk.writer.submit(publish("a", 100_000))
    assert await desk.writer.submit(claim("b"))


# --- the log


async def test_the_log_stays_small_however_much_is_written(desk: Desk) -> None:
    assert await desk.writer.submit(claim("a"))
    for _ in range(80):
        await desk.write("a", 512 * 1024)
    written = 80 * 512 * 1024
    assert written > 4 * CHECKPOINT_BYTES
    assert max(desk.sizes) < CHECKPOINT_BYTES + 2 * MAX_BATCH_BYTES
    # It is written over, and not cut: to grow again would take as long as all else.
    assert CHECKPOINT_BYTES <= os.stat(f"{desk.path}-wal").st_size < CHECKPOINT_BYTES + 2 * MAX_BATCH_BYTES
    checkpoints = [event for event in desk.events if isinstance(event, Checkpointed)]
    assert {event.wal_bytes for event in checkpoints} == {0}
    assert len(checkpoints) <= written // CHECKPOINT_BYTES + 1


async def test_the_log_is_written_to_the_disk_while_the_writer_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the disk is. A checkpoint, for which all writers wait, finds most of it done."""
    synced: list[str] = []
    disk_is_quick = threading.Event()

    def sync(path: str) -> None:
        synced.append(path)
        disk_is_quick.wait(PATIENCE)

    monkeypatch.setattr(wal, "sync", sync)
    assert await desk.writer.submit(claim("a"))
    for _ in range(3):
        await desk.write("a", SYNC_BYTES)
    await eventually(lambda: synced)
    assert not is_locked(desk.gate.path)
    assert synced == [f"{desk.path}-wal"]  # one at a time
    disk_is_quick.set()
    async with asyncio.timeout(PATIENCE):
        while len(synced) < 2:
            await desk.write("a", 1)


async def test_the_log_is_cut_when_a_long_reader_has_ended(desk: Desk) -> None:
    assert await desk.writer.submit(claim("a"))
    with contextlib.closing(sqlite3.connect(desk.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM shapes").fetchall()
        for _ in range(40):
            await desk.write("a", 512 * 1024)
        await desk.write("a", 1)
        assert desk.sizes[-1] > 2 * CHECKPOINT_BYTES  # the reader needs what the database was before
        attempts = sum(isinstance(event, Checkpointed) for event in desk.events)
        assert 0 < attempts <= 6  # it is tried when the log has grown, not with each batch
        reader.execute("COMMIT")
    for _ in range(16):
        await desk.write("a", 512 * 1024)
    await desk.write("a", 1)  # which comes when the last checkpoint is done
    assert desk.sizes[-1] < CHECKPOINT_BYTES + 2 * MAX_BATCH_BYTES
    assert os.stat(f"{desk.path}-wal").st_size < CHECKPOINT_BYTES + 2 * MAX_BATCH_BYTES
    assert isinstance(desk.events[-1], Checkpointed)
    assert desk.events[-1].wal_bytes == 0


async def test_a_reader_in_the_way_of_a_checkpoint_keeps_no_writer_waiting(desk: Desk) -> None:
    """The checkpoint waits for no lock, and leaves the connection waiting for foreign writers as before."""
    assert await desk.writer.submit(claim("a"))
    with contextlib.closing(sqlite3.connect(desk.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM shapes").fetchall()
        for _ in range(20):
            await desk.write("a", 512 * 1024)
        await desk.write("a", 1)  # which comes when the checkpoint is done
        checkpoints = [event for event in desk.events if isinstance(event, Checkpointed)]
        assert checkpoints
        assert checkpoints[-1].wal_bytes > 0
    assert list(await desk.connection.execute_fetchall("PRAGMA busy_timeout")) == [(5_000,)]


async def test_a_checkpoint_beside_that_of_another_program_is_made_later(desk: Desk) -> None:
    """SQLite does nothing then. The log is not taken to be in the database, or it would grow on."""
    assert await desk.writer.submit(claim("a"))
    await desk.write("a", 1)
    with in_a_checkpoint(desk.path):
        for _ in range(20):
            await desk.write("a", 512 * 1024)
        await desk.write("a", 1)  # which comes when the checkpoint was tried
        assert any(isinstance(event, Checkpointed) for event in desk.events)
        assert desk.writer.wal.size() > CHECKPOINT_BYTES
    desk.writer.wal.checkpoint_soon()
    await desk.write("a", 1)
    await desk.write("a", 1)
    assert desk.writer.wal.size() < CHECKPOINT_BYTES


@contextlib.contextmanager
def in_a_checkpoint(path: str) -> Iterator[None]:
    """While another program holds the lock under which SQLite makes checkpoints."""
    lock = "import fcntl, os, sys; fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX, 1, 121)"
    program = [sys.executable, "-c", f"{lock}; print(flush=True); sys.stdin.read()", f"{path}-shm"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


async def test_checkpoints_are_made_under_the_gate(empty_path: str) -> None:
    async with desk_at(empty_path) as desk:
        held: list[bool] = []

        def look(event: Event) -> None:
            if isinstance(event, Checkpointed):
                held.append(is_locked(desk.gate.path))

        desk.telemetry.tell_also(look)
        assert await desk.writer.submit(claim("a"))
        for _ in range(20):
            await desk.write("a", 512 * 1024)
        assert held
        assert all(held)
        assert not is_locked(desk.gate.path)


async def test_no_checkpoint_is_made_beside_the_writers(desk: Desk) -> None:
    """SQLite's own would come with any commit, with no regard for the gate."""
    assert await desk.writer.submit(claim("a"))
    await desk.write("a", CHECKPOINT_BYTES // 2)  # more than the thousand pages of SQLite's own bound
    await desk.write("a", 4 * 1024 * 300)
    size = os.stat(desk.path).st_size
    await desk.write("a", 1)
    assert os.stat(desk.path).st_size == size
    assert desk.writer.wal.size() > 4_096 * 300


# --- the end


async def test_what_is_queued_is_written_before_the_writer_ends_and_nothing_is_taken_after(empty_path: str) -> None:
    async with desk_at(empty_path) as desk:
        async with gate_held(empty_path):
            first = desk.writer.submit(claim("first"))
            await eventually(lambda: desk.writer.queued == 0)
            queued = [desk.writer.submit(claim(str(number))) for number in range(10)]
            desk.writer.close()
            with pytest.raises(StoreClosedError, match="nothing more is written"):
                desk.writer.submit(claim("late"))
        await desk.working
        assert first.done()
        assert all(one.done() and one.result() for one in queued)


async def test_a_writer_that_never_had_anything_to_do_ends_at_once(desk: Desk) -> None:
    desk.writer.close()
    async with asyncio.timeout(60):
        await desk.working


async def test_a_writer_stopped_by_force_leaves_nobody_waiting_and_no_transaction(empty_path: str) -> None:
    """As it is at the end of asyncio.run, when all tasks are cancelled."""
    for stop_after in range(12):
        async with desk_at(empty_path) as desk:
            all_of_them: list[Command[Any]] = [claim(f"{stop_after}{letter}") for letter in "abcd"]
            waiting = [desk.writer.submit(command) for command in [*all_of_them, Release(key("a"))]]
            for _ in range(stop_after):
                await asyncio.sleep(0.0003)
            desk.working.cancel()
            await asyncio.wait([desk.working])
            answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
            assert answers == [True] * 4 + [None] or {type(answer) for answer in answers} == {StoreClosedError}
            with pytest.raises(StoreClosedError, match=r"writer was cancelled.*open it again"):
                desk.writer.submit(claim("late"))
            await desk.connection.execute_fetchall("SELECT 1")  # whatever it was doing is done
            assert not desk.connection.in_transaction
        assert not is_locked(f"{empty_path}-gate")


# --- what is told of a commit raises


def raises_once(error: BaseException) -> Callable[[object], None]:
    errors = [error]

    def told(_: object) -> None:
        if errors:
            raise errors.pop()

    return told


@pytest.mark.parametrize("who", ["on_commit", "a caller"])
async def test_what_is_committed_is_neither_done_again_nor_refused_if_one_who_is_told_of_it_raises(
    desk: Desk, caplog: pytest.LogCaptureFixture, who: str
) -> None:
    """As where memory is short: the others would be told that their keys are claimed, which they have claimed."""
    told = raises_once(MemoryError())
    async with gate_held(desk.path):
        if who == "on_commit":
            desk.writer.on_commit = told
        else:
            desk.writer.send(claim("x"), told, told)
        waiting = [desk.writer.submit(claim(name)) for name in "abc"]
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert desk.telemetry.batches == 1
    assert "unexpected error of a caller that was told of a commit; the store continues" in caplog.text


def test_an_interrupt_of_one_who_is_told_of_a_commit_reaches_the_program_and_the_others_are_told(
    tmp_path: Path,
) -> None:
    """As by a person who interrupts a notebook, whose loop goes on."""
    answers: list[object] = []
    store = ShapeStore(tmp_path / "shapes.db")

    async def send(writer: Writer) -> None:
        writer.send(claim("x"), raises_once(KeyboardInterrupt()), answers.append)
        writer.send(claim("a"), answers.append, answers.append)
        await asyncio.wait_for(asyncio.Event().wait(), PATIENCE)

    with asyncio.Runner() as runner:
        runner.run(store.open())
        with pytest.raises(KeyboardInterrupt):
            runner.run(send(store._lifecycle.opened.writer))
        assert answers == [True]
        assert runner.run(store.get_or_create(Shape("later"), lambda _: [{"n": 1}])).row_count == 1
        runner.run(store.close())


@pytest.mark.usefixtures("faulty_is_a_kind")
async def test_a_writer_stopped_while_it_looks_for_the_one_at_fault_leaves_nobody_waiting(empty_path: str) -> None:
    async with desk_at(empty_path) as desk:
        async with gate_held(empty_path):
            all_of_them: list[Command[Any]] = [Faulty(), *map(claim, "abcdefgh")]
            waiting = [desk.writer.submit(command) for command in all_of_them]
        await asyncio.wait([waiting[1]])  # each is now written by itself
        desk.working.cancel()
        answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
        assert answers[1] is True
        assert all(answer is True or isinstance(answer, ShapeStoreError) for answer in answers)
