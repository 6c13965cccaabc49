"""Opening and closing that are cancelled: by a caller's time-out, under asyncio and anyio, and with everything else."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from inspections import PATIENCE, assert_no_transaction_is_open, eventually, left_open
from processes import assert_sound, read
from steps import Steps

from shapestore import Shape, ShapeStore, StorageError, StoreClosedError
from shapestore.concurrency.uncancelled import uncancelled
from shapestore.open_store import OpenStore
from shapestore.storage.log.chunks import CHUNK_ROWS

TRACK = Shape("Track")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def path(empty_path: str) -> str:
    return empty_path


async def create(shape: Shape) -> list[dict[str, Any]]:
    return [{"n": 1}]


async def passed(kind: str, work: Coroutine[Any, Any, None], at_step: Callable[[Callable[[], object]], None]) -> bool:
    """Await ``work`` within a limit of asyncio or anyio, which passes at some step. Whether it did."""
    if kind == "anyio":
        with anyio.CancelScope() as scope:
            at_step(scope.cancel)
            await work
        return scope.cancelled_caught
    try:
        async with asyncio.timeout(None) as limit:
            at_step(lambda: limit.reschedule(0))
            await work
    except TimeoutError:
        return True
    return False


@pytest.mark.usefixtures("untroubled")
@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
async def test_an_opening_whose_time_is_up_at_any_step_is_undone(path: str, kind: str) -> None:
    with Steps() as steps:
        for step in itertools.count(1):
            store = ShapeStore(path, create=create)
            was_late = await asyncio.create_task(passed(kind, store.open(), partial(steps.do_at, step)))
            reached = steps.done()
            if was_late:
                with pytest.raises(StoreClosedError):
                    await store.count()
                await eventually(lambda: not left_open(path))
                assert not os.path.exists(f"{path}-owners") or os.listdir(f"{path}-owners") == []
                assert_no_transaction_is_open(path)
            async with store:
                await store.get_or_create(TRACK)
            if not reached:
                break
        assert step > 5


@pytest.mark.usefixtures("untroubled")
@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
async def test_a_closing_whose_time_is_up_at_any_step_goes_on(path: str, kind: str) -> None:
    with Steps() as steps:
        for step in itertools.count(1):
            store = ShapeStore(path, create=create)
            await store.open()
            await store.get_or_create(TRACK)
            await asyncio.create_task(passed(kind, store.close(), partial(steps.do_at, step)))
            reached = steps.done()
            with pytest.raises(StoreClosedError):
                await store.count()
            await store.close()
            await eventually(lambda: not left_open(path))
            assert os.listdir(f"{path}-owners") == []
            assert read(path, "SELECT count(*) FROM owners") == [0]
            if not reached:
                break
        assert step > 5


@pytest.mark.usefixtures("untroubled")
async def test_what_is_awaited_to_completion_raises_the_very_cancellation_that_came_first() -> None:
    go = asyncio.Event()
    caught: list[BaseException] = []

    async def work() -> None:
        try:
            await uncancelled(go.wait())
        except asyncio.CancelledError as error:
            caught.append(error)
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    for message in ("the first", "the second", "the third"):
        task.cancel(message)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [error.args for error in caught] == [("the first",)]


# --- everything is cancelled, as at the end of asyncio.run


@pytest.mark.usefixtures("untroubled")
@pytest.mark.parametrize("at_work", [False, True], ids=["idle", "at work"])
async def test_a_closing_that_is_cancelled_with_everything_else_at_any_step_leaves_nothing_open(
    path: str, at_work: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = asyncio.Event()

    async def never_ends(shape: Shape) -> AsyncIterator[dict[str, Any]]:
        for number in range(CHUNK_ROWS):
            yield {"n": number}
        stuck.set()
        await asyncio.Event().wait()

    this = asyncio.current_task()

    def cancel_all() -> None:
        for task in asyncio.all_tasks() - {this}:
            task.cancel()

    with Steps() as steps:
        for step in itertools.count(1):
            store = ShapeStore(path)
            await store.open()
            if at_work:
                asked = asyncio.gather(store.get_or_create(TRACK, never_ends), return_exceptions=True)
                await stuck.wait()
                stuck.clear()
            steps.do_at(step, cancel_all)
            closing = asyncio.create_task(store.close())
            await asyncio.wait([closing])
            reached = steps.done()
            while others := asyncio.all_tasks() - {this}:
                await asyncio.wait(others)
            if at_work:
                with contextlib.suppress(asyncio.CancelledError):
                    [answer] = await asked
                    assert isinstance(answer, (StoreClosedError, asyncio.CancelledError))
            await store.close()  # where the first was cancelled before it had begun
            await eventually(lambda: not left_open(path))
            assert_no_transaction_is_open(path)
            async with store:  # which clears away what is left
                assert await store.locks() == []
            assert os.listdir(f"{path}-owners") == []
            assert read(path, "SELECT count(*) FROM owners") == [0]
            if not reached:
                break
        assert step > 10
    assert_sound(path)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("call", ["open", "close"])
async def test_what_is_called_in_the_very_turn_in_which_a_closing_was_cancelled_does_what_it_says(
    empty_path: str, call: str
) -> None:
    store = ShapeStore(empty_path)
    await store.open()
    lifecycle = store._lifecycle
    lifecycle._closing = closing = lifecycle._start_closing(lifecycle.live)
    closing.cancel()
    while not closing.done():
        await asyncio.sleep(0)
    await getattr(store, call)()
    if call == "open":
        assert await store.count() == 0
        await store.close()
    await eventually(lambda: not left_open(empty_path))


OVER_AND_OVER = """
import asyncio, os, sys, threading, time
from shapestore import Shape, ShapeStore

