"""What has to be done now and then, and never on a caller's way: sweeping failures, writing down what was read,
evicting, deleting discarded rows, freeing keys of ours that no flight leads.
"""

from __future__ import annotations

import asyncio
import heapq
import logging

from shapestore.creating.coalescer import Coalescer
from shapestore.errors import ShapeStoreError, StoreClosedError
from shapestore.storage.access_tracker import AccessTracker
from shapestore.storage.commands import Abandon, DeleteDiscarded, Evict, Note, Sweep
from shapestore.storage.reader import Reader
from shapestore.storage.writer import CHECKPOINT_BYTES, Writer
from shapestore.telemetry import Telemetry

logger = logging.getLogger("shapestore")

TICK_SECONDS = 1.0
NOTE_SECONDS = 5.0
EVICTED_AT_ONCE = 500


class Maintenance:
    """One coroutine that wakes at every tick, and when a sweep is due. It writes through the writer, like all."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        coalescer: Coalescer,
        reads: AccessTracker,
        telemetry: Telemetry,
        *,
        max_shapes: int | None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._coalescer = coalescer
        self._access = reads
        self._telemetry = telemetry
        self._max_shapes = max_shapes
        self._loop = asyncio.get_running_loop()
        self._noted_at = self._loop.time()
        self._due: list[tuple[float, str]] = []
        self._wakeup = asyncio.Event()
        self._trouble = ""
        coalescer.sweep_later = self.sweep_later
        if max_shapes is not None:
            coalescer.after_publish = self._wakeup.set

    def sweep_later(self, handle: str, seconds: float) -> None:
        """Sweep the failure of the attempt ``handle`` in so many seconds."""
        heapq.heappush(self._due, (self._loop.time() + seconds, handle))
        self._wakeup.set()

    async def run(self) -> None:
        while True:
            more = False
            try:
                more = await self._have_a_turn()
                self._trouble = ""
            except StoreClosedError:
                return
            except ShapeStoreError as error:
                # The disk is full, the gate is held, the file is gone: what is due stays due, and the next tick tries
                # again. It is said once, for where all callers are served from what is stored, nobody else is told.
                if self._trouble != str(error):
                    logger.warning("nothing can be written, which is tried again: %s", error)
                self._trouble = str(error)
            except Exception:
                logger.exception("maintenance failed in a way that was not foreseen; it goes on at the next tick")
            if not more:
                await self._sleep()

    async def _have_a_turn(self) -> bool:
        """Do what is due. Whether more is left to do at once: what may take long is done in parts, one in each turn."""
        self._writer.check_file()
        await self._sweep()
        evicting = await self._evict()
        if self._loop.time() >= self._noted_at + NOTE_SECONDS:
            await self.note()
            await self._cut_log()
        await self._free_orphans()
        return await self._delete_discarded() or evicting

    async def _sleep(self) -> None:
        until = self._loop.time() + TICK_SECONDS
        if self._due:
            until = min(until, self._due[0][0])
        timer = self._loop.call_at(until, self._wakeup.set)
        try:
            await self._wakeup.wait()
        finally:
            timer.cancel()
        self._wakeup.clear()

    async def _sweep(self) -> None:
        now = self._loop.time()
        due = []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due))
        if not due:
            return
        handles = [handle for _, handle in due]
        try:
            await self._writer.submit(Sweep(handles))
        except ShapeStoreError:
            for entry in due:
                heapq.heappush(self._due, (now + TICK_SECONDS, entry[1]))
            raise
        self._telemetry.swept(handles)

    async def note(self) -> None:
        """Write down what was read."""
        self._noted_at = self._loop.time()
        read, followers = self._access.drain()
        if read or followers:
            await self._writer.submit(Note(read, followers))

    async def _cut_log(self) -> None:
        """Have a long log checkpointed where nothing is written: a reader that was in the way may be gone by now."""
        if self._writer.wal_bytes() >= CHECKPOINT_BYTES:
            self._writer.checkpoint_soon()
            await self._writer.submit(Note([], {}))

    async def _evict(self) -> bool:
        """Drop some of what was least recently read, beyond ``max_shapes``. Whether there may be more."""
        if self._max_shapes is None or self._reader.stored_count() <= self._max_shapes:
            return False
        await self.note()
        evicted = await self._writer.submit(Evict(self._max_shapes, EVICTED_AT_ONCE, self._access.pinned))
        if evicted:
            self._telemetry.has_evicted(evicted)
        return bool(evicted)

    async def _free_orphans(self) -> None:
        """A row of ours that no flight leads (its claim was committed, though the disk reported an error) is freed.

        And a flight that leads by a row that is gone, since another process has ended the attempt, is told so. Else its
        callers would wait for a creator that hangs, though the shape may be stored by now.
        """
        claimed = self._coalescer.claimed()
        in_progress = set(await self._reader.in_progress(self._coalescer.owner))
        self._coalescer.supersede(claimed - in_progress)
        for handle in in_progress - self._coalescer.leading():
            await self._writer.submit(Abandon(handle))

    async def _delete_discarded(self) -> bool:
        """Delete some of the rows that were discarded. Whether there are more."""
        return self._reader.has_discarded() and await self._writer.submit(DeleteDiscarded())
