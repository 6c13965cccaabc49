"""Waiting until rounds have reached what is in a source now. The rounds are made by hand here."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aging import edit, grow_old
from inspections import eventually
from live_file import CapturedSource

from shapestore import Shape, ShapeStore, StoreClosedError, WaitTimeoutError
from shapestore.freshness import requests
from shapestore.locking import boot_clock
from shapestore.source.sqlite_feed.changes import SourcePosition, newest
from shapestore.waiting import followed
from shapestore.waiting.newest_changes import NewestChanges

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("track")
INSERT = "INSERT INTO track (name) VALUES ('another')"


@pytest.fixture
def source(empty_path: str, tmp_path: Path) -> CapturedSource:
    """A source with a live shape."""
    captured = CapturedSource(tmp_path / "source.db")
    captured.add_live_shapes(empty_path, TRACK)
    return captured


def newest_of(source: CapturedSource) -> SourcePosition:
    with closing(sqlite3.connect(source.path)) as connection:
        position = newest(connection)
    assert position is not None
    return position


def make_round(path: str, source: CapturedSource) -> None:
    """Follow the source up to now."""
    now = boot_clock.now()
    edit(
        path,
        "UPDATE sources SET followed_seq = ?, followed_nonce = ?, "
        "followed_boot = ?, followed_at_boot_ms = ?, followed_at_ms = ?",
        *newest_of(source),
        *now,
    )


def goals(store: ShapeStore) -> int:
    """How many wait."""
    return sum(map(len, store._live().sources._goals.values()))


async def test_it_waits_for_what_was_committed_before_the_call(empty_path: str, source: CapturedSource) -> None:
    async with ShapeStore(empty_path) as store:
        await store.followed(timeout=60)
        source.write(INSERT)
        tasks = [asyncio.create_task(store.followed(timeout=60)) for _ in range(10)]
        await eventually(lambda: goals(store) == 10)
        waited_for = newest_of(source)
        source.write(INSERT)
        assert not any(task.done() for task in tasks)
        edit(empty_path, "UPDATE sources SET followed_seq = ?, followed_nonce = ?", *waited_for)
        await asyncio.gather(*tasks)
        assert (goals(store), store._live().sources._timer) == (0, None)


async def test_a_herd_shares_readings_that_begin_after_the_calls(
    empty_path: str, source: CapturedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings, held, go = 0, threading.Event(), threading.Event()
    read = NewestChanges._newest

    def counted(*given: Any) -> SourcePosition | None:
        nonlocal readings
        readings += 1
        found = read(*given)
        held.set()
        assert go.wait(60)
        return found

    monkeypatch.setattr(NewestChanges, "_newest", counted)
    async with ShapeStore(empty_path) as store:
        early = asyncio.create_task(store.followed(timeout=60))
        await eventually(held.is_set)
        source.write(INSERT)
        late = [asyncio.create_task(store.followed(timeout=60)) for _ in range(200)]
        gone = [asyncio.create_task(store.followed(timeout=60)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        go.set()
        await early
        await eventually(lambda: goals(store) == 200)
        assert readings == 2
        assert not any(task.done() for task in late)
        make_round(empty_path, source)
        await asyncio.gather(*late)
        assert [task.cancelled() for task in gone] == [True] * 10


async def test_those_whose_reading_cannot_begin_are_told_so(
    empty_path: str, source: CapturedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the system has no thread for it. They would wait for as long as they may, and not know why."""
    held, go = threading.Event(), threading.Event()

    def cannot(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    def wait(*_: object) -> None:
        held.set()
        assert go.wait(60)

    monkeypatch.setattr(NewestChanges, "_newest", wait)
    async with ShapeStore(empty_path) as store, asyncio.timeout(60):
        newest = store._live().sources._newest
        first, second = (asyncio.create_task(newest.read(1, source.path)) for _ in range(2))
        await eventually(held.is_set)
        monkeypatch.setattr(store._live().threads, "run", cannot)
        go.set()
        assert await first is None
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await second


@pytest.mark.parametrize(
    ("hold_up", "let_go"),
    [
        ("UPDATE sources SET unfinished_round = 6", "UPDATE sources SET unfinished_round = NULL"),
        ("UPDATE shapes SET source_seq = 1", "UPDATE shapes SET source_seq = NULL"),
        ("UPDATE sources SET followed_seq = 1, followed_nonce = NULL", "DELETE FROM shapes"),
    ],
    ids=["an unfinished round", "a shape that no round has reached", "until nothing is live"],
)
async def test_it_waits_until_readers_see_it(
    empty_path: str, source: CapturedSource, hold_up: str, let_go: str
) -> None:
    source.write(INSERT)
    make_round(empty_path, source)
    edit(empty_path, hold_up)
    async with ShapeStore(empty_path) as store:
        task = asyncio.create_task(store.followed(timeout=60))
        await eventually(lambda: goals(store))
        assert not task.done()
        edit(empty_path, let_go)
        await task


async def test_where_nothing_is_live_it_returns_at_once(empty_path: str) -> None:
    async with ShapeStore(empty_path) as store:
        await store.followed(timeout=0)


async def test_where_nobody_follows_the_time_is_up(empty_path: str, source: CapturedSource) -> None:
    source.write(INSERT)
    async with ShapeStore(empty_path) as store:
        with pytest.raises(WaitTimeoutError, match=r"source\.db' were not followed within 0\.01 s"):
            await store.followed(timeout=0.01)
        os.remove(source.path)  # what cannot be read is not followed either
        with pytest.raises(WaitTimeoutError):
            await store.followed(timeout=0.01)
        assert goals(store) == 0


async def test_a_source_that_can_be_read_again_is_reached(empty_path: str, source: CapturedSource) -> None:
    async with ShapeStore(empty_path) as store:
        os.rename(source.path, f"{source.path}-away")
        task = asyncio.create_task(store.followed(timeout=60))
        reading = store._live().sources._newest
        await eventually(lambda: reading._running)
        await eventually(lambda: not reading._running)
        assert not task.done()
        os.rename(f"{source.path}-away", source.path)
        await task


async def test_a_copy_that_was_put_back_is_reached_once_its_past_is_followed(
    empty_path: str, source: CapturedSource, tmp_path: Path
) -> None:
    """It has fewer changes than were followed, and shapes hold what it has not."""
    with closing(sqlite3.connect(source.path)) as now, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        now.backup(copy)
    source.write(INSERT)
    make_round(empty_path, source)
    async with ShapeStore(empty_path) as store:
        await store.followed(timeout=60)
        with closing(sqlite3.connect(source.path)) as now, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            copy.backup(now)
        with pytest.raises(WaitTimeoutError):
            await store.followed(timeout=0.01)
        task = asyncio.create_task(store.followed(timeout=60))
        make_round(empty_path, source)
        await task


@pytest.mark.parametrize("end", ["the time is up", "the store is closed"])
async def test_a_source_whose_reading_hangs_is_waited_for_no_longer_than_that(
    empty_path: str, source: CapturedSource, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """As of a file on a network that is away, or one that is locked by another program."""
    monkeypatch.setattr(followed, "READING_SECONDS", 0.01)
    go = threading.Event()
    monkeypatch.setattr(NewestChanges, "_newest", lambda *_: go.wait(60) and None)
    try:
        async with ShapeStore(empty_path) as store:
            closed = end == "the store is closed"
            tasks = [asyncio.create_task(store.followed(timeout=60 if closed else 0.01)) for _ in range(3)]
            await eventually(lambda: store._live().sources._newest._next)
            if closed:
                await store.close()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(answer) for answer in answers] == [StoreClosedError if closed else WaitTimeoutError] * 3
            assert not go.is_set()
    finally:
        go.set()


async def test_a_table_that_was_made_anew_is_reached_once_its_shapes_are_gone(
    empty_path: str, source: CapturedSource
) -> None:
    """As by a migration: its triggers are lost, and what is written is no change that could be followed."""
    async with ShapeStore(empty_path) as store:
        await store.followed(timeout=60)
        source.write("CREATE TABLE copy AS SELECT * FROM track")
        await store.followed(timeout=60)
        source.write("DROP TABLE track")
        source.write("ALTER TABLE copy RENAME TO track")
        source.write(INSERT)
        with pytest.raises(WaitTimeoutError):
            await store.followed(timeout=0.01)
        task = asyncio.create_task(store.followed(timeout=60))
        edit(empty_path, "DELETE FROM shapes")
        await task


async def test_a_shape_read_before_a_migration_and_published_after_it_is_waited_for_until_it_is_gone(
    empty_path: str, source: CapturedSource
) -> None:
    """Between the two, what was written is no change that could be followed: it is missing in the shape."""
    async with ShapeStore(empty_path) as store:
        await store.followed(timeout=60)
        edit(
            empty_path, "UPDATE shapes SET source_signature = 'before', source_seq = (SELECT followed_seq FROM sources)"
        )
        with pytest.raises(WaitTimeoutError):
            await store.followed(timeout=0.01)
        edit(empty_path, "DELETE FROM shapes")
        await store.followed(timeout=60)


async def test_the_end_of_the_store_ends_the_wait(empty_path: str, source: CapturedSource) -> None:
    source.write(INSERT)
    async with ShapeStore(empty_path) as store:
        task = asyncio.create_task(store.followed(timeout=60))
        cancelled = asyncio.create_task(store.followed(timeout=60))
        await eventually(lambda: goals(store) == 2)
        cancelled.cancel()
        await eventually(lambda: goals(store) == 1)
        await store.close()
        with pytest.raises(StoreClosedError):
            await task


# --- the freshness of live shapes


class Reading:
    """A creator that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, shape: Shape) -> list[dict[str, int]]:
        self.calls += 1
        return [{"id": 1}]


async def test_a_live_shape_is_as_old_as_the_last_round_of_its_source(empty_path: str, source: CapturedSource) -> None:
    creator = Reading()
    grow_old(empty_path, 1_000)
    make_round(empty_path, source)
    async with ShapeStore(empty_path, create=creator, max_age=600.0) as store:
        assert (await store.get_or_create(TRACK)).live
        assert await store.fetch(TRACK) == []
        assert creator.calls == 0


async def test_a_demand_for_the_present_is_met_by_rounds(
    empty_path: str, source: CapturedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "FOLLOWED_SECONDS", 60.0)
    creator = Reading()
    async with ShapeStore(empty_path, create=creator) as store:
        assert (await store.get_or_create(TRACK, max_age=0)).live
        source.write(INSERT)
        tasks = [asyncio.create_task(store.fetch(TRACK, max_age=max_age)) for max_age in (0, 0.001)]
        await eventually(lambda: goals(store) == 2)
        make_round(empty_path, source)
        assert await asyncio.gather(*tasks) == [[], []]
        assert creator.calls == 0


async def test_where_rounds_do_not_come_a_live_shape_is_refreshed(
    empty_path: str, source: CapturedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "FOLLOWED_SECONDS", 0.01)
    source.write(INSERT)
    async with ShapeStore(empty_path, create=Reading()) as store:
        assert await store.fetch(TRACK, max_age=0) == [{"id": 1}]


async def test_a_live_shape_that_was_touched_is_refreshed(empty_path: str, source: CapturedSource) -> None:
    """Triggers may not see all: an application says what they do not."""
    async with ShapeStore(empty_path, create=Reading()) as store:
        await store.touched("track")
        assert await store.fetch(TRACK) == [{"id": 1}]
