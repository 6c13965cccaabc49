"""The rows of a handle as of one position, batch by batch, and who is registered for reading them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator

from shapestore.errors import CorruptStoreError
from shapestore.storage.drop_queries import SPARED_SECONDS
from shapestore.storage.log.positions import MAX_POSITION, Standing
from shapestore.storage.log.read import Batch, RowsReading
from shapestore.storage.reader import Reader
from shapestore.storage.readers import AccessTracker, Registrations

# A batch; its bytes are bounded too.
MOST_ROWS = 10_000


class RowBatches:
    """Reads batches for all callers of one open store."""

    def __init__(
        self, reader: Reader, access: AccessTracker, registrations: Registrations, *, keep_replaced: float
    ) -> None:
        self._reader = reader
        self._access = access
        self._registrations = registrations
        self._keeps_shortly = keep_replaced < SPARED_SECONDS

    async def read(
        self, handle: str, public: int | None, *, after: int = 0, limit: int = MOST_ROWS, separator: str = ","
    ) -> AsyncGenerator[Batch, None]:
        """Batches of ``limit`` rows at most, as of the public position ``public`` (None: as of now).

        Raises ShapeGoneError if the handle or the position is gone, CorruptStoreError if rows are missing.
        """
        after, limit = min(after, MAX_POSITION), min(limit, MAX_POSITION)
        rows = RowsReading(handle, public, after, limit, separator)
        first = self._reader.start(rows.first)
        # One is read while another is decoded, say, and one more comes right behind it.
        ahead = deque([self._reader.start(rows.following)])
        key = self._registrations.new_reader()
        try:
            log, position, batch = await self._reader.result_of(first)
            self._access.touch(handle)
            expected = _expected(log, position, after)
            if not batch.is_last and (log.kept or self._keeps_shortly):
                self._registrations.reader_asks(key, log.number, position)
                await self._registrations.register_now(key)  # otherwise its rows may be gone before the next batch
                await self._reader.standing(handle, public)  # they are still there, and stay from now on
            while True:
                if expected is not None:
                    expected -= batch.row_count
                if batch.is_last and expected:
                    raise self._wrong_count(handle, expected)
                if batch.is_last or expected == 0:
                    yield batch
                    return
                self._registrations.reader_asks(key, log.number, position)
                ahead.append(self._reader.start(rows.following))
                yield batch
                batch = await self._reader.result_of(ahead.popleft())
        finally:
            self._registrations.reader_ends(key)
            for answer in ahead:
                answer.cancel()

    def _wrong_count(self, handle: str, missing: int) -> CorruptStoreError:
        return self._reader.damage(
            f"{missing} rows of the shape {handle!r} are missing"
            if missing > 0
            else f"the shape {handle!r} has {-missing} rows too many"
        )


def _expected(log: Standing, position: int, after: int) -> int | None:
    """How many rows there are to come; None where that cannot be told."""
    if position == log.snapshot and not log.floor:
        return max(0, position - after)
    return log.row_count if position == log.position and after == 0 else None
