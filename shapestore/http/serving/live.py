"""Waiting for a client: until its log has more, its time is up, it has gone, or the server stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from enum import Enum, auto
from typing import cast

from starlette.types import Receive, Scope, Send

from shapestore.concurrency.futures import resolve
from shapestore.errors import ShapeStoreError
from shapestore.http.response import RawHeaders, refused
from shapestore.http.serving.next_pages import Found, NextPage, Waiter
from shapestore.http.serving.stopping import Stopping

KEEP_ALIVE = b": keep-alive\n\n"
# A client that takes nothing for so long, beyond the length of its answer, is let go.
PATIENCE = 30.0
# How long an answer that is being sent may go on once the server stops.
GRACE = 0.5


class Woken(Enum):
    """Why a wait has ended without a page."""

    TIME = auto()
    """The time is up."""
    END = auto()
    """The client has gone, or the server stops."""


class LiveClients:
    """The live answers of one application: how many there are, and that they end."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self.stopping = Stopping()

    def add(self) -> None:
        """One more is served live. Raises Refusal if there are too many."""
        if self._count >= self._most:
            raise refused(503, f"{self._count} clients are served live, the limit", retry_after=5)
        self._count += 1

    def remove(self) -> None:
        self._count -= 1


class Presence:
    """One client that is served live, as long as it is there and the server goes on.

    >>> with Presence(request.receive, clients) as client:  # raises Refusal if there are too many
    ...     found = await client.next(page, seconds=20)

    It is small, for there are thousands, and most of them only wait: what waits is the one task that they have anyway.
    """

    __slots__ = ("_clients", "_receive", "_waiter", "_watching", "has_ended")

    def __init__(self, receive: Receive, clients: LiveClients) -> None:
        self._receive = receive
        self._clients = clients
        self._waiter: Waiter | None = None
        self.has_ended = False

    def __enter__(self) -> Presence:
        self._clients.add()
        self._watching = asyncio.ensure_future(self._watch())
        self._clients.stopping.tell(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.stopping.forget(self._end)
        self._watching.cancel()
        self._clients.remove()

    async def next(self, page: NextPage, seconds: float) -> Found | Woken:
        """Wait for so many seconds for a page. Raises the errors of the store."""
        if self.has_ended:
            return Woken.END
        if seconds <= 0:
            return Woken.TIME
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(seconds, resolve, waiter, Woken.TIME)
        page.add(waiter)
        try:
            return cast("Found | Woken", await waiter)
        finally:
            timer.cancel()
            page.remove(waiter)
            self._waiter = None

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end()

    def _end(self) -> None:
        self.has_ended = True
        if self._waiter is not None:
            resolve(self._waiter, Woken.END)


class EventStream:
    """An answer of server-sent events: the headers at once, then what ``events`` gives."""

    def __init__(
        self,
        events: Callable[[Presence, float], AsyncGenerator[bytes, None]],
        headers: RawHeaders,
        clients: LiveClients,
        seconds: float,
    ) -> None:
        """``events`` gets the client, and the time of the loop at which to end."""
        self._events = events
        self._headers = headers
        self._clients = clients
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        with Presence(receive, self._clients) as client, contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until + PATIENCE) as patience:
                with self._clients.stopping.telling(lambda: _hurry(patience, loop.time() + GRACE)):
                    await send({"type": "http.response.start", "status": 200, "headers": self._headers})
                    if scope["method"] != "HEAD":
                        await self._send_events(client, until, send)
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, client: Presence, until: float, send: Send) -> None:
        """Send events until there are no more: also if the store closes, for then the client goes on elsewhere."""
        async with contextlib.aclosing(self._events(client, until)) as events:
            with contextlib.suppress(ShapeStoreError):
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
                    del event  # which may be a whole page, and the next may be long in coming


def _hurry(patience: asyncio.Timeout, until: float) -> None:
    if not patience.expired():
        patience.reschedule(until)
