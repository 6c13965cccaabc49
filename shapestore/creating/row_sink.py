"""Where a creator's rows go, on their way to a publication: into the attempt; or, of a refresh, beside the stored rows.

A refresh sends nothing as long as its rows can become a difference of the stored ones. Once they are too different, all
that came so far is replayed into the attempt, stored rows by copying them, and the rest is sent as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from shapestore.creating.leader import Leader
from shapestore.creating.services import Services
from shapestore.errors import ShapeStoreError, SupersededError
from shapestore.shape.column_description import Description
from shapestore.source.keyed import Moment
from shapestore.storage.commands import AddRows, CopyRows, Publish, PublishDifference
from shapestore.storage.log.chunks import Chunk, Encoder
from shapestore.storage.log.difference import Comparison, Difference, Run, repeated_key
from shapestore.storage.log.live.followed import Followed
from shapestore.storage.log.live.refreshed import Refreshed
from shapestore.storage.log.positions import Standing
from shapestore.storage.reader import Reader
from shapestore.storage.row_codec import as_json
from shapestore.storage.writer import Writer

T = TypeVar("T")

Publication = Callable[..., Publish | PublishDifference]
"""What publishes the rows, once it is told what the attempt has cost."""

# A refresh that changes of its shape have overtaken so often replaces the shape.
MOST_OVERTAKEN = 3

_UNKNOWN_MOMENT = Moment()


class RowSink:
    """Takes the rows of the attempt ``handle``, chunk by chunk, and ends with their publication."""

    def __init__(self, services: Services, leader: Leader, handle: str) -> None:
        self._leader = leader
        self._handle = handle
        self._reader = services.reader
        self._rows = AttemptRows(handle, services.reader, services.writer)
        self._compared: ComparedRows | None = None
        self._stored: Standing | None = None
        self._refreshed: Refreshed | None = None
        """As of when a live shape was read again."""
        self.encoder: Encoder
        """All rows so far: how many, their bytes, their key columns. From when the creator is called."""

    @property
    def refusal(self) -> ShapeStoreError | None:
        """Why the store refused a chunk: an error that is not the creator's."""
        return self._rows.refusal

    async def open(self) -> None:
        """Look up what is stored, if it is to be refreshed, before its source is read."""
        if self._leader.older is not None:
            self._stored = await self._reader.standing_of_key(self._leader.key)

    def begin(
        self, key_columns: Sequence[str] | None, description: Description | None, read: Moment = _UNKNOWN_MOMENT
    ) -> None:
        """Rows come now that have these key columns, of this moment of their source."""
        described = None if description is None else as_json(description)
        self._rows.followed = followed = _followed(read)
        self.encoder = Encoder(self._handle, key_columns, described, followed)
        stored = self._stored
        if stored is None or self._leader.overtaken >= MOST_OVERTAKEN:
            return
        if not stored.has_key_columns(key_columns) or stored.columns_described != described:
            return
        if _continues(stored, read):
            if read.seq is not None and read.nonce is not None and stored.source is not None:
                self._refreshed = Refreshed(stored.written, read.seq, read.nonce, read.signature, read.markers or ())
            self._compared = ComparedRows(self._rows, self._reader, Comparison(stored, keyed=key_columns is not None))

    async def take(self, chunk: Chunk) -> None:
        """Take a full chunk. While it is being written the creator makes the next, and no further."""
        await (self._compared or self._rows).take(chunk)

    async def finish(self) -> Publication:
        """No more rows come. Raises InvalidRowError if a key has come twice."""
        given = await (self._compared or self._rows).finish(self.encoder.rest(), unique=self.encoder.keys_grow)
        leader = self._leader
        if isinstance(given, Chunk):
            at_any_rate = leader.overtaken >= MOST_OVERTAKEN
            return partial(Publish, given, self.encoder, replaces=leader.older is not None, at_any_rate=at_any_rate)
        assert self._stored is not None
        return partial(PublishDifference, self._handle, self._stored.number, given, refreshed=self._refreshed)


