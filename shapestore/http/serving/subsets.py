"""Some of a shape's rows as they are now, for clients that load rows as they need them.

They are read at the seq S of the source, and answered once the shape has been followed to S. A client that holds them
drops changes of these rows whose txid they have seen, until it is told of a round that is as new as the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

import msgspec

from shapestore.errors import InvalidShapeError, ShapeGoneError, ShapeStoreError
from shapestore.http.request import ShapeRequest, Subset
from shapestore.http.response import invalid, refused
from shapestore.http.serving.log_reader import LogReader, Read, messages_for
from shapestore.logger import logger
from shapestore.storage.log.keys import encode_key
from shapestore.storage.row_codec import row_bytes

# So many are read from the source at a time, and so many more may wait for that.
AT_ONCE = 8
MOST_WAITING = 1_000
# How long a subset may wait for its shape to be followed. Beyond that it is answered all the same.
FOLLOWED_SECONDS = 5.0
# A round that changes nothing in the shape wakes no waiter.
LOOK_SECONDS = 0.01


class Subsets:
    """Reads subsets. ``most_rows``: how many one may have."""

    def __init__(self, reader: LogReader, most_rows: int) -> None:
        self._reader = reader
        self._most_rows = most_rows
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._asking = 0

    async def body(self, asked: ShapeRequest, subset: Subset, read: Read) -> bytes:
        """The body of the answer. ``read`` is of before: from where it ended the client goes on."""
        if self._asking >= AT_ONCE + MOST_WAITING:
            raise refused(503, f"{self._asking} subsets are being read, the limit", retry_after=1)
        self._asking += 1
        try:
            found = await self._rows(asked, subset)
        finally:
            self._asking -= 1
        now = await self._followed(asked, found.moment.seq)
        mark = secrets.randbelow(2**31)
        head = msgspec.json.encode(_metadata(mark, found.moment.seq or 0, now.log.last_seen))
        keys = [encode_key(key or ()).encode() for key, _ in found.rows]
        rows = [row_bytes(row, number) for number, (_, row) in enumerate(found.rows, 1)]
        return b'{"metadata":%s,"data":[%s]}' % (head, messages_for(read.log).of_subset(rows, keys, mark))

    async def _followed(self, asked: ShapeRequest, seq: int | None) -> Read:
        """Where the log ends, once it has seen the source's changes up to ``seq``.

        If that takes too long the answer is given all the same. Its client is then told some changes that its rows hold
        already, and shows older values until the later changes follow.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + FOLLOWED_SECONDS
        now = await self._reader.now(asked)
        while seq is not None and now.log.followed_seq is not None and now.log.followed_seq < seq:
            if loop.time() >= until:
                break
            with contextlib.suppress(ShapeGoneError):
                await self._reader.store.wait(now.handle, now.log.standing.public, LOOK_SECONDS)
            now = await self._reader.now(asked)
        return now

    def _turns_of(self, loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
        """An application may be served by one loop after another, as by tests; a semaphore is of the first alone."""
        if self._loop is not loop:
            self._loop, self._turns = loop, asyncio.Semaphore(AT_ONCE)
        return self._turns

    async def _rows(self, asked: ShapeRequest, subset: Subset) -> Any:
        """The rows and the moment of the source. Raises Refusal."""
        limit = self._most_rows + 1 if subset.limit is None else min(subset.limit, self._most_rows + 1)
        wanted = {"where": subset.where, "params": subset.params, "order_by": subset.order_by, "offset": subset.offset}
        try:
            async with self._turns_of(asyncio.get_running_loop()):
                found = await self._reader.store._ask_source("subset", asked.shape, limit=limit, **wanted)
        except InvalidShapeError:
            invalid("subset__where", "is too large, together with the where of the shape")
        except ShapeStoreError:
            raise
        except Exception as error:  # whatever the source raises; its text may tell about rows
            logger.warning("a subset of %r could not be read: %r", asked.shape, error)
            raise refused(503, "the rows of this shape could not be read", retry_after=1) from None
        if found is None:
            raise refused(400, "the source of this shape has no subsets")
        if len(found.rows) > self._most_rows:
            raise refused(400, f"the subset has more than {self._most_rows} rows: ask for fewer by limit")
        return found


def _metadata(mark: int, seq: int, last_seen: int) -> dict[str, Any]:
    """What the subset has seen: the source's changes up to ``seq``. ``mark`` names it."""
    after = str(seq + 1)
    return {"snapshot_mark": mark, "database_lsn": str(last_seen), "xmin": after, "xmax": after, "xip_list": []}
