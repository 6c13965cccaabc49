"""The table of transitions, explored to its end (transition_model.py), and held against the statements that do it."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from itertools import combinations, product
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio
import transition_model as model
from file_rows import add_lock, add_outcome, add_rows, add_shape, discard
from transition_model import CURRENT, FAILED_BEFORE, GONE, NEW, STORED, Answer, Explored, File, Happening, Lock

from shapestore import Shape
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.locking.create_lock import State
from shapestore.locking.gate import Gate
from shapestore.storage import commands, migrations
from shapestore.storage.connection import open_writer
from shapestore.storage.log.chunks import Chunk, Encoder
from shapestore.storage.reader import Reader
from shapestore.storage.transaction import transact
from shapestore.storage.writer import Writer
from shapestore.telemetry import Telemetry

SHAPE = Shape("Track")


@pytest.fixture(scope="module")
def of_two() -> Explored:
    """All worlds of two processes, with everything that may happen."""
    return model.explore(2, Happening())


def test_one_process_alone_keeps_every_promise() -> None:
    model.explore(1, Happening())


def test_two_processes_keep_every_promise_whatever_happens_between_any_two_steps(of_two: Explored) -> None:
    phases = {process.flight.phase for world in of_two.worlds for process in world.processes if process.flight}
    assert phases == set(model.Phase), "the model goes everywhere"
    assert {file.lock and file.lock.state for file, _ in of_two.did} == {None, *State}


def test_three_processes_keep_every_promise_through_crashes_and_persons() -> None:
    model.explore(3, Happening(refreshes=False, disk_errors=False, impatience=False, trimming=False))


@pytest.mark.slow
def test_three_processes_keep_every_promise_whatever_happens_between_any_two_steps() -> None:
    model.explore(3, Happening())


async def test_the_statements_do_what_the_model_says_with_every_command_in_every_file(
    of_two: Explored, real: RealFile
) -> None:
    ends: list[model.Command] = [
        model.EndOwner(owner, outcome) for owner in ("o0", "o1", model.DEAD) for outcome in ("died", "abandoned")
    ]
    assert {command for _, command in of_two.did} <= {*_all_commands(), *ends}, "the model does nothing else"
    for file, command in product(_all_files(of_two), (*_all_commands(), *ends)):
        if wanted := _results(file, command):
            before = real.write(file)
            answers = await real.do(file, command)
            assert (real.read(), answers) == wanted, (file, command)
            if wanted[0] == file and answers != [True]:
                assert real.dump() == before, f"{command} is void in {file}, and changed something"


async def test_two_commands_of_one_batch_do_what_one_after_the_other_would(of_two: Explored, real: RealFile) -> None:
    cases = list(_all_pairs(of_two))
    for file, one, other in random.Random(3).sample(cases, 800):
        await _check_a_batch(real, file, one, other)


@pytest.mark.slow
async def test_any_two_commands_of_one_batch_do_what_one_after_the_other_would(
    of_two: Explored, real: RealFile
) -> None:
    for file, one, other in _all_pairs(of_two):
        await _check_a_batch(real, file, one, other)


async def test_a_look_sees_what_the_model_says_in_every_file(of_two: Explored, real: RealFile) -> None:
    reader = await Reader.open(real.path)
    try:
        for file, awaited in product(_all_files(of_two), (None, CURRENT, STORED, FAILED_BEFORE, GONE)):
            real.write(file)
            polled = reader.poll(SHAPE.comparable, SHAPE, awaited)
            assert polled is not None
            seen, stored = polled
            assert seen == model.seen_in(file, awaited)
            assert (stored and stored.handle) == file.stored
    finally:
        await reader.close()


def _all_files(explored: Explored) -> list[File]:
    return sorted({world.file for world in explored.worlds}, key=repr)


def _all_commands() -> list[model.Command]:
    """Every command about every handle: also such as could only come from a process that has gone mad."""
    asked: list[model.Command] = [model.Release(), model.Invalidate()]
    handles = (CURRENT, STORED, FAILED_BEFORE, GONE)
    asked += [model.Delete(handle) for handle in handles]
    for owner, handle in product(("o0", "o1"), handles):
        asked += [kind(owner, handle) for kind in (model.AddRows, model.Fail, model.Abandon, model.Sweep)]
        asked += [model.Publish(owner, handle, replaces) for replaces in (True, False)]
    for owner, over, older in product(("o0", "o1"), (None, CURRENT, FAILED_BEFORE, GONE), (None, STORED, GONE)):
        asked.append(model.Claim(owner, NEW, over, older))
    return asked


def _results(file: File, *wishes: model.Command) -> tuple[File, list[Answer]] | None:
    """What the commands do one after the other. None if no store can come to that."""
    answers = []
    for wish in wishes:
        try:
            file, answer = model.apply(file, wish)
            model.check_file(file)
        except model.ViolationError:
            return None
        answers.append(answer)
    return file, answers


def _all_pairs(explored: Explored) -> Iterator[tuple[File, model.Command, model.Command]]:
    """What one process might have in flight at once."""
    for file, (one, other) in product(_all_files(explored), combinations(_all_commands(), 2)):
        if type(one) is not type(other) and len({one.owner, other.owner} - {"a person"}) < 2:
            yield file, one, other


async def _check_a_batch(real: RealFile, file: File, one: model.Command, other: model.Command) -> None:
    first, last = _results(file, one, other), _results(file, other, one)
    if first and last:
        real.write(file)
        answers = await real.do(file, one, other)
        assert (real.read(), answers) in [first, (last[0], last[1][::-1])], (file, one, other)


# --- a real file, written and read as the model's -----------------------------------------------------------------


class RealFile:
    def __init__(self, path: str, plain: sqlite3.Connection, connection: aiosqlite.Connection) -> None:
        self.path = path
        self._plain = plain
        self._connection = connection
        self._gate = Gate(path)

    async def close(self) -> None:
        self._gate.close()
        await self._connection.close()

    async def do(self, file: File, *wishes: model.Command) -> list[Answer]:
        """Have commands done by a real writer, in one batch."""
        owner = next((wish.owner for wish in wishes if wish.owner != "a person"), "a person")
        if isinstance(wishes[0], model.EndOwner):
            ended, outcome = wishes[0].owner, wishes[0].outcome
            await transact(self._connection, "o9", lambda tx: commands.end_owner(tx, ended, outcome))
            return [None]
        telemetry = Telemetry(None)
        threads = WorkerThreads()
        writer = Writer(
            self.path,
            self._connection,
            self._gate,
            owner,
            file=os.stat(self.path),
            threads=threads,
            max_queued=10,
            telemetry=telemetry,
        )
        answers = [writer.submit(_real_command(file, wish)) for wish in wishes]
        writer.close()
        await writer.run()
        threads.close()
        assert telemetry.batches == 1, "they were one batch"
        return [_as_answer(wish, await answer) for wish, answer in zip(wishes, answers, strict=True)]

    def write(self, file: File) -> list[Any]:
        """Make it say what ``file`` says; give back all of its rows."""
        run = self._plain.execute
        run("BEGIN IMMEDIATE")
        for table in ("shapes", "kept", "shape_rows", "create_locks", "discarded", "creations"):
            run(f"DELETE FROM {table}")
        assert not file.kept, "what is kept makes no difference to a transition"
        for handle in file.with_rows - {file.stored}:
            add_rows(self._plain, NUMBERS[handle], 1)
        discard(self._plain, *(NUMBERS[handle] for handle in file.discarded))
        for handle, outcome in sorted(file.outcomes):
            failure = model.failure_of(handle) if outcome == "failed" else None
            add_outcome(self._plain, handle, SHAPE, outcome, failure=failure)
        if file.stored:
            add_shape(self._plain, file.stored, SHAPE, rows=["{}"], number=NUMBERS[file.stored])
        if file.lock:
            handle, state, owner = file.lock
            failure = model.failure_of(handle) if state is State.FAILED else None
            add_lock(self._plain, handle, SHAPE, owner=owner, failure=failure, number=NUMBERS[handle])
        run("UPDATE sqlite_sequence SET seq = ? WHERE name = 'create_locks'", (max(NUMBERS.values()),))
        run("COMMIT")
        return self.dump()

    def read(self) -> File:
        """What it says, as the model's file; what the model leaves out is checked here."""
        stored = self._all("SELECT handle, row_count FROM shapes")
        locks = self._all("SELECT handle, state, owner, error_message FROM create_locks")
        outcomes = self._all("SELECT handle, outcome, error_message FROM creations")
        rows = self._all("SELECT shape, count(*), max(position) FROM shape_rows GROUP BY shape")
        assert all(count == last for _, count, last in rows), "positions count from 1"
        found = {_handle(number): count for number, count, _ in rows}
        assert all(found[handle] == count for handle, count in stored)
        for handle, what, message in (*[(h, state, m) for h, state, _, m in locks], *outcomes):
            assert message == (model.failure_of(handle).message if what == "failed" else None)
        lock = next((Lock(handle, State(state), owner) for handle, state, owner, _ in locks), None)
        return File(
            stored[0][0] if stored else None,
            lock,
            frozenset((handle, outcome) for handle, outcome, _ in outcomes),
            frozenset(_handle(number) for (number,) in self._all("SELECT number FROM discarded")),
            frozenset(handle for (handle,) in self._all("SELECT handle FROM kept")),
            frozenset(found),
        )

    def dump(self) -> list[Any]:
        tables = ("shapes", "kept", "shape_rows", "create_locks", "discarded", "creations", "totals")
        return [sorted(self._all(f"SELECT * FROM {table}"), key=repr) for table in tables]

    def _all(self, statement: str) -> list[tuple[Any, ...]]:
        return self._plain.execute(statement).fetchall()


