"""Stores on one file under a simulation, and the calls that are being made of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Literal, NamedTuple

from promises import Promises
from recorded_source import SHAPES, PausedSource, RecordedSource, function_of
from simulation import STORE, Simulation
from watched_logs import WatchedLogs

from shapestore import (
    CreateFailedError,
    Shape,
    ShapeGoneError,
    ShapeStore,
    StoreBusyError,
    StoreClosedError,
    WaitTimeoutError,
)

Kind = Literal["live", "read again", "touched", "by a function"]
KINDS: tuple[Kind, ...] = ("live", "read again", "touched", "by a function")
"""How shapes come to hold what their source holds."""

MOST_STEPS = 20_000
"""Within so many, whatever was begun has ended."""

_EXPECTED = (ShapeGoneError, StoreClosedError, StoreBusyError, WaitTimeoutError, CreateFailedError)


class Options(NamedTuple):
    """What differs from run to run."""

    stores: int
    shapes: list[Shape]
    max_age: float | None
    keep_replaced: float
    max_shapes: int | None
    batch_size: int
    calls_at_once: int
    weights: dict[str, float]

    @classmethod
    def at_random(cls, chance: random.Random, kind: Kind) -> Options:
        choose = chance.choice
        return cls(
            stores=choose((1, 2, 2, 3)),
            shapes=SHAPES[: choose((1, 2, 5))],
            max_age=choose((None, None, 3.0)),
            keep_replaced=choose((0.0, 1.0, 60.0)),
            max_shapes=choose((None, None, None, 2)),
            batch_size=choose((1, 2, 1_000)),
            calls_at_once=choose((2, 4, 8)),
            weights={
                "write": choose((2, 6)),
                "get": 4,
                "refresh": choose((0, 1, 3)),
                "touch": choose((0, 2)) if kind == "live" else 0,
                "follow": 1 if kind == "live" else 0,
                "changes": choose((0, 2)),
                "invalidate": choose((0, 0.3)),
                "delete": choose((0, 0.3)),
                "release": choose((0, 0.2)),
                "cancel": choose((0, 0.5)),
                "pass_time": choose((0, 0.3)),
                "close": choose((0, 0.1)),
                "kill": choose((0, 0.2)),
            },
        )


class Call(NamedTuple):
    """What is being done in a store."""

    name: str
    store: str


class Stores:
    """The stores, their source, who watches their file, and the calls that are being made."""

    def __init__(self, folder: str, simulation: Simulation, seed: int, kind: Kind) -> None:
        self.random = random.Random(seed)
        self.simulation = simulation
        self.kind = kind
        self.options = Options.at_random(self.random, kind)
        self.path = f"{folder}/shapes.db"
        self.source = RecordedSource(f"{folder}/app.db", self.random)
        one_moment = kind in ("live", "read again")
        self.logs = WatchedLogs(
            self.path,
            self.source,
            self.random,
            one_moment=one_moment,
            keeps=self.options.keep_replaced,
            clock=lambda: simulation.now,
        )
        self.promises = Promises(self.source, one_moment=one_moment)
        self.stores: dict[str, ShapeStore] = {}
        self.calls: dict[asyncio.Task[Any], Call] = {}
        self._opened = 0
        self._failure: BaseException | None = None

    def close(self) -> None:
        self.logs.close()
        self.source.close()

    # --- stores

    async def open(self) -> None:
        """One more."""
        self._opened += 1
        name = f"store {self._opened}"
        options = self.options
        store = ShapeStore(
            self.path,
            create=self._creator(),
            max_age=options.max_age,
            keep_replaced=options.keep_replaced,
            max_shapes=options.max_shapes,
            failure_grace=0,
            wait_timeout=1_000,
            create_timeout=1_000,
        )
        await self.finish(self.begin(name, "open", store.open))
        self.stores[name] = store

    def _creator(self) -> Any:
        if self.kind == "by a function":
            return function_of(self.source.path, self.simulation.hold)
        return PausedSource(
            self.source.path,
            self.simulation.hold,
            follow=self.kind == "live",
            batch_size=self.options.batch_size,
        )

    async def close_one(self, name: str) -> None:
        store = self.stores.pop(name)
        closing = self.begin(name, "close", store.close)
        await self.finish(closing, *(task for task, call in self.calls.items() if call.store == name))

    async def kill(self, name: str) -> None:
        """What it would have done next is not done, its locks are free, and its callers are gone."""
        open_store = self.stores.pop(name)._live()
        self.simulation.note(f"test: kill {name}")
        for task, call in list(self.calls.items()):
            if call.store == name:
                del self.calls[task]
                task.cancel()
        self.simulation.kill(name)
        open_store.drop()
        while open_store.writer.queued or not open_store._dropped:
            await self.turn()

    # --- calls

    def begin(self, store: str, name: str, call: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        context = copy_context()
        context.run(STORE.set, store)
        task: asyncio.Task[Any] = context.run(asyncio.create_task, call())
        self.calls[task] = Call(name, store)
        self.simulation.note(f"test: {store}: {name}")
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        call = self.calls.pop(task, None)
        if call is None or task.cancelled():
            return
        error = task.exception()
        self.simulation.note(f"end of {call.store}: {call.name} {error or ''}")
        if error is not None and not isinstance(error, _EXPECTED):
            self._failure = self._failure or error

    async def turn(self) -> None:
        await self.simulation.turn()
        if self._failure is not None:
            raise self._failure

    async def finish(self, *tasks: asyncio.Task[Any]) -> None:
        """Whatever was begun ends, once nothing is held back any more."""
        last = self.simulation.steps + MOST_STEPS
        self.simulation.is_fair = True
        while waiting := [self.calls[task] for task in tasks if task in self.calls]:
            assert self.simulation.steps < last, f"these never end: {waiting}"
            await self.turn()
        self.simulation.is_fair = False
