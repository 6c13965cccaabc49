"""The disk is full, the gate is held, the file is moved or damaged: who is concerned is told, and then it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from disks import Disk, refusing_disk, small_disk
from file_rows import add_lock
from inspections import assert_no_transaction_is_open, eventually, gate_held, rows_of, settled
from processes import assert_sound, edited, outcomes, read

from shapestore import (
    CorruptStoreError,
    CreateFailedError,
    Shape,
    ShapeStore,
    ShapeStoreError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
    StoredShape,
    maintenance,
    open_file,
)
from shapestore.admin.backup import backup
from shapestore.admin.doctor import examine
from shapestore.admin.vacuum import vacuum
from shapestore.creating import attempt
from shapestore.locking import gate
from shapestore.storage import connection

pytestmark = pytest.mark.usefixtures("untroubled")

STORED, TRACK = Shape("Stored"), Shape("Track")

Row = dict[str, Any]

# More than goes into one chunk, so that rows are written before the creation ends.
MANY_ROWS: list[Row] = [{"number": number} for number in range(2_500)]


class Source:
    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.rows: list[Row] = [{"number": 1}]

    async def create(self, shape: Shape) -> list[Row]:
        self.asked += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return self.rows


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture(params=["full", "refusing"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, empty_store: Path) -> Iterator[Disk]:
    if request.param == "refusing":
        shutil.copy(empty_store, tmp_path)
        with refusing_disk(tmp_path) as refusing:
            yield refusing
        return
    with small_disk(tmp_path / "disk") as small:
        if small is None:
            pytest.skip("this user may mount no file system")
        shutil.copy(empty_store, small.path)
        yield small


@pytest.fixture
async def store(disk: Disk, source: Source) -> AsyncIterator[ShapeStore]:
    """A store with one shape, on a disk that can be filled."""
    # A failure is shared for so long that no machine is slow enough to see the end of it.
    async with ShapeStore(disk.path, create=source.create, failure_grace=600) as store:
        source.go.set()
        await store.get_or_create(STORED)
        source.go.clear()
        source.asked = 0
        yield store
        disk.free()


async def under_way(source: Source, store: ShapeStore) -> asyncio.Task[StoredShape]:
    """A caller whose creation has begun."""
    caller = asyncio.create_task(store.get_or_create(TRACK))
    await eventually(lambda: source.asked)
    return caller


async def trouble_ends(store: ShapeStore, trouble: type[ShapeStoreError]) -> StoredShape:
    """Ask until the answer is no more that there is trouble."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await store.get_or_create(TRACK)
            except trouble:
                await asyncio.sleep(0.001)


# The disk is full


async def test_a_full_disk_refuses_what_is_missing_and_serves_what_is_stored(
    disk: Disk, store: ShapeStore, source: Source
) -> None:
    stored = await store.get_or_create(STORED)
    disk.fill()
    for _ in range(3):
        with pytest.raises(StorageError, match="the store recovers once the cause is fixed"):
            await store.get_or_create(TRACK)
        with pytest.raises(StorageError):
            await store.delete(stored.handle)
        with pytest.raises(StorageError):
            await store.invalidate("Stored")
        assert await store.get_or_create(STORED) == stored
        assert await rows_of(store, stored) == [{"number": 1}]
        assert await store.count() == 1
    assert source.asked == 0
    async with gate_held(disk.path):
        assert_no_transaction_is_open(disk.path)


async def test_writing_goes_on_by_itself_when_there_is_room(disk: Disk, store: ShapeStore, source: Source) -> None:
    source.go.set()
    for time in (1, 2, 3):
        disk.fill()
        with pytest.raises(StorageError):
            await store.get_or_create(Shape(f"Track {time}"))
        disk.free()
        await store.get_or_create(Shape(f"Track {time}"))
    assert await store.count() == 4
    await settled(store, disk.path)


