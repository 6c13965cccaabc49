"""An async iterator, run on the loop ahead of the thread that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Runs the async iterator that ``make`` gives, and keeps at most ``limit`` items ready for its reader.

    The reader takes all that is ready in one call into the loop, for a call costs more than many items do. An item is
    handed over as soon as it is there: an iterator that waits for the next one keeps nothing back.
    Every method is called on the loop.
    """

    def __init__(self, make: Callable[[], AsyncIterator[T]], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._ready: list[T] = []
        self._error: BaseException | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def take(self) -> list[T]:
        """The next items, at least one; an empty list at the end. Raises what the iterator raised, after its items."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(self._make()), name="shapestore iterator")
        if not self._ready and not self._task.done():
            self._news.clear()
            await self._news.wait()
        ready, self._ready = self._ready, []
        self._room.set()
        if not ready and self._error is not None:
            raise self._error
        return ready

    def close(self) -> None:
        """End the iterator where it is."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, items: AsyncIterator[T]) -> None:
        try:
            async for item in items:
                self._ready.append(item)
                self._news.set()
                if len(self._ready) >= self._limit:
                    self._room.clear()
                    await self._room.wait()
        except BaseException as error:
            self._error = error
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()
            self._news.set()
