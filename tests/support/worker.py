"""A process with a store of its own, told what to do by JSON lines on its stdin; it answers by such on its stdout.

    {"id": 1, "do": "open", "path": "shapes.db"}         ->  {"id": 1, "ok": null}
    {"id": 2, "do": "get", "key": "a"}                   ->  {"id": 2, "ok": "7a0f..."}
    {"id": 3, "do": "get_or_create", "key": "b", ...}    ->  {"id": 3, "error": "WaitTimeoutError", "message": "..."}

Commands are done side by side, so that one may wait while another is answered. Beside answers there are events:
``{"event": "creating", "key": "b"}`` when a creator begins to run. The end of stdin ends the process in good order.
``processes.py`` is the other end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import loops

from shapestore import RetryLater, Shape, ShapeStore, keyed, maintenance
from shapestore.events import Event, Swept
from shapestore.locking import gate
from shapestore.source.creator import Creator

Row = dict[str, Any]


class Worker:
    """One store, and what can be asked of it: every public method here is a command."""

    def __init__(self) -> None:
        self._store: ShapeStore | None = None
        self._swept: list[str] = []
        self._orders: set[asyncio.Task[None]] = set()

    async def obey(self) -> None:
        orders = asyncio.StreamReader(limit=1024 * 1024)
        loop = asyncio.get_running_loop()
        stdin, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        async for line in orders:
            task = asyncio.create_task(self._do(**json.loads(line)))
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)
        await self.close()
        await asyncio.gather(*self._orders)
        stdin.close()

    async def begin_to_read(self, handle: str) -> None:
        """Read the first row of a shape, and no further."""
        self._reading = self.store.rows(handle)
        await anext(self._reading)

    async def read_on(self) -> int:
        """Read the rest; how many rows there were."""
        return 1 + len([row async for row in self._reading])

    async def _do(self, id: int, do: str, **arguments: Any) -> None:  # noqa: A002
        command: Callable[..., Awaitable[Any]] = getattr(self, do)
        try:
            say({"id": id, "ok": await command(**arguments)})
        except Exception as error:
            say({"id": id, "error": type(error).__name__, "message": str(error)})

    @property
    def store(self) -> ShapeStore:
        assert self._store is not None
        return self._store

    # --- opening and closing

    async def open(
        self, path: str, gate_wait: float = 60.0, note: float = 600.0, source: str | None = None, **options: Any
    ) -> None:
        maintenance.NOTE_SECONDS = note
        await self.wait_for_gate(gate_wait)
        create = None if source is None else keyed(partial(read_json, source), "id")
        self._store = ShapeStore(path, create=create, on_event=self._note, **options)
        await self._store.open()

    async def wait_for_gate(self, seconds: float) -> None:
        """From now on, so long at most."""
        gate.WAIT_SECONDS = seconds

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()

    # --- shapes; a key is the name of a table

    async def get_or_create(
        self, key: str, callers: int = 1, timeout: float | None = None, refresh: bool = False, **creator: Any
    ) -> Any:
        """The handle; or, for many callers, how many of them got which handle or error."""
        create = creator_of(key, **creator)
        ask = self.store.refresh if refresh else self.store.get_or_create
        if callers == 1:
            return (await ask(Shape(key), create, timeout=timeout)).handle
        answers = await asyncio.gather(
            *(ask(Shape(key), create, timeout=timeout) for _ in range(callers)), return_exceptions=True
        )
        return Counter(
            f"{type(answer).__name__}: {answer}" if isinstance(answer, BaseException) else answer.handle
            for answer in answers
        )

    async def ask_for(self, key: str, callers: int, seconds: float, creating: float) -> dict[str, int]:
        """Have so many callers ask again and again: how many calls there were, and how many joined a flight."""
        create, calls, before = creator_of(key, seconds=creating), 0, self.store.stats.followers
        until = time.monotonic() + seconds

        async def ask() -> None:
            nonlocal calls
            while time.monotonic() < until:
                await self.store.get_or_create(Shape(key), create)
                calls += 1
                await asyncio.sleep(0.01)

        await asyncio.gather(*(ask() for _ in range(callers)))
        return {"calls": calls, "followers": self.store.stats.followers - before}

    async def stored(self, key: str) -> tuple[str, int]:
        """The handle and the position of a shape; it is created by the store's own creator."""
        stored = await self.store.get_or_create(Shape(key))
        return stored.handle, stored.position

    async def put(self, key: str, rows: list[Row]) -> tuple[str, int]:
        """Refresh the shape by these rows, whose key is ``id``: its handle and its position."""
        stored = await self.store.refresh(Shape(key), keyed(lambda _: rows, "id"))
        return stored.handle, stored.position

    async def wait(self, handle: str, after: int, timeout: float = 60.0) -> int:
        return await self.store.wait(handle, after, timeout=timeout)

    async def get(self, key: str) -> str | None:
        stored = await self.store.get(Shape(key))
        return stored.handle if stored else None

    async def rows(self, handle: str) -> list[Row]:
        return [row async for row in self.store.rows(handle)]

    async def count(self) -> int:
        return await self.store.count()

    async def delete(self, handle: str) -> bool:
        return await self.store.delete(handle)

    async def invalidate(self, table: str) -> int:
        return await self.store.invalidate(table)

    async def release_lock(self, key: str) -> bool:
        return await self.store.release_lock(Shape(key))

    async def locks(self) -> list[str]:
        return [lock.handle for lock in await self.store.locks()]

    async def stats(self) -> dict[str, int]:
        return asdict(self.store.stats)

    async def sweep(self, handle: str) -> None:
        """Sweep a failure as if its time were up."""
        self.store._lifecycle.opened.maintenance.sweep_later(handle, 0)

    async def swept(self) -> list[str]:
        """The handles of the failures that this store has swept, or would have, had they been there."""
        return self._swept

    def _note(self, event: Event) -> None:
        if isinstance(event, Swept):
            self._swept += event.handles

    # --- accidents

    async def signal_at(self, statement: str = "", signal: str = "SIGKILL", nth: int = 1) -> None:
        """Send this process a signal when its store is, for the nth time from now, about to run a statement so begun.

        A statement that runs several times on end counts once: for all rows of a batch, and with the triggers it fires.
        """
        accident.prepare(statement, signal, nth)

    async def load(self, **arguments: Any) -> None:
        import load  # noqa: PLC0415 - it is only for the soak

        await load.run(self.store, **arguments)


