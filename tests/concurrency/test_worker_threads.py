"""Threads for calls that block: kept for the next call, and no more of them than have been busy at once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from inspections import eventually

from shapestore.concurrency import worker_threads
from shapestore.concurrency.futures import resolve
from shapestore.concurrency.worker_threads import Call, Handover, WorkerThreads

pytestmark = pytest.mark.usefixtures("untroubled")


@pytest.fixture
async def threads() -> AsyncIterator[WorkerThreads]:
    threads = WorkerThreads()
    yield threads
    threads.close()
    await eventually(lambda: not alive())


def alive() -> list[threading.Thread]:
    """The worker threads of the moment."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(("shapestore idle", "test"))]


class Gate:
    """A function that blocks until it may go on."""

    def __init__(self) -> None:
        self.entered: list[threading.Thread] = []
        self.go = threading.Event()

    def __call__(self) -> threading.Thread:
        self.entered.append(threading.current_thread())
        assert self.go.wait(60)
        return threading.current_thread()


# What is run


async def test_the_result_is_returned_and_the_very_exception_raised(threads: WorkerThreads) -> None:
    result, error = object(), ValueError("no such album")

    def fails() -> None:
        raise error

    assert await threads.run(lambda: result, "test") is result
    with pytest.raises(ValueError, match="no such album") as raised:
        await threads.run(fails, "test")
    assert raised.value is error


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
async def test_any_exception_reaches_the_caller_and_harms_no_thread(
    threads: WorkerThreads, kind: type[BaseException]
) -> None:
    caught: list[BaseException] = []

    def fails() -> None:
        raise kind

    async def call() -> threading.Thread:
        try:
            await threads.run(fails, "test")
        except BaseException as error:
            caught.append(error)
        return await threads.run(threading.current_thread, "test")

    first = await threads.run(threading.current_thread, "test")
    assert await call() is first
    assert [type(error) for error in caught] == [kind]


async def test_a_stop_iteration_which_no_future_can_hold_is_a_runtime_error(threads: WorkerThreads) -> None:
    def stop() -> None:
        raise StopIteration(7)

    with pytest.raises(RuntimeError, match=r"raised StopIteration\(7\)"):
        await threads.run(stop, "test")


async def test_it_runs_in_a_copy_of_the_callers_context_under_a_name_of_its_own(threads: WorkerThreads) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="none")
    var.set("mine")

    def look() -> tuple[str, str]:
        seen = var.get()
        var.set("changed")
        return seen, threading.current_thread().name

    for name in ("test one", "test two"):
        assert await threads.run(look, name) == ("mine", name)
    assert var.get() == "mine"


# Which thread runs it


async def test_one_after_the_other_run_in_one_thread(threads: WorkerThreads) -> None:
    used = {await threads.run(threading.current_thread, "test") for _ in range(100)}
    assert len(used) == 1
    assert used == set(alive())
    assert all(thread.daemon for thread in used)


async def test_none_waits_for_another(threads: WorkerThreads) -> None:
    gate = Gate()
    waiting = [threads.run(gate, "test") for _ in range(50)]
    await eventually(lambda: len(gate.entered) == 50)
    assert await threads.run(lambda: 1, "test") == 1
    gate.go.set()
    assert len(set(await asyncio.gather(*waiting))) == 50