@pytest_asyncio.fixture
async def real(tmp_path: Path) -> AsyncIterator[RealFile]:
    path = str(tmp_path / "shapes.db")
    migrations.upgrade(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        file = RealFile(path, plain, await open_writer(path, "normal"))
        yield file
        await file.close()


NUMBERS = {CURRENT: 1, STORED: 2, FAILED_BEFORE: 3, GONE: 4}
"""What is in the file has these; what a command brings has the next."""


def _handle(number: int) -> str:
    return next((handle for handle, known in NUMBERS.items() if known == number), NEW)


def _real_command(file: File, wish: model.Command) -> commands.Command[Any]:
    key = SHAPE.comparable
    match wish:
        case model.Claim(_, handle, over, older):
            return commands.Claim(SHAPE, handle, comparable=key, namespace="", over=over, older=older)
        case model.AddRows(_, handle):
            return commands.AddRows(_one_row(file, handle))
        case model.Publish(_, handle, replaces):
            rest = _one_row(file, handle)
            encoder = Encoder(handle)
            encoder.row_count, encoder.bytes = rest.first, 2 * rest.first
            return commands.Publish(rest, encoder, replaces=replaces, duration_ms=1, followers=0)
        case model.Fail(_, handle):
            return commands.Fail(key, handle, model.failure_of(handle), duration_ms=1, followers=0)
        case model.Abandon(_, handle):
            return commands.Abandon(handle)
        case model.Sweep(_, handle):
            return commands.Sweep([handle])
        case model.Release():
            return commands.Release(key)
        case model.Invalidate():
            return commands.Invalidate("", "Track")
        case model.Delete(handle):
            return commands.Delete(handle)
        case model.EndOwner():
            raise AssertionError("this is no command of the queue")


def _one_row(file: File, handle: str) -> Chunk:
    chunk = Chunk(handle, 2 if handle in file.with_rows else 1)
    chunk.add("{}", 2, None)
    return chunk


def _as_answer(wish: model.Command, answer: Any) -> Answer:
    match wish:
        case model.Publish():
            return not isinstance(answer, commands.Void)
        case model.Invalidate():
            return answer[1][0] if answer[1] else None
        case _:
            return answer  # type: ignore[no-any-return]