async def never_ends(shape):
    while True:
        yield {"n": 1}
        await asyncio.sleep(0)

async def use(how):
    store = ShapeStore(sys.argv[1], create=never_ends)
    if how == "in a task":
        async with store:
            await store.get_or_create(Shape("Track"))
    else:
        await store.open()
        asked = asyncio.gather(store.get_or_create(Shape("Track")), return_exceptions=True)
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(store.close())
        for _ in range(int(how)):
            await asyncio.sleep(0)

async def main(how):
    using = asyncio.create_task(use(how))
    await asyncio.wait([using], timeout=0.05 if how == "in a task" else None)

def left():
    return len(os.listdir("/dev/fd")), threading.active_count()

asyncio.run(main("1"))
at_first = left()
for how in ["in a task", *map(str, range(1, 40)), "in a task"]:
    asyncio.run(main(how))
until = time.monotonic() + 60
while left() > at_first and time.monotonic() < until:
    time.sleep(0.01)
print(left() <= at_first, left(), at_first)
"""


def run(program: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_stores_whose_closing_the_end_of_their_loops_cut_short_leak_nothing_and_log_nothing(empty_path: str) -> None:
    ran = run(OVER_AND_OVER, empty_path)
    assert (ran.returncode, ran.stderr, ran.stdout[:5]) == (0, "", "True ")


LEFT_HALF_CLOSED = """
import asyncio, sys
from shapestore import Shape, ShapeStore

async def create(shape):
    return [{"n": 1}]

store = ShapeStore(sys.argv[1], create=create)

async def begin(steps):
    await store.open()
    await store.get_or_create(Shape("Track"))
    asyncio.create_task(store.close())
    for _ in range(steps):
        await asyncio.sleep(0)

async def go_on():
    async with store:
        assert await store.count() == 1

for steps in range(10):
    left = asyncio.new_event_loop()
    left.run_until_complete(begin(steps))
    left.close()
    asyncio.run(go_on())
print("closed", flush=True)
"""


def test_a_store_half_closed_on_a_loop_that_was_left_can_be_opened_and_closed_on_another(empty_path: str) -> None:
    # asyncio complains, on stderr, of the tasks that were pending.
    assert run(LEFT_HALF_CLOSED, empty_path).stdout == "closed\n"
    assert os.listdir(f"{empty_path}-owners") == []
    assert read(empty_path, "SELECT count(*) FROM owners") == [0]


async def test_a_closing_ends_though_letting_go_of_what_was_open_fails(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes would wait for ever, and keep the event loop busy."""
    errors: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    drop = OpenStore.drop

    def drops_and_raises(self: OpenStore) -> None:
        drop(self)
        raise MemoryError

    store = ShapeStore(path, create=create)
    await store.open()
    with monkeypatch.context() as patched:
        patched.setattr(OpenStore, "drop", drops_and_raises)
        await asyncio.wait_for(store.close(), 60)
    assert [type(error) for error in errors] == [MemoryError]
    async with store:
        assert (await store.get_or_create(TRACK)).row_count == 1


class OtherLoop:
    """Another event loop, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """The loop of the caller stands still meanwhile."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def test_while_one_loop_opens_or_closes_a_store_another_is_told_so(path: str) -> None:
    """It waited for ever: what wakes a task of the one loop does not wake the other."""
    store = ShapeStore(path, create=create)
    with contextlib.closing(OtherLoop()) as other:
        for begun in (store.open, store.close):
            task = asyncio.create_task(begun())
            while not store._lifecycle._turns.is_taken and store._lifecycle._closing is None:
                await asyncio.sleep(0)
            for refused in (store.open, store.close):
                with pytest.raises(StoreClosedError, match="opened or closed on another event loop"):
                    other.run(refused())
            await task
        async with store:
            assert (await store.get_or_create(TRACK)).row_count == 1


@pytest.mark.usefixtures("untroubled")
@pytest.mark.parametrize("threads", [0, 1])
async def test_a_store_for_which_the_system_has_no_thread_is_not_opened_and_leaves_nothing_open(
    path: str, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    start, left = threading.Thread.start, [None] * threads

    def start_some(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(thread)

    store = ShapeStore(path, create=create)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_some)
        with pytest.raises(StorageError, match="cannot be opened: can't start new thread"):
            await store.open()
    await eventually(lambda: left_open(path) == [])
    async with store:
        assert (await store.get_or_create(TRACK)).row_count == 1
