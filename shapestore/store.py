"""The face of the package: ShapeStore.

It is one class in one file, though the file is long: more than half of it is docstrings, signatures and blank lines. A
method checks what it is given, and passes it to the part of the open store that does the work. Mixins would shorten the
file, but `help(ShapeStore)`, tracebacks and types would then name classes that no program makes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from functools import partial, wraps
from types import TracebackType
from typing import Any, ParamSpec, Self

from shapestore.errors import InvalidShapeError, StoreBusyError, WaitTimeoutError
from shapestore.events import Followed
from shapestore.freshness.policy import FreshnessPolicy
from shapestore.freshness.requests import Request
from shapestore.lifecycle import Lifecycle
from shapestore.locking.create_lock import CreateLock
from shapestore.open_store import OpenStore
from shapestore.options import (
    Options,
    age,
    at_least_one,
    check_listener,
    namespace_name,
    one_of,
    seconds,
    text,
)
from shapestore.reading.cached import creations_of
from shapestore.reading.json_text import as_array, as_lines
from shapestore.reading.log_pages import LogPages
from shapestore.shape.change import Change
from shapestore.shape.explain import Explanation, explain
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.source.creator import Creator, check_creator, follows
from shapestore.storage.commands import Delete, Invalidate, InvalidateKey
from shapestore.storage.connection import Durability
from shapestore.storage.log.read import Batch
from shapestore.storage.path import bind
from shapestore.storage.queries import STALE
from shapestore.telemetry import OnEvent, Stats, Telemetry

P = ParamSpec("P")


class ShapeStore:
    """A store of shapes in one SQLite file, shared by the coroutines of a process and by several processes.

    >>> async with ShapeStore("shapes.db", create=SQLSource("sqlite:///chinook.db")) as store:
    ...     stored = await store.get_or_create(Shape("Track", where="AlbumId = :album", params={"album": 1}))
    ...     async for row in store.rows(stored.handle):
    ...         print(row)

    ``path``: the file; made, and migrated, when the store is opened. A relative path starts at the working directory of
    the moment in which the ShapeStore is made.
    ``create``: the creator of shapes, unless a call brings its own: a callable that takes the Shape and gives rows.
    ``create_timeout``: seconds a creator may take. ``wait_timeout``: seconds a caller waits for an answer; a little
    longer, so that the callers of a creator that hangs get its time-out (CreateFailedError), and not their own.
    ``failure_grace``: seconds for which a failure is given to further callers before another attempt is made.
    ``max_creating``: creators that run at once; ``max_in_flight``: keys that are created or waited for at once.
    ``max_shapes``, ``max_bytes``: how many shapes are stored in the file, and how many bytes of rows and logs; the
    least recently read go first, of whatever namespace. None keeps all.
    ``max_age``: seconds for which a shape is fresh, since it was last confirmed; None is for ever. Then, for
    ``stale_while_revalidate`` seconds, it is served while one refresh runs in the background. After that callers wait
    for a refresh; if it fails, the old rows are served for ``stale_if_error`` seconds since they became stale.
    ``keep_replaced``: seconds for which a handle that was replaced or dropped stays readable, and longer while it is
    being read; of several stores that have the file open, the smallest counts. ``namespace``: stores of different
    namespaces share a file, and no shape.
    ``durability``: "normal" loses nothing to a killed process; "full" nothing to a power cut either, at one disk
    flush for each batch of writes. ``migrate``: False refuses a file of another schema instead of migrating it.
    ``on_event``: called on the loop with each shapestore.events.Event, during the store's work: it must be quick.

    A creator may ask the store for other shapes; it keeps its own slot of ``max_creating`` meanwhile. One that asks
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
        max_bytes: int | None = None,
        keep_replaced: float = 60.0,
        namespace: str = "",
        max_age: float | None = None,
        stale_while_revalidate: float = 0.0,
        stale_if_error: float = 0.0,
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
        self._follows = follows(create)  # asked once, and not at each hit
        self._wait_timeout = seconds("wait_timeout", wait_timeout)
        self._options = Options(
            create_timeout=seconds("create_timeout", create_timeout),
            failure_grace=seconds("failure_grace", failure_grace),
            max_creating=at_least_one("max_creating", max_creating),
            max_in_flight=at_least_one("max_in_flight", max_in_flight),
            max_shapes=None if max_shapes is None else at_least_one("max_shapes", max_shapes),
            max_bytes=None if max_bytes is None else at_least_one("max_bytes", max_bytes),
            keep_replaced=seconds("keep_replaced", keep_replaced),
            namespace=namespace_name(namespace),
            durability=one_of("durability", durability, ("normal", "full")),
            migrate=one_of("migrate", migrate, (True, False)),
        )
        self._freshness = FreshnessPolicy(
            None if max_age is None else age("max_age", max_age),
            seconds("stale_while_revalidate", stale_while_revalidate),
            seconds("stale_if_error", stale_if_error),
        )
        self._telemetry = Telemetry(on_event)
        opening = partial(OpenStore.open, self._path, self._options, self._telemetry, self._create, self._freshness)
        self._lifecycle = Lifecycle(opening)

    # --- opening and closing

    async def open(self) -> None:
        """Open the file, making or migrating it first where that is needed. Opening an open store does nothing.

        If it is cancelled, it is undone first. Raises StorageError (a store cannot be there, the database is another
        program's, or something that is not the store's lies beside it), CorruptStoreError (not a database, or damaged),
        MigrationRequiredError (a newer schema, or an older one with ``migrate=False``), StoreBusyError (another process
        held the write gate for 10 s), ForkedStoreError (the parent of this process had the file open at the fork),
        StoreClosedError (another event loop is opening or closing this store).
        """
        await self._lifecycle.open()

    async def close(self) -> None:
        """Close the store; it always ends. Waiting callers get StoreClosedError; attempts in flight are abandoned.

        Closing goes on if the caller is cancelled. A closed store can be opened again. Closing a closed store, or one
        that was never opened, does nothing.
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
        self,
        shape: Shape,
        create: Creator | None = None,
        *,
        max_age: float | None = None,
        timeout: float | None = None,
    ) -> StoredShape:
        """The stored shape. If it is missing, it is created first, by exactly one of all callers in all processes.

        ``max_age``: how old it may be, in seconds since it was last confirmed (default: the store's ``max_age``;
        ``math.inf`` for any age). 0 demands a refresh that began after this call.
        ``timeout``: how long to wait, in seconds (default: the store's ``wait_timeout``). A caller that is cancelled,
        or whose time is up, does not end the creation: it serves the other callers, and later ones.

        Raises CreateFailedError (the creator's error, or its time-out), WaitTimeoutError, StoreBusyError (too many keys
        at once), StorageError (the disk refuses), StoreClosedError.
        """
        open_store = self._lifecycle.live
        if create is not None:
            open_store.followers.follow(create)
        key = self._key(shape)
        policy = self._freshness if max_age is None else self._policy(max_age)
        if policy.max_age is not None:
            return await open_store.requests.get(self._request(key, shape, create, timeout), policy)
        # As Requests.get does: written out, since a hit is what callers mostly get.
        flight = open_store.coalescer.get(key)
        if flight is None or flight.older is not None:  # what a refresh renews is served meanwhile
            try:
                found = open_store.reader.find_at_once(key, shape)
            except StoreBusyError:
                found = await open_store.reader.find_marked(key, shape)
            if found is not None:
                stored, mark = found
                if mark & STALE or (
                    (self._follows or create is not None)
                    and open_store.requests.is_in_doubt(mark, self._create if create is None else create)
                ):
                    return await open_store.requests.get(self._request(key, shape, create, timeout), policy)
                open_store.telemetry.hits += 1
                open_store.access.touch(stored.handle)
                return stored
            flight = open_store.coalescer.join(key, shape, self._create if create is None else create)
        else:
            open_store.telemetry.tell(Followed, key)
        # As Flight.wait does, written out: one coroutine more for each caller of a herd would be noticeable.
        waiter = flight.waiters.add(self._wait_timeout if timeout is None else seconds("timeout", timeout))
        try:
            return (await waiter).stored
        except asyncio.CancelledError:
            flight.waiters.remove(waiter)
            raise

    async def refresh(
        self, shape: Shape, create: Creator | None = None, *, timeout: float | None = None
    ) -> StoredShape:
        """Read the shape from its source again. Until that is published, the present rows go on being served.

        Where rows have a key the handle stays, and only what is different is written; nothing but the time, if nothing
        is. Otherwise changed rows get a new handle, and the old one stays readable for ``keep_replaced`` seconds.

        Refreshes of one shape at once are one, in all processes: a caller who joins one in flight gets its rows, which
        may have been read before the call. A failure leaves the shape as it is. Raises as ``get_or_create`` does.
        """
        open_store = self._live()
        key = self._key(shape)
        found = await open_store.reader.find_with_age(key, shape)
        older = None if found is None else found[2].by
        request = self._request(key, shape, create, timeout)
        return await open_store.requests.refresh(request, older=older, outdated={older})

    async def get(self, shape: Shape) -> StoredShape | None:
        """The stored shape, or None. Creates nothing and waits for nothing."""
        return await self._live().reader.find(self._key(shape), shape)

    async def get_by_handle(self, handle: StoredShape | str) -> StoredShape | None:
        """The stored shape with this handle as it is now, or None if there is none (any more)."""
        return await self._live().reader.find_handle(_handle(handle))

    # --- reading rows

    async def fetch(
        self,
        shape: Shape,
        create: Creator | None = None,
        *,
        max_age: float | None = None,
        timeout: float | None = None,
    ) -> list[dict[str, Any]]:
        """The rows of the shape, in order; created first, if it is missing. As ``get_or_create`` and ``rows`` in one.

        >>> rows = await store.fetch(Shape("Track", where="AlbumId = :album", params={"album": 1}))
        """
        open_store = self._lifecycle.live
        decode = open_store.reader.decode
        inside = self._small(open_store, shape, create, max_age)
        if inside is not None:
            return decode(inside)
        stored = await self.get_or_create(shape, create, max_age=max_age, timeout=timeout)
        rows: list[dict[str, Any]] = []
        async for piece in self._pieces(stored):
            rows += decode(piece)
        return rows

    async def fetch_json(
        self,
        shape: Shape,
        create: Creator | None = None,
        *,
        max_age: float | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """As ``fetch``, but as the bytes of one JSON array, as they are stored: nothing is decoded."""
        inside = self._small(self._lifecycle.live, shape, create, max_age)
        if inside is not None:
            return b"[%b]" % inside
        stored = await self.get_or_create(shape, create, max_age=max_age, timeout=timeout)
        return b"[%b]" % b",".join([piece async for piece in self._pieces(stored)])

    def cached(
        self, table: str, *, max_age: float | None = None, timeout: float | None = None
    ) -> Callable[[Callable[P, Any]], Callable[P, Coroutine[Any, Any, list[dict[str, Any]]]]]:
        """Make a function the creator of the shapes of ``table``: one for each set of its arguments.

        The decorated function is async, and returns the rows from the store. Its arguments are the params of the shape,
        so each is a None, bool, int, float or str. It may be async or plain, and return rows or yield them. Two
        functions with one ``table`` and the same arguments would be given each other's rows.

        >>> @store.cached(table="report", max_age=60)
        ... async def report(year: int, region: str):
        ...     return await slow_query(year, region)
        >>> rows = await report(2024, region="north")
        """
        text("table", table)
        if max_age is not None:
            age("max_age", max_age)
        if timeout is not None:
            seconds("timeout", timeout)

        def decorate(function: Callable[P, Any]) -> Callable[P, Coroutine[Any, Any, list[dict[str, Any]]]]:
            creation = creations_of(function, table)

            @wraps(function)
            async def fetched(*args: P.args, **kwargs: P.kwargs) -> list[dict[str, Any]]:
                return await self.fetch(*creation(*args, **kwargs), max_age=max_age, timeout=timeout)

            return fetched

        return decorate

    async def rows(
        self, stored: StoredShape | str, *, after: int = 0, batch_size: int = 1000
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The rows of a stored shape, in order, all of one moment: that of ``stored``, or of now for a handle.

        ``after``: go on behind the row at this position of the shape (n for the n-th row of a fresh snapshot).
        Refreshes, deletion or eviction meanwhile change nothing: the rows are kept for their reader. No transaction is
        open between batches, so a slow reader blocks nothing. Raises ShapeGoneError, and never ends short, if the
        handle was gone for longer than ``keep_replaced`` seconds at the beginning.
        """
        if type(after) is not int or after < 0:
            raise ValueError(f"after is the position of the last row seen, 0 for none; not {after!r}")
        at_least_one("batch_size", batch_size)
        decode = self._live().reader.decode
        async with aclosing(self._batches(stored, after=after, limit=batch_size)) as batches:
            async for batch in batches:
                for row in decode(batch.text):
                    yield row

    async def stream_json(self, stored: StoredShape | str, lines: bool = False) -> AsyncGenerator[bytes, None]:
        """The rows as ``rows`` gives them, as the bytes of one JSON array, or of one row a line (NDJSON), in pieces."""
        batches = self._batches(stored, separator="\n" if lines else ",")
        async with aclosing(as_lines(batches) if lines else as_array(batches)) as pieces:
            async for piece in pieces:
                yield piece

    async def read_log(self, stored: StoredShape | str, after: int = 0, limit: int = 1000) -> list[Change]:
        """What the log of a handle says behind the position ``after``, ``limit`` entries at most; [] at its end.

        Fewer before its end only where rows are large: a page has about 16 MB. From 0 it begins with the rows of the
        snapshot, as inserts. Raises ShapeGoneError if the handle is gone, or if the log does not reach back to that
        position any more: then begin again from 0, or with the rows.
        """
        _check_position(after)
        at_least_one("limit", limit)
        return await self._live().reader.changes(_handle(stored), after, limit)

    async def wait(self, stored: StoredShape | str, after: int, timeout: float = 20.0) -> int:
        """Wait until the log of a shape goes on behind the position ``after``; the position at which it ends then.

        ``after`` itself, when ``timeout`` seconds are over. Waiting costs next to nothing: a caller is woken by the
        commit, in this process or in another. A shape that is waited for is the last to be evicted. Where the store has
        a ``max_age``, its ``create`` refreshes the shape whenever it is older, once for all processes: so any source is
        live. A creator that a call has brought, as a function that is ``cached``, is not remembered for this: wait for
        shapes that ``create`` can make.

        >>> position = await store.wait(stored, after=stored.position)

        Raises ShapeGoneError if the shape is dropped or replaced, or if its log does not reach back to ``after`` (any
        more); StoreBusyError if too many callers wait; StoreClosedError when the store closes.
        """
        return await self._wait(_handle(stored), after, seconds("timeout", timeout))

    async def changes(self, stored: StoredShape | str, after: int | None = None) -> AsyncGenerator[Change, None]:
        """The changes of a shape behind a position, as ``read_log`` gives them. At the end it waits for more.

        ``after``: the position of ``stored``, unless given; for a handle, that of now. From 0 it begins with the
        rows of the snapshot, as inserts.

        >>> async for change in store.changes(stored):
        ...     print(change.operation, change.key, change.row)

        It ends by ShapeGoneError as ``wait`` does: then ask for the shape again, and begin with its rows.
        """
        handle = _handle(stored)
        if after is not None:
            position = after
        elif isinstance(stored, StoredShape):
            position = stored.position
        else:
            log, _ = await self._live().reader.standing(handle, None)
            position = log.public
        while True:
            await self._wait(handle, position, None)
            for change in await self.read_log(handle, after=position):
                yield change
                position = change.position

    async def _wait(self, handle: str, after: int, timeout: float | None) -> int:
        _check_position(after)
        open_store = self._live()
        position = await open_store.waits.wait(handle, after, timeout)
        open_store.access.touch(handle)
        return position

    async def _batches(self, stored: StoredShape | str, **how: Any) -> AsyncGenerator[Batch, None]:
        position = stored.position if isinstance(stored, StoredShape) else None
        async with aclosing(self._live().row_batches.read(_handle(stored), position, **how)) as batches:
            async for batch in batches:
                yield batch
                self._live()  # between two batches this process may have become the child of a fork

    def _small(
        self, open_store: OpenStore, shape: Shape, create: Creator | None, max_age: float | None
    ) -> bytes | None:
        """The rows of a small shape that is stored, as the inside of a JSON array; None if it has to be asked for."""
        if create is not None:
            open_store.followers.follow(create)
        key = self._key(shape)
        policy = self._freshness if max_age is None else self._policy(max_age)
        if policy.max_age == 0:
            return None
        found = open_store.recent_texts.small(key, aged=policy.max_age is not None)
        if found is None:
            return None
        inside, handle, mark, confirmation = found
        if (self._follows or create is not None) and open_store.requests.is_in_doubt(
            mark, self._create if create is None else create
        ):
            return None
        if confirmation is None:
            if mark & STALE:
                return None
        elif not open_store.requests.serves(self._request(key, shape, create, None), policy, confirmation):
            return None
        open_store.telemetry.hits += 1
        open_store.access.touch(handle)
        return inside

    def _pieces(self, stored: StoredShape) -> AsyncGenerator[bytes, None]:
        """All rows of a shape as text, in pieces."""
        return self._live().recent_texts.pieces(self._key(stored.shape), stored, self._batches(stored))

    # --- for shapestore.http

    def _log_pages(self) -> LogPages:
        """Pages of logs, with what the rows were before their changes."""
        return self._live().log_pages

    def _can_ask_source(self, method: str) -> bool:
        """Whether the store's creator has such a method."""
        return hasattr(self._create, method)

    async def _ask_source(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Call a method of the store's creator in a thread: it may ask its database. None if it has no such method."""
        ask = getattr(self._create, method, None)
        if ask is None:
            return None
        return await self._live().threads.run(partial(ask, *arguments, **more), name=f"shapestore {method}")

    # --- listing

    async def shapes(self, *, table: str | None = None) -> AsyncGenerator[StoredShape, None]:
        """Every stored shape of the store's namespace, or every one of a table, in no order, page by page."""
        async for stored in self._live().reader.shapes(
            self._options.namespace, None if table is None else text("table", table)
        ):
            yield stored

    async def count(self) -> int:
        """How many shapes are stored in the file, in all namespaces together: what ``max_shapes`` limits."""
        return await self._live().reader.count()

    async def explain(self, shape: Shape) -> Explanation:
        """The shape's canonical text, and what sets it apart from the nearest stored shape, field by field.

        It answers "why was this created again?". The nearest is looked for among the first 10,000 shapes of the table,
        or of all tables, if the table has none.
        """
        open_store = self._live()
        reader = open_store.reader
        stored = await reader.find(self._key(shape), shape)
        if stored is not None:
            return explain(shape, [stored])
        namespace = self._options.namespace
        candidates = await reader.some_shapes(namespace, shape.table) or await reader.some_shapes(namespace, None)
        return explain(shape, [candidate for _, candidate in candidates])

    # --- dropping shapes

    async def delete(self, handle: StoredShape | str) -> bool:
        """Drop a shape. At once invisible in every process; its rows are deleted later. False if there was none."""
        return await self._live().writer.submit(Delete(_handle(handle)), refusable=True)

    async def invalidate(self, what: Shape | str) -> int:
        """Drop all shapes of the table ``what``, because its data has changed; or one Shape. How many were dropped.

        Nothing that was read from the source before this call is published after it: creations in progress begin again.
        If the caller is cancelled, it is done all the same.
        """
        if isinstance(what, Shape):
            command: Callable[[], Invalidate | InvalidateKey] = partial(InvalidateKey, self._key(what))
        else:
            command = partial(Invalidate, self._options.namespace, text("table", what))
        return await self._live().coalescer.invalidate(command)

    async def touched(self, table: str, keys: Iterable[Any] | None = None) -> None:
        """Tell that rows of the source's table may have changed, after they were committed there.

        For sources whose changes the store cannot see by itself. ``keys`` are those of the rows, as in ``Change.key``:
        tuples, or values where one column is the key; rows that are new or gone are meant too. None is any row. With
        SQLSource the rows are read by their keys, and what is different is in the shapes when this returns. Without
        keys, with another creator, and for live shapes and those of more than 50,000 rows, the table's shapes count as
        stale from now on: they are refreshed when they are next asked for or waited for.

        >>> await store.touched("Track", [1, 2])

        Telling too much, or twice, is safe. Nothing that was read from the source before this call is served as fresh
        after it, except to those who wait for a shape that is being created for the first time: they get its rows as
        they were read, and the next caller has it refreshed. If the caller is cancelled, the table's shapes count as
        stale. Raises ValueError for keys that have another number of columns than the table's, TypeError for a single
        key in place of several.
        """
        await self._live().touched.touched(text("table", table), keys)

    async def followed(self, timeout: float | None = None) -> None:
        """Wait until all that was committed in followed sources before this call is in their live shapes.

        It returns at once where nothing is live. A shape that is still being created is not live yet: callers who join
        its creation get its rows as they were read, perhaps before this call. With ``max_age=0`` they get later ones.
        ``timeout``: in seconds (default: the store's ``wait_timeout``).
        Raises WaitTimeoutError if that takes longer, as where no open store follows the source.
        """
        given = self._wait_timeout if timeout is None else seconds("timeout", timeout)
        late = await self._live().sources.reached_all(given)
        if late is not None:
            raise WaitTimeoutError(
                f"the changes of {late!r} were not followed within {given:g} s: is a store open that has "
                "SQLSource(..., follow=True) for it? `shapestore doctor` says what else may be wrong"
            )

    # --- locks

    async def locks(self) -> list[CreateLock]:
        """All lock rows: what is being created, in all processes, and what has just failed."""
        return await self._live().reader.locks()

    async def release_lock(self, shape: Shape) -> bool:
        """Release a shape's lock row by hand, for an operator whose creator hangs. False if there was none.

        Safe at any time: the attempt that held it can no longer publish, and the next caller makes another. If the
        caller is cancelled, it is done all the same.
        """
        return await self._live().coalescer.release(self._key(shape))

    @property
    def stats(self) -> Stats:
        """What an open store has done since it was made, and what it is doing."""
        open_store = self._lifecycle.opened
        return open_store.telemetry.stats(
            in_flight=len(open_store.coalescer),
            waiting=len(open_store.waits),
            behind=open_store.followers.behind,
            queue_depth=open_store.writer.queued,
            wal_bytes=open_store.writer.wal.size(),
        )

    # --- what all of them need

    def _key(self, shape: Shape) -> str:
        """The key under which this store holds a shape."""
        namespace = self._options.namespace
        try:
            return shape.comparable_in(namespace) if namespace else shape.comparable
        except AttributeError:
            raise InvalidShapeError(f"a Shape is needed, not {type(shape).__name__}: {shape!r:.100}") from None

    def _live(self) -> OpenStore:
        return self._lifecycle.live

    def _policy(self, max_age: float) -> FreshnessPolicy:
        return self._freshness._replace(max_age=age("max_age", max_age))

    def _request(self, key: str, shape: Shape, create: Creator | None, timeout: float | None) -> Request:
        given = self._create if create is None else create
        return Request(key, shape, given, self._wait_timeout if timeout is None else seconds("timeout", timeout))


def _handle(stored: StoredShape | str) -> str:
    if isinstance(stored, Shape):
        raise TypeError(f"a handle or a StoredShape is needed, as get_or_create returns it, not {stored!r:.100}")
    return stored.handle if isinstance(stored, StoredShape) else text("handle", stored)


def _check_position(after: int) -> None:
    if type(after) is not int or after < 0:
        raise ValueError(
            f"after is a position of the log, as changes and wait give it, or 0 for its beginning; not {after!r}"
        )
