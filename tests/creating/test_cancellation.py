"""A caller's cancellation and its time-out are its own: at whatever await they come, the others are answered."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from inspections import assert_no_transaction_is_open, eventually, gate_held, left_open, quiet, rows_of, settled
from processes import assert_sound, read
from steps import Steps

from shapestore import CreateFailedError, Shape, ShapeStore, StoreClosedError, StoredShape, WaitTimeoutError
from shapestore.creating.timers import Timers
from shapestore.source.creator import Creator
from shapestore.storage.log.chunks import CHUNK_ROWS

pytestmark = pytest.mark.usefixtures("untroubled")

Row = dict[str, Any]

MANY = 2 * CHUNK_ROWS + 5
TRACK = Shape("Track")


@pytest.fixture
def path(empty_path: str) -> str:
    return empty_path


def cancel(callers: list[asyncio.Task[Any]]) -> None:
    for caller in callers:
        caller.cancel()


# At every step of a creation


attempts: Counter[str] = Counter()


async def coroutine(shape: Shape) -> list[Row]:
    attempts[shape.table] += 1
    for _ in range(3):
        await asyncio.sleep(0)
    return [{"n": 0}]


async def large_async_generator(shape: Shape) -> AsyncIterator[Row]:
    attempts[shape.table] += 1
    for number in range(MANY):
        yield {"n": number}


def function(shape: Shape) -> list[Row]:
    attempts[shape.table] += 1
    return [{"n": 0}]


def large_generator(shape: Shape) -> Iterator[Row]:
    attempts[shape.table] += 1
    for number in range(MANY):
        yield {"n": number}


async def failing_coroutine(shape: Shape) -> list[Row]:
    await coroutine(shape)
    raise ValueError("no such luck")


def failing_generator(shape: Shape) -> Iterator[Row]:
    yield from large_generator(shape)
    raise ValueError("no such luck")


CREATORS: list[Creator] = [
    coroutine,
    large_async_generator,
    function,
    large_generator,
    failing_coroutine,
    failing_generator,
]

# Of three callers. "In turn": another subset at each step.
IN_TURN = [[0], [2], [0, 1], [0, 1, 2]]
SUBSETS = [
    pytest.param(IN_TURN, id="in turn"),
    *(pytest.param([subset], id=f"{subset}", marks=pytest.mark.slow) for subset in [*IN_TURN, [1], [0, 2]]),
]


@pytest.mark.parametrize("create", CREATORS, ids=lambda create: create.__name__)
@pytest.mark.parametrize("subsets", SUBSETS)
async def test_callers_are_cancelled_at_any_step_and_the_others_get_the_answer(
    path: str, create: Creator, subsets: list[list[int]]
) -> None:
    attempts.clear()
    fails = create in (failing_coroutine, failing_generator)
    with Steps() as steps:
        async with ShapeStore(path, create=create, failure_grace=0) as store:
            for step in itertools.count(1):
                shape = Shape(f"table {step}")
                victims = subsets[step % len(subsets)]
                callers = [asyncio.create_task(store.get_or_create(shape)) for _ in range(3)]
                steps.do_at(step, lambda chosen=[callers[i] for i in victims]: cancel(chosen))  # type: ignore[misc]
                answers = await asyncio.gather(*callers, return_exceptions=True)
                await settled(store, path)
                reached = steps.done()
                # Whichever callers have gone, a creation that began has ended, and none began twice.
                assert attempts[shape.table] <= 1
                rest = [answer for i, answer in enumerate(answers) if i not in victims]
                if fails:
                    assert all(isinstance(answer, CreateFailedError) for answer in rest)
                    assert await store.get(shape) is None
                else:
                    begun, hits = attempts[shape.table], store.stats.hits
                    stored = await store.get_or_create(shape)
                    assert attempts[shape.table] == 1
                    assert store.stats.hits == hits + begun
                    assert all(answer == stored for answer in rest)
                    assert len(await rows_of(store, stored)) == stored.row_count
                if not reached:
                    break
            assert step > 10
    assert_sound(path)


async def test_followers_of_another_store_are_cancelled_like_any_other_caller(path: str) -> None:
    with Steps() as steps:
        async with ShapeStore(path) as leader, ShapeStore(path) as follower:
            for step in range(1, 80):
                shape = Shape(f"table {step}")
                go = asyncio.Event()

                async def create(shape: Shape, go: asyncio.Event = go) -> list[Row]:
                    await go.wait()
                    return [{"n": 0}]

                leading = asyncio.create_task(leader.get_or_create(shape, create))
                await eventually(lambda: leader.stats.leaders == step)  # noqa: B023
                polls = follower.stats.polls
                following = [asyncio.create_task(follower.get_or_create(shape, create)) for _ in range(3)]
                victims = IN_TURN[step % len(IN_TURN)]
                steps.do_at(step, lambda chosen=[following[i] for i in victims]: cancel(chosen))  # type: ignore[misc]
                await eventually(lambda: follower.stats.polls > polls + 2 or not follower.stats.in_flight)  # noqa: B023
                go.set()
                answers = await asyncio.gather(*following, return_exceptions=True)
                stored = await leading
                assert all(answer == stored for i, answer in enumerate(answers) if i not in victims)
                await settled(follower, path)
                steps.done()
            assert (follower.stats.leaders, follower.stats.commands) == (0, 0)


async def test_a_flight_without_callers_ends(path: str) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        await go.wait()
        return []

    async with ShapeStore(path, create=create) as leader, ShapeStore(path, create=create) as follower:
        leading = asyncio.create_task(leader.get_or_create(TRACK))
        await eventually(lambda: leader.stats.leaders)
        following = [asyncio.create_task(follower.get_or_create(TRACK)) for _ in range(10)]
        await eventually(lambda: follower.stats.polls > 1)
        cancel(following[1:])
        await asyncio.wait(following[1:])
        assert follower.stats.in_flight == 1
        cancel(following)
        await eventually(lambda: follower.stats.in_flight == 0)
        polls = follower.stats.polls
        go.set()
        await leading
        assert follower.stats.polls == polls


async def test_a_flight_whose_caller_is_cancelled_no_longer_waits_for_a_slot(path: str) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        await go.wait()
        return []

    async with ShapeStore(path, create=create, max_creating=1) as store:
        first = asyncio.create_task(store.get_or_create(Shape("first")))
        await eventually(lambda: store.stats.leaders)
        second = asyncio.create_task(store.get_or_create(Shape("second")))
        await eventually(lambda: store.stats.in_flight == 2)
        second.cancel()
        await eventually(lambda: store.stats.in_flight == 1)
        third = asyncio.create_task(store.get_or_create(Shape("third")))
        go.set()
        await asyncio.gather(first, third)
        assert await store.get(Shape("second")) is None


@pytest.mark.parametrize("turns", range(6))
async def test_a_slot_granted_to_a_flight_whose_caller_is_cancelled_at_that_moment_goes_to_the_next(
    path: str, turns: int
) -> None:
    loop = asyncio.get_running_loop()
    asked: list[asyncio.Task[StoredShape]] = []

    def cancel_second(turns: int) -> None:
        if turns:
            loop.call_soon(cancel_second, turns - 1)
        else:
            asked[1].cancel()

    async def create(shape: Shape) -> list[Row]:
        if shape.table == "first":
            await eventually(lambda: store.stats.in_flight == 3)
            cancel_second(turns)
        return []

    async with ShapeStore(path, create=create, max_creating=1) as store:
        asked += [asyncio.create_task(store.get_or_create(Shape(table))) for table in ("first", "second", "third")]
        first, _, third = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, StoredShape)
        assert isinstance(third, StoredShape)
        await quiet(store, path)
        await store.get_or_create(Shape("fourth"))  # and the slot is free again


@pytest.mark.parametrize("form", ["on the loop", "in a thread"])
async def test_a_creation_goes_on_when_every_caller_has_gone(path: str, form: str) -> None:
    go = threading.Event()

    def in_a_thread(shape: Shape) -> Iterator[Row]:
        go.wait(60)
        yield from large_generator(shape)

    async def on_the_loop(shape: Shape) -> AsyncIterator[Row]:
        await eventually(go.is_set)
        async for row in large_async_generator(shape):
            yield row

    attempts.clear()
    async with ShapeStore(path, create=on_the_loop if form == "on the loop" else in_a_thread) as store:
        callers = [asyncio.create_task(store.get_or_create(TRACK)) for _ in range(100)]
        await eventually(lambda: store.stats.leaders)
        cancel(callers)
        gone = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in gone)
        go.set()
        await settled(store, path)
        await store.get_or_create(TRACK)
        assert (attempts["Track"], store.stats.created, store.stats.hits) == (1, 1, 1)


async def test_a_cancelled_refresh_leaves_the_old_shape_or_the_new_one(path: str) -> None:
    attempts.clear()
    with Steps() as steps:
        async with ShapeStore(path, create=large_async_generator) as store:
            for step in itertools.count(1):
                old = await store.get_or_create(TRACK)
                attempts.clear()
                victims = IN_TURN[step % len(IN_TURN)]
                callers = [asyncio.create_task(store.refresh(TRACK)) for _ in range(3)]
                steps.do_at(step, lambda chosen=[callers[i] for i in victims]: cancel(chosen))  # type: ignore[misc]
                answers = await asyncio.gather(*callers, return_exceptions=True)
                await quiet(store, path)
                reached = steps.done()
                now = await store.get(TRACK)
                assert now is not None
                assert (now != old) == attempts["Track"] <= 1
                assert all(answer == now != old for i, answer in enumerate(answers) if i not in victims)
                assert len(await rows_of(store, now)) == MANY
                if not reached:
                    break
            assert step > 10
            await settled(store, path)
    assert_sound(path)


# At every step of all other calls


async def drain(rows: AsyncIterator[Any]) -> int:
    return len([row async for row in rows])


Call = Callable[[ShapeStore, StoredShape], Awaitable[Any]]

CALLS: dict[str, Call] = {
    "get_or_create": lambda store, stored: store.get_or_create(stored.shape),
    "get": lambda store, stored: store.get(stored.shape),
    "get_by_handle": lambda store, stored: store.get_by_handle(stored.handle),
    "rows": lambda store, stored: drain(store.rows(stored.handle, batch_size=1)),
    "shapes": lambda store, stored: drain(store.shapes()),
    "count": lambda store, stored: store.count(),
    "explain": lambda store, stored: store.explain(Shape("Artist")),
    "locks": lambda store, stored: store.locks(),
    "delete": lambda store, stored: store.delete(stored.handle),
    "invalidate": lambda store, stored: store.invalidate("Track"),
    "release_lock": lambda store, stored: store.release_lock(stored.shape),
}


async def done(call: Call, store: ShapeStore, stored: StoredShape) -> Any:
    return await call(store, stored)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_any_call_can_be_cancelled_at_any_step(path: str, call: Call) -> None:
    with Steps() as steps:
        async with ShapeStore(path, create=lambda shape: [{"n": 1}, {"n": 2}, {"n": 3}]) as store:
            for step in itertools.count(1):
                stored = await store.get_or_create(TRACK)
                caller = asyncio.create_task(done(call, store, stored))
                steps.do_at(step, lambda caller=caller: cancel([caller]))  # type: ignore[misc]
                await asyncio.wait([caller])
                reached = steps.done()
                await quiet(store, path)
                # It is done or not done, and nothing between.
                assert await store.count() == len([1 async for _ in store.shapes()]) <= 1
                if not reached:
                    break
            await settled(store, path)
    assert_sound(path)


async def test_a_cancelled_delete_and_invalidate_are_done_all_the_same(path: str) -> None:
    async with ShapeStore(path, create=lambda shape: [{"n": 1}]) as store:
        for call in (CALLS["delete"], CALLS["invalidate"]):
            stored = await store.get_or_create(TRACK)
            commands = store.stats.commands
            async with gate_held(path):
                dropping = asyncio.create_task(done(call, store, stored))
                await eventually(lambda: store.stats.commands > commands)  # noqa: B023
                dropping.cancel()
            await eventually(lambda: read(path, "SELECT count(*) FROM shapes") == [0])
            assert dropping.cancelled()


async def test_an_attempt_ended_by_a_cancelled_release_begins_again(path: str) -> None:
    begun: list[asyncio.Event] = []

    async def create(shape: Shape) -> list[Row]:
        begun.append(asyncio.Event())
        if len(begun) == 1:
            await begun[0].wait()  # without end
        return []

    async with ShapeStore(path, create=create) as store:
        asked = asyncio.create_task(store.get_or_create(TRACK))
        await eventually(lambda: begun)
        async with gate_held(path):
            releasing = asyncio.create_task(store.release_lock(TRACK))
            await eventually(lambda: store.stats.commands == 2)
            releasing.cancel()
        await asyncio.wait_for(asked, 60)
        assert len(begun) == 2


# Opening and closing


@pytest.mark.parametrize("again", [False, True], ids=["once", "and at every step after it"])
@pytest.mark.parametrize("file", ["new", "migrated"])
async def test_a_cancelled_opening_leaves_nothing_open(path: str, tmp_path: Any, file: str, again: bool) -> None:
    with Steps() as steps:
        for step in itertools.count(1):
            name = str(tmp_path / f"{step}.db") if file == "new" else path
            store = ShapeStore(name, create=coroutine)
            opening = asyncio.create_task(store.open())
            steps.do_at(step, lambda opening=opening: opening.cancel(), again=again)  # type: ignore[misc]
            await asyncio.wait([opening])
            reached = steps.done()
            await store.close()  # if it was open before it was cancelled
            await eventually(lambda: not left_open(name))  # noqa: B023
            assert not os.path.exists(f"{name}-owners") or os.listdir(f"{name}-owners") == []
            if os.path.exists(name):
                assert_no_transaction_is_open(name)
            async with store:
                await store.get_or_create(TRACK)
            if not reached:
                break
        assert step > 5


@pytest.mark.parametrize("again", [False, True], ids=["once", "and at every step after it"])
async def test_a_cancelled_closing_goes_on(path: str, again: bool) -> None:
    stuck = asyncio.Event()

    async def never_ends(shape: Shape) -> AsyncIterator[Row]:
        for number in range(CHUNK_ROWS):
            yield {"n": number}
        stuck.set()
        await asyncio.Event().wait()

    with Steps() as steps:
        for step in itertools.count(1):
            store = ShapeStore(path, failure_grace=3600)
            await store.open()
            with pytest.raises(CreateFailedError):
                await store.get_or_create(Shape("failed"), failing_coroutine)
            waiting = [asyncio.create_task(store.get_or_create(TRACK, never_ends)) for _ in range(3)]
            await stuck.wait()
            stuck.clear()
            closing = asyncio.create_task(store.close())
            await asyncio.sleep(0)  # one that is cancelled before it has begun closes nothing
            steps.do_at(step, lambda closing=closing: closing.cancel(), again=again)  # type: ignore[misc]
            await asyncio.wait([closing])
            with pytest.raises(StoreClosedError):
                await store.count()
            await store.close()
            reached = steps.done()
            for answer in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(answer, StoreClosedError)
            assert_no_transaction_is_open(path)
            assert read(path, "SELECT count(*) FROM create_locks UNION ALL SELECT count(*) FROM owners") == [0, 0]
            assert os.listdir(f"{path}-owners") == []
            await eventually(lambda: not left_open(path))
            if not reached:
                break
        assert step > 10
    assert_sound(path)


async def test_a_store_closed_by_a_cancelled_caller_and_opened_again_is_open_until_it_is_closed(path: str) -> None:
    store = ShapeStore(path, create=coroutine)
    await store.open()
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await store.open()
    await store.get_or_create(TRACK)
    await store.close()
    with pytest.raises(StoreClosedError):
        await store.get(TRACK)


# Time-outs of callers


async def test_a_waiter_whose_time_is_up_gets_an_error_and_the_creation_goes_on(path: str) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        await go.wait()
        return []

    async with ShapeStore(path, create=create, wait_timeout=0.05) as store:
        with pytest.raises(
            WaitTimeoutError, match=r"no answer within 0\.05 s for Track: its creator is still"
        ) as raised:
            await store.get_or_create(TRACK)
        assert isinstance(raised.value, TimeoutError)
        assert store.stats.in_flight == store.stats.timeouts == 1
        patient = asyncio.create_task(store.get_or_create(TRACK, timeout=30))
        await asyncio.sleep(0)
        go.set()
        await patient
        assert (await store.get_or_create(TRACK)) == patient.result()
        assert (store.stats.leaders, store.stats.created, store.stats.hits) == (1, 1, 1)


async def test_each_caller_has_a_time_of_its_own(path: str) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        await go.wait()
        return []

    async with ShapeStore(path, create=create, wait_timeout=0.01) as store:
        timeouts = [30, 0, 0.02, None, 0.01, 30, 0.03, 30]
        callers = [asyncio.create_task(store.get_or_create(TRACK, timeout=timeout)) for timeout in timeouts]
        await eventually(lambda: sum(caller.done() for caller in callers) == 5)
        assert store.stats.timeouts == 5
        assert [caller.done() for caller in callers] == [timeout != 30 for timeout in timeouts]
        go.set()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        for answer, timeout in zip(answers, timeouts, strict=True):
            assert isinstance(answer, StoredShape if timeout == 30 else WaitTimeoutError)


async def test_the_error_of_a_time_out_says_what_the_caller_waited_for(path: str) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        await go.wait()
        return []

    async with ShapeStore(path, create=create, max_creating=1) as store, ShapeStore(path, create=create) as other:
        with pytest.raises(WaitTimeoutError, match="its creator is still running"):
            await store.get_or_create(TRACK, timeout=0.05)
        with pytest.raises(WaitTimeoutError, match="another store is still creating it"):
            await other.get_or_create(TRACK, timeout=0.05)
        with pytest.raises(WaitTimeoutError, match="all max_creating slots are in use"):
            await store.get_or_create(Shape("Album"), timeout=0.05)
        go.set()


async def test_a_timeout_of_zero_is_enough_for_a_hit_and_to_start_a_creation(path: str) -> None:
    async with ShapeStore(path, create=coroutine) as store:
        with pytest.raises(WaitTimeoutError):
            await store.get_or_create(TRACK, timeout=0)
        await eventually(lambda: store.stats.created)
        await store.get_or_create(TRACK, timeout=0)
        with pytest.raises(WaitTimeoutError):
            await store.refresh(TRACK, timeout=0)
        await eventually(lambda: store.stats.created == 2)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1", True])
async def test_a_time_is_a_finite_number_of_seconds(path: str, timeout: Any) -> None:
    with pytest.raises(ValueError, match="wait_timeout is a finite number"):
        ShapeStore(path, wait_timeout=timeout)
    async with ShapeStore(path, create=coroutine) as store:
        for ask in (store.get_or_create, store.refresh):
            with pytest.raises(ValueError, match="timeout is a finite number"):
                await ask(TRACK, timeout=timeout)
        await settled(store, path)


async def test_thousands_of_callers_who_come_and_go_leave_nothing_while_one_still_waits(path: str) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        await go.wait()
        return []

    async with ShapeStore(path, create=create, wait_timeout=600) as store:
        patient = asyncio.create_task(store.get_or_create(TRACK))
        await eventually(lambda: store.stats.leaders)
        coalescer = store._lifecycle.opened.coalescer
        flight = coalescer.get(TRACK.comparable)
        assert flight is not None
        for _ in range(10):
            hasty = [asyncio.create_task(store.get_or_create(TRACK, timeout=0)) for _ in range(500)]
            leaving = [asyncio.create_task(store.get_or_create(TRACK)) for _ in range(500)]
            await asyncio.gather(*hasty, return_exceptions=True)
            cancel(leaving)
            await asyncio.wait(leaving)
        assert len(flight.waiters) == 1
        assert len(coalescer.services.timers) < 200
        assert store.stats.timeouts == 5_000
        go.set()
        await patient


async def test_the_times_of_a_herd_cost_a_few_timers_of_the_loop(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_timers: list[Timers] = []
    set_loop_timer = Timers._set_loop_timer

    def counted(self: Timers) -> None:
        set_timers.append(self)
        set_loop_timer(self)

    monkeypatch.setattr(Timers, "_set_loop_timer", counted)
    async with ShapeStore(path, create=coroutine, wait_timeout=0.02) as store:
        async with gate_held(path):
            answers = await asyncio.gather(*(store.get_or_create(TRACK) for _ in range(5_000)), return_exceptions=True)
        assert len(set_timers) < 2_500  # more than a few only where the loop takes long to begin with all of them
        assert all(isinstance(answer, WaitTimeoutError) for answer in answers)
        assert len(set(map(id, answers))) == 5_000
        assert store.stats.timeouts == 5_000
        assert (await store.get_or_create(TRACK, timeout=30)).row_count == 1