async def test_a_publication_on_a_full_disk_lands_when_there_is_room(
    disk: Disk, store: ShapeStore, source: Source
) -> None:
    caller = await under_way(source, store)
    disk.fill()
    source.go.set()
    with pytest.raises(StorageError):
        await caller
    with pytest.raises(StorageError):
        await store.get_or_create(TRACK)  # whoever joins is told at the next try
    disk.free()
    stored = await trouble_ends(store, StorageError)
    assert await rows_of(store, stored) == [{"number": 1}]
    assert source.asked == 1
    assert outcomes(disk.path)[1:] == [(stored.handle, "created")]
    await settled(store, disk.path)


async def test_a_publication_lands_though_nobody_waits_for_it_any_more(
    disk: Disk, store: ShapeStore, source: Source
) -> None:
    caller = await under_way(source, store)
    disk.fill()
    source.go.set()
    with pytest.raises(StorageError):
        await caller
    disk.free()
    await eventually(lambda: store.stats.created == 2)
    assert await store.get(TRACK) is not None


async def test_a_failure_on_a_full_disk_lands_when_there_is_room(disk: Disk, store: ShapeStore, source: Source) -> None:
    caller = await under_way(source, store)
    disk.fill()
    source.error = KeyError("no such column")
    source.go.set()
    with pytest.raises(StorageError):
        await caller
    disk.free()
    with pytest.raises(CreateFailedError, match="no such column"):
        await trouble_ends(store, StorageError)
    assert source.asked == 1
    assert [outcome for _, outcome in outcomes(disk.path)[1:]] == ["failed"]


async def test_rows_that_meet_a_full_disk_fail_their_attempt(disk: Disk, store: ShapeStore, source: Source) -> None:
    source.rows = MANY_ROWS
    caller = await under_way(source, store)
    async with ShapeStore(disk.path, create=source.create) as other:
        follower = asyncio.create_task(other.get_or_create(TRACK))
        await eventually(lambda: other.stats.polls > 2)
        disk.fill()
        source.go.set()
        with pytest.raises(StorageError):
            await caller
        disk.free()
        with pytest.raises(CreateFailedError) as failure:
            await follower
        assert failure.value.error_type == "StorageError"
    assert source.asked == 1
    assert await store.release_lock(TRACK)
    assert await rows_of(store, await store.get_or_create(TRACK)) == MANY_ROWS
    await settled(store, disk.path)


async def test_a_refresh_on_a_full_disk_leaves_the_old_shape_and_lands_when_there_is_room(
    disk: Disk, store: ShapeStore, source: Source
) -> None:
    old = await store.get_or_create(STORED)
    refreshing = asyncio.create_task(store.refresh(STORED))
    await eventually(lambda: source.asked)
    disk.fill()
    source.rows = [{"number": 2}]
    source.go.set()
    with pytest.raises(StorageError):
        await refreshing
    assert await rows_of(store, await store.get_or_create(STORED)) == [{"number": 1}]
    disk.free()
    await eventually(lambda: store.stats.created == 2)
    fresh = await store.get_or_create(STORED)
    assert fresh.handle != old.handle
    assert await rows_of(store, fresh) == [{"number": 2}]
    await settled(store, disk.path)


async def test_a_sweep_on_a_full_disk_is_done_when_there_is_room(
    disk: Disk, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)
    source.error = KeyError("no such column")
    source.go.set()
    async with ShapeStore(disk.path, create=source.create, failure_grace=0.5) as store:
        with pytest.raises(CreateFailedError):
            await store.get_or_create(TRACK)
        # From now on there is nothing else to be written.
        await eventually(lambda: not read(disk.path, "SELECT 1 FROM discarded"))
        disk.fill()
        commands = store.stats.commands
        await eventually(lambda: store.stats.commands > commands + 2)
        assert [lock.state for lock in await store.locks()] == ["failed"]
        disk.free()
        await settled(store, disk.path)


