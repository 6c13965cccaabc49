"""The answers to requests for a log: a page at once, a page as soon as there is one, or a stream of events."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from functools import partial
from typing import NamedTuple

from starlette.requests import Request
from starlette.types import ASGIApp

from shapestore.http import response
from shapestore.http.handles import handle_text, offset_text
from shapestore.http.messages import messages
from shapestore.http.request import ShapeRequest, Subset
from shapestore.http.response import Answer, Caching
from shapestore.http.serving.live import KEEP_ALIVE, EventStream, LiveClients, Presence, Woken
from shapestore.http.serving.log_reader import LogReader, Read
from shapestore.http.serving.next_pages import Found, NextPages
from shapestore.http.serving.subsets import Subsets
from shapestore.storage.log.pages import BEGINNING, End

_JSON, _EVENTS = ((b"content-type", kind.encode()) for kind in (response.JSON, response.EVENTS))


class Durations(NamedTuple):
    """How long live answers take, in seconds."""

    long_poll: float
    """A long poll without a change."""
    events: float
    """A stream of events."""
    keep_alive: float
    """The silence in a stream of events, before a sign of life."""


class LogAnswers:
    """Answers requests for logs."""

    def __init__(
        self, reader: LogReader, subsets: Subsets, clients: LiveClients, caching: Caching, durations: Durations
    ) -> None:
        self._reader = reader
        self._next = NextPages(reader)
        self._subsets = subsets
        self._clients = clients
        self._caching = caching
        self._durations = durations

    async def answer(self, asked: ShapeRequest, request: Request) -> ASGIApp:
        """The answer to a request. Raises Refusal, and the errors of the store."""
        if asked.subset is not None:  # which is never live, whatever else the request says
            return await self._subset(dataclasses.replace(asked, live=False, sse=False), asked.subset, request)
        if not asked.live:
            return self._page(asked, request, await self._reader.first(asked))
        if asked.sse:
            return self._stream(asked, request, await self._reader.first(asked))
        return await self._poll(asked, request)

    # --- pages

    def _page(self, asked: ShapeRequest, request: Request, read: Read) -> Answer:
        end = offset_text(read.end)
        is_idle = asked.live and read.is_idle
        headers, handle = self._headers(asked, request, read, asked.offset if is_idle else end)
        tag = response.etag(handle, asked.offset, end, unique=is_idle or asked.place is End.NOW)
        headers.append((b"etag", tag.encode()))
        if read.is_end:
            headers.append((b"electric-up-to-date", b""))
        return Answer(304, headers, None) if response.matches(request, tag) else Answer(200, headers, read.body)

    def _headers(
        self, asked: ShapeRequest, request: Request, read: Read, offset: str
    ) -> tuple[list[tuple[bytes, bytes]], str]:
        """What clients and caches need to know, and the handle in it."""
        handle = handle_text(read.handle, read.log.floor, asked=asked.handle, unlike=asked.expired_handle)
        headers = [
            _EVENTS if asked.sse else _JSON,
            (b"cache-control", self._cache_control(asked, request).encode()),
            (b"electric-handle", handle.encode()),
            (b"electric-offset", offset.encode()),
        ]
        if asked.live:
            headers.append((b"electric-cursor", response.cursor(asked.cursor, self._durations.long_poll).encode()))
        else:
            schema = messages.schema(read.log.standing.columns_described)
            headers.append((b"electric-schema", schema.encode()))
        return headers, handle

    def _cache_control(self, asked: ShapeRequest, request: Request) -> str:
        caching = self._caching
        if request.method == "POST" or asked.subset is not None:
            return response.NO_CACHE
        if asked.place == BEGINNING:
            return caching.of(response.FIRST)
        if not asked.live:
            return caching.of(caching.later)
        return caching.of(
            f"public, max-age={max(1, round(self._durations.events) - 1)}" if asked.sse else response.LIVE
        )

    async def _subset(self, asked: ShapeRequest, subset: Subset, request: Request) -> Answer:
        """Some rows, and an offset from which no change of them is missed: the client's own, or that of before."""
        read = await self._reader.now(asked)
        body = await self._subsets.body(asked, subset, read)
        offset = offset_text(read.end) if asked.handle is None else asked.offset
        headers, _ = self._headers(asked, request, read, offset)
        return Answer(200, [*headers, (b"electric-snapshot", b"true")], body)

    # --- live

    async def _poll(self, asked: ShapeRequest, request: Request) -> Answer:
        """The page behind the offset as soon as there is one; when the time is up, that there is none."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._durations.long_poll
        with Presence(request.receive, self._clients) as client:
            read = await self._reader.first(asked)
            while read.is_idle:
                handle, page = read.handle, self._next.behind(read.handle, asked.place, read.position, asked)
                del read  # what is read again is not held by all who wait
                found = await client.next(page, until - loop.time())
                if isinstance(found, Woken):
                    read = await self._reader.again(asked, handle)
                    break
                read = found if isinstance(found, Read) else await self._reader.first(asked)
        return self._page(asked, request, read)

    def _stream(self, asked: ShapeRequest, request: Request, read: Read) -> EventStream:
        headers, _ = self._headers(asked, request, read, asked.offset)
        headers.append((b"x-accel-buffering", b"no"))
        return EventStream(partial(self._events, asked, read.handle), headers, self._clients, self._durations.events)

    async def _events(
        self, asked: ShapeRequest, handle: str, client: Presence, until: float
    ) -> AsyncGenerator[bytes, None]:
        """What comes behind the offset, and signs of life; no page is held while there is nothing."""
        loop = asyncio.get_running_loop()
        quiet_until = loop.time() + self._durations.keep_alive
        found: Found | Woken = await self._reader.behind(handle, asked.place, asked)
        while isinstance(found, Read):
            place, is_end, position = found.end, found.is_end, found.position
            told = found.events
            del found
            if told:
                yield told
                told = b""  # which may be a whole page
                quiet_until = loop.time() + self._durations.keep_alive
            if is_end:
                page = self._next.behind(handle, place, position, asked)
                found = await client.next(page, min(until, quiet_until) - loop.time())
                if found is Woken.END or loop.time() >= until:
                    return
                if found is not Woken.TIME:
                    continue
                yield KEEP_ALIVE
                quiet_until = loop.time() + self._durations.keep_alive
            found = await self._reader.behind(handle, place, asked)
