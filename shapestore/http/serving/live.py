"""Waiting for a client: until its log has more, its time is up, it has gone, or the server stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from enum import Enum, auto
from typing import Any

from starlette.types import Receive, Scope, Send

from shapestore.errors import ShapeGoneError, ShapeStoreError
from shapestore.http.response import refused
from shapestore.http.serving.stopping import Stopping

KEEP_ALIVE = b": keep-alive\n\n"
# A client that takes nothing for so long, beyond the length of its answer, is let go.
PATIENCE = 30.0
# How long an answer that is being sent may go on once the server stops.
GRACE = 0.5


class Woken(Enum):
    """Why a wait has ended."""

    MORE = auto()
    """There is more in the log, or there may be: it has to be looked at."""
    TIME = auto()
    END = auto()
    """The client has gone, or the server stops."""


class LiveClients:
    """The live answers of one application: how many there are, and that they end."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self.stopping = Stopping()

    @contextlib.contextmanager
    def one_more(self) -> Iterator[None]:
        """While a client is served live. Raises Refusal if there are too many."""
        if self._count >= self._most:
            raise refused(503, f"{self._count} clients are served live, the limit", retry_after=5)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class Presence:
    """One client that is served live, as long as it is there and the server goes on."""

    def __init__(self, receive: Receive, stopping: Stopping) -> None:
        self._receive = receive
        self._stopping = stopping
        self._ended = asyncio.get_running_loop().create_future()

    @property
    def has_ended(self) -> bool:
        return self._ended.done()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While in here, the end is noticed."""
        watching = asyncio.ensure_future(self._watch())
        try:
            with self._stopping.telling(self._end):
                yield
        finally:
            watching.cancel()

    async def wait(self, more: Callable[[float], Awaitable[object]], seconds: float) -> Woken:
        """Wait for ``more`` for so many seconds; it says by returning that there may be some."""
        if self.has_ended:
            return Woken.END
        if seconds <= 0:
            return Woken.TIME
        waiting = asyncio.ensure_future(more(seconds))
        try:
            await asyncio.wait((waiting, self._ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_done = not waiting.cancel()
        error = waiting.exception() if is_done else None
        if self.has_ended:
            return Woken.END
        if not is_done:
            return Woken.TIME
        if error is not None and not isinstance(error, ShapeGoneError):  # the look that follows says so
            raise error
        return Woken.MORE

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


class EventStream:
    """An answer of server-sent events: the headers at once, then what ``events`` gives."""

    def __init__(
        self,
        events: Callable[[Presence, float], AsyncGenerator[bytes, None]],
        headers: Mapping[str, str],
        clients: LiveClients,
        seconds: float,
    ) -> None:
        """``events`` gets the client, and the time of the loop at which to end."""
        self._events = events
        self._headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self._clients = clients
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        client = Presence(receive, self._clients.stopping)
        until = loop.time() + self._seconds
        with self._clients.one_more(), contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until + PATIENCE) as patience, client.watched():
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


def event(message: Any) -> bytes:
    """A message as an event."""
    return b"data: %s\n\n" % bytes(message)