class AttemptRows:
    """Sends rows to the attempt ``handle``."""

    def __init__(self, handle: str, reader: Reader, writer: Writer) -> None:
        self._handle = handle
        self._reader = reader
        self._writer = writer
        self._sent: asyncio.Future[bool] | None = None
        self.followed: Followed | None = None
        """What the rows follow, if they are to be live."""
        self.refusal: ShapeStoreError | None = None
        """Why the store refused a chunk: an error that is not the creator's."""

    async def take(self, chunk: Chunk) -> None:
        await self.flush()
        self._sent = self._writer.submit(AddRows(chunk, self.followed))

    async def finish(self, rest: Chunk, *, unique: bool) -> Chunk:
        """Take the rest, too. Returns what of it is left for the publication.

        ``unique``: no key can have come twice. Else this is looked up, and InvalidRowError is raised if one has.
        """
        if self._sent is not None:
            await self.flush()
        return rest if unique or rest.keys is None else await self._refuse_repeated_keys(rest)

    async def flush(self) -> None:
        """Wait until all that was taken is committed. Raises SupersededError if the fencing token no longer holds."""
        sent, self._sent = self._sent, None
        if sent is not None and not await self._accepted(sent):
            raise self.superseded()

    async def copy(self, run: Run, source: int, position: int) -> None:
        """Take rows that are stored under the number ``source``, as they were there at ``position``."""
        await self.flush()
        copy = CopyRows(self._handle, run, source, position=position, followed=self.followed)
        copied = await self._accepted(self._writer.submit(copy))
        if copied != run.count:  # or the shape was dropped, and some of its rows are deleted by now
            raise self.superseded()

    def superseded(self) -> SupersededError:
        """The error by which the attempt begins again."""
        return SupersededError(self._handle)

    async def _refuse_repeated_keys(self, rest: Chunk) -> Chunk:
        """Have all rows written, to look for a key that came twice; what is left is an empty chunk."""
        await self.take(rest)
        await self.flush()
        repeated = await self._reader.repeated_key(self._handle)
        if repeated is not None:
            raise repeated_key(repeated)
        return rest.next()

    async def _accepted(self, answer: asyncio.Future[T]) -> T:
        try:
            return await answer
        except ShapeStoreError as error:
            self.refusal = error
            raise


class ComparedRows:
    """Compares rows with the stored ones, and sends them to the attempt only once they are too different."""

    def __init__(self, rows: AttemptRows, reader: Reader, comparison: Comparison) -> None:
        self._rows = rows
        self._reader = reader
        self._comparison: Comparison | None = comparison
        self._comparing: asyncio.Future[None] | None = None

    async def take(self, chunk: Chunk) -> None:
        comparison = await self._compared()
        if comparison is None:
            await self._rows.take(chunk)
        else:
            self._comparing = self._reader.start(partial(comparison.add, chunk=chunk))

    async def finish(self, rest: Chunk, *, unique: bool) -> Chunk | Difference:
        comparison = await self._compared()
        if comparison is None:
            return await self._rows.finish(rest, unique=unique)
        await self._reader.run(partial(comparison.add, chunk=rest))
        if not comparison.is_too_different:
            await self._reader.run(comparison.finish)
        self._refuse_overtaken(comparison)
        if not comparison.is_too_different:
            return comparison.difference
        last = await self._replay(comparison)
        return await self._rows.finish(rest.next() if last is None else last, unique=unique)

    async def _compared(self) -> Comparison | None:
        """The comparison, once the chunk taken last is compared; None if all is sent to the attempt from now on."""
        comparison = self._comparison
        comparing, self._comparing = self._comparing, None
        if comparison is None or comparing is None:
            return comparison
        await self._reader.result_of(comparing)
        self._refuse_overtaken(comparison)
        if not comparison.is_too_different:
            return comparison
        last = await self._replay(comparison)
        if last is not None:
            await self._rows.take(last)
        return None

    def _refuse_overtaken(self, comparison: Comparison) -> None:
        if comparison.is_overtaken:
            raise self._rows.superseded()

    async def _replay(self, comparison: Comparison) -> Chunk | None:
        """Send what came so far; but if it ends with new rows, these are returned, to be sent with what follows.

        So a small refresh is one transaction, as a small creation is, which is tried again until it is committed.
        """
        self._comparison = None
        last: Chunk | None = None
        for part in comparison.replay():
            if last is not None:
                await self._rows.take(last)
            last = None if isinstance(part, Run) else part
            if isinstance(part, Run):
                await self._rows.copy(part, comparison.number, comparison.position)
        return last


def _followed(read: Moment) -> Followed | None:
    """What a shape follows from then on, if its source is to be followed."""
    source, seq, nonce, signature, table, _ = read
    if source is None or seq is None or nonce is None or signature is None or table is None:
        return None
    return Followed(source, table, seq, nonce, signature)


def _continues(stored: Standing, read: Moment) -> bool:
    """Whether the log of a shape goes on with what was read. Otherwise it is replaced.

    A live shape stays live; for that it must be known as of when its source was read. One that was left stays as it is:
    it would be left again, and each time all live shapes of the source would be loaded again.
    """
    if stored.source is None:
        return read.signature is None or bool(stored.was_left)
    return read.source == stored.source and read.seq is not None
