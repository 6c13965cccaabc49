"""Pages of logs, for those who serve them: read and encoded on the reader's thread, once for all who ask at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Hashable
from functools import partial
from typing import Any, TypeVar

from shapestore.storage.access_tracker import AccessTracker
from shapestore.storage.log import pages
from shapestore.storage.log.pages import Page, Place, Refused, SnapshotRange
from shapestore.storage.reader import Reader

T = TypeVar("T")


class LogPages:
    """Reads pages for all callers of one open store.

    Callers who ask for the same page in the same form while it is being read share it: a change that a thousand clients
    wait for is read and encoded once. Not across a commit, for the later caller may know of it.
    """

    def __init__(self, reader: Reader, access: AccessTracker) -> None:
        self._reader = reader
        self._access = access
        self._reading: dict[Hashable, asyncio.Future[Any]] = {}

    async def read(  # noqa: PLR0917 - of which log, from where, how much, in which form
        self,
        handle: str,
        place: Place,
        most_bytes: int,
        form: Hashable,
        encode: Callable[[Page], T],
        known: Container[SnapshotRange],
    ) -> T | Refused | None:
        """What ``encode`` makes of the page behind ``place``; None if no stored shape has this handle (any more).

        ``form`` names what ``encode`` does: of two callers with one form either's is called. It is given no rows that
        are ``known`` to it. Both are used on the reader's thread.
        """
        key = (handle, place, most_bytes, form, self._reader.data_version() or object())
        reading: asyncio.Future[T | Refused | None] | None = self._reading.get(key)
        if reading is None or reading.done():
            work = partial(_encoded, handle=handle, place=place, most_bytes=most_bytes, encode=encode, known=known)
            reading = self._reading[key] = asyncio.ensure_future(self._reader.run(work))
            reading.add_done_callback(partial(self._has_read, key))
        page: T | Refused | None = await asyncio.shield(reading)
        if page is not None:
            self._access.touch(handle)
        return page

    def _has_read(self, key: Hashable, read: asyncio.Future[Any]) -> None:
        if self._reading.get(key) is read:
            del self._reading[key]
        if not read.cancelled():
            read.exception()  # raised to those who wait for it, if any are left


def _encoded(
    connection: Any,
    *,
    handle: str,
    place: Place,
    most_bytes: int,
    encode: Callable[[Page], T],
    known: Container[SnapshotRange],
) -> T | Refused | None:
    page = pages.page(connection, handle, place, most_bytes, known)
    return encode(page) if isinstance(page, Page) else page
