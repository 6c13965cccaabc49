"""How fresh a shape is, and what a caller is given of one that is not."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest
from aging import edit, grow_old
from inspections import eventually
from processes import read

from shapestore import CreateFailedError, InvalidCreatorError, Shape, ShapeStore, StorageError, StoredShape
from shapestore.freshness.policy import Freshness, FreshnessPolicy
from shapestore.locking import boot_clock
from shapestore.locking.boot_clock import Moment
from shapestore.storage.commands import Claim
from shapestore.storage.from_row import Confirmation

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")


class Source:
    """Gives the number of its call. ``go`` holds a creator up; ``error`` makes it fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def __call__(self, shape: Shape) -> list[dict[str, Any]]:
        self.calls += 1
        call = self.calls
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [{"call": call}]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def store(path: str, source: Source) -> AsyncIterator[ShapeStore]:
    """Fresh for a minute, then served stale for another, and after a failure for two."""
    options = {"max_age": 60.0, "stale_while_revalidate": 60.0, "stale_if_error": 120.0, "failure_grace": 0.0}
    async with ShapeStore(path, create=source, **options) as store:  # type: ignore[arg-type]
        yield store


async def call_of(store: ShapeStore, **options: Any) -> int:
    [row] = await store.fetch(TRACK, **options)
    return int(row["call"])


# --- judging, by itself


@pytest.mark.parametrize(
    ("age", "freshness", "after_error"),
    [
        (0.0, Freshness.FRESH, True),
        (9.9, Freshness.FRESH, True),
        (10.0, Freshness.STALE, True),
        (14.9, Freshness.STALE, True),
        (15.0, Freshness.EXPIRED, True),
        (29.9, Freshness.EXPIRED, True),
        (30.0, Freshness.EXPIRED, False),
    ],
)
def test_an_age_is_judged(monkeypatch: pytest.MonkeyPatch, age: float, freshness: Freshness, after_error: bool) -> None:
    monkeypatch.setattr(boot_clock, "now", lambda: Moment("boot", 100_000, 0))
    policy = FreshnessPolicy(10.0, 5.0, 20.0)
    confirmed = Confirmation("h", Moment("boot", 100_000 - round(age * 1000), 0), 0)
    assert policy.judge(confirmed) is freshness
    assert policy.serves_after_error(confirmed) is after_error


def test_without_a_greatest_age_everything_is_fresh() -> None:
    confirmed = Confirmation("h", Moment("boot", 0, 0), 0)
    for policy in (FreshnessPolicy(), FreshnessPolicy(math.inf)):
        assert policy.judge(confirmed) is Freshness.FRESH


def test_an_age_is_taken_from_the_clock_of_the_boot_and_across_a_boot_from_the_wall() -> None:
    now = Moment("boot 2", 5_000, 1_000_000)
    assert boot_clock.age_ms(Moment("boot 2", 1_000, 9_999_999), now) == 4_000
    assert boot_clock.age_ms(Moment("boot 1", 4_999, 400_000), now) == 600_000
    assert boot_clock.age_ms(Moment("boot 1", 0, 2_000_000), now) == 0, "the wall clock was set back"
    assert boot_clock.age_ms(Moment("", 0, 400_000), Moment("", 1, 1_000_000)) == 600_000, "the boot is not known"


# --- what callers get


async def test_a_fresh_shape_is_served(path: str, store: ShapeStore) -> None:
    assert await call_of(store) == 1
    grow_old(path, 59)
    assert await call_of(store) == 1


async def test_a_stale_shape_is_served_while_one_refresh_runs_in_the_background(
    path: str, store: ShapeStore, source: Source
) -> None:
    await call_of(store)
    grow_old(path, 61)
    source.go.clear()
    assert [await call_of(store) for _ in range(10)] == [1] * 10
    edit(path, "UPDATE shapes SET refreshed_at_ms = 0")
    source.go.set()
    async with ShapeStore(path, create=source, max_age=0.5, stale_while_revalidate=1e6) as hasty:
        grow_old(path, 1)
        assert await call_of(hasty) == 1
        await eventually(lambda: source.calls == 2)
        await eventually(lambda: read(path, "SELECT refreshed_at_ms FROM shapes") > [0])
    assert await call_of(store) == 2


