"""What is done now and then: nothing of it is kept waiting by another, and nothing that is due is forgotten."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inspections import PATIENCE, eventually, lost_rows
from processes import Workers, handles_with_rows, read

from shapestore import CreateFailedError, Shape, ShapeStore, SQLSource, keyed, long_logs, maintenance
from shapestore.maintenance import Maintenance
from shapestore.storage import readers, wal
from shapestore.storage.commands import EndOwner, ForgetKept
from shapestore.storage.log import compact
from shapestore.storage.transaction import Transaction

pytestmark = pytest.mark.usefixtures("untroubled")

LARGE = Shape("large")


async def create(shape: Shape) -> AsyncIterator[dict[str, Any]]:
    for number in range(5_000 if shape.table == LARGE.table else 1):
        yield {"number": number, "text": "x" * 1_000}


async def fail(shape: Shape) -> list[dict[str, Any]]:
    raise ValueError("as it was meant to")


async def test_a_long_deletion_keeps_neither_a_sweep_nor_an_eviction_waiting(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(compact, "PIECE_ROWS", 1)
    async with ShapeStore(empty_path, create=create, max_shapes=1, failure_grace=0, keep_replaced=0) as store:
        await store.delete((await store.get_or_create(LARGE)).handle)
        await eventually(lambda: 0 < lost_rows(empty_path) < 5_000)
        with pytest.raises(CreateFailedError):
            await store.get_or_create(Shape("failing"), fail)
        await store.get_or_create(Shape("a"))
        await store.get_or_create(Shape("b"))
        await eventually(lambda: store.stats.evicted == 1)
        assert await store.locks() == []
        assert lost_rows(empty_path) > 1_000


async def test_readers_of_a_store_that_died_keep_nothing_though_no_store_is_opened(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a script that was killed beside a server: the log that it read would never be cut again."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(maintenance, "NOTE_SECONDS", 0.0)
    async with ShapeStore(empty_path) as alive, ShapeStore(empty_path):
        living = alive._live().coalescer.services.owner
        with closing(sqlite3.connect(empty_path)) as file:
            for owner in (living, "0" * len(living)):
                file.execute("INSERT INTO readers VALUES (?, 1, 1, 1, 0)", (owner,))
            file.commit()
        await eventually(lambda: read(empty_path, "SELECT owner FROM readers") == [living])


async def test_those_of_a_store_that_died_are_looked_for_though_shapes_are_evicted_all_the_time(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each eviction it is noted what was read, which is not all that is done now and then."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(maintenance, "NOTE_SECONDS", 0.5)
    async with ShapeStore(empty_path, create=create, max_shapes=1) as store, asyncio.timeout(PATIENCE):
        with closing(sqlite3.connect(empty_path)) as file:
            file.execute("INSERT INTO readers VALUES ('dead', 1, 1, 1, 0)")
            file.commit()
        for number in itertools.count():
            await store.get_or_create(Shape(f"table {number}"))
            if read(empty_path, "SELECT owner FROM readers") == []:
                break


async def test_what_a_killed_process_had_begun_goes_though_no_store_is_opened_and_nobody_asks_for_it(
    path: str, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of its attempt would stay for as long as the others run."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(maintenance, "NOTE_SECONDS", 0.0)
    async with ShapeStore(path) as alive:
        [worker] = workers.open(path)
        worker.lead("Track", rows=3_000)
        assert len(await alive.locks()) == 1
        worker.kill()
        await eventually(lambda: read(path, "SELECT owner FROM create_locks") == [])
        await eventually(lambda: read(path, "SELECT outcome FROM creations") == ["died"])
        await eventually(lambda: lost_rows(path) == 0)
        assert read(path, "SELECT owner FROM owners") == [alive._live().coalescer.services.owner]


async def test_a_long_deletion_waits_for_no_tick(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 3_600)
    monkeypatch.setattr(compact, "PIECE_ROWS", 1_000)
    async with ShapeStore(empty_path, create=create) as store:
        await store.delete((await store.get_or_create(LARGE)).handle)
    assert len(handles_with_rows(empty_path)) == 1
    async with ShapeStore(empty_path, keep_replaced=0):
        await eventually(lambda: handles_with_rows(empty_path) == [])


async def test_of_handles_that_are_replaced_at_once_two_a_key_are_kept(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment later: until then their readers may not be registered yet."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)
    versions = iter(range(100))

    async def changing(shape: Shape) -> list[dict[str, Any]]:
        return [{"version": next(versions)}]

    async with ShapeStore(empty_path, create=changing, keep_replaced=3_600) as store:
        replaced = [await store.refresh(Shape(table)) for _ in range(6) for table in ("a", "b")]
        assert len({stored.handle for stored in replaced}) == 12
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM kept") == [4])
        kept = read(empty_path, "SELECT handle FROM kept ORDER BY sequence")
        assert kept == [stored.handle for stored in replaced[-6:-2]], "the last two of each"
        await eventually(lambda: lost_rows(empty_path) == 0)
        assert [row async for row in store.rows(replaced[-3])] == [{"version": 9}]


async def test_what_was_kept_for_a_reader_alone_goes_with_the_store_that_read_it(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)
    versions = iter(range(100))

    async def changing(shape: Shape) -> list[dict[str, Any]]:
        return [{"version": next(versions)}]

    async with ShapeStore(empty_path, create=changing, keep_replaced=3_600) as store:
        await store.get_or_create(Shape("a"))
        with closing(sqlite3.connect(empty_path)) as file:
            file.execute("INSERT INTO readers SELECT 'dead', 1, number, 1, 0 FROM shapes")
            file.commit()
        for _ in range(4):
            await store.refresh(Shape("a"))
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM kept") == [3])
        await store._live().writer.submit(EndOwner("dead"))
        assert read(empty_path, "SELECT count(*) FROM kept") == [2]


async def test_handles_beyond_two_a_key_are_forgotten_though_that_could_not_be_written_at_once(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)
    apply, refused = ForgetKept.apply, [1]

    def refuse_first(group: list[ForgetKept], tx: Transaction) -> list[None]:
        if refused:
            refused.pop()
            raise sqlite3.OperationalError("database is locked")
        return apply(group, tx)

    monkeypatch.setattr(ForgetKept, "apply", refuse_first)
    versions = iter(range(100))

    async def changing(shape: Shape) -> list[dict[str, Any]]:
        return [{"version": next(versions)}]

    async with ShapeStore(empty_path, create=changing, keep_replaced=3_600) as store:
        for _ in range(6):
            await store.refresh(Shape("a"))
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM kept") == [2])
        assert not refused


async def test_many_logs_are_cut_a_few_in_each_turn(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they keep nothing else waiting; and all of them are."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(long_logs, "LOGS_A_TURN", 2)
    source = {"version": 0}

    async def changing(shape: Shape) -> list[dict[str, Any]]:
        return [{"n": n, **source} for n in range(60)]

    shapes = [Shape(f"t{n}") for n in range(7)]
    async with ShapeStore(empty_path, create=keyed(changing, "n"), keep_replaced=0) as store:
        for source["version"] in range(5):
            for shape in shapes:
                await store.refresh(shape)
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM shapes WHERE floor = position") == [7])
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM shape_changes") == [0])
        assert await store.fetch(shapes[0]) == [{"n": n, "version": 4} for n in range(60)]


async def test_a_log_that_cannot_be_cut_keeps_no_other_from_being_cut(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)
    next_trim = compact.next_trim
    source = {"version": 0}

    def fails_with_the_first(connection: sqlite3.Connection, number: int) -> int | None:
        if number == 1:
            raise MemoryError
        return next_trim(connection, number)

    async def changing(shape: Shape) -> list[dict[str, Any]]:
        return [{"n": n, **source} for n in range(60)]

    monkeypatch.setattr(compact, "next_trim", fails_with_the_first)
    async with ShapeStore(empty_path, create=keyed(changing, "n"), keep_replaced=0) as store:
        for source["version"] in range(5):
            await asyncio.gather(*(store.refresh(Shape(f"t{n}")) for n in range(3)))
        await eventually(lambda: read(empty_path, "SELECT number FROM shapes WHERE floor < position") == [1])


async def test_a_log_is_cut_that_an_application_has_made_long_by_what_it_told(
    empty_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but a refresh, or a round of a followed source, was known to make logs longer."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(long_logs, "FIND_SECONDS", 3_600.0)
    source = str(tmp_path / "source.db")
    with closing(sqlite3.connect(source, isolation_level=None)) as application:
        application.execute("CREATE TABLE track (id INTEGER PRIMARY KEY, plays INTEGER)")
        application.execute("INSERT INTO track VALUES (1, 0)")
        async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}"), keep_replaced=0) as store:
            stored = await store.get_or_create(Shape("track"))
            for _ in range(150):
                application.execute("UPDATE track SET plays = plays + 1")
                await store.touched("track", [1])
            await eventually(lambda: read(empty_path, "SELECT floor > 0 FROM shapes") == [1])
            await eventually(lambda: read(empty_path, "SELECT count(*) < 110 FROM shape_changes") == [1])
            assert [row async for row in store.rows(stored.handle)] == [{"id": 1, "plays": 150}]


async def test_logs_are_cut_that_processes_have_made_long_which_ended_soon_afterwards(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a script refreshes shapes, again and again, and no other process does. All logs have their turn."""
    source = {"version": 0}

    async def changing(shape: Shape) -> list[dict[str, Any]]:
        return [{"n": n, **source} for n in range(60)]

    shapes = [Shape(f"t{n}") for n in range(5)]
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 3_600)
    for source["version"] in range(5):
        async with ShapeStore(empty_path, create=keyed(changing, "n")) as script:
            for shape in shapes:
                await script.refresh(shape)
    assert read(empty_path, "SELECT count(*) FROM shapes WHERE floor = 0") == [5]
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(long_logs, "FIND_SECONDS", 0.0)
    monkeypatch.setattr(long_logs, "LOGS_A_LOOK", 2)
    async with ShapeStore(empty_path, keep_replaced=0) as server:
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM shapes WHERE floor = position") == [5])
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM shape_changes") == [0])
        assert await server.fetch(shapes[0], changing) == [{"n": n, "version": 4} for n in range(60)]


