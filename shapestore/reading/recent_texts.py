"""The rows that were read last, kept in memory as text: most callers ask for the same few shapes again and again.

A text has all rows of a handle as of a position. The two never stand for other rows (see log/positions.py), so the row
of a shape, which is read for each caller, says whether a text is still the shape's. What another process has committed
is seen at once, as it is without these texts.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from shapestore.shape.stored_shape import StoredShape
from shapestore.storage.from_row import Confirmation
from shapestore.storage.log.read import Batch
from shapestore.storage.reader import FETCH_BYTES, Reader

MOST_BYTES = 16 * 1024 * 1024
"""As much as the point reader's cache has of the file."""
MOST_BYTES_OF_ONE = MOST_BYTES // 4
# What else is kept of a shape, beside its key.
_BYTES_BESIDE = 1024


class _Text(msgspec.Struct, frozen=True):
    handle: str
    position: int
    pieces: list[bytes]
    """Rows that commas separate; a single piece if the shape is small."""
    size: int


class RecentTexts:
    """Texts by the keys of their shapes. Those that were kept first go, once there are more than ``MOST_BYTES``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._texts: OrderedDict[str, _Text] = OrderedDict()
        """Of a plain dict, the first item is found by going through the places of all that were before it."""
        self._bytes = 0

    def small(self, key: str, *, aged: bool) -> tuple[bytes, str, int, Confirmation | None] | None:
        """The rows of a small shape, its handle, its mark, and if it is ``aged``, what its age is counted from.

        At once, on the event loop's thread. None if it is missing or large, or if the file is busy or corrupt: to be
        asked for otherwise.
        """
        known = self._texts.get(key)
        if known is not None:
            if len(known.pieces) > 1:
                return None
            served = self._reader.served(key, aged=aged)
            if served is None:
                return None
            handle, position, mark, confirmation = served
            if handle == known.handle and position == known.position:
                return known.pieces[0], handle, mark, confirmation
        found = self._reader.fetch_small(key, aged=aged)
        if found is None:
            return None
        inside, handle, position, mark, confirmation = found
        self._keep(key, handle, position, [inside], len(inside))
        return inside, handle, mark, confirmation

    async def pieces(
        self, key: str, stored: StoredShape, batches: AsyncGenerator[Batch, None]
    ) -> AsyncGenerator[bytes, None]:
        """All rows of a stored shape, in pieces that commas separate; read in ``batches`` if they are not kept."""
        known = self._texts.get(key)
        async with aclosing(batches):
            if known is not None and (known.handle, known.position) == (stored.handle, stored.position):
                for piece in filter(None, known.pieces):
                    yield piece
                    await asyncio.sleep(0)  # a piece takes about a millisecond to decode: others have their turns
                return
            read: list[bytes] = []
            size = 0
            async for batch in batches:
                if batch.row_count:
                    size += len(batch.text)
                    if size <= MOST_BYTES_OF_ONE:
                        read.append(batch.text)
                    yield batch.text
            self._keep(key, stored.handle, stored.position, read, size)

    def _keep(self, key: str, handle: str, position: int, pieces: list[bytes], size: int) -> None:
        if size > MOST_BYTES_OF_ONE:
            return
        if size <= FETCH_BYTES and len(pieces) != 1:
            pieces = [b",".join(pieces)]
        size += len(key) + _BYTES_BESIDE
        replaced = self._texts.pop(key, None)
        if replaced is not None:
            self._bytes -= replaced.size
        self._texts[key] = _Text(handle, position, pieces, size)
        self._bytes += size
        while self._bytes > MOST_BYTES:
            self._forget_first()

    def _forget_first(self) -> None:
        _, forgotten = self._texts.popitem(last=False)
        self._bytes -= forgotten.size