async def test_a_refresh_in_the_background_begins_while_the_stale_shape_is_still_served(
    path: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short that time is beside the greatest age: later, callers would wait for it."""
    latest: list[float] = []

    def at_once(_: float, high: float) -> float:
        latest.append(high)
        return 0.0

    monkeypatch.setattr("shapestore.freshness.background.random.uniform", at_once)
    async with ShapeStore(path, create=source, max_age=360_000, stale_while_revalidate=600) as store:
        await call_of(store)
        grow_old(path, 360_010)
        assert await call_of(store) == 1
        await eventually(lambda: source.calls == 2)
    assert len(latest) == 1
    assert 200 < latest[0] <= 295


async def test_past_the_window_callers_wait_for_the_refresh_and_all_get_it(
    path: str, store: ShapeStore, source: Source
) -> None:
    await call_of(store)
    grow_old(path, 121)
    source.go.clear()
    herd = [asyncio.create_task(call_of(store)) for _ in range(100)]
    await eventually(lambda: source.calls == 2)
    source.go.set()
    assert set(await asyncio.gather(*herd)) == {2}
    assert source.calls == 2


async def test_after_a_failed_refresh_the_stale_shape_is_served_for_a_while(
    path: str, store: ShapeStore, source: Source
) -> None:
    await call_of(store)
    source.error = OSError("the source is down")
    grow_old(path, 179)
    assert await call_of(store) == 1
    grow_old(path, 2)
    with pytest.raises(CreateFailedError, match="the source is down"):
        await call_of(store)


async def test_a_failure_that_is_stored_and_a_wait_that_is_too_long_count_as_failed_refreshes(
    path: str, source: Source
) -> None:
    options = {"max_age": 10.0, "stale_if_error": 100.0, "failure_grace": 3600.0}
    async with ShapeStore(path, create=source, **options) as store:  # type: ignore[arg-type]
        await call_of(store)
        grow_old(path, 11)
        source.go.clear()
        assert await call_of(store, timeout=0.01) == 1, "nobody waits longer for what is not needed"
        source.error = OSError("down")
        source.go.set()
        await eventually(lambda: read(path, "SELECT state FROM create_locks") == ["failed"])
        assert await call_of(store) == 1
        assert source.calls == 2, "the failure was answered from its lock row"
        grow_old(path, 100)
        with pytest.raises(CreateFailedError):
            await call_of(store)


async def test_a_refresh_that_cannot_be_written_counts_as_failed(
    path: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: what is stored can be read all the same."""

    def refuse(*_: object) -> NoReturn:
        raise sqlite3.OperationalError("database or disk is full")

    async with ShapeStore(path, create=source, max_age=10.0, stale_if_error=100.0) as store:
        await call_of(store)
        grow_old(path, 11)
        monkeypatch.setattr(Claim, "apply", refuse)
        assert await call_of(store) == 1
        grow_old(path, 100)
        with pytest.raises(StorageError, match="disk is full"):
            await call_of(store)


async def test_a_stale_shape_that_was_dropped_meanwhile_is_not_served(path: str, source: Source) -> None:
    async with ShapeStore(path, create=source, max_age=10.0, stale_if_error=1e6) as store:
        await call_of(store)
        grow_old(path, 11)
        source.go.clear()
        asked = asyncio.create_task(call_of(store))
        await eventually(lambda: source.calls == 2)
        await store.invalidate("Track")
        source.error = OSError("down")
        source.go.set()
        with pytest.raises(CreateFailedError, match="down"):
            await asked


async def test_the_age_of_a_call_overrides_that_of_the_store(path: str, store: ShapeStore) -> None:
    await call_of(store)
    grow_old(path, 1000)
    assert await call_of(store, max_age=math.inf) == 1
    assert await call_of(store, max_age=2000) == 1
    assert await call_of(store, max_age=500) == 2
    assert await call_of(store) == 2


async def test_an_age_counts_from_the_claim_and_not_from_the_publication(path: str, source: Source) -> None:
    async with ShapeStore(path, create=source, max_age=3600) as store:
        source.go.clear()
        asked = asyncio.create_task(call_of(store))
        await eventually(lambda: source.calls == 1)
        edit(path, "UPDATE create_locks SET started_at_boot_ms = started_at_boot_ms - 3600000")
        source.go.set()
        assert await asked == 1, "who waited for an attempt gets its result, whatever its age"
        assert await call_of(store) == 2


async def test_nothing_jumps_with_the_wall_clock(path: str, store: ShapeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await call_of(store)
    for jump in (-(10**7), 10**7):
        real = time.time_ns()
        monkeypatch.setattr(time, "time_ns", lambda jump=jump, real=real: real + jump * 10**9)
        assert await call_of(store) == 1


async def test_a_boot_that_is_another_makes_ages_of_the_wall_clock(path: str, store: ShapeStore) -> None:
    await call_of(store)
    edit(path, "UPDATE shapes SET confirmed_boot = 'another', confirmed_at_boot_ms = 0")
    assert await call_of(store) == 1
    edit(path, "UPDATE shapes SET confirmed_at_ms = confirmed_at_ms - 1000000")
    assert await call_of(store) == 2


# --- max_age=0


async def test_zero_demands_a_refresh_that_began_after_the_call(path: str, store: ShapeStore, source: Source) -> None:
    await call_of(store)
    source.go.clear()
    early = asyncio.create_task(call_of(store, max_age=0))
    await eventually(lambda: source.calls == 2)
    late = asyncio.create_task(call_of(store, max_age=0))
    other = asyncio.create_task(call_of(store, max_age=0))
    await asyncio.sleep(0)
    source.go.set()
    assert await early == 2
    assert await late == await other == 3, "the attempt that was in progress at the call has read too early"
    assert source.calls == 3


async def test_zero_does_not_count_a_first_creation_that_was_in_progress(store: ShapeStore, source: Source) -> None:
    source.go.clear()
    first = asyncio.create_task(call_of(store))
    await eventually(lambda: source.calls == 1)
    demanding = asyncio.create_task(call_of(store, max_age=0))
    await asyncio.sleep(0)
    source.go.set()
    assert (await first, await demanding) == (1, 2)


async def test_zero_does_not_count_the_attempt_of_another_store_either(path: str, source: Source) -> None:
    async with ShapeStore(path, create=source) as one, ShapeStore(path, create=source) as other:
        source.go.clear()
        first = asyncio.create_task(call_of(one))
        await eventually(lambda: source.calls == 1)
        demanding = asyncio.create_task(call_of(other, max_age=0))
        await asyncio.sleep(0)
        source.go.set()
        assert (await first, await demanding) == (1, 2)


async def test_zero_is_answered_by_a_failure_within_its_ttl(path: str, source: Source) -> None:
    async with ShapeStore(path, create=source, failure_grace=3600) as store:
        source.error = OSError("down")
        with pytest.raises(CreateFailedError):
            await call_of(store)
        with pytest.raises(CreateFailedError):
            await call_of(store, max_age=0)
        assert source.calls == 1


async def test_a_herd_that_demands_is_one_refresh(store: ShapeStore, source: Source) -> None:
    await call_of(store)
    assert set(await asyncio.gather(*[call_of(store, max_age=0) for _ in range(100)])) == {2}


# --- the background


async def test_a_background_refresh_takes_half_the_slots_at_most_but_one_at_least(path: str, source: Source) -> None:
    options = {"max_age": 0.001, "stale_while_revalidate": 1e6, "max_creating": 4}
    async with ShapeStore(path, create=source, **options) as store:  # type: ignore[arg-type]
        shapes = [Shape("Track", where="AlbumId = :n", params={"n": n}) for n in range(10)]
        await asyncio.gather(*[store.get_or_create(shape) for shape in shapes])
        grow_old(path, 10)
        source.go.clear()
        begun = source.calls
        for shape in shapes:
            assert await store.get_or_create(shape) == await store.get(shape)
        await eventually(lambda: source.calls == begun + 2)
        fresh = asyncio.create_task(store.get_or_create(Shape("Album")))
        await eventually(lambda: source.calls == begun + 3)
        source.go.set()
        await fresh
        await eventually(lambda: source.calls == begun + 11)


async def test_no_more_background_refreshes_are_scheduled_than_keys_may_be_in_flight(path: str, source: Source) -> None:
    options = {"max_age": 0.001, "stale_while_revalidate": 1e6, "max_in_flight": 2, "max_creating": 2}
    async with ShapeStore(path, create=source, **options) as store:  # type: ignore[arg-type]
        shapes = [Shape("Track", where="AlbumId = :n", params={"n": n}) for n in range(10)]
        for shape in shapes:
            await store.get_or_create(shape)
        grow_old(path, 10)
        source.go.clear()
        begun = source.calls
        for shape in shapes:
            await store.get_or_create(shape)
        await eventually(lambda: source.calls > begun)
        source.go.set()
        await eventually(lambda: source.calls == begun + 2 and store.stats.in_flight == 0)
        grow_old(path, 10)
        await store.get_or_create(shapes[-1])
        await eventually(lambda: source.calls == begun + 3)


async def test_a_stale_hit_without_any_creator_is_served_and_refreshes_nothing(path: str, source: Source) -> None:
    async with ShapeStore(path, create=source) as store:
        await call_of(store)
    grow_old(path, 10)
    async with ShapeStore(path, max_age=1, stale_while_revalidate=1e6) as store:
        assert await call_of(store) == 1
    grow_old(path, 1e7)
    async with ShapeStore(path, max_age=1, stale_while_revalidate=1) as store:
        with pytest.raises(InvalidCreatorError):
            await call_of(store)


async def test_a_failed_background_refresh_is_nobodys_error(path: str, store: ShapeStore, source: Source) -> None:
    await call_of(store)
    source.error = OSError("down")
    async with ShapeStore(path, create=source, max_age=0.01, stale_while_revalidate=1e6, failure_grace=3600) as hasty:
        grow_old(path, 1)
        for _ in range(3):
            assert await call_of(hasty) == 1
        await eventually(lambda: read(path, "SELECT state FROM create_locks") == ["failed"])
        assert await call_of(hasty) == 1
    assert source.calls == 2


async def test_two_stores_whose_callers_never_stop_refresh_about_once_in_an_age(path: str, source: Source) -> None:
    """In the small what the processes of an application do: as many creations as ages have passed, and no waiting."""
    options = {"max_age": 0.2, "stale_while_revalidate": 1e6}
    waited: list[StoredShape] = []
    async with (
        ShapeStore(path, create=source, **options) as one,  # type: ignore[arg-type]
        ShapeStore(path, create=source, **options) as other,  # type: ignore[arg-type]
    ):
        began = time.monotonic()
        await one.get_or_create(TRACK)
        while source.calls < 5:
            for store in (one, other):
                waited += await asyncio.gather(*[store.get_or_create(TRACK) for _ in range(10)])
            await asyncio.sleep(0.005)
        assert source.calls <= 1 + (time.monotonic() - began) / 0.2
        assert one.stats.polls + other.stats.polls < 40


# --- options


@pytest.mark.parametrize("option", ["max_age", "stale_while_revalidate", "stale_if_error", "keep_replaced"])
@pytest.mark.parametrize("value", [-1, float("nan"), "1", True])
def test_what_is_no_time_is_refused(path: str, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        ShapeStore(path, **{option: value})


@pytest.mark.parametrize("value", [-1, float("nan"), "1", True])
async def test_what_is_no_age_of_a_call_is_refused(store: ShapeStore, value: Any) -> None:
    for call in (store.get_or_create, store.fetch, store.fetch_json):
        with pytest.raises(ValueError, match="max_age"):
            await call(TRACK, max_age=value)


# --- namespaces


async def test_a_namespace_is_a_part_of_the_key(path: str, source: Source) -> None:
    async with ShapeStore(path, create=source) as plain, ShapeStore(path, create=source, namespace="tenant") as named:
        assert [await call_of(plain), await call_of(named), await call_of(plain), await call_of(named)] == [1, 2, 1, 2]
        assert await plain.invalidate("Track") == 1
        assert await named.get(TRACK) is not None
        assert await plain.get(TRACK) is None
        assert [stored.shape async for stored in named.shapes(table="Track")] == [TRACK]
        assert await named.release_lock(TRACK) is False