async def test_times_may_be_of_any_length(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite's integers are not."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    async with ShapeStore(
        empty_path, create=create, max_shapes=1, keep_replaced=1e300, max_age=1e300, failure_grace=1e300
    ) as store:
        await store.delete(await store.get_or_create(LARGE))
        await store.get_or_create(Shape("a"))
        await store.get_or_create(Shape("b"))
        await eventually(lambda: store.stats.evicted == 1)
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM kept") == [1])
    assert caplog.text == ""


async def test_the_log_that_a_reader_has_kept_long_is_cut_once_it_has_gone_though_nothing_is_written(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(maintenance, "NOTE_SECONDS", 0.01)
    async with ShapeStore(empty_path, create=create) as store:
        with closing(sqlite3.connect(empty_path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM shapes").fetchall()
            await store.get_or_create(LARGE)
            await store.get_or_create(Shape(LARGE.table, where="number > 0"))
            commands = store.stats.commands
            await eventually(lambda: store.stats.commands > commands + 2)
            assert store.stats.wal_bytes > wal.CHECKPOINT_BYTES
        await eventually(lambda: store.stats.wal_bytes == 0)


async def test_an_owner_file_that_cannot_be_made_again_is_logged_once_and_keeps_nothing_else_from_being_done(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    async with ShapeStore(empty_path, create=create, max_shapes=1) as store:
        shutil.rmtree(f"{empty_path}-owners")
        Path(f"{empty_path}-owners").touch()
        for number in range(5):
            await store.get_or_create(Shape(f"table {number}"))
        await eventually(lambda: store.stats.evicted == 4)
        [logged] = [record.getMessage() for record in caplog.records]
        assert "the owner file of this store was removed" in logged
        assert f"{empty_path}-owners" in logged
        Path(f"{empty_path}-owners").unlink()
        await eventually(lambda: os.path.isdir(f"{empty_path}-owners") and os.listdir(f"{empty_path}-owners"))
    assert len(caplog.records) == 1


async def test_a_store_that_keeps_nothing_leaves_what_another_one_reads_until_the_reader_is_registered(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(maintenance, "SPARED_MS", 600_000)
    monkeypatch.setattr(readers, "BEGIN_AFTER_SECONDS", 0.2)
    async with ShapeStore(empty_path, create=create) as store, ShapeStore(empty_path, keep_replaced=0) as another:
        stored = await store.get_or_create(LARGE)
        rows = store.rows(stored)
        assert await anext(rows)
        await another.delete(stored)
        await eventually(
            lambda: read(empty_path, "SELECT 1 FROM readers") or not read(empty_path, "SELECT 1 FROM kept")
        )
        assert len([row async for row in rows]) == 4_999


# Where maintenance may be cut short: outside of its turn, in it, and while it waits for the next one.
STEPS = ("_prove", "_evict", "_sleep")


def raise_once(monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException) -> None:
    """Have a step of maintenance raise an error the next time, and do its work afterwards."""
    works = getattr(Maintenance, step)

    def raises(self: Maintenance) -> Any:
        monkeypatch.setattr(Maintenance, step, works)
        raise error

    monkeypatch.setattr(Maintenance, step, raises)


async def evicts(store: ShapeStore) -> None:
    for number in range(3):
        await store.get_or_create(Shape(f"table {number}"))
    await eventually(lambda: store.stats.evicted == 2)


@pytest.mark.parametrize("step", STEPS)
async def test_an_unexpected_error_does_not_end_maintenance(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    async with ShapeStore(empty_path, create=create, max_shapes=1) as store:
        raise_once(monkeypatch, step, MemoryError())
        await eventually(lambda: "unexpected error in maintenance" in caplog.text)
        await evicts(store)


async def test_a_step_that_always_fails_keeps_no_other_from_being_done(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the totals are damaged: nothing that was dropped was deleted any more."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(maintenance, "NOTE_SECONDS", 0.0)
    async with ShapeStore(empty_path, create=create, max_shapes=3, keep_replaced=0) as store:
        dropped = await store.get_or_create(Shape("a"))
        with closing(sqlite3.connect(empty_path)) as file:
            file.execute("DELETE FROM totals WHERE name = 'bytes'")
            file.execute("INSERT INTO readers VALUES ('dead', 1, 1, 1, 0)")
            file.execute("INSERT INTO discarded SELECT number FROM shapes WHERE handle = ?", (dropped.handle,))
            file.execute("DELETE FROM shapes WHERE handle = ?", (dropped.handle,))
            file.commit()
        await eventually(lambda: lost_rows(empty_path) == 0)
        await eventually(lambda: read(empty_path, "SELECT owner FROM readers") == [])


@pytest.mark.parametrize("is_damaged", [True, False])
async def test_what_fails_at_every_tick_is_logged_once(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_damaged: bool
) -> None:
    """A person reads the log, and not each second."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.001)
    turns: list[None] = []
    prove, evict = Maintenance._prove, Maintenance._evict

    def counted(self: Maintenance) -> None:
        turns.append(None)
        prove(self)

    async def fails(self: Maintenance) -> bool:
        if is_damaged:
            return await evict(self)
        raise KeyError("bytes")

    monkeypatch.setattr(Maintenance, "_prove", counted)
    monkeypatch.setattr(Maintenance, "_evict", fails)
    with closing(sqlite3.connect(empty_path)) as file:
        file.execute("DELETE FROM totals WHERE name = 'bytes'")
        file.commit()
    async with ShapeStore(empty_path, create=create, max_shapes=1):
        await eventually(lambda: caplog.records)
        begun = len(turns)
        await eventually(lambda: len(turns) > begun + 20)
    [record] = caplog.records
    said = "it lacks some of its totals" if is_damaged else "unexpected error in maintenance"
    assert said in record.getMessage()
    assert (record.exc_info is None) == is_damaged


class Notebook:
    """A program whose event loop goes on after an interrupt."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.run = runner.run

    def is_interrupted(self) -> None:
        """Run the loop until it raises an interrupt."""
        with pytest.raises(KeyboardInterrupt):
            self.run(asyncio.wait_for(asyncio.Event().wait(), PATIENCE))


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupt_does_not_end_maintenance_and_reaches_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """As by a person who interrupts a notebook, whose loop goes on: nothing would be evicted or swept any more."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    store = ShapeStore(tmp_path / "shapes.db", create=create, max_shapes=1)
    with asyncio.Runner() as runner:
        notebook = Notebook(runner)
        notebook.run(store.open())
        raise_once(monkeypatch, step, KeyboardInterrupt())
        notebook.is_interrupted()
        notebook.run(evicts(store))
        notebook.run(store.close())
