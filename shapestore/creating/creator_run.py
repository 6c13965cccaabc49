"""One attempt's creator: it is called, and its rows are iterated, on the event loop or in a thread.

While one chunk is being written the next is being read, and no further: that is the back-pressure.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import CoroutineType, GeneratorType
from typing import Any

from shapestore.creating.leader import Leader
from shapestore.creating.row_sink import Publication, RowSink
from shapestore.creating.services import Services
from shapestore.errors import InvalidRowError, ShapeStoreError, SupersededError
from shapestore.shape.column_description import Description
from shapestore.shape.shape import Shape
from shapestore.source.creator import description_of, key_columns_of, runs_on_the_loop
from shapestore.source.keyed import KeyedRows
from shapestore.storage.log.chunks import Chunk

# A thread that computes without a pause lets the event loop run only every 5 ms (sys.getswitchinterval), and one small
# creation takes some ten turns of the loop. So a creator's thread yields this often: about every 0.1 ms. It does not
# sleep, which takes 50 µs at least, however short the sleep.
ROWS_PER_TURN = 32

CreatorTask = asyncio.Task[Publication | BaseException]


class CreatorRun:
    """Runs a creator for the attempt ``handle``, and ends with the publication of what it gave."""

    def __init__(self, services: Services, leader: Leader, handle: str) -> None:
        self._services = services
        self._shape = leader.shape
        self._creator = leader.creator
        self._handle = handle
        self._sink = RowSink(services, leader, handle)
        self._stopped = False
        self._in_thread = False
        self._task: CreatorTask | None = None

    @property
    def refusal(self) -> ShapeStoreError | None:
        """Why the store refused a chunk: an error that is not the creator's."""
        return self._sink.refusal

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
            await self._sink.open()
            if runs_on_the_loop(self._creator):
                self._sink.begin(*self._told_by_creator())
                await self._take_on_the_loop(self._creator(self._shape))
            else:
                await self._take_by_a_thread()
            self._refuse_if_stopped()
            return await self._sink.finish()
        except SystemExit as error:
            return error
        except KeyboardInterrupt as error:
            if self._in_thread:  # a signal is raised in the main thread only: this one is the creator's own
                return error
            raise

    def _told_by_creator(self) -> tuple[Sequence[str] | None, Description | None]:
        return key_columns_of(self._creator, self._shape), description_of(self._creator, self._shape)

    # --- on the loop

    async def _take_on_the_loop(self, given: Any) -> None:
        rows = await given if inspect.isawaitable(given) else given
        add = self._sink.encoder.add
        if type(rows) is not list and isinstance(rows, AsyncIterable):
            async with _async_closing(rows):
                async for row in rows:
                    if (chunk := add(row)) is not None:
                        await self._send(chunk)
        else:
            try:
                for row in _iterable(rows):
                    if (chunk := add(row)) is not None:
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
                self._sink.begin(pairs.key_columns, pairs.description, pairs.moment)
                self._iterate(pairs, loop, with_keys=True)
            return None
        self._sink.begin(*self._told_by_creator())
        rows = self._creator(self._shape)
        if inspect.isawaitable(rows) or isinstance(rows, AsyncIterable):
            return rows
        self._iterate(rows, loop, with_keys=False)
        return None

    def _iterate(self, rows: Any, loop: asyncio.AbstractEventLoop, *, with_keys: bool) -> None:
        add = self._sink.encoder.add
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


def _iterable(rows: Any) -> Iterable[Any]:
    if type(rows) is list:  # as most are
        return rows
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise InvalidRowError(
            f"the creator returned an object of type {type(rows).__name__}, not an iterable of rows (mappings of str): "
            f"{rows!r:.100}"
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
