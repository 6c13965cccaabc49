"""One attempt's creator: it is called, and its rows are iterated, encoded and sent to the writer in chunks.

While one chunk is being written the next is being read, and no further: that is the back-pressure.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import CoroutineType, GeneratorType
from typing import Any

from shapestore.creating.leader import Leader
from shapestore.creating.row_sink import AttemptRows, ComparedRows, RowSink
from shapestore.creating.services import Services
from shapestore.errors import InvalidRowError, ShapeStoreError, SupersededError
from shapestore.shape.column_description import Description
from shapestore.shape.shape import Shape
from shapestore.source.creator import description_of, key_columns_of, runs_on_the_loop
from shapestore.source.keyed import KeyedRows, Moment
from shapestore.storage.commands import Publish, PublishDifference
from shapestore.storage.log.chunks import Chunk, Encoder
from shapestore.storage.log.difference import Comparison, Difference
from shapestore.storage.log.live.followed import Followed
from shapestore.storage.log.live.refreshed import Refreshed
from shapestore.storage.log.positions import Standing
from shapestore.storage.row_codec import as_json

# A thread that computes without a pause lets the event loop run only every 5 ms (sys.getswitchinterval), and one small
# creation takes some ten turns of the loop. So a creator's thread yields this often: about every 0.1 ms. It does not
# sleep, which takes 50 µs at least, however short the sleep.
ROWS_PER_TURN = 32

Publication = Callable[..., Publish | PublishDifference]
"""What publishes the rows, once it is told what the attempt has cost."""
CreatorTask = asyncio.Task[Publication | BaseException]

_UNKNOWN_MOMENT = Moment()

# A refresh that changes of its shape have overtaken so often replaces the shape.
MOST_OVERTAKEN = 3


class CreatorRun:
    """Runs a creator for the attempt ``handle``, and ends with the publication of what it gave."""

    def __init__(self, services: Services, leader: Leader, handle: str) -> None:
        self._services = services
        self._leader = leader
        self._shape = leader.shape
        self._creator = leader.creator
        self._handle = handle
        self._stored: Standing | None = None
        self._rows = AttemptRows(handle, services.reader, services.writer)
        self._sink: RowSink = self._rows
        self._encoded: Encoder
        """All rows so far: how many, their bytes, their key columns. From when the creator is called."""
        self._refreshed: Refreshed | None = None
        """As of when a live shape was read again."""
        self._stopped = False
        self._in_thread = False
        self._task: CreatorTask | None = None

    @property
    def refusal(self) -> ShapeStoreError | None:
        """Why the store refused a chunk: an error that is not the creator's."""
        return self._rows.refusal

    def start(self, context: contextvars.Context) -> CreatorTask:
        """Start the creator in a copy of ``context``. The task ends when the creator does, and not before.

        Its result is the publication; its exception is the creator's. A SystemExit, which would end the event loop if
        it left a task, is a result instead.
        """
        name = f"shapestore creation {self._handle}"
        # Not by ``context=``, which a task factory of the application's need not know.
        self._task = context.run(asyncio.create_task, self._run(), name=name)
        return self._task

    def stop(self) -> None:
        """Take no more rows: a coroutine is cancelled; a thread, which cannot be, is refused at its next chunk."""
        self._stopped = True
        if self._task is not None and not self._in_thread:
            self._task.cancel()

    async def _run(self) -> Publication | BaseException:
        try:
            if self._leader.older is not None:
                self._stored = await self._services.reader.standing_of_key(self._leader.key)
            if runs_on_the_loop(self._creator):
                self._prepare(*self._told_by_creator())
                await self._take_on_the_loop(self._creator(self._shape))
            else:
                await self._take_by_a_thread()
            self._refuse_if_stopped()
            return self._publication(await self._sink.finish(self._encoded.rest(), unique=self._encoded.keys_grow))
        except SystemExit as error:
            return error
        except KeyboardInterrupt as error:
            if self._in_thread:  # a signal is raised in the main thread only: this one is the creator's own
                return error
            raise

    def _publication(self, given: Chunk | Difference) -> Publication:
        """``given``: the rows that filled no chunk, or what is different from the stored ones."""
        leader = self._leader
        if isinstance(given, Chunk):
            at_any_rate = leader.overtaken >= MOST_OVERTAKEN
            return partial(Publish, given, self._encoded, replaces=leader.older is not None, at_any_rate=at_any_rate)
        assert self._stored is not None
        return partial(PublishDifference, self._handle, self._stored.number, given, refreshed=self._refreshed)

    def _told_by_creator(self) -> tuple[Sequence[str] | None, Description | None]:
        return key_columns_of(self._creator, self._shape), description_of(self._creator, self._shape)

    def _prepare(
        self, key_columns: Sequence[str] | None, description: Description | None, read: Moment = _UNKNOWN_MOMENT
    ) -> None:
        described = None if description is None else as_json(description)
        followed = _followed(read)
        self._encoded = Encoder(self._handle, key_columns, described, followed)
        self._rows.followed = followed
        stored = self._stored
        if stored is None or self._leader.overtaken >= MOST_OVERTAKEN:
            return
        if not stored.has_key_columns(key_columns) or stored.columns_described != described:
            return
        if _continues(stored, read):
            if read.seq is not None and read.nonce is not None and stored.source is not None:
                self._refreshed = Refreshed(stored.written, read.seq, read.nonce, read.signature, read.markers or ())
            comparison = Comparison(stored, keyed=key_columns is not None)
            self._sink = ComparedRows(self._rows, self._services.reader, comparison)

    # --- on the loop

    async def _take_on_the_loop(self, given: Any) -> None:
        rows = await given if inspect.isawaitable(given) else given
        if type(rows) is not list and isinstance(rows, AsyncIterable):
            async with _async_closing(rows):
                async for row in rows:
                    if (chunk := self._encoded.add(row)) is not None:
                        await self._send(chunk)
        else:
            try:
                for row in _iterable(rows):
                    if (chunk := self._encoded.add(row)) is not None:
                        await self._send(chunk)
            finally:
                _close(rows)

    async def _send(self, chunk: Chunk) -> None:
        self._refuse_if_stopped()
        await self._sink.take(chunk)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise SupersededError(self._handle)

    # --- in the creator's thread

    async def _take_by_a_thread(self) -> None:
        self._in_thread = True
        loop = asyncio.get_running_loop()
        rest = await self._services.threads.run(
            lambda: self._take_in_thread(loop), name=f"shapestore creator {self._handle}"
        )
        self._in_thread = False
        if self._stopped and inspect.iscoroutine(rest):
            rest.close()  # otherwise Python warns that it was never awaited
        if rest is not None:
            self._refuse_if_stopped()
            await self._take_on_the_loop(rest)

    def _take_in_thread(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Call the creator and iterate its rows. Return them instead if only the loop can iterate them."""
        keyed_rows: Callable[[Shape], KeyedRows] | None = getattr(self._creator, "keyed_rows", None)
        if keyed_rows is not None:
            with contextlib.closing(keyed_rows(self._shape)) as pairs:
                self._prepare(pairs.key_columns, pairs.description, pairs.moment)
                self._iterate(pairs, loop, with_keys=True)
            return None
        self._prepare(*self._told_by_creator())
        rows = self._creator(self._shape)
        if inspect.isawaitable(rows) or isinstance(rows, AsyncIterable):
            return rows
        self._iterate(rows, loop, with_keys=False)
        return None

    def _iterate(self, rows: Any, loop: asyncio.AbstractEventLoop, *, with_keys: bool) -> None:
        add = self._encoded.add
        try:
            for number, row in enumerate(_iterable(rows), 1):
                chunk = add(row[1], row[0]) if with_keys else add(row)
                if chunk is not None:
                    self._send_from_thread(chunk, loop)
                if number % ROWS_PER_TURN == 0:
                    os.sched_yield()
        finally:
            _close(rows)

    def _send_from_thread(self, chunk: Chunk, loop: asyncio.AbstractEventLoop) -> None:
        sending = self._send(chunk)
        try:
            sent = asyncio.run_coroutine_threadsafe(sending, loop)
        except RuntimeError:  # the loop is closed
            sending.close()
            raise
        sent.result()


def outcome_of(task: CreatorTask) -> Publication | BaseException:
    """The publication of what the creator gave, or what it raised."""
    if task.cancelled():
        return RuntimeError("the creator was cancelled, by itself or by what it called")
    error = task.exception()
    return task.result() if error is None else error  # an exception may be false: it may have a __len__


def _followed(read: Moment) -> Followed | None:
    """What a shape follows from then on, if its source is to be followed."""
    source, seq, nonce, signature, table, _ = read
    if source is None or seq is None or nonce is None or signature is None or table is None:
        return None
    return Followed(source, table, seq, nonce, signature)


def _continues(stored: Standing, read: Moment) -> bool:
    """Whether the log of a shape goes on with what was read. Otherwise it is replaced.

    A live shape stays live; for that it must be known as of when its source was read. One that was left stays as it is:
    it would be left again, and each time all live shapes of the source would be loaded again.
    """
    if stored.source is None:
        return read.signature is None or bool(stored.was_left)
    return read.source == stored.source and read.seq is not None


def _iterable(rows: Any) -> Iterable[Any]:
    if type(rows) is list:  # as most are
        return rows
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise InvalidRowError(
            f"the creator returned a {type(rows).__name__}, not an iterable of rows (mappings of str): {rows!r:.100}"
        )
    return rows


def _close(rows: Any) -> None:
    """Close a generator that was left half way, in the thread it ran in, so that what it holds open is closed too.

    A coroutine given in place of rows is closed as well; otherwise Python warns that it was never awaited.
    """
    if isinstance(rows, (GeneratorType, CoroutineType)):
        rows.close()


@contextlib.asynccontextmanager
async def _async_closing(rows: Any) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if inspect.isasyncgen(rows):
            await rows.aclose()
