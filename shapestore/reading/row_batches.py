"""The rows of a handle as of one position, batch by batch, and who is registered for reading them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from functools import partial

from shapestore.errors import CorruptStoreError, ShapeStoreError, StoreClosedError
from shapestore.storage.access_tracker import AccessTracker, Reading
from shapestore.storage.commands import Register
from shapestore.storage.drop_queries import SPARED_SECONDS
from shapestore.storage.log.positions import MAX_POSITION, Standing
from shapestore.storage.log.read import Batch, RowsReading
from shapestore.storage.reader import Reader
from shapestore.storage.writer import Writer

# A batch; its bytes are bounded too.
MOST_ROWS = 10_000
# Most readers have ended by then, and cost no write. One that has not is registered.
REGISTERED_AFTER_SECONDS = 0.05


class RowBatches:
    """Reads batches for all callers of one open store."""

    def __init__(self, reader: Reader, writer: Writer, access: AccessTracker, *, keep_replaced: float) -> None:
        self._reader = reader
        self._writer = writer
        self._access = access
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
        try:
            log, position, batch = await self._reader.result_of(first)
            self._access.touch(handle)
            expected = _expected(log, position, after)
            with self._reading(log, position, batch) as reading:
                if not batch.is_last and (log.kept or self._keeps_shortly):
                    await self._register(reading)  # otherwise its rows may be gone before the next batch
                    await self._reader.standing(handle, public)  # they are still there, and stay from now on
                while True:
                    if expected is not None:
                        expected -= batch.row_count
                    if batch.is_last and expected:
                        raise self._wrong_count(handle, expected)
                    if batch.is_last or expected == 0:
                        yield batch
                        return
                    ahead.append(self._reader.start(rows.following))
                    yield batch
                    self._access.goes_on(reading)
                    batch = await self._reader.result_of(ahead.popleft())
        finally:
            for answer in ahead:
                answer.cancel()

    def _wrong_count(self, handle: str, missing: int) -> CorruptStoreError:
        return self._reader.damage(
            f"{missing} rows of the shape {handle!r} are missing"
            if missing > 0
            else f"the shape {handle!r} has {-missing} rows too many"
        )

    @contextlib.contextmanager
    def _reading(self, log: Standing, position: int, first: Batch) -> Iterator[Reading]:
        """While a reader is at it. Unless the first batch is all, it is registered after a moment."""
        with self._access.reading(log.number, position) as reading:
            if first.is_last:
                yield reading
                return
            loop = asyncio.get_running_loop()
            timer = loop.call_later(REGISTERED_AFTER_SECONDS, partial(self._register_soon, reading))
            try:
                yield reading
            finally:
                timer.cancel()

    def _register_soon(self, reading: Reading) -> None:
        if not reading.is_registered:
            with contextlib.suppress(StoreClosedError):
                self._submit(reading)

    async def _register(self, reading: Reading) -> None:
        with contextlib.suppress(ShapeStoreError):
            await self._submit(reading)

    def _submit(self, reading: Reading) -> asyncio.Future[None]:
        """Have it registered. If that fails it goes on, as long as its rows are there, and maintenance tries again."""

        def answered(answer: asyncio.Future[None]) -> None:
            if not answer.cancelled() and answer.exception() is not None:
                self._access.register_later(reading)

        reading.is_registered = True
        answer = self._writer.submit(Register({str(reading.key): (reading.number, reading.position)}, []))
        answer.add_done_callback(answered)
        return answer


def _expected(log: Standing, position: int, after: int) -> int | None:
    """How many rows there are to come; None where that cannot be told."""
    if position == log.snapshot and not log.floor:
        return max(0, position - after)
    return log.row_count if position == log.position and after == 0 else None
