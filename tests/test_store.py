from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import old_file
import pytest
from file_rows import add_shape
from inspections import eventually, gate_held, left_open, settled
from locked import is_locked
from processes import edit, handles_with_rows, read

from shapestore import (
    CorruptStoreError,
    CreateFailedError,
    CreateLock,
    InvalidCreatorError,
    InvalidShapeError,
    MigrationRequiredError,
    Shape,
    ShapeStore,
    StoreClosedError,
    StoredShape,
    WaitTimeoutError,
)
from shapestore.admin.inspector import open_inspector
from shapestore.locking.create_lock import State
from shapestore.locking.gate import Gate
from shapestore.storage import migrations

pytestmark = pytest.mark.usefixtures("untroubled")

ALBUMS = Shape("albums")
TRACKS = Shape("tracks", where="album = :a", params={"a": 1})


def one_row(_: Shape) -> list[dict[str, Any]]:
    return [{"id": 1}]


def no_luck(_: Shape) -> list[dict[str, Any]]:
    raise ValueError("no luck")


class Source:
    """A creator that waits until ``go``."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.creations = 0

    async def create(self, shape: Shape) -> list[dict[str, Any]]:
        self.creations += 1
        await self.go.wait()
        return [{"table": shape.table}]


@pytest.fixture
async def store(empty_path: str) -> AsyncIterator[ShapeStore]:
    async with ShapeStore(empty_path, create=one_row) as store:
        yield store


# --- what is stored


async def test_a_stored_shape_says_what_it_is_and_when_it_was_made(store: ShapeStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    stored = await store.get_or_create(TRACKS)
    assert stored == StoredShape(stored.handle, TRACKS, 1, stored.created_at, stored.created_at, 1, live=False)
    assert stored.etag == f"{stored.handle}-1"
    assert before <= stored.created_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert stored.created_at.utcoffset() == timedelta(0)


async def test_a_shape_that_is_stored_is_found_by_itself_and_by_its_handle(store: ShapeStore) -> None:
    stored = await store.get_or_create(TRACKS)
    assert await store.get(TRACKS) == stored
    assert await store.get_by_handle(stored.handle) == await store.get_by_handle(stored) == stored
    assert await store.get_or_create(TRACKS, no_luck) == stored


async def test_getting_what_is_not_stored_creates_nothing(empty_path: str, store: ShapeStore) -> None:
    assert await store.get(ALBUMS) is None
    assert await store.get_by_handle("h1") is None
    assert store.stats.commands == 0
    assert await store.locks() == []


async def test_a_shape_without_rows_is_a_shape(store: ShapeStore) -> None:
    stored = await store.get_or_create(ALBUMS, lambda _: [])
    assert stored.row_count == 0
    assert [row async for row in store.rows(stored.handle)] == []
    assert await store.get(ALBUMS) == stored


async def test_what_one_opening_stored_the_next_one_finds(empty_path: str) -> None:
    store = ShapeStore(empty_path, create=one_row)
    async with store:
        stored = await store.get_or_create(ALBUMS)
    async with store:
        assert await store.get(ALBUMS) == stored
        assert [row async for row in store.rows(stored.handle)] == [{"id": 1}]


# --- counting


async def test_the_count_is_right_also_when_others_write(empty_path: str, store: ShapeStore) -> None:
    assert await store.count() == 0
    for shape in (ALBUMS, TRACKS):
        await store.get_or_create(shape)
    assert await store.count() == 2
    with contextlib.closing(sqlite3.connect(empty_path)) as shell:
        with shell:
            for n in range(10):
                add_shape(shell, f"h{n}", Shape(f"t{n}"))
        assert await store.count() == 12
        with shell:
            shell.execute("DELETE FROM shapes WHERE handle IN ('h1', 'h2', 'h99')")
        assert await store.count() == 10
        with shell:
            with pytest.raises(sqlite3.IntegrityError):
                add_shape(shell, "h3", "a key")
            shell.execute("UPDATE shapes SET read_order = 7")
        assert await store.count() == 10
        shell.execute("DELETE FROM shapes")
        shell.rollback()
    assert await store.count() == 10 == len([stored async for stored in store.shapes()])


async def test_a_refresh_does_not_change_the_count(store: ShapeStore) -> None:
    await store.get_or_create(ALBUMS)
    await store.refresh(ALBUMS)
    assert await store.count() == 1


# --- dropping


async def test_a_deleted_shape_is_gone_at_once_and_its_rows_soon(empty_path: str) -> None:
    async with ShapeStore(empty_path, create=one_row, keep_replaced=0) as store:
        stored = await store.get_or_create(ALBUMS)
        other = await store.get_or_create(TRACKS)
        assert await store.delete(stored.handle) is True
        assert await store.get(ALBUMS) is None
        assert await store.get_by_handle(stored.handle) is None
        assert await store.delete(stored.handle) is False
        assert await store.get(TRACKS) == other
        assert await store.count() == 1
        await eventually(lambda: handles_with_rows(empty_path) == [other.handle])
        await settled(store, empty_path)
        again = await store.get_or_create(ALBUMS)
        assert again.handle != stored.handle


async def test_invalidating_drops_more_shapes_than_fit_into_one_transaction(empty_path: str, store: ShapeStore) -> None:
    with contextlib.closing(sqlite3.connect(empty_path)) as shell, shell:
        for n in range(2_500):
            add_shape(shell, f"h{n}", f"key {n}", table_name="albums")
    assert await store.invalidate("albums") == 2_500
    assert await store.count() == 0


# --- locks


async def test_the_locks_say_what_is_being_created_and_what_has_failed(store: ShapeStore) -> None:
    source = Source()
    creating = asyncio.create_task(store.get_or_create(ALBUMS, source.create))
    await eventually(lambda: source.creations)
    with pytest.raises(CreateFailedError):
        await store.get_or_create(TRACKS, no_luck)
    locks = {lock.table: lock for lock in await store.locks()}
    assert locks.keys() == {"albums", "tracks"}
    under_way, failed = locks["albums"], locks["tracks"]
    assert isinstance(under_way, CreateLock)
    assert (under_way.comparable, under_way.state) == (ALBUMS.comparable, State.IN_PROGRESS)
    assert (under_way.failed_at, under_way.failure) == (None, None)
    assert under_way.started_at.utcoffset() == timedelta(0)
    assert (failed.comparable, failed.state) == (TRACKS.comparable, State.FAILED)
    assert failed.failure is not None
    assert (failed.failure.error_type, failed.failure.message) == ("ValueError", "no luck")
    assert failed.failed_at is not None
    assert failed.failed_at >= failed.started_at
    assert failed.owner == under_way.owner
    source.go.set()
    stored = await creating
    assert stored.handle == under_way.handle


async def test_a_lock_released_by_hand_frees_the_key_and_the_creation_begins_again(store: ShapeStore) -> None:
    source = Source()
    creating = asyncio.create_task(store.get_or_create(ALBUMS, source.create))
    await eventually(lambda: source.creations)
    [lock] = await store.locks()
    assert await store.release_lock(ALBUMS) is True
    await eventually(lambda: source.creations == 2)
    source.go.set()
    assert (await creating).handle != lock.handle
    assert await store.release_lock(ALBUMS) is False
    assert await store.get(ALBUMS) is not None


async def test_releasing_a_failure_lets_the_next_caller_try_at_once(store: ShapeStore) -> None:
    with pytest.raises(CreateFailedError):
        await store.get_or_create(ALBUMS, no_luck)
    assert await store.release_lock(ALBUMS) is True
    assert (await store.get_or_create(ALBUMS)).row_count == 1


# --- gauges


async def test_the_gauges_say_what_is_going_on_now(empty_path: str, store: ShapeStore) -> None:
    assert (store.stats.in_flight, store.stats.queue_depth) == (0, 0)
    source = Source()
    creating = [asyncio.create_task(store.get_or_create(Shape(table), source.create)) for table in ("a", "b", "c", "a")]
    await eventually(lambda: source.creations == 3)
    assert store.stats.in_flight == 3
    async with gate_held(empty_path):
        deleting = [asyncio.create_task(store.delete("h1"))]
        await eventually(lambda: store.stats.commands == 4)
        await eventually(lambda: store.stats.queue_depth == 0)  # it waits for the gate
        deleting += [asyncio.create_task(store.delete(f"h{number}")) for number in range(5)]
        await eventually(lambda: store.stats.queue_depth == 5)
    await asyncio.gather(*deleting)
    source.go.set()
    await asyncio.gather(*creating)
    await eventually(lambda: store.stats.in_flight == 0)
    assert store.stats.queue_depth == 0
    assert store.stats.wal_bytes > 0


# --- arguments


@pytest.mark.parametrize("shape", [None, "albums", {"table": "albums"}, 1, ALBUMS.comparable])
async def test_what_is_no_shape_is_refused(store: ShapeStore, shape: Any) -> None:
    for ask in (store.get_or_create, store.get, store.refresh, store.release_lock, store.explain):
        with pytest.raises(InvalidShapeError, match="a Shape is needed, not"):
            await ask(shape)
    assert store.stats.commands == 0


async def test_a_shape_in_the_place_of_a_stored_one_is_refused(store: ShapeStore) -> None:
    shape: Any = Shape("Track")
    for ask in (store.read_log, store.get_by_handle, store.delete):
        with pytest.raises(
            TypeError, match="a handle or a StoredShape is needed, as get_or_create returns it, not Shape"
        ):
            await ask(shape)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 10**400, True, "1"])
async def test_a_time_out_is_a_finite_number_of_seconds(store: ShapeStore, timeout: Any) -> None:
    for ask in (store.get_or_create, store.refresh):
        with pytest.raises(ValueError, match="timeout is a finite number of seconds >= 0"):
            await ask(ALBUMS, timeout=timeout)
    await eventually(lambda: store.stats.in_flight == 0)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("wait_timeout", [-1, float("inf"), float("nan"), 10**400, "1", None, True]),
        ("create_timeout", [-1, float("inf"), "1", None]),
        ("failure_grace", [-0.1, float("nan"), "1", None]),
        ("max_creating", [0, -1, 1.0, True, "1", None]),
        ("max_in_flight", [0, -1, 1.0, None]),
        ("max_shapes", [0, -1, 1.0, "1"]),
        ("max_bytes", [0, -1, 1.0, "1"]),
        ("keep_replaced", [-1, float("inf"), float("nan"), None]),
        ("max_age", [-1, float("nan"), "1", True]),
        ("stale_while_revalidate", [-1, float("inf"), None]),
        ("stale_if_error", [-1, float("inf"), None]),
        ("namespace", ["x" * 257, "a\0b", "\ud800"]),
        ("durability", ["", "FULL", None, 1]),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(path: str, name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ValueError, match=name):
            ShapeStore(path, **{name: value})


@pytest.mark.parametrize("create", [1, "create", [], {}])
def test_a_creator_is_a_callable(path: str, create: Any) -> None:
    with pytest.raises(InvalidCreatorError, match="a creator is a callable"):
        ShapeStore(path, create=create)


async def test_a_wait_of_no_time_is_over_at_once_and_the_creation_goes_on(store: ShapeStore) -> None:
    source = Source()
    with pytest.raises(WaitTimeoutError, match="no answer within 0 s"):
        await store.get_or_create(ALBUMS, source.create, timeout=0)
    source.go.set()


# --- before, after and between


USES: list[Callable[[ShapeStore], Awaitable[Any]]] = [
    lambda store: store.get_or_create(ALBUMS),
    lambda store: store.refresh(ALBUMS),
    lambda store: store.get(ALBUMS),
    lambda store: store.get_by_handle("h1"),
    lambda store: anext(store.rows("h1")),
    lambda store: anext(store.shapes()),
    lambda store: store.count(),
    lambda store: store.explain(ALBUMS),
    lambda store: store.delete("h1"),
    lambda store: store.invalidate("albums"),
    lambda store: store.locks(),
    lambda store: store.release_lock(ALBUMS),
]


@pytest.mark.parametrize("use", USES)
async def test_a_store_is_used_between_its_opening_and_its_closing(
    empty_path: str, use: Callable[[ShapeStore], Awaitable[Any]]
) -> None:
    store = ShapeStore(empty_path, create=one_row)
    for _ in range(2):
        with pytest.raises(StoreClosedError, match="the store is not open"):
            await use(store)
        with pytest.raises(StoreClosedError):
            _ = store.stats
        async with store:
            with contextlib.suppress(LookupError, StopAsyncIteration):
                await use(store)


async def test_a_file_that_has_lost_its_count_of_rounds_is_refused_as_damaged(empty_path: str) -> None:
    edit(empty_path, "DELETE FROM log_state")
    with pytest.raises(CorruptStoreError, match="newest round"):
        await ShapeStore(empty_path).open()
    assert read(empty_path, "SELECT count(*) FROM owners") == [0]
    await eventually(lambda: not left_open(empty_path))


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["/srv/app.py", "-v"], "app.py"),
        (["/srv/worker/__main__.py"], "worker"),
        (["/srv/\udce9t\udce9.py"], r"\udce9t\udce9.py"),  # bytes that are not UTF-8
        ([""], "python"),
        ([], "python"),
    ],
)
async def test_a_store_is_open_under_what_people_call_its_process(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], program: str
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    async with ShapeStore(empty_path):
        with open_inspector(empty_path) as inspector:
            assert [owner.program for owner in inspector.owners()] == [program]


async def test_a_store_does_nothing_before_it_is_opened(path: str) -> None:
    store = ShapeStore(path)
    await store.close()
    assert read_nothing(path)


def read_nothing(path: str) -> bool:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        read(path, "SELECT 1")
    return True


async def test_opening_and_closing_twice_does_no_more_than_once(empty_path: str) -> None:
    store = ShapeStore(empty_path)
    await asyncio.gather(*(store.open() for _ in range(5)))
    assert len(read(empty_path, "SELECT owner FROM owners")) == 1
    await store.open()
    assert len(read(empty_path, "SELECT owner FROM owners")) == 1
    await asyncio.gather(*(store.close() for _ in range(5)))
    await store.close()
    assert read(empty_path, "SELECT owner FROM owners") == []


async def test_a_closing_whose_caller_was_cancelled_goes_on_and_the_store_can_be_opened_and_closed_again(
    empty_path: str,
) -> None:
    store = ShapeStore(empty_path, create=one_row)
    for _ in range(3):
        await store.open()
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    await store.open()
    await store.get_or_create(ALBUMS)
    await store.close()
    with pytest.raises(StoreClosedError):
        await store.count()
    assert read(empty_path, "SELECT owner FROM owners") == []


@pytest.mark.parametrize("migrated", [True, False])
async def test_an_opening_that_is_cancelled_at_any_moment_leaves_nothing_behind(
    path: str, empty_path: str, migrated: bool
) -> None:
    """No gate, no owner, no thread, no connection: the next one opens as if it were the first."""
    path = empty_path if migrated else f"{path}-new"
    for turns in range(24):
        store = ShapeStore(path)
        opening = asyncio.create_task(store.open())
        await asyncio.sleep(turns * (0.0005 if migrated else 0.003))
        if opening.cancel():
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert not is_locked(f"{path}-gate")
            await eventually(lambda: not left_open(path))
        await store.close()
    async with ShapeStore(path, create=one_row) as store:
        await store.get_or_create(ALBUMS)
        assert len(read(path, "SELECT owner FROM owners")) == 1


async def test_the_gate_is_not_left_while_a_migration_goes_on_that_nobody_waits_for(path: str) -> None:
    """A thread cannot be stopped; so long as it writes, nobody else may."""
    opening = asyncio.create_task(ShapeStore(path).open())
    gate = Gate(path)
    while not is_migrating() and not opening.done():
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.sleep(0)
    await gate.acquire()
    assert read(path, "SELECT count(*) FROM owners") == [0]  # all of the migration is committed
    gate.release()
    gate.close()
    with pytest.raises(asyncio.CancelledError):
        await opening


async def test_a_file_that_is_up_to_date_is_opened_without_a_migration(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ShapeStore(path):
        pass
    monkeypatch.setattr(migrations, "opened", None)
    async with ShapeStore(path), ShapeStore(path, migrate=False):
        pass


async def test_where_it_must_not_migrate_a_store_makes_no_file_and_leaves_an_older_one_as_it_is(path: str) -> None:
    with pytest.raises(MigrationRequiredError, match="does not exist"):
        await ShapeStore(path, migrate=False).open()
    assert not os.path.exists(path)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with pytest.raises(MigrationRequiredError, match="has no tables yet"):
        await ShapeStore(path, migrate=False).open()
    assert os.stat(path).st_size == 0
    old_file.make(path)
    before = old_file.contents(path)
    with pytest.raises(MigrationRequiredError, match="has the schema '0001'"):
        await ShapeStore(path, migrate=False).open()
    assert old_file.contents(path) == before


async def test_a_file_that_a_newer_shapestore_migrates_while_it_is_opened_is_refused(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was seen to be up to date, and is seen again once the gate is held."""
    async with ShapeStore(path):
        pass
    acquire = Gate.acquire

    async def acquired_late(gate: Gate) -> None:
        edit(path, "UPDATE alembic_version SET version_num = '9999'")
        await acquire(gate)

    monkeypatch.setattr(Gate, "acquire", acquired_late)
    with pytest.raises(MigrationRequiredError, match="newer shapestore"):
        await ShapeStore(path).open()
    await eventually(lambda: not left_open(path))


def is_migrating() -> bool:
    return any(thread.name == "shapestore migration" for thread in threading.enumerate())
