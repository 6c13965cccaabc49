"""Opening and closing: one at a time, on whatever event loop, also if they are cancelled or the process forks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from shapestore.concurrency import at_fork
from shapestore.concurrency.uncancelled import until_done
from shapestore.errors import ForkedStoreError, StoreClosedError
from shapestore.open_store import OpenStore


class Lifecycle:
    """A store's way between closed and open; ``open_store`` makes what is there between.

        closed --open--> opening --> open --close--> closing --> closed

    An opening that is cancelled is undone. A closing goes on if its caller is cancelled. What an event loop has left
    that ended meanwhile, open or half closed, is abandoned by the next opening or closing, on another loop.
    """

    def __init__(self, open_store: Callable[[], Coroutine[Any, Any, OpenStore]]) -> None:
        self._make = open_store
        self._current: OpenStore | None = None
        self._closing: asyncio.Task[None] | None = None
        self._turns = _Turns()
        self._is_the_parents = False
        """Whether what was open is that of the process of which this one was forked."""
        at_fork.register(self)

    @property
    def opened(self) -> OpenStore:
        """What is open. Raises StoreClosedError, or ForkedStoreError in a child of the process that opened it."""
        if self._current is None or self._closing is not None:
            if self._is_the_parents:
                raise ForkedStoreError(
                    "the store was opened before a fork and is used in the child: open a store in each process"
                )
            raise StoreClosedError(
                "the store is not open: use `async with ShapeStore(...)`, or await store.open() first"
            )
        return self._current

    @property
    def live(self) -> OpenStore:
        """What is open, and may be used on the running event loop. Raises StoreClosedError on another one."""
        open_store = self._current
        if open_store is None or self._closing is not None:
            return self.opened  # which says why it is not
        if open_store.loop is not asyncio.get_running_loop():
            raise StoreClosedError(
                "the store was opened on another event loop, and is used on that one alone: open a store on each "
                "loop, or, if that loop has ended, await store.open() again"
            )
        return open_store

    async def open(self) -> None:
        async with self._turns.next():
            self._abandon_if_its_loop_has_ended()
            if self._closing is not None:
                await self._end_of(self._closing)
            if self._current is None:
                self._current = await self._open()
                self._is_the_parents = False

    async def close(self) -> None:
        async with self._turns.next():  # an opening that is going on comes first
            self._abandon_if_its_loop_has_ended()
            if self._current is not None and self._closing is None:
                self._closing = self._start_closing(self.live)
            closing = self._closing
        if closing is not None:
            await self._end_of(closing)

    async def _end_of(self, closing: asyncio.Task[None]) -> None:
        """Wait until a closing has ended, and has let go of all. Raises StoreClosedError on another loop."""
        if closing.get_loop() is not asyncio.get_running_loop():
            raise _on_another_loop()
        if not closing.done():
            await asyncio.shield(closing)
        while self._closing is closing:  # it was cancelled in this turn of the loop: its callback comes in the next
            await asyncio.sleep(0)

    async def _open(self) -> OpenStore:
        """Open in a task of its own, which is cancelled once and may then await while it cleans up.

        Its caller cannot, under anyio: there a cancellation is repeated at every await.
        """
        opening = asyncio.create_task(self._make(), name="shapestore open")
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.cancel()
            await until_done(opening)
            if not opening.cancelled() and opening.exception() is None:  # it was quicker than the cancellation
                await until_done(self._start_closing(opening.result()))
            raise

    def _start_closing(self, open_store: OpenStore) -> asyncio.Task[None]:
        """Close in a task of its own, which goes on if its caller is cancelled.

        If it is cancelled itself, as by the end of asyncio.run, even before it has begun, nothing stays open all the
        same.
        """

        def has_closed(closing: asyncio.Task[None]) -> None:
            if not closing.cancelled():
                closing.exception()  # raised to those who wait for it, if any do
            try:
                open_store.drop()
            finally:  # those who wait for it would wait for ever
                if self._current is open_store:
                    self._current = self._closing = None

        closing = asyncio.create_task(open_store.close(), name="shapestore close")
        closing.add_done_callback(has_closed)
        return closing

    def _abandon_if_its_loop_has_ended(self) -> None:
        if self._current is not None and self._current.loop.is_closed():
            self._current.drop()
            self._current = self._closing = None

    def in_forked_child(self) -> None:
        """Leave everything that is the parent's as it is, and refuse to be used."""
        if self._current is not None or self._closing is not None or self._turns.is_taken:
            self._is_the_parents = True
            at_fork.keep((self._current, self._closing))
        self._current = self._closing = None
        self._turns = _Turns()


class _Turns:
    """The turns of opening and closing: one at a time, and those of one event loop only.

    A loop cannot wait for another one, which may stand still; and nothing would wake it when that one has ended.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._taken = 0
        """How many have a turn on the loop, or wait for one."""

    @property
    def is_taken(self) -> bool:
        return self._taken > 0

    @contextlib.asynccontextmanager
    async def next(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it. Raises StoreClosedError while another loop has one, unless that has ended."""
        lock = self._lock_of(asyncio.get_running_loop())
        try:
            async with lock:
                yield
        finally:
            with self._mutex:
                self._taken -= lock is self._lock

    def _lock_of(self, loop: asyncio.AbstractEventLoop) -> asyncio.Lock:
        with self._mutex:
            if self._loop is not loop:
                if self._taken and self._loop is not None and not self._loop.is_closed():
                    raise _on_another_loop()
                self._lock, self._loop, self._taken = asyncio.Lock(), loop, 0
            self._taken += 1
            return self._lock


def _on_another_loop() -> StoreClosedError:
    return StoreClosedError(
        "the store is being opened or closed on another event loop, and is used on that one alone: open a store on "
        "each loop"
    )