class Accident:
    """A signal that this process sends to itself when its write connection is about to run some statement."""

    def __init__(self) -> None:
        self._left = 0
        self._begins = ""
        self._signal = signal.SIGKILL
        self._last = ""

    def prepare(self, begins: str, name: str, nth: int) -> None:
        self._begins, self._signal, self._left = begins, signal.Signals[name], nth

    def watch_connections(self) -> None:
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect

        def connect_and_watch(name: str, **options: Any) -> sqlite3.Connection:
            connection = connect(name, **options)
            if name.endswith("mode=rw"):
                connection.set_trace_callback(self._is_about_to_run)
            return connection

        sqlite3.connect = connect_and_watch  # type: ignore[assignment]

    def _is_about_to_run(self, statement: str) -> None:
        last, self._last = self._last, statement[:30]
        if self._left and statement.strip().startswith(self._begins) and self._last != last:
            self._left -= 1
            if not self._left:
                # To this thread: it has taken effect before the statement begins.
                signal.pthread_kill(threading.get_ident(), self._signal)


accident = Accident()


# --- creators


def read_json(path: str, shape: Shape) -> Any:
    """The rows in a JSON file."""
    say({"event": "creating", "key": shape.table})
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def creator_of(
    key: str,
    rows: int = 3,
    until: str | None = None,
    before: int = 0,
    seconds: float = 0.0,
    fails: str | None = None,
    retry_after: float | None = None,
    in_thread: bool = False,
) -> Creator:
    """A creator of ``rows`` rows, each of which names the attempt it is of.

    After ``before`` rows it waits until the file ``until`` is there, which may be never, and for some ``seconds``. In
    the end it fails, where there is something to say by ``fails``.
    """

    def made(numbers: range) -> Iterator[Row]:
        for number in numbers:
            yield {"key": key, "process": os.getpid(), "n": number, "of": rows}

    def begin() -> None:
        say({"event": "creating", "key": key})

    def end() -> None:
        if fails is not None:
            raise ValueError(fails) if retry_after is None else RetryLater(retry_after, fails)

    def blocking(shape: Shape) -> Iterator[Row]:
        begin()
        yield from made(range(before))
        while until and not os.path.exists(until):
            time.sleep(0.002)
        time.sleep(seconds)
        end()
        yield from made(range(before, rows))

    async def on_the_loop(shape: Shape) -> AsyncIterator[Row]:
        begin()
        for row in made(range(before)):
            yield row
        while until and not os.path.exists(until):
            await asyncio.sleep(0.002)
        await asyncio.sleep(seconds)
        end()
        for row in made(range(before, rows)):
            yield row

    return blocking if in_thread else on_the_loop


# --- what is said

_one_at_a_time = threading.Lock()


def say(what: dict[str, Any]) -> None:
    with _one_at_a_time:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


def keep_quiet(record: logging.LogRecord) -> bool:
    """Creators fail here because tests want them to; what else is logged is a complaint."""
    return not str(record.msg).startswith("creating ")


if __name__ == "__main__":
    logging.getLogger("shapestore").addFilter(keep_quiet)
    accident.watch_connections()
    with asyncio.Runner(loop_factory=loops.new_loop) as runner:
        runner.run(Worker().obey())
