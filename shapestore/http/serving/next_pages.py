"""The pages that live clients wait for: each is waited for and read once, for all who stand at one place of a log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Any

from shapestore.concurrency.futures import refuse, resolve
from shapestore.errors import ShapeGoneError, ShapeStoreError, fresh
from shapestore.http.request import ShapeRequest
from shapestore.http.serving.log_reader import LogReader, Read
from shapestore.storage.log.pages import Place, Refused

Found = Read | Refused | None
"""A page; or that the place is none of the log any more, or that the shape is gone."""

Waiter = asyncio.Future[Any]
"""Of a page, or of whatever else ends the wait of one client."""


class NextPages:
    """The pages that are waited for."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._awaited: dict[Hashable, NextPage] = {}

    def behind(self, handle: str, place: Place, position: int, asked: ShapeRequest) -> NextPage:
        """The page behind ``place``, for when the log goes on behind the public ``position``, where it ends now."""
        loop = asyncio.get_running_loop()  # what is left of one that has ended brings nothing any more
        key = (loop, handle, place, position, asked.replica)
        page = self._awaited.get(key)
        return page or NextPage(self._awaited, key, partial(self._read, handle, place, position, asked))

    async def _read(self, handle: str, place: Place, position: int, asked: ShapeRequest) -> Found:
        with contextlib.suppress(ShapeGoneError):  # the reading that follows says so
            await self._reader.store._wait(handle, position, None)
        return await self._reader.behind(handle, place, asked)


class NextPage:
    """A page that is ``awaited`` under its ``key``, as long as a client is left that waits for it."""

    __slots__ = ("_awaited", "_key", "_read", "_task", "_waiters")

    def __init__(self, awaited: dict[Hashable, NextPage], key: Hashable, read: Callable[[], Awaitable[Found]]) -> None:
        self._awaited = awaited
        self._key = key
        self._read = read
        self._waiters: set[Waiter] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, waiter: Waiter) -> None:
        """One more waits: it is told of the page, or of the error of the store."""
        self._waiters.add(waiter)
        if self._task is None:  # only once a client waits: a task that begins at once may end at once
            self._awaited[self._key] = self
            self._task = asyncio.ensure_future(self._bring())

    def remove(self, waiter: Waiter) -> None:
        """It waits no longer."""
        self._waiters.discard(waiter)
        if not self._waiters and self._task is not None and not self._task.done():
            self._forget()
            self._task.cancel()

    def _forget(self) -> None:
        if self._awaited.get(self._key) is self:
            del self._awaited[self._key]

    async def _bring(self) -> None:
        try:
            page = await self._read()
        except Exception as error:
            for waiter in self._waiters:
                refuse(waiter, fresh(error) if isinstance(error, ShapeStoreError) else error)
        except BaseException:  # interrupted, or cancelled by other code: we cancel it once no client is left
            for waiter in self._waiters:
                resolve(waiter, None)  # so that it looks again
            raise
        else:
            for waiter in self._waiters:
                resolve(waiter, page)
        finally:
            self._forget()
