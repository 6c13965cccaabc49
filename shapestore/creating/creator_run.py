"""One attempt's creator: it is called, and its rows are iterated, encoded and sent to the writer in chunks.

While one chunk is being written the next is being read, and no further: that is the back-pressure.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.errors import InvalidRowError, ShapeStoreError, SupersededError
from shapestore.shape.shape import Shape
from shapestore.storage.commands import AddRows
from shapestore.storage.row_codec import Chunk, Encoder
from shapestore.storage.writer import Writer

# A thread that computes without a pause lets the event loop run only every 5 ms (sys.getswitchinterval), and one small
# creation takes some twenty turns of the loop. So a creator's thread yields this often: about every 0.1 ms.
ROWS_PER_TURN = 64

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
Creator = Callable[[Shape], Rows | Awaitable[Rows]]
CreatorTask = asyncio.Task[Chunk | BaseException]


class CreatorRun:
    """Runs ``creator`` for the attempt ``handle``, and ends with the rows that are left for the publication."""

    def __init__(self, shape: Shape, handle: str, creator: Creator, writer: Writer, threads: WorkerThreads) -> None:
        self._shape = shape
        self._handle = handle
        self._creator = creator
        self._writer = writer
        self._threads = threads
        self._encoder = Encoder(handle)
        self._sent: asyncio.Future[bool] | None = None
        self._stopped = False
        self._in_thread = False
        self._task: CreatorTask | None = None
        self.refusal: ShapeStoreError | None = None
        """Why the store refused a chunk: an error that is not the creator's."""

    @property
    def row_count(self) -> int:
        return self._encoder.row_count

    def start(self, context: contextvars.Context) -> CreatorTask:
        """Start the creator in a copy of ``context``. The task ends when the creator does, and not before.

        Its result is the rows that filled no chunk; its exception is the creator's. A SystemExit, which would end the
        event loop if it left a task, is a result instead.
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

    async def _run(self) -> Chunk | BaseException:
        try:
            if _runs_on_the_loop(self._creator):
                await self._take_on_the_loop(self._creator(self._shape))
            else:
                await self._take_by_a_thread()
            if self._sent is not None:
                await self._all_sent()
        except SystemExit as error:
            return error
        except KeyboardInterrupt as error:
            if self._in_thread:  # a signal is raised in the main thread only: this one is the creator's own
                return error
            raise
        return self._encoder.rest()

    # --- on the loop

    async def _take_on_the_loop(self, given: Any) -> None:
        rows = await given if inspect.isawaitable(given) else given
        if isinstance(rows, AsyncIterable):
            async with _async_closing(rows):
                async for row in rows:
                    if (chunk := self._encoder.add(row)) is not None:
                        await self._send(chunk)
        else:
            try:
                for row in _iterable(rows):
                    if (chunk := self._encoder.add(row)) is not None:
                        await self._send(chunk)
            finally:
                _close(rows)

    async def _send(self, chunk: Chunk) -> None:
        await self._all_sent()
        self._refuse_if_stopped()
        self._sent = self._writer.submit(AddRows(chunk))

    async def _all_sent(self) -> None:
        try:
            if self._sent is not None and not await self._sent:
                raise SupersededError(self._handle)
        except ShapeStoreError as error:
            self.refusal = error
            raise

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise SupersededError(self._handle)

    # --- in the creator's thread

    async def _take_by_a_thread(self) -> None:
        self._in_thread = True
        loop = asyncio.get_running_loop()
        rest = await self._threads.run(lambda: self._take_in_thread(loop), name=f"shapestore creator {self._handle}")
        self._in_thread = False
        if self._stopped and inspect.iscoroutine(rest):
            rest.close()  # otherwise Python warns that it was never awaited
        if rest is not None:
            self._refuse_if_stopped()
            await self._take_on_the_loop(rest)

    def _take_in_thread(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Call the creator and iterate its rows. Return them instead if only the loop can iterate them."""
        rows = self._creator(self._shape)
        if inspect.isawaitable(rows) or isinstance(rows, AsyncIterable):
            return rows
        try:
            for row in _iterable(rows):
                if (chunk := self._encoder.add(row)) is not None:
                    self._send_from_thread(chunk, loop)
                if self._encoder.row_count % ROWS_PER_TURN == 0:
                    time.sleep(0)
        finally:
            _close(rows)
        return None

    def _send_from_thread(self, chunk: Chunk, loop: asyncio.AbstractEventLoop) -> None:
        sending = self._send(chunk)
        try:
            sent = asyncio.run_coroutine_threadsafe(sending, loop)
        except RuntimeError:  # the loop is closed
            sending.close()
            raise
        sent.result()


def _runs_on_the_loop(creator: Creator) -> bool:
    """Whether a call of it does not block: an async function, or an object whose ``__call__`` is one."""
    return any(
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        for function in (creator, type(creator).__call__)
    )


def _iterable(rows: Any) -> Iterable[Any]:
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise InvalidRowError(
            f"the creator returned a {type(rows).__name__}, not an iterable of rows (mappings of str): {rows!r:.100}"
        )
    return rows


def _close(rows: Any) -> None:
    """Close a generator that was left half way, in the thread it ran in, so that what it holds open is closed too.

    A coroutine given in place of rows is closed as well; otherwise Python warns that it was never awaited.
    """
    if inspect.isgenerator(rows) or inspect.iscoroutine(rows):
        rows.close()


@contextlib.asynccontextmanager
async def _async_closing(rows: Any) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if inspect.isasyncgen(rows):
            await rows.aclose()
