"""Stores that take no step by themselves: a seed decides which of them goes on, and when time passes.

They run on one event loop. What they do in threads (a transaction, a look at the source, a part of a creator) waits for
its turn, and so do the gate and the clock; ``simulated_steps`` has it so. The loop stands still while a thread is at
work, and one thread works at a time. So a seed gives the same order each time, and a test explores as many orders as it
has seeds.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import selectors
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

from inspections import PATIENCE

from shapestore.locking import gate

STORE: ContextVar[str] = ContextVar("STORE", default="")
"""The name of the store that is at work."""

LONGEST_STEP = 0.2
"""So many seconds pass at once, at most, while something else could go on."""

SLOW = ("follower rests", "follower writes")
"""What goes on less often: a refresh is read and published before a round is written that has not seen it."""

CONNECTION = "connection"
"""What a thread of a connection waits under."""


class Killed(OSError):
    """What a thread is told whose store was killed before its turn came."""


class Step(NamedTuple):
    """What could go on next."""

    name: str
    weight: int
    take: Callable[[], object]


class Held:
    """A thread that waits for its turn."""

    def __init__(self, name: str, store: str) -> None:
        self.name = name
        self.store = store
        self.go = threading.Event()


class Simulation:
    """Decides what goes on. ``trace`` tells what did, for a person who looks for the reason of a failure."""

    def __init__(self, seed: int, *, holds_back: float) -> None:
        self.random = random.Random(seed)
        self.now = 1_000.0
        self.steps = 0
        self.trace: list[str] = []
        self.after_each: Callable[[], object] = lambda: None
        self.is_fair = False
        """Whether nothing is held back any more."""
        self._holds_back = holds_back
        self._held_back: dict[str, int] = {}
        """For how many steps something does not go on, as in a process that is stopped."""
        self._changed = threading.Condition()
        self._at_work = 0
        self._held: list[Held] = []
        self._at_gate: list[tuple[str, gate.Gate, asyncio.Future[None]]] = []
        self._has_gate: gate.Gate | None = None
        self._writing = ""
        self._killed: set[str] = set()
        self._has_ended = False
        self._waited_for: set[concurrent.futures.Future[Any]] = set()
        self._turn: asyncio.Future[None] | None = None

    def note(self, what: str) -> None:
        self.trace.append(f"{self.steps:6} {self.now:9.3f} {what}")

    async def turn(self) -> None:
        """Wait until it is the test's turn to do something."""
        self._turn = asyncio.get_running_loop().create_future()
        await self._turn

    def kill(self, store: str) -> None:
        """What its threads would have done next is not done."""
        self._killed.add(store)
        for held in [held for held in self._held if held.store == store]:
            self._let_go(held)
            self.rest()

    def end(self) -> None:
        """No thread waits for a turn any more, also after a failure."""
        self._has_ended = True
        for future in list(self._waited_for):
            future.cancel()
        while self._held:
            self._let_go(self._held[0])
            self.rest()

    # --- for threads

    def begins(self) -> None:
        """A thread has something to do."""
        with self._changed:
            self._at_work += 1

    def ends(self) -> None:
        """It has done it."""
        with self._changed:
            self._at_work -= 1
            self._changed.notify_all()

    def hold(self, name: str) -> None:
        """Wait for a turn. Raises Killed."""
        held = Held(name, STORE.get())
        with self._changed:
            self._held.append(held)
            self._held.sort(key=lambda held: (held.store, held.name))
        self.ends()
        assert held.go.wait(PATIENCE)
        if self._has_ended or held.store in self._killed:
            raise Killed("killed")

    def wait(self, future: concurrent.futures.Future[Any]) -> Any:
        """The result of what the loop does meanwhile."""
        self.ends()
        self._waited_for.add(future)
        future.add_done_callback(lambda _: self.begins())
        try:
            return concurrent.futures.Future.result(future, PATIENCE)
        finally:
            self._waited_for.discard(future)

    # --- for the gate

    async def acquire(self, taken: gate.Gate) -> None:
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asking = STORE.get(), taken, asked
        self._at_gate.append(asking)
        try:
            await asked
        except asyncio.CancelledError:
            self.release(taken)
            if asking in self._at_gate:
                self._at_gate.remove(asking)
            raise

    def release(self, left: gate.Gate) -> None:
        if self._has_gate is left:
            self._has_gate = None

    # --- for the loop

    def rest(self) -> None:
        """Wait until no thread is at work."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._at_work, PATIENCE), "a thread hangs"

    def step(self, until_timer: float | None) -> bool:
        """Nothing is at work: let something go on. Whether it was the time."""
        self.after_each()
        self.steps += 1
        if self._has_gate is not None:  # a transaction has begun: to take it apart would show nothing more
            for held in self._held:
                if held.name == CONNECTION and held.store == self._writing:
                    self._let_go(held)
                    return False
        steps = list(self._possible(until_timer))
        assert steps, "nothing can go on any more"
        chosen = self._choose(steps)
        self.note(chosen.name)
        return chosen.take() is True

    def _possible(self, until_timer: float | None) -> Iterator[Step]:
        for held in self._held:
            weight = 1 if held.name in SLOW else 4
            yield Step(f"{held.store}: {held.name}", weight, partial(self._let_go, held))
        if self._has_gate is None:
            for asking in self._at_gate:
                yield Step(f"{asking[0]}: gate", 4, partial(self._let_write, *asking))
        if self._turn is not None:
            yield Step("test", 3, partial(self._let_test, self._turn))
        if until_timer is not None:
            yield Step("time", 2, partial(self._let_pass, until_timer))

    def _choose(self, steps: list[Step]) -> Step:
        self._held_back = {name: left - 1 for name, left in self._held_back.items() if left > 1}
        ready = [step for step in steps if step.name not in self._held_back]
        if self.is_fair or all(step.name == "time" for step in ready):
            self._held_back.clear()
            ready = steps
        [chosen] = self.random.choices(ready, [step.weight for step in ready])
        others = [step.name for step in ready if step is not chosen and step.name not in ("test", "time")]
        if others and self.random.random() < self._holds_back:
            self._held_back[self.random.choice(others)] = self.random.choice((5, 20, 60, 200))
        return chosen

    def _let_go(self, held: Held) -> None:
        with self._changed:
            self._held.remove(held)
            self._at_work += 1
            held.go.set()

    def _let_write(self, store: str, taken: gate.Gate, asked: asyncio.Future[None]) -> None:
        self._at_gate.remove((store, taken, asked))
        self._has_gate, self._writing = taken, store
        asked.set_result(None)

    def _let_test(self, turn: asyncio.Future[None]) -> None:
        self._turn = None
        turn.set_result(None)

    def _let_pass(self, seconds: float) -> bool:
        self.now += min(seconds, LONGEST_STEP)
        return True


class _Selector(selectors.DefaultSelector):
    """Where a loop would wait for something to happen, something is chosen to happen."""

    simulation: Simulation

    def select(self, timeout: float | None = None) -> Any:
        self.simulation.rest()
        while not (events := super().select(0)) and (timeout is None or timeout > 0):
            if self.simulation.step(timeout) or self.loop_is_ready():
                return []
            self.simulation.rest()
        return events

    loop_is_ready: Callable[[], bool]


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self, simulation: Simulation) -> None:
        selector = _Selector()
        selector.simulation = simulation
        selector.loop_is_ready = lambda: bool(self._ready)  # type: ignore[attr-defined]
        self._simulation = simulation
        super().__init__(selector)

    def time(self) -> float:
        return self._simulation.now
