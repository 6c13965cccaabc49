"""Pages of logs, for those who serve them: read and encoded on the reader's thread, once for all who ask at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

from shapestore.storage.log import pages
from shapestore.storage.log.pages import Page, Place, Refused, ServedLog
from shapestore.storage.reader import Reader
from shapestore.storage.readers import AccessTracker

T = TypeVar("T")


class _Reading:
    """A page that is being read."""

    __slots__ = ("page", "version")

    page: asyncio.Task[Any]

    def __init__(self) -> None:
        self.version: object = None
        """The data version of the file as of which it began; None until it has."""


class LogPages:
    """Reads pages for all callers of one open store.

    Callers who ask for the same page in the same form while it is being read share it: a change that a thousand clients
    wait for is read and encoded once. Not across a commit, for the later caller may know of it.
    """

    def __init__(self, reader: Reader, access: AccessTracker) -> None:
        self._reader = reader
        self._access = access
        self._reading: dict[Hashable, _Reading] = {}

    def log(self, handle: str) -> ServedLog | None:
        """Where a log stands, at once, on the event loop's thread; None if it has to be found out by reading a page."""
        log = self._reader.served_log(handle)
        if log is not None:
            self._access.touch(handle)
        return log

    async def read(
        self,
        handle: str,
        place: Place,
        most_bytes: int,
        form: Hashable,
        encode: Callable[[Page], T],
    ) -> T | Refused | None:
        """What ``encode`` makes of the page behind ``place``; None if no stored shape has this handle (any more).

        ``form`` names what ``encode`` does, on the reader's thread: of two callers with one form either's is called.
        """
        key = (handle, place, most_bytes, form)
        reading = self._reading.get(key)
        if reading is None or (reading.version is not None and reading.version != self._version()):
            reading = self._reading[key] = _Reading()
            work = partial(_encoded, handle=handle, place=place, most_bytes=most_bytes, encode=encode)
            reading.page = asyncio.ensure_future(self._read(key, reading, work))
            reading.page.add_done_callback(_retrieved)
        page: T | Refused | None = await asyncio.shield(reading.page)
        if page is not None:
            self._access.touch(handle)
        return page

    async def _read(self, key: Hashable, reading: _Reading, work: Callable[[Any], T]) -> T:
        """Begins a turn of the loop later: those who have asked until then need not look for commits."""
        try:
            reading.version = self._version()
            return await self._reader.run(work)
        finally:
            if self._reading.get(key) is reading:
                del self._reading[key]

    def _version(self) -> object:
        """Another one after each commit, and each time if the file is busy."""
        return self._reader.data_version() or object()


def _retrieved(page: asyncio.Task[Any]) -> None:
    """An error that no caller waits for any more is no fault; asyncio would report it as one."""
    if not page.cancelled():
        page.exception()


def _encoded(
    connection: Any, *, handle: str, place: Place, most_bytes: int, encode: Callable[[Page], T]
) -> T | Refused | None:
    page = pages.page(connection, handle, place, most_bytes)
    return encode(page) if isinstance(page, Page) else page
