"""Where the steps of stores wait for a simulation's turns: at what each thread does, at the gate, and at the clock."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

import aiosqlite.core
import pytest
from simulation import CONNECTION, Killed, SimulatedLoop, Simulation

from shapestore.concurrency.worker_threads import Handover, WorkerThreads
from shapestore.creating import creator_run
from shapestore.errors import StoreClosedError
from shapestore.following import alarm, follower, source_look, store_side
from shapestore.locking import gate
from shapestore.storage import connection
from shapestore.waiting import looks


def run(simulation: Simulation, test: Coroutine[Any, Any, None]) -> None:
    """Run a test on a loop of the simulation's; the stores that it opens take their steps by it."""
    with pytest.MonkeyPatch.context() as patch:
        _hold_threads(simulation, patch)
        _hold_followers(simulation, patch)
        _hold_gate(simulation, patch)
        _set_clock(simulation, patch)
        with contextlib.closing(SimulatedLoop(simulation)) as loop:
            try:
                loop.run_until_complete(test)
            finally:
                simulation.end()


class _Jobs:
    """What is sent to the thread of a connection, in place of aiosqlite's queue."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._context = copy_context()
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._unfinished = 0
        self._lock = threading.Lock()

    def put_nowait(self, job: Any) -> None:
        with self._lock:
            self._unfinished += 1
            if self._unfinished == 1:
                self._simulation.begins()
            self._queue.put(job)

    def get(self) -> Any:
        future, function = self._queue.get()
        if "close_and_stop" not in repr(function):  # which aiosqlite has a connection end by
            try:
                self._context.run(self._simulation.hold, CONNECTION)
            except Killed:
                function = _be_killed
        return future, _Job(function, self)

    def done(self) -> None:
        with self._lock:
            self._unfinished -= 1
            if not self._unfinished:
                self._simulation.ends()


class _Job(NamedTuple):
    function: Callable[[], Any]
    jobs: _Jobs

    def __call__(self) -> Any:
        return self.function()


def _be_killed() -> None:
    raise sqlite3.OperationalError("killed")


def _hold_threads(simulation: Simulation, patch: pytest.MonkeyPatch) -> None:
    answer_one, run_call, hand_over = connection._serve_one, WorkerThreads.run, Handover.add

    def serve_one(lock: Any, future: Any, function: Any) -> Any:
        try:
            return answer_one(lock, future, function)
        finally:
            function.jobs.done()

    def call(threads: WorkerThreads, function: Callable[[], Any], name: str) -> asyncio.Future[Any]:
        def held() -> Any:
            simulation.hold(" ".join(name.split()[:2]))
            return function()

        simulation.begins()
        return run_call(threads, held, name)

    def hand_over_and_end(handover: Handover, *outcome: Any) -> None:
        hand_over(handover, *outcome)
        simulation.ends()

    def send_from_thread(creation: Any, chunk: Any, loop: asyncio.AbstractEventLoop) -> None:
        simulation.wait(asyncio.run_coroutine_threadsafe(creation._send(chunk), loop))

    patch.setattr(aiosqlite.core, "SimpleQueue", partial(_Jobs, simulation))
    patch.setattr(connection, "_serve_one", serve_one)
    patch.setattr(WorkerThreads, "run", call)
    patch.setattr(Handover, "add", hand_over_and_end)
    patch.setattr(creator_run.CreatorRun, "_send_from_thread", send_from_thread)


def _hold_followers(simulation: Simulation, patch: pytest.MonkeyPatch) -> None:
    start, follow = follower.Follower.start, follower.Follower._run
    begin_look, write = source_look.begin_look, store_side.StoreSide.written

    def held(name: str) -> None:
        try:
            simulation.hold(name)
        except Killed:
            raise StoreClosedError("killed") from None

    def start_in_context(self: Any) -> None:
        self._run = partial(copy_context().run, follow_and_end, self)
        simulation.begins()
        start(self)

    def follow_and_end(self: Any) -> None:
        try:
            follow(self)
        finally:
            simulation.ends()

    def wait(*_: Any, **__: Any) -> bool:
        held("follower rests")
        return False

    def look(source: sqlite3.Connection) -> None:
        held("follower looks")
        begin_look(source)

    def written(self: Any, command: Any) -> Any:
        held("follower writes")
        return write(self, command)

    class Answer(concurrent.futures.Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            return simulation.wait(self)

    patch.setattr(follower.Follower, "start", start_in_context)
    patch.setattr(alarm.Alarm, "wait", wait)
    patch.setattr(source_look, "begin_look", look)
    patch.setattr(store_side.StoreSide, "written", written)
    patch.setattr(store_side, "Future", Answer)


def _hold_gate(simulation: Simulation, patch: pytest.MonkeyPatch) -> None:
    release, close = gate.Gate.release, gate.Gate.close

    async def acquire(self: gate.Gate, timeout: float | None = None) -> None:
        await simulation.acquire(self)
        assert self._try_acquire()

    def released(self: gate.Gate) -> None:
        simulation.release(self)
        release(self)

    def closed(self: gate.Gate) -> None:
        simulation.release(self)
        close(self)

    patch.setattr(gate.Gate, "acquire", acquire)
    patch.setattr(gate.Gate, "release", released)
    patch.setattr(gate.Gate, "close", closed)


class _Clock:
    """The module ``time``, of which only the clocks are simulated."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def monotonic(self) -> float:
        return self._simulation.now

    perf_counter = monotonic

    def monotonic_ns(self) -> int:
        return int(self._simulation.now * 1e9)

    def clock_gettime_ns(self, _: int) -> int:
        return self.monotonic_ns()

    def time_ns(self) -> int:
        return self.monotonic_ns() + 1_700_000_000_000_000_000

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def _set_clock(simulation: Simulation, patch: pytest.MonkeyPatch) -> None:
    clock = _Clock(simulation)
    for name, module in list(sys.modules.items()):
        if name.startswith("shapestore") and getattr(module, "time", None) is time:
            patch.setattr(module, "time", clock)

    def watch(_: str) -> None:
        raise OSError("nothing is told of what is written: it is looked for")

    for module in (alarm, looks):
        patch.setattr(module, "FileWatch", watch)
