"""The face of the package: ShapeStore."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from functools import partial
from types import TracebackType
from typing import Any, Self

from shapestore.creating.creator_run import Creator
from shapestore.errors import (
    InvalidCreatorError,
    InvalidShapeError,
    ShapeGoneError,
)
from shapestore.lifecycle import Lifecycle
from shapestore.locking.create_lock import CreateLock
from shapestore.open_store import OpenStore
from shapestore.options import Options, at_least_one, check_creator, check_listener, one_of, seconds, text
from shapestore.shape.explain import Explanation, explain
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.storage.commands import Delete
from shapestore.storage.connection import Durability
from shapestore.storage.path import bind, resolve
from shapestore.telemetry import OnEvent, Stats, Telemetry


class ShapeStore:
    """A store of shapes in one SQLite file, shared by the coroutines of a process and by several processes.

    >>> async with ShapeStore("shapes.db", create=SQLSource("sqlite:///chinook.db")) as store:
    ...     stored = await store.get_or_create(Shape("Track", where="AlbumId = :album", params={"album": 1}))
    ...     async for row in store.rows(stored.handle):
    ...         print(row)

    ``path``: the file; made, and migrated, when the store is opened. No I/O happens before.
    ``create``: the creator of shapes, unless a call brings its own: a callable that takes the Shape and gives rows.
    ``create_timeout``: seconds a creator may take. ``wait_timeout``: seconds a caller waits for an answer; a little
    longer, so that the callers of a creator that hangs get its time-out (CreateFailedError), and not their own.
    ``failure_grace``: seconds for which a failure is given to further callers before another attempt is made.
    ``max_creating``: creators that run at once; ``max_in_flight``: keys that are created or waited for at once.
    ``max_shapes``: shapes kept; the least recently read go first. None keeps all.
    ``durability``: "normal" loses nothing to a killed process; "full" nothing to a power cut either, at one disk
    flush for each batch of writes. ``migrate``: False refuses a file of another schema instead of migrating it.
    ``on_event``: called on the loop with each shapestore.events.Event, amid the store's work: let it be quick.

    A creator may ask the store for other shapes; it keeps its own place among ``max_creating`` meanwhile. One that asks
    for its own shape waits for itself, until its time is up.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: Creator | None = None,
        wait_timeout: float = 35.0,
        create_timeout: float = 30.0,
        failure_grace: float = 1.0,
        max_creating: int = 64,
        max_in_flight: int = 10_000,
        max_shapes: int | None = None,
        durability: Durability = "normal",
        migrate: bool = True,
        on_event: OnEvent | None = None,
    ) -> None:
        if create is not None:
            check_creator(create)
        if on_event is not None:
            check_listener(on_event)
        self._path = bind(path)
        self._create = create
        self._wait_timeout = seconds("wait_timeout", wait_timeout)
        self._options = Options(
            create_timeout=seconds("create_timeout", create_timeout),
            failure_grace=seconds("failure_grace", failure_grace),
            max_creating=at_least_one("max_creating", max_creating),
            max_in_flight=at_least_one("max_in_flight", max_in_flight),
            max_shapes=None if max_shapes is None else at_least_one("max_shapes", max_shapes),
            durability=one_of("durability", durability, ("normal", "full")),
            migrate=one_of("migrate", migrate, (True, False)),
        )
        self._telemetry = Telemetry(on_event)
        self._lifecycle = Lifecycle(partial(_opened, self._path, self._options, self._telemetry))

    # --- opening and closing

    async def open(self) -> None:
        """Open the file, making or migrating it first where that is needed. Opening an open store does nothing.

        Raises StorageError (no place for a store, or another program's database), CorruptStoreError (not a database),
        MigrationRequiredError (a newer schema, or an older one with ``migrate=False``), StoreBusyError (the gate is
        held).
        """
        await self._lifecycle.open()

    async def close(self) -> None:
        """Close the store; it always ends. Callers who wait get StoreClosedError; what is under way is given up.

        Closing goes on if the caller is cancelled. A closed store can be opened again.
        """
        await self._lifecycle.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # --- getting shapes

    async def get_or_create(
        self, shape: Shape, create: Creator | None = None, *, timeout: float | None = None
    ) -> StoredShape:
        """The stored shape. If it is missing, it is created first, by exactly one of all callers in all processes.

        Waits ``timeout`` seconds at most (default: the store's ``wait_timeout``). A caller that is cancelled, or whose
        time is up, does not end the creation: it serves the other callers, and later ones.

        Raises CreateFailedError (the creator's error, or its time-out), WaitTimeoutError, StoreBusyError (too many keys
        at once), StorageError (the disk refuses), StoreClosedError.
        """
        open_store = self._live()
        try:
            flight = open_store.coalescer.get(shape.comparable)
        except AttributeError:
            raise _no_shape(shape) from None
        if flight is None or flight.refreshing:
            stored = await open_store.reader.find(shape)
            if stored is not None:
                open_store.telemetry.hits += 1
                open_store.access.touch(stored.handle)
                return stored
        flight = open_store.coalescer.join(shape, self._creator(create))
        # As flight.wait does, written out: one coroutine more for each caller of a herd would be noticeable.
        waiter = flight.waiters.add(self._wait_timeout if timeout is None else seconds("timeout", timeout))
        try:
            return await waiter
        except asyncio.CancelledError:
            flight.waiters.remove(waiter)
            raise

    async def refresh(
        self, shape: Shape, create: Creator | None = None, *, timeout: float | None = None
    ) -> StoredShape:
        """Create the shape again, under a new handle. Until that is published, the old one is served.

        Refreshes of one shape at the same time are one, in all processes: a caller who joins one in flight gets its
        rows, which may have been read before the call. A failure leaves the old shape as it is.

        Waits, and raises, as get_or_create does.
        """
        open_store = self._live()
        until = time.monotonic() + (self._wait_timeout if timeout is None else seconds("timeout", timeout))
        stored = await open_store.reader.find(_shape(shape))
        older = None if stored is None else stored.handle
        creator = self._creator(create)
        while True:
            flight = open_store.coalescer.join(shape, creator, refreshing=True, older=older)
            fresh = await flight.wait(max(0.0, until - time.monotonic()))
            # A flight that was joined may only now have seen the very shape that is to be replaced.
            if fresh.handle != older:
                return fresh

    async def get(self, shape: Shape) -> StoredShape | None:
        """The stored shape, or None. Creates nothing and waits for nothing."""
        return await self._live().reader.find(_shape(shape))

    async def get_by_handle(self, handle: str) -> StoredShape | None:
        """The stored shape with this handle, or None if there is none (any more)."""
        return await self._live().reader.find_handle(text("handle", handle))

    async def rows(
        self, handle: str, *, after: int = 0, batch_size: int = 1000
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The rows of a snapshot, in order, from behind position ``after`` (positions count from 1).

        Holds no transaction between batches, so a slow reader is in nobody's way. Raises ShapeGoneError, and never ends
        short, if the shape is dropped or refreshed meanwhile.
        """
        if type(after) is not int or after < 0:
            raise ValueError(f"after is the position of the last row seen, 0 for none; not {after!r}")
        at_least_one("batch_size", batch_size)
        open_store = self._live()
        stored = await open_store.reader.find_handle(text("handle", handle))
        if stored is None:
            raise ShapeGoneError(handle)
        open_store.access.touch(handle)
        with open_store.access.pinning(handle):
            while after < stored.row_count:
                for row in await self._live().reader.rows(stored, after, batch_size):
                    yield row
                after += batch_size

    async def shapes(self, *, table: str | None = None) -> AsyncGenerator[StoredShape, None]:
        """Every stored shape, or every one of a table, in no order, page by page."""
        async for stored in self._live().reader.shapes(None if table is None else text("table", table)):
            yield stored

    async def count(self) -> int:
        """How many shapes are stored."""
        return await self._live().reader.count()

    async def explain(self, shape: Shape) -> Explanation:
        """The shape's canonical text, and what sets it apart from the nearest stored shape, field by field.

        It answers "why was this created anew?". The nearest is looked for among the first 10,000 shapes of the table,
        or of all tables, if the table has none.
        """
        open_store = self._live()
        stored = await open_store.reader.find(_shape(shape))
        if stored is not None:
            return explain(shape, [stored])
        candidates = await open_store.reader.some_shapes(shape.table) or await open_store.reader.some_shapes(None)
        return explain(shape, candidates)

    # --- dropping shapes

    async def delete(self, handle: str) -> bool:
        """Drop a shape. At once invisible in every process; its rows are deleted later. False if there was none."""
        return await self._live().writer.submit(Delete(text("handle", handle)), refusable=True)

    async def invalidate(self, table: str) -> int:
        """Drop all shapes of a table, because its data has changed; how many there were.

        Nothing that was read from the source before this call is published after it: creations in progress begin again.
        If the caller is cancelled, it is done all the same.
        """
        return await self._live().coalescer.invalidate(text("table", table))

    # --- locks

    async def locks(self) -> list[CreateLock]:
        """All lock rows: what is being created, in all processes, and what has just failed."""
        return await self._live().reader.locks()

    async def release_lock(self, shape: Shape) -> bool:
        """Release a shape's lock row by hand, for an operator whose creator hangs. False if there was none.

        Safe at any time: the attempt that held it can no longer publish, and the next caller makes another. If the
        caller is cancelled, it is done all the same.
        """
        return await self._live().coalescer.release(_shape(shape).comparable)

    @property
    def stats(self) -> Stats:
        """What this store has done since it was made, and what it is doing."""
        open_store = self._lifecycle.opened
        return open_store.telemetry.stats(
            in_flight=len(open_store.coalescer),
            queue_depth=open_store.writer.queued,
            wal_bytes=open_store.writer.wal_bytes(),
        )

    # --- what all of them need

    def _live(self) -> OpenStore:
        return self._lifecycle.live

    def _creator(self, create: Creator | None) -> Creator:
        creator = self._create if create is None else create
        if creator is None:
            raise InvalidCreatorError(
                "the shape is missing, and there is no creator: give create= to ShapeStore or to this call"
            )
        check_creator(creator)
        return creator


async def _opened(path: str, options: Options, telemetry: Telemetry) -> OpenStore:
    return await OpenStore.open(resolve(path), options, telemetry)


def _shape(shape: Shape) -> Shape:
    if not isinstance(shape, Shape):
        raise _no_shape(shape)
    return shape


def _no_shape(shape: object) -> InvalidShapeError:
    return InvalidShapeError(f"a Shape is needed, not {type(shape).__name__}: {shape!r:.100}")
