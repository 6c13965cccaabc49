"""What has to be done now and then, and never on a caller's way: sweeping failures, deleting discarded rows,
freeing keys of ours that no flight leads.
"""

from __future__ import annotations

import asyncio
import heapq
import logging

from shapestore.commands import Abandon, DeleteDiscarded, Sweep
from shapestore.errors import ShapeStoreError, StoreClosedError
from shapestore.flights import Flights
from shapestore.reader import Reader
from shapestore.telemetry import Telemetry
from shapestore.writer import Writer

logger = logging.getLogger("shapestore")

TICK_SECONDS = 1.0


class Housekeeping:
    """One coroutine that wakes at every tick, and when a sweep is due. It writes through the writer, like all."""

    def __init__(self, reader: Reader, writer: Writer, flights: Flights, telemetry: Telemetry) -> None:
        self._reader = reader
        self._writer = writer
        self._flights = flights
        self._telemetry = telemetry
        self._loop = asyncio.get_running_loop()
        self._due: list[tuple[float, str]] = []
        self._wakeup = asyncio.Event()
        flights.sweep_later = self.sweep_later

    def sweep_later(self, handle: str, seconds: float) -> None:
        """Sweep the failure of the attempt ``handle`` in so many seconds."""
        heapq.heappush(self._due, (self._loop.time() + seconds, handle))
        self._wakeup.set()

    async def run(self) -> None:
        while True:
            try:
                await self._sweep()
                await self._free_orphans()
                await self._delete_discarded()
            except StoreClosedError:
                return
            except ShapeStoreError as error:
                # The disk is full, or the gate is held: what is due stays due, and the next tick tries again.
                logger.debug("housekeeping was put off: %s", error)
            await self._sleep()

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

    async def _free_orphans(self) -> None:
        """A row of ours that no flight leads (its claim was committed, though the disk reported an error) is freed."""
        for handle in self._reader.in_progress(self._flights.owner):
            if not self._flights.leads(handle):
                await self._writer.submit(Abandon(handle))

    async def _delete_discarded(self) -> None:
        """A chunk at a time, each a command of its own, so that everything else takes its turn in between."""
        more = self._reader.has_discarded()
        while more:
            more = await self._writer.submit(DeleteDiscarded())
