"""Two other ways to wait for one creation, each over a SQLite file, with one writer behind a queue like shapestore's.

They do what the comparison needs, and no more: no deadlines, no failures, no second process.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

import aiosqlite

from benchmark.files import plain

Create = Callable[[str], Awaitable[str]]


class Strategy(Protocol):
    queued_most: int
    """The most that stood in the writer's queue, what it was about to do included."""

    async def get_or_create(self, key: str, create: Create) -> str: ...


class _OneWriter:
    """A file with shapes and locks, a connection that reads, and a writer that does what is queued, in order."""

    def __init__(self, path: str) -> None:
        self._look = plain(path)
        self._look.executescript(
            "CREATE TABLE shapes (key TEXT PRIMARY KEY, value TEXT); CREATE TABLE locks (key TEXT PRIMARY KEY)"
        )
        self._connection = aiosqlite.connect(path, isolation_level=None)
        self._queue: asyncio.Queue[tuple[Callable[[], Awaitable[str]], asyncio.Future[str]]] = asyncio.Queue()
        self._writing: asyncio.Task[None]
        self.queued_most = 0

    async def __aenter__(self) -> Self:
        await self._connection
        self._writing = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writing.cancel()
        await self._connection.close()
        self._look.close()

    def _submit(self, work: Callable[[], Awaitable[str]]) -> asyncio.Future[str]:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((work, done))
        self.queued_most = max(self.queued_most, self._queue.qsize())
        return done

    async def _write(self) -> None:
        while True:
            work, done = await self._queue.get()
            done.set_result(await work())

    async def _run(self, statement: str, *parameters: str) -> str:
        for (value,) in await self._connection.execute_fetchall(statement, parameters):
            return str(value)
        return ""


class EveryFollowerPolls(_OneWriter):
    """The design as its source describes it: a caller looks at the lock that only the writer writes, and looks again
    after 5 ms, then 10, and so on up to 100. It spares the writer, but each caller has a timer and reads for itself.
    """

    async def get_or_create(self, key: str, create: Create) -> str:
        pause = 0.005
        while True:
            value, locked = self._look.execute(
                "SELECT (SELECT value FROM shapes WHERE key = ?), EXISTS (SELECT 1 FROM locks WHERE key = ?)",
                (key, key),
            ).fetchone()
            if value is not None:
                return str(value)
            if not locked and await self._submit(lambda: self._claim(key)):
                return await self._create(key, create)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(2 * pause, 0.1)

    async def _create(self, key: str, create: Create) -> str:
        value = await create(key)
        return await self._submit(lambda: self._publish(key, value))

    async def _claim(self, key: str) -> str:
        return await self._run("INSERT INTO locks VALUES (?) ON CONFLICT DO NOTHING RETURNING key", key)

    async def _publish(self, key: str, value: str) -> str:
        await self._run("BEGIN IMMEDIATE")
        await self._run("INSERT INTO shapes VALUES (?, ?)", key, value)
        await self._run("DELETE FROM locks WHERE key = ?", key)
        return await self._run("COMMIT") or value


class EveryCallerQueues(_OneWriter):
    """The naive way: a caller that misses asks the writer, which creates the shape for the first and answers the others
    one by one. Every caller costs the writer a turn, and all other keys wait behind them.
    """

    async def get_or_create(self, key: str, create: Create) -> str:
        found: list[tuple[str]] = self._look.execute("SELECT value FROM shapes WHERE key = ?", (key,)).fetchall()
        return found[0][0] if found else await self._submit(lambda: self._find_or_create(key, create))

    async def _find_or_create(self, key: str, create: Create) -> str:
        value = await self._run("SELECT value FROM shapes WHERE key = ?", key)
        if not value:
            value = await create(key)
            await self._run("INSERT INTO shapes VALUES (?, ?)", key, value)
        return value