async def test_one_that_is_not_called_since_no_thread_can_be_started_is_called_by_no_other(
    threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    called: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threads.run(lambda: called.append("first"), "test")
    await threads.run(lambda: called.append("second"), "test")
    assert called == ["second"]


async def test_a_thread_whose_start_was_interrupted_ends_as_others_do(
    threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has started, though its call never came: once all was closed, it would look for it without a pause."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.run(lambda: None, name="test")
    assert await threads.run(lambda: len(alive()), name="test") == 1


async def test_a_thread_whose_call_was_interrupted_before_it_was_queued_ends_with_the_others(
    threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted as one that has a call: once all was closed, it looked for it without a pause, and for ever."""
    monkeypatch.setattr(worker_threads, "IDLE_SECONDS", 0.01)
    await threads.run(lambda: None, "test")
    assert threads._take_idle()
    threads.close()
    await eventually(lambda: not alive())


async def test_there_are_never_more_threads_than_functions_have_run_at_once(threads: WorkerThreads) -> None:
    slots = asyncio.Semaphore(3)
    used = set()

    async def run() -> None:
        async with slots:
            used.add(await threads.run(threading.current_thread, "test"))

    await asyncio.gather(*(run() for _ in range(2_000)))
    assert 1 <= len(used) <= 3


async def test_a_function_whose_caller_was_cancelled_runs_on_and_its_thread_is_used_again(
    threads: WorkerThreads,
) -> None:
    gate = Gate()
    asked = threads.run(gate, "test")
    await eventually(lambda: gate.entered)
    asked.cancel()
    gate.go.set()
    await eventually(lambda: threads._idle)
    assert await threads.run(threading.current_thread, "test") is gate.entered[0]


# When it ends


async def test_an_idle_thread_ends_after_a_while(threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_threads, "IDLE_SECONDS", 0.001)
    for _ in range(3):
        assert await threads.run(lambda: 1, "test") == 1
        await eventually(lambda: not alive())
        assert threads._idle == []


async def test_a_thread_taken_at_the_moment_at_which_it_would_end_does_its_work(
    threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    call = Call(threading.current_thread, contextvars.Context(), "test", Handover(loop), loop.create_future())

    class Idle(list[None]):
        """The loop is quicker than the first thread that would end."""

        def pop(self, *_: Any) -> None:
            if threading.current_thread() is not threading.main_thread() and not call.done.done():
                super().pop()
                threads._calls.put(call)
            super().pop()

    threads._idle = Idle()
    monkeypatch.setattr(worker_threads, "IDLE_SECONDS", 0.001)
    first = await threads.run(threading.current_thread, "test")
    async with asyncio.timeout(60):
        assert await call.done is first


async def test_closing_ends_idle_threads_at_once_and_others_when_they_are_done(
    threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_threads, "IDLE_SECONDS", 3_600)
    gate = Gate()
    busy = threads.run(gate, "test")
    await eventually(lambda: gate.entered)
    await threads.run(lambda: 1, "test")
    assert len(alive()) == 2
    threads.close()
    await eventually(lambda: alive() == gate.entered)
    gate.go.set()
    assert await busy in gate.entered
    await eventually(lambda: not alive())


async def test_a_thread_that_takes_the_end_of_another_passes_it_on(
    threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_threads, "IDLE_SECONDS", 3_600)
    gate = Gate()
    busy = [threads.run(gate, "test") for _ in range(2)]
    gate.go.set()
    await asyncio.gather(*busy)
    assert threads._take_idle()
    threads._calls.put(None)  # for one that waits, at the moment in which the other became idle
    await eventually(lambda: not alive())


async def test_what_is_run_after_the_closing_is_done_all_the_same(threads: WorkerThreads) -> None:
    threads.close()
    assert await threads.run(lambda: 1, "test") == 1
    await eventually(lambda: not alive())


async def test_an_idle_thread_keeps_nothing_alive(threads: WorkerThreads) -> None:
    class Thing:
        pass

    def make(things: list[weakref.ref[Thing]], error: type[Exception] | None) -> Callable[[], Thing]:
        kept = Thing()

        def function() -> Thing:
            things.append(weakref.ref(kept))
            if error is not None:
                raise error
            return kept

        return function

    things: list[weakref.ref[Thing]] = []
    await threads.run(make(things, None), "test")
    with contextlib.suppress(ValueError):
        await threads.run(make(things, ValueError), "test")

    def all_gone() -> bool:
        gc.collect()
        return [thing() for thing in things] == [None, None]

    await eventually(all_gone)


def test_neither_an_idle_nor_a_busy_thread_keeps_the_interpreter_from_ending() -> None:
    program = """
import asyncio, threading, time
from shapestore.concurrency.worker_threads import WorkerThreads

threads, begun = WorkerThreads(), threading.Event()

def hang():
    begun.set()
    time.sleep(1_000)

async def main():
    busy = threads.run(hang, "busy")
    await threads.run(begun.wait, "waits")
    busy.cancel()

asyncio.run(main())
print(len(threads._idle))
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")


def test_a_loop_that_ended_before_the_function_did_is_no_trouble() -> None:
    threads, gate = WorkerThreads(), Gate()

    async def begin() -> None:
        threads.run(gate, "test")
        await eventually(lambda: gate.entered)

    async def on_another_loop() -> int:
        return await threads.run(lambda: 1, "test")

    asyncio.run(begin())
    gate.go.set()
    assert asyncio.run(on_another_loop()) == 1
    threads.close()


def has_so_many(handover: Handover, ended: int) -> bool:
    return len(handover._ended) == ended


def hold_up_until(holds: Callable[[], bool]) -> None:
    """Let the event loop go on only then."""
    until = time.monotonic() + 60
    while not holds() and time.monotonic() < until:
        time.sleep(0.001)


async def test_calls_that_end_while_the_loop_is_busy_wake_it_once(
    threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    wake, woken = loop.call_soon_threadsafe, 0

    def counted(callback: Callable[..., object], *arguments: object) -> asyncio.Handle:
        nonlocal woken
        woken += 1
        return wake(callback, *arguments)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    for _ in range(2):
        woken, gate = 0, Gate()
        waiting = [threads.run(gate, "test") for _ in range(20)]
        gate.go.set()
        handover = threads._handover
        assert handover is not None
        hold_up_until(partial(has_so_many, handover, 20))
        await asyncio.gather(*waiting)
        assert woken == 1


async def test_what_has_ended_is_handed_over_also_if_an_interrupt_comes_in_between() -> None:
    loop = asyncio.get_running_loop()
    handover = Handover(loop)
    interrupted, waits = loop.create_future(), loop.create_future()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handover._ended.extend([(interrupt, interrupted, None), (resolve, waits, "answer")])
    with pytest.raises(KeyboardInterrupt):
        handover._deliver()
    assert await asyncio.wait_for(waits, 60) == "answer"
