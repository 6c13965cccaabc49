"""The table of flights: callers who want the same key share one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from shapestore.concurrency.futures import refuse, resolve
from shapestore.creating.flight import Flight
from shapestore.creating.services import Services
from shapestore.errors import StoreBusyError, StoreClosedError
from shapestore.events import Followed
from shapestore.shape.shape import Shape
from shapestore.source.creator import Creator, required_creator
from shapestore.storage.commands import Invalidate, InvalidateKey, Release


class Coalescer:
    """All keys that this store is creating, refreshing or waiting for; ``max_in_flight`` at most."""

    def __init__(self, services: Services, *, max_in_flight: int) -> None:
        self.services = services
        self._max_in_flight = max_in_flight
        self._flights: dict[str, Flight] = {}
        self.get: Callable[[str], Flight | None] = self._flights.get
        """The flight of a key, if it is in flight."""
        self._closed = False
        self._all_ended: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: str, shape: Shape, creator: Creator | None, *, older: str | None = None) -> Flight:
        """The flight of a key: the present one, or a new one with this creator and the context of this call.

        ``older``: to refresh what this attempt has confirmed.
        Raises InvalidCreatorError if a new one has no creator, StoreBusyError if ``max_in_flight`` other keys are in
        flight.
        """
        if self._closed:
            raise StoreClosedError("the store was closed during this call")
        flight = self._flights.get(key)
        if flight is not None:
            self.services.telemetry.tell(Followed, key)
            return flight
        if len(self._flights) >= self._max_in_flight:
            raise StoreBusyError(
                f"{len(self._flights)} keys are in flight, the limit (max_in_flight); try again later",
                retry_after=0.1,
            )
        flight = Flight(self.services, key, shape, required_creator(creator), self._ended, older=older)
        self._flights[key] = flight
        return flight

    def _ended(self, comparable: str) -> None:
        del self._flights[comparable]
        if self._all_ended is not None and not self._flights:
            resolve(self._all_ended, None)

    # --- ending attempts from outside

    def invalidate(self, command: Callable[[], Invalidate | InvalidateKey]) -> asyncio.Future[int]:
        """Drop shapes and end the attempts that read them; how many shapes there were.

        ``command`` is made as often as there may be more shapes than go into one transaction. It is done also if the
        waiter of the future is cancelled.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        total = 0

        def dropped(answer: tuple[int, list[str]]) -> None:
            nonlocal total
            count, ended = answer
            total += count
            self.supersede(ended)
            if count < Invalidate.SHAPES:
                resolve(done, total)
            else:
                self.services.send(command(), dropped, partial(refuse, done))

        self.services.send(command(), dropped, partial(refuse, done), refusable=True)
        return done

    def release(self, comparable: str) -> asyncio.Future[bool]:
        """Release the lock row of a key, whatever owner it has; whether there was one.

        It is done also if the waiter of the future is cancelled.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def released(handle: str | None) -> None:
            if handle is not None:
                self.supersede([handle])
                self.wake(comparable)
            resolve(done, handle is not None)

        self.services.send(Release(comparable), released, partial(refuse, done), refusable=True)
        return done

    def leading(self) -> set[str]:
        """The handles of all attempts, from before their claims are committed."""
        return {flight.leading for flight in self._flights.values() if flight.leading is not None}

    def claimed(self) -> set[str]:
        """The handles of the attempts whose claims are committed."""
        return {flight.claimed for flight in self._flights.values() if flight.claimed is not None}

    def wake(self, comparable: str) -> None:
        """Have the flight of a key poll at once, if there is one: its rows have changed."""
        flight = self._flights.get(comparable)
        if flight is not None:
            flight.poll()

    def supersede(self, handles: Iterable[str]) -> None:
        """Give up these attempts at once: their fencing tokens no longer hold."""
        superseded = set(handles)
        for flight in [flight for flight in self._flights.values() if flight.leading in superseded]:
            flight.supersede()

    # --- the end

    async def close(self) -> None:
        """End all flights. Callers get StoreClosedError, attempts are given up, creators are cancelled."""
        self._closed = True
        for flight in list(self._flights.values()):
            flight.close()
        if self._flights:
            self._all_ended = asyncio.get_running_loop().create_future()
            await self._all_ended
        await self.services.creators.close()
        self.services.timers.close()
