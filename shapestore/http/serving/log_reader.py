"""What a request gets of a log: the page behind its offset, in messages; or that it has to begin again."""

from __future__ import annotations

import dataclasses
from functools import cached_property, partial

from shapestore.http.handles import another_handle, parse_handle
from shapestore.http.messages.messages import Messages, Replica, as_events, messages_of, snapshot_end, up_to_date
from shapestore.http.request import ShapeRequest
from shapestore.http.response import Caching, Refusal, joined, must_refetch, refused
from shapestore.http.serving.kept_pages import KeptPages
from shapestore.shape import comparable as comparables
from shapestore.storage.log import pages
from shapestore.storage.log.pages import Page, Part, Refused, ServedLog, SnapshotRange
from shapestore.store import ShapeStore

_TRIES = 5


@dataclasses.dataclass(frozen=True)
class Read:
    """A page of a log, in messages. Clients who are given the same one at a time share it."""

    log: ServedLog
    handle: str
    """Of the stored shape."""
    body: bytes
    """The messages, as a JSON array."""
    end: Part | int
    is_end: bool
    is_idle: bool
    """Whether it says no more than that it is the end."""
    range: SnapshotRange | None = None
    """Which rows of the snapshot it has; None if it has changes."""

    @property
    def position(self) -> int:
        """The public position at which the log ended."""
        return self.log.standing.public

    @cached_property
    def events(self) -> bytes:
        """The messages as server-sent events; none, if it says no more than that it is the end."""
        return b"" if self.is_idle else as_events(self.body)


class LogReader:
    """Reads the logs of a store for clients. ``most_shapes``: how many there may be, for clients to have one more."""

    def __init__(
        self, store: ShapeStore, *, chunk_bytes: int, kept_bytes: int, most_shapes: int | None, caching: Caching
    ) -> None:
        self.store = store
        self._kept = KeptPages(kept_bytes)
        self._chunk_bytes = chunk_bytes
        self._most_shapes = most_shapes
        self._caching = caching

    async def first(self, asked: ShapeRequest) -> Read:
        """The page that a request asks for. Raises Refusal: 409 if its client has to begin again."""
        for _ in range(_TRIES):
            handle = await self._handle(asked)
            read = await self.behind(handle, asked.place, asked)
            if isinstance(read, Refused):
                raise self._must_refetch(handle, asked)
            if read is not None:
                return read
        raise refused(503, "the shape is dropped again and again while it is read", retry_after=1)

    async def again(self, asked: ShapeRequest, handle: str) -> Read:
        """As ``first``, where the handle was just found to be the one to read."""
        read = await self.behind(handle, asked.place, asked)
        return read if isinstance(read, Read) else await self.first(asked)

    async def behind(self, handle: str, place: pages.Place, asked: ShapeRequest) -> Read | Refused | None:
        """The page of a stored shape behind ``place``; None if the shape is gone."""
        skips_rows = asked.log == "changes_only" and place == pages.BEGINNING
        begin = pages.End.NOW if skips_rows else place
        read = self._page_at_once(handle, begin, asked.replica) or await self._read_page(handle, begin, asked.replica)
        if skips_rows and isinstance(read, Read):
            body = joined([snapshot_end(read.log.snapshot_seq)])
            end = Part(len(read.log.part_ends) - 1, read.log.floor)
            return Read(read.log, handle, body, end, is_end=False, is_idle=False)
        return read

    async def now(self, asked: ShapeRequest) -> Read:
        """Where the log that a request asks for ends now."""
        return await self.first(dataclasses.replace(asked, place=pages.End.NOW))

    def _page_at_once(self, handle: str, place: pages.Place, replica: Replica) -> Read | None:
        """The page behind ``place`` if that is the end of the log, or if its messages are kept.

        It takes a point read. Any answer of another thread would take ten times as long.
        """
        log = self.store._log_pages().log(handle)
        if log is None:
            return None
        if place in (pages.End.NOW, log.end):
            return _in_messages(pages.end_of(log), handle=handle, replica=replica)
        behind = pages.rows_behind(handle, log, place, self._chunk_bytes) if isinstance(place, Part) else None
        if behind is None:
            return None
        range_, end = behind
        body = self._kept.get(range_)
        if body is None:
            return None
        return Read(log, handle, body, end, is_end=False, is_idle=False, range=range_)

    async def _read_page(self, handle: str, place: pages.Place, replica: Replica) -> Read | Refused | None:
        encode = partial(_in_messages, handle=handle, replica=replica)
        read = await self.store._log_pages().read(handle, place, self._chunk_bytes, replica, encode)
        if isinstance(read, Read) and read.range is not None:
            self._kept.put(read.range, read.body)
        return read

    async def _handle(self, asked: ShapeRequest) -> str:
        """The handle of the stored shape, created if it is missing. Raises Refusal if it is not the one asked."""
        if self._most_shapes is not None and await self.store.get(asked.shape) is None:
            await self._refuse_one_more(self._most_shapes)
        stored = await self.store.get_or_create(asked.shape)
        if asked.handle is not None and parse_handle(asked.handle).handle != stored.handle:
            raise self._must_refetch(stored.handle, asked)
        return stored.handle

    def _must_refetch(self, handle: str, asked: ShapeRequest) -> Refusal:
        return must_refetch(another_handle(handle, asked.handle or "", unlike=asked.expired_handle), self._caching)

    async def _refuse_one_more(self, most: int) -> None:
        if await self.store.count() >= most:
            raise refused(
                429, f"{most} shapes are stored, the limit up to which clients can have shapes created", retry_after=60
            )


def _in_messages(page: Page, *, handle: str, replica: Replica) -> Read:
    """A page in messages."""
    is_idle = page.is_end and not page.changes
    return Read(page.log, handle, joined(_messages(page, replica)), page.end, page.is_end, is_idle, page.range)


def _messages(page: Page, replica: Replica) -> list[bytes]:
    messages = messages_for(page.log)
    if page.range is None:
        told = messages.of_changes(page, replica)
        return [*told, up_to_date(page.log.last_seen)] if page.is_end else told
    assert page.rows is not None
    told = messages.of_rows(page.rows)
    return [*told, snapshot_end(page.log.snapshot_seq)] if page.range.last == page.log.standing.base else told


def messages_for(log: ServedLog) -> Messages:
    """What makes the messages of a log."""
    table = comparables.read(log.comparable).table
    return messages_of(table, log.standing.columns_described, log.standing.key_columns)