@pytest.mark.parametrize("meanwhile", ["creating", "publishing"])
async def test_a_store_on_a_full_disk_can_be_closed_and_the_next_finds_it_sound(
    disk: Disk, source: Source, meanwhile: str
) -> None:
    store = ShapeStore(disk.path, create=source.create)
    await store.open()
    caller = await under_way(source, store)
    disk.fill()
    if meanwhile == "publishing":
        source.go.set()
        with pytest.raises(StorageError):
            await caller
    await store.close()
    if meanwhile == "creating":
        with pytest.raises(ShapeStoreError):
            await caller
    disk.free()
    source.go.set()
    async with ShapeStore(disk.path, create=source.create) as again:
        assert await again.locks() == []
        await again.get_or_create(TRACK)
        await settled(again, disk.path)
    assert_sound(disk.path)


async def test_a_store_that_finds_no_room_to_open_says_so_and_opens_when_there_is(
    tmp_path: Path, source: Source
) -> None:
    source.go.set()
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("this user may mount no file system")
        disk.fill()
        store = ShapeStore(disk.path, create=source.create)
        with pytest.raises(StorageError):
            await store.open()
        disk.free()
        async with store:
            await store.get_or_create(TRACK)


async def test_a_store_that_cannot_be_opened_on_a_full_disk_leaves_no_owner_file(
    tmp_path: Path, empty_store: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("this user may mount no file system")
        shutil.copy(empty_store, disk.path)
        async with ShapeStore(disk.path):  # so that SQLite needs no room for another
            before = os.listdir(f"{disk.path}-owners")
            disk.fill()
            with pytest.raises(StorageError, match="No space left"):
                await ShapeStore(disk.path).open()
            assert os.listdir(f"{disk.path}-owners") == before
            disk.free()


# The gate, or SQLite's own lock, is held by somebody else


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for the gate, nor for SQLite's lock."""
    monkeypatch.setattr(gate, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 50)


@pytest.mark.usefixtures("impatient")
async def test_a_claim_is_refused_while_the_gate_is_held_and_hits_go_on(empty_path: str, source: Source) -> None:
    source.go.set()
    async with ShapeStore(empty_path, create=source.create) as store:
        stored = await store.get_or_create(STORED)
        async with gate_held(empty_path):
            with pytest.raises(StoreBusyError, match="the write gate") as busy:
                await store.get_or_create(TRACK)
            assert busy.value.retry_after > 0
            assert await store.get_or_create(STORED) == stored
            assert await rows_of(store, stored) == [{"number": 1}]
        await store.get_or_create(TRACK)
        assert source.asked == 2


@pytest.mark.usefixtures("impatient")
async def test_a_claim_that_is_refused_gives_back_its_place(empty_path: str, source: Source) -> None:
    source.go.set()
    async with ShapeStore(empty_path, create=source.create, max_creating=1) as store:
        async with gate_held(empty_path):
            refused = await asyncio.gather(
                *(store.get_or_create(Shape(f"table {number}")) for number in range(3)), return_exceptions=True
            )
        assert [type(answer) for answer in refused] == [StoreBusyError] * 3
        assert store.stats.in_flight == 0
        await asyncio.gather(*(store.get_or_create(Shape(f"table {number}")) for number in range(3)))
        assert source.asked == 3


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("outcome", ["created", "failed"])
async def test_an_outcome_lands_however_long_the_gate_is_held(empty_path: str, source: Source, outcome: str) -> None:
    source.error = KeyError("no such column") if outcome == "failed" else None
    async with ShapeStore(empty_path, create=source.create, failure_grace=600) as store:
        caller = await under_way(source, store)
        async with gate_held(empty_path):
            source.go.set()
            with pytest.raises(StoreBusyError):
                await caller
            with pytest.raises(StoreBusyError):
                await store.get_or_create(TRACK)
            assert [lock.state for lock in await store.locks()] == ["in_progress"]
        if outcome == "failed":
            with pytest.raises(CreateFailedError, match="no such column"):
                await trouble_ends(store, StoreBusyError)
        else:
            await trouble_ends(store, StoreBusyError)
        assert source.asked == 1
    assert [ended for _, ended in outcomes(empty_path)] == [outcome]


@pytest.fixture
def slow_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outcome that was refused is sent again for a reason, or never."""
    monkeypatch.setattr(attempt, "_SHORTEST_PAUSE", 600.0)


async def refused_outcome(source: Source, store: ShapeStore, path: str) -> None:
    """Leave a creation whose outcome waits to be sent again."""
    caller = await under_way(source, store)
    async with gate_held(path):
        source.go.set()
        with pytest.raises(StoreBusyError):
            await caller
    assert store.stats.in_flight == 1


@pytest.mark.usefixtures("impatient", "slow_to_try_again")
@pytest.mark.parametrize("outcome", ["created", "failed"])
async def test_an_outcome_that_waits_to_be_sent_again_lands_when_the_store_closes(
    empty_path: str, source: Source, outcome: str
) -> None:
    source.error = KeyError("no such column") if outcome == "failed" else None
    async with ShapeStore(empty_path, create=source.create) as store:
        await refused_outcome(source, store, empty_path)
        late = asyncio.create_task(store.get_or_create(TRACK))
        await eventually(lambda: store.stats.followers)
    with pytest.raises(StoreClosedError):
        await late
    assert [ended for _, ended in outcomes(empty_path)] == [outcome]
    assert read(empty_path, "SELECT count(*) FROM create_locks") == [0]


@pytest.mark.usefixtures("impatient", "slow_to_try_again")
async def test_a_store_can_be_closed_whose_outcome_can_not_be_written_even_now(empty_path: str, source: Source) -> None:
    store = ShapeStore(empty_path, create=source.create)
    await store.open()
    await refused_outcome(source, store, empty_path)
    async with gate_held(empty_path):
        await store.close()
    async with ShapeStore(empty_path, create=source.create) as again:
        await again.get_or_create(TRACK)
        assert [outcome for _, outcome in outcomes(empty_path)] == ["died", "created"]


@pytest.mark.usefixtures("impatient", "slow_to_try_again")
@pytest.mark.parametrize("outcome", ["created", "failed"])
async def test_an_outcome_that_waits_to_be_sent_again_is_void_once_its_lock_was_released(
    empty_path: str, source: Source, outcome: str
) -> None:
    source.error = KeyError("no such column") if outcome == "failed" else None
    async with ShapeStore(empty_path, create=source.create, max_creating=1) as store:
        await refused_outcome(source, store, empty_path)
        source.error = None
        late = asyncio.create_task(store.get_or_create(TRACK))
        await eventually(lambda: store.stats.followers)
        assert await store.release_lock(TRACK)
        stored = await late
        assert source.asked == 2
        assert (store.stats.superseded, store.stats.created, store.stats.failed) == (1, 1, 0)
        assert outcomes(empty_path)[1:] == [(stored.handle, "created")]
        await settled(store, empty_path)


@pytest.mark.usefixtures("impatient")
async def test_an_outcome_lands_when_a_foreign_writer_lets_go(empty_path: str, source: Source) -> None:
    async with ShapeStore(empty_path, create=source.create) as store:
        caller = await under_way(source, store)
        with foreign_writer(empty_path):
            source.go.set()
            with pytest.raises(StoreBusyError, match="locked by another connection"):
                await caller
        await trouble_ends(store, StoreBusyError)
        assert source.asked == 1


@pytest.mark.usefixtures("impatient")
async def test_a_store_whose_gate_is_held_can_be_closed_and_is_dead_to_the_next(
    empty_path: str, source: Source
) -> None:
    store = ShapeStore(empty_path, create=source.create)
    await store.open()
    caller = await under_way(source, store)
    async with gate_held(empty_path):
        await store.close()
    with pytest.raises(ShapeStoreError):
        await caller
    source.go.set()
    async with ShapeStore(empty_path, create=source.create) as again:
        await again.get_or_create(TRACK)
        assert [outcome for _, outcome in outcomes(empty_path)] == ["died", "created"]
        await settled(again, empty_path)


async def test_an_error_inside_a_transaction_leaves_none_open(empty_path: str, source: Source) -> None:
    async with ShapeStore(empty_path, create=source.create) as store:
        caller = await under_way(source, store)
        # Unlike a full disk, this lets the transaction go on.
        by_hand(
            empty_path,
            "CREATE TRIGGER no BEFORE INSERT ON shapes BEGIN SELECT RAISE(FAIL, 'not here'); END",
        )
        source.go.set()
        with pytest.raises(StorageError, match="not here"):
            await caller
        async with gate_held(empty_path):
            assert_no_transaction_is_open(empty_path)
            assert [lock.state for lock in await store.locks()] == ["in_progress"], "nothing of it is done"
        with pytest.raises(StorageError, match="not here"):
            await store.get_or_create(TRACK)
        by_hand(empty_path, "DROP TRIGGER no")
        await trouble_ends(store, StorageError)
        assert source.asked == 1


# The file is moved, removed or replaced


@pytest.fixture(params=["moved", "removed", "replaced"])
def taken_away(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def take_away(path: str, how: str, empty_store: Path) -> None:
    """In a process of its own, for in this one it would drop the locks that SQLite has."""
    script = {
        "moved": "os.rename(path, path + '.moved')",
        "removed": "os.unlink(path)",
        "replaced": "shutil.copy(empty, path + '.new'); os.rename(path + '.new', path)",
    }[how]
    in_a_child(f"path, empty = sys.argv[1:]; {script}", path, str(empty_store))


async def test_a_file_that_is_replaced_while_it_is_opened_is_noticed_by_every_write(
    empty_path: str, empty_store: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the store would write to a file that has no name any more, and all of that be lost."""
    source.go.set()
    open_writer = connection.open_writer

    async def opened_too_early(path: str, *how: Any) -> aiosqlite.Connection:
        opened = await open_writer(path, *how)
        take_away(empty_path, "replaced", empty_store)
        return opened

    monkeypatch.setattr(open_file, "open_writer", opened_too_early)
    async with ShapeStore(empty_path, create=source.create) as store:
        with pytest.raises(StorageError, match="was moved, removed or replaced while it was open"):
            await store.get_or_create(TRACK)


async def test_a_file_that_was_taken_away_is_noticed_by_every_write(
    empty_path: str, empty_store: Path, source: Source, taken_away: str
) -> None:
    source.go.set()
    async with ShapeStore(empty_path, create=source.create) as store:
        stored = await store.get_or_create(STORED)
        take_away(empty_path, taken_away, empty_store)
        with pytest.raises(StorageError, match="was moved, removed or replaced while it was open"):
            await store.get_or_create(TRACK)
        with pytest.raises(StorageError, match="close all stores of it, and open them again"):
            await store.delete(stored.handle)
        assert source.asked == 1, "nothing is created that could not be kept"
        await store.close()
        await store.open()
        assert await store.get(STORED) is None
        await store.get_or_create(STORED)
        assert source.asked == 2


async def test_no_store_is_opened_beside_those_that_have_the_former_file_open(
    empty_path: str, empty_store: Path, source: Source, taken_away: str
) -> None:
    """SQLite found one log for both files: what was committed to the one ended in the other, and was lost with it."""
    source.go.set()
    refused = pytest.raises(StorageError, match=r"stores have the former file open still .*-owners/[0-9a-f]{16}'")
    async with ShapeStore(empty_path, create=source.create) as former:
        stored = await former.get_or_create(STORED)
        take_away(empty_path, taken_away, empty_store)
        with refused:
            await ShapeStore(empty_path).open()
        if taken_away == "replaced":
            with refused:
                vacuum(empty_path, beside_others=True)
            with refused:
                backup(empty_path, f"{empty_path}.backup")
            assert "unreadable" in {finding.name for finding in examine(empty_path)}
        else:
            assert not os.path.exists(empty_path)
        assert await former.get(STORED) == stored
    async with ShapeStore(empty_path, create=source.create) as store:
        assert await store.count() == 0
        await store.get_or_create(TRACK)
    assert_sound(empty_path)


async def test_a_file_that_was_taken_away_is_told_of_once_though_nobody_writes(
    empty_path: str,
    empty_store: Path,
    taken_away: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)
    async with ShapeStore(empty_path) as store:
        stored = await store.get_or_create(STORED, lambda _: [{"number": 1}])
        assert await rows_of(store, stored) == [{"number": 1}]
        commands = store.stats.commands
        take_away(empty_path, taken_away, empty_store)
        await eventually(lambda: caplog.messages)
        await asyncio.sleep(0.1)
        # AccessTracker go on, in the file that is open.
        assert await store.get_or_create(STORED) == stored
        assert await rows_of(store, stored) == [{"number": 1}]
        assert store.stats.commands == commands
    [message] = caplog.messages
    assert "was moved, removed or replaced while it was open" in message


async def test_an_outcome_waits_for_a_file_that_was_moved_and_lands_when_it_is_back(
    empty_path: str, empty_store: Path, source: Source
) -> None:
    async with ShapeStore(empty_path, create=source.create) as store:
        caller = await under_way(source, store)
        take_away(empty_path, "moved", empty_store)
        source.go.set()
        with pytest.raises(StorageError, match="was moved"):
            await caller
        os.rename(f"{empty_path}.moved", empty_path)
        await trouble_ends(store, StorageError)
        assert source.asked == 1


async def test_a_store_that_is_closed_after_its_file_was_replaced_leaves_the_new_one_whole(
    empty_path: str, empty_store: Path, source: Source
) -> None:
    source.go.set()
    old = ShapeStore(empty_path, create=source.create)
    await old.open()
    await old.get_or_create(STORED)
    take_away(empty_path, "replaced", empty_store)
    # What the old file's log says is nothing to the new file.
    for leftover in ("-wal", "-shm"):
        os.unlink(empty_path + leftover)
    async with ShapeStore(empty_path, create=source.create) as new:
        stored = await new.get_or_create(TRACK)
        await old.close()
        assert await rows_of(new, stored) == [{"number": 1}]
        await new.get_or_create(STORED)
    assert_sound(empty_path)
    assert sorted(read(empty_path, "SELECT table_name FROM shapes")) == ["Stored", "Track"]


# The file is damaged


async def test_rows_that_are_damaged_under_an_open_store_are_refused(empty_path: str, source: Source) -> None:
    source.rows = [{"number": number, "text": "x" * 200} for number in range(5_000)]
    source.go.set()
    async with ShapeStore(empty_path, create=source.create) as store:
        stored = await store.get_or_create(TRACK)
    async with ShapeStore(empty_path, create=source.create) as store:
        # Half of the pages, in the middle of the file; none of them has been read yet.
        in_a_child(
            "path = sys.argv[1]; size = os.stat(path).st_size; file = open(path, 'r+b');"
            "file.seek(size // 4 // 4096 * 4096); file.write(b'\\xaa' * (size // 2)); file.close()",
            empty_path,
        )
        with pytest.raises(CorruptStoreError, match="restore a backup, or move it away"):
            await rows_of(store, stored)
        assert await store.get(TRACK) == stored


async def test_a_file_that_is_no_database_any_more_is_refused_by_reads_and_writes(
    empty_path: str, source: Source
) -> None:
    source.go.set()
    async with ShapeStore(empty_path, create=source.create) as store:
        await store.get_or_create(STORED)
    store = ShapeStore(empty_path, create=source.create)
    await store.open()
    in_a_child(
        "path = sys.argv[1]; size = os.stat(path).st_size; file = open(path, 'r+b');"
        "file.seek(4096); file.write(b'\\xaa' * (size - 4096)); file.close();"
        # A commit of somebody else's, so that what the connections remember is out of date.
        "import sqlite3; db = sqlite3.connect(path); db.execute('PRAGMA user_version = 1'); db.close()",
        empty_path,
    )
    with pytest.raises(CorruptStoreError):
        await store.get_or_create(TRACK)
    with pytest.raises(CorruptStoreError):
        await store.delete("a handle")
    with pytest.raises(CorruptStoreError):
        await store.locks()
    await store.close()
    with pytest.raises(CorruptStoreError):
        await store.open()


# A row of ours that no flight leads


async def orphan(store: ShapeStore, path: str) -> None:
    """As a claim leaves it whose commit was reported as an error, but was done."""
    [owner] = read(path, "SELECT owner FROM owners")
    with edited(path) as file:
        add_lock(file, "orphan", TRACK, owner=owner)


async def test_an_attempt_of_ours_without_a_flight_is_abandoned_by_the_next_flight(
    empty_path: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 600)
    source.go.set()
    async with ShapeStore(empty_path, create=source.create) as store:
        await asyncio.sleep(0.01)  # the maintenance has begun its first sleep
        await orphan(store, empty_path)
        stored = await store.get_or_create(TRACK)
    assert outcomes(empty_path) == [("orphan", "abandoned"), (stored.handle, "created")]


async def test_an_attempt_of_ours_without_a_flight_is_abandoned_though_nobody_asks_here(
    empty_path: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)
    source.go.set()
    async with ShapeStore(empty_path) as store:
        await orphan(store, empty_path)
        async with ShapeStore(empty_path, create=source.create) as other:
            stored = await other.get_or_create(TRACK)
        await settled(store, empty_path)
    assert outcomes(empty_path) == [("orphan", "abandoned"), (stored.handle, "created")]


async def test_a_row_whose_flight_leads_is_no_orphan(
    empty_path: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.001)
    async with ShapeStore(empty_path, create=source.create) as store:
        for number in range(20):
            source.asked = 0
            source.go.clear()
            caller = asyncio.create_task(store.get_or_create(Shape(f"Track {number}")))
            await eventually(lambda: source.asked)
            await asyncio.sleep(0.002)
            source.go.set()
            await caller
        assert store.stats.superseded == 0
    assert {outcome for _, outcome in outcomes(empty_path)} == {"created"}


# A fence that is lost


async def test_what_a_creator_gives_after_its_time_was_up_is_refused(empty_path: str) -> None:
    go, ended = threading.Event(), threading.Event()

    def create(shape: Shape) -> Iterator[Row]:
        try:
            go.wait(60)
            yield from MANY_ROWS
        finally:
            ended.set()

    async with ShapeStore(empty_path, create=create, create_timeout=0.1, failure_grace=0) as store:
        with pytest.raises(CreateFailedError, match="TimeoutError: the creator did not finish"):
            await store.get_or_create(TRACK)
        await eventually(lambda: not read(empty_path, "SELECT 1 FROM create_locks"))
        go.set()
        await eventually(ended.is_set)
        assert await store.get(TRACK) is None
        await settled(store, empty_path)
        assert [outcome for _, outcome in outcomes(empty_path)] == ["failed"]


async def test_rows_that_come_after_the_lock_was_released_are_refused_and_the_callers_get_others(
    empty_path: str, source: Source
) -> None:
    asked: list[int] = []

    async def create(shape: Shape) -> AsyncIterator[Row]:
        asked.append(attempt := len(asked) + 1)
        for row in MANY_ROWS:
            yield row | {"attempt": attempt}
        if attempt == 1:
            await source.go.wait()
        for row in MANY_ROWS:
            yield row | {"attempt": attempt}

    async with ShapeStore(empty_path, create=create) as store, ShapeStore(empty_path) as other:
        caller = asyncio.create_task(store.get_or_create(TRACK))
        await eventually(lambda: read(empty_path, "SELECT 1 FROM shape_rows LIMIT 1"))
        assert await other.release_lock(TRACK)
        source.go.set()
        rows = await rows_of(store, await caller)
        assert rows == [row | {"attempt": 2} for row in MANY_ROWS * 2]
        await settled(store, empty_path)
    assert [outcome for _, outcome in outcomes(empty_path)] == ["released", "created"]


# --- accidents


def by_hand(path: str, statement: str) -> None:
    """Somebody at the sqlite3 shell does this."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute(statement)


@contextlib.contextmanager
def foreign_writer(path: str) -> Iterator[None]:
    """Somebody at the sqlite3 shell has begun a transaction."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        yield
        shell.execute("ROLLBACK")


def in_a_child(script: str, *arguments: str) -> None:
    """In this process, opening and closing a database's file would drop the locks that SQLite has on it."""
    subprocess.run([sys.executable, "-c", f"import os, shutil, sys; {script}", *arguments], check=True)
