"""The table of coalescer, one a key, and what they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from shapestore.creating.creator_run import Creator
from shapestore.creating.failure_ages import FailureAges
from shapestore.creating.flight import Flight
from shapestore.creating.slots import Slots
from shapestore.creating.timers import Timers
from shapestore.errors import StoreBusyError, StoreClosedError
from shapestore.locking.handles import Handles
from shapestore.locking.owner import is_alive
from shapestore.shape.shape import Shape
from shapestore.storage.access_tracker import AccessTracker
from shapestore.storage.commands import Fail
from shapestore.storage.reader import Reader
from shapestore.storage.writer import Writer
from shapestore.telemetry import Telemetry

# How long the closing of a store waits for creators that were cancelled.
_CLEAN_UP_SECONDS = 1.0


class Coalescer:
    """All keys that are being created, refreshed or waited for by this store."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        reads: AccessTracker,
        telemetry: Telemetry,
        *,
        owner: str,
        path: str,
        create_timeout: float,
        failure_grace: float,
        max_creating: int,
        max_in_flight: int,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.reader = reader
        self.writer = writer
        self.access = reads
        self.telemetry = telemetry
        self.owner = owner
        self.create_timeout = create_timeout
        self.failure_grace = failure_grace
        self.slots = Slots(max_creating)
        self.timers = Timers()
        self.failure_ages = FailureAges()
        self.handles = Handles()
        self._path = path
        self._max_in_flight = max_in_flight
        self.sweep_later: Callable[[str, float], None]
        """Set by the maintenance: sweep this failure in so many seconds."""
        self.after_publish: Callable[[], None] = lambda: None
        """Set by the maintenance, where the number of shapes is bounded."""
        self._by_key: dict[str, Flight] = {}
        self._looking: list[Flight] = []
        self._creations: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._last_ended: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, comparable: str) -> Flight | None:
        return self._by_key.get(comparable)

    def join(self, shape: Shape, creator: Creator, *, refreshing: bool = False, older: str | None = None) -> Flight:
        """The flight of a key: the one under way, or a new one. Raises StoreBusyError past ``max_in_flight`` keys.

        The first caller's creator and context are the flight's.
        """
        if self._closed:
            raise StoreClosedError("the store was closed during this call")
        flight = self._by_key.get(shape.comparable)
        if flight is not None:
            self.telemetry.followed(shape.comparable)
            return flight
        if len(self._by_key) >= self._max_in_flight:
            raise StoreBusyError(
                f"{len(self._by_key)} keys are in flight, which is the bound (max_in_flight); try again",
                retry_after=0.1,
            )
        flight = Flight(self, shape, creator, refreshing=refreshing, older=older)
        self._by_key[shape.comparable] = flight
        return flight

    def look_soon(self, flight: Flight) -> None:
        """Have a flight look in the next turn of the loop."""
        if not self._looking:
            self.loop.call_soon(self._look_together)
        self._looking.append(flight)

    def _look_together(self) -> None:
        """Who looks in one turn of the loop does so in one read transaction, which costs half as much."""
        looking, self._looking = self._looking, []
        with self.reader.one_moment(len(looking)):
            for flight in looking:
                flight.look()

    def remove(self, comparable: str) -> None:
        """A flight's own last act."""
        del self._by_key[comparable]
        if self._by_key or self._last_ended is None:
            return
        if not self._last_ended.cancelled():  # with the closing, by the end of the loop
            self._last_ended.set_result(None)

    async def _all_ended(self) -> None:
        if self._by_key:
            self._last_ended = self.loop.create_future()
            await self._last_ended

    def leading(self) -> set[str]:
        """The handles under which flights of ours lead, or are about to."""
        return {flight.leading for flight in self._by_key.values() if flight.leading is not None}

    def claimed(self) -> set[str]:
        """The handles of those whose lock rows were committed."""
        return {flight.claimed for flight in self._by_key.values() if flight.claimed is not None}

    def wake(self, comparable: str) -> None:
        """Something has changed about a key: its flight, if there is one, looks again at once."""
        flight = self._by_key.get(comparable)
        if flight is not None:
            flight.look()

    def supersede(self, handles: Iterable[str]) -> None:
        """These attempts have lost their fence: their flights give them up at once."""
        ended = set(handles)
        for flight in self._by_key.values():
            if flight.leading in ended:
                flight.supersede()

    def is_alive(self, owner: str) -> bool:
        """Whether the open store ``owner`` lives."""
        return owner == self.owner or is_alive(self._path, owner)

    def failed(self, fail: Fail) -> None:
        """A failure of ours is published: its window begins, and its sweep is due at the end of it."""
        self.failure_ages.age_ms(fail.handle)
        self.sweep_later(fail.handle, fail.failure.retry_after_ms / 1000)

    def creating(self, task: asyncio.Task[Any]) -> None:
        """A creator of ours runs, it may be for longer than its attempt lasts; it has one of the places."""
        self._creations.add(task)

    def created(self, task: asyncio.Task[Any]) -> None:
        """It has ended, and its place is free."""
        self._creations.discard(task)
        self.slots.give_back()

    async def close(self) -> None:
        """End all coalescer: their callers get StoreClosedError, their attempts are given up.

        Their creators are cancelled, and given a moment to clean up. One in a thread runs on, but nobody waits for it.
        """
        self._closed = True
        for flight in list(self._by_key.values()):
            flight.close()
        await self._all_ended()
        for creation in self._creations:
            creation.cancel()
        if self._creations:
            await asyncio.wait(self._creations, timeout=_CLEAN_UP_SECONDS)
        self.timers.close()
