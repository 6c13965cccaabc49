"""The wall clock is written for people to read. Moved by a day in either direction, it changes no outcome."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from file_rows import add_lock
from inspections import eventually, rows_of
from processes import edit, edited, read

import shapestore
from shapestore import CreateFailedError, Shape, ShapeStore, WaitTimeoutError
from shapestore.locking import boot_clock

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")
DAY_MS = 24 * 60 * 60 * 1000

either_way = pytest.mark.parametrize("days", [1, -1])


class WallClock:
    """The wall clock, which may be set."""

    def __init__(self) -> None:
        self.ahead_ms = 0
        self._time_ns = time.time_ns

    def move(self, days: int) -> None:
        self.ahead_ms += days * DAY_MS

    def time_ns(self) -> int:
        return self._time_ns() + self.ahead_ms * 1_000_000

    def time(self) -> float:
        return self.time_ns() / 1e9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr(time, "time_ns", clock.time_ns)
    monkeypatch.setattr(time, "time", clock.time)
    return clock


class Source:
    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def create(self, shape: Shape) -> list[dict[str, Any]]:
        self.asked += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [{"number": self.asked}]


@pytest.fixture
def source() -> Source:
    return Source()


def test_the_wall_clock_is_read_in_one_place_and_for_people_to_read_in_others() -> None:
    package = Path(shapestore.__file__).parent
    readers = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"\btime\.time(_ns)?\b|\bdatetime\.now\(|\butcnow\(|\bgmtime\(|\blocaltime\(", file.read_text())
    }
    assert {name for name in readers if not name.startswith(("cli/", "admin/doctor/", "http/"))} == {
        "locking/boot_clock.py"
    }


@either_way
async def test_a_creation_and_those_who_wait_for_it_do_not_notice(
    path: str, clock: WallClock, source: Source, days: int
) -> None:
    # Bounds that a day is far beyond, and that no machine is slow enough to reach.
    async with (
        ShapeStore(path, create=source.create, wait_timeout=600, create_timeout=600) as one,
        ShapeStore(path, create=source.create, wait_timeout=600, create_timeout=600) as other,
    ):
        callers = [asyncio.create_task(store.get_or_create(TRACK)) for store in (one, other, one)]
        await eventually(lambda: other.stats.polls > 2)
        clock.move(days)
        polls = other.stats.polls
        await eventually(lambda: other.stats.polls > polls + 2)
        source.go.set()
        assert len({stored.handle for stored in await asyncio.gather(*callers)}) == 1
        assert (source.asked, one.stats.timeouts, other.stats.timeouts) == (1, 0, 0)


@either_way
async def test_a_callers_time_and_a_creators_time_are_up_all_the_same(
    path: str, clock: WallClock, source: Source, days: int
) -> None:
    async with (
        ShapeStore(path, create=source.create) as store,
        ShapeStore(path, create=source.create, create_timeout=0.2) as hasty,
    ):
        waiting = asyncio.create_task(store.get_or_create(TRACK, timeout=0.2))
        creating = asyncio.create_task(hasty.get_or_create(Shape("Album")))
        await eventually(lambda: source.asked == 2)
        clock.move(days)
        with pytest.raises(WaitTimeoutError):
            await waiting
        with pytest.raises(CreateFailedError, match="TimeoutError"):
            await creating
        source.go.set()


@either_way
async def test_a_failure_keeps_its_window(path: str, clock: WallClock, source: Source, days: int) -> None:
    source.error = OSError("the source is away")
    source.go.set()
    async with (
        ShapeStore(path, create=source.create, failure_grace=600) as one,
        ShapeStore(path, create=source.create, failure_grace=600) as other,
    ):
        for store in (one, other):
            with pytest.raises(CreateFailedError):
                await store.get_or_create(TRACK)
        clock.move(days)
        for store in (one, other):
            with pytest.raises(CreateFailedError, match="the source is away"):
                await store.get_or_create(TRACK)
        assert source.asked == 1


@either_way
async def test_a_failure_is_swept_at_the_end_of_its_window(
    path: str, clock: WallClock, source: Source, days: int
) -> None:
    source.error = OSError("the source is away")
    source.go.set()
    async with ShapeStore(path, create=source.create, failure_grace=0.2) as store:
        with pytest.raises(CreateFailedError):
            await store.get_or_create(TRACK)
        clock.move(days)
        await eventually(lambda: not read(path, "SELECT 1 FROM create_locks"))
        source.error = None
        assert await rows_of(store, await store.get_or_create(TRACK)) == [{"number": 2}]


@either_way
async def test_a_failure_that_its_owner_forgot_is_seen_for_a_window_and_then_claimed_over(
    path: str, clock: WallClock, source: Source, days: int
) -> None:
    source.error = OSError("the source is away")
    source.go.set()
    async with (
        ShapeStore(path, create=source.create, failure_grace=600) as owner,
        ShapeStore(path, create=source.create) as other,
    ):
        with pytest.raises(CreateFailedError):
            await owner.get_or_create(TRACK)
        clock.move(days)
        source.error = None
        # A window that is over for whoever looks twice. Its owner will sweep it in ten minutes.
        edit(path, "UPDATE create_locks SET retry_after_ms = 1")
        with pytest.raises(CreateFailedError):
            await other.get_or_create(TRACK)  # it is seen for the first time, however old it says that it is
        await asyncio.sleep(0.002)
        assert await rows_of(other, await other.get_or_create(TRACK)) == [{"number": 2}]


@either_way
async def test_an_attempt_of_the_living_is_not_taken_over_however_old_its_row_says_that_it_is(
    path: str, clock: WallClock, source: Source, days: int
) -> None:
    async with ShapeStore(path, create=source.create) as one, ShapeStore(path, create=source.create) as other:
        caller = asyncio.create_task(one.get_or_create(TRACK))
        await eventually(lambda: source.asked)
        clock.move(days)
        edit(path, "UPDATE create_locks SET started_at_ms = started_at_ms - ?", days * 400 * DAY_MS)
        with pytest.raises(WaitTimeoutError):
            await other.get_or_create(TRACK, timeout=0.05)
        source.go.set()
        assert await caller == await other.get_or_create(TRACK)
        assert (source.asked, other.stats.takeovers) == (1, 0)


@either_way
async def test_an_attempt_of_the_dead_is_taken_over_however_young_its_row_says_that_it_is(
    path: str, clock: WallClock, source: Source, days: int
) -> None:
    source.go.set()
    async with ShapeStore(path, create=source.create) as store:
        now = boot_clock.now()
        with edited(path) as file:
            times: dict[str, Any] = {
                "started_boot": now.boot,
                "started_at_boot_ms": now.boot_ms,
                "started_at_ms": now.wall_ms,
            }
            add_lock(file, "its handle", TRACK, owner="an owner who is gone", **times)
        clock.move(days)
        await store.get_or_create(TRACK)
        assert store.stats.takeovers == 1
    assert read(path, "SELECT handle, outcome FROM creations ORDER BY number")[0] == ("its handle", "died")


@either_way
async def test_a_shape_says_when_it_was_made_by_the_clock_of_then_and_is_served_whatever_that_is(
    path: str, clock: WallClock, source: Source, days: int
) -> None:
    source.go.set()
    async with ShapeStore(path, create=source.create) as one, ShapeStore(path, create=source.create) as other:
        clock.move(days)
        before = datetime.fromtimestamp(clock.time(), UTC)
        made = await one.get_or_create(TRACK)
        assert timedelta(milliseconds=-1) <= made.created_at - before < timedelta(hours=1)
        clock.move(-2 * days)
        assert await other.get_or_create(TRACK) == made
        fresh = await other.refresh(TRACK)
        assert (fresh.created_at < made.created_at) == (days > 0)
        assert await one.get_or_create(TRACK) == fresh
        assert await rows_of(one, fresh) == [{"number": 2}]


@either_way
async def test_what_was_read_last_is_evicted_last(path: str, clock: WallClock, source: Source, days: int) -> None:
    source.go.set()
    async with ShapeStore(path, create=source.create, max_shapes=2) as store:
        for table in ("first", "second", "third"):
            await store.get_or_create(Shape(table))
            clock.move(days)
        await eventually(lambda: store.stats.evicted)
        assert {stored.shape.table async for stored in store.shapes()} == {"second", "third"}
