"""An event loop in a daemon thread of its own, and the way into it for every other thread."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from shapestore.concurrency import at_fork
from shapestore.errors import StoreClosedError

T = TypeVar("T")

_EXIT_SECONDS = 1.0
"""How long the exit of the interpreter waits for open stores to close, all of them together."""
_CLEAN_UP_SECONDS = 1.0
"""How long tasks that remain after the closing, such as those that a creator started, may take to be cancelled."""
_SIGNAL_SECONDS = 0.5
"""How late a signal is seen to that did not end a wait."""

# All that run. A forked child keeps those of its parent: freeing a loop there would disturb the parent's selector.
_threads: set[LoopThread] = set()


class LoopThread:
    """One event loop in one daemon thread. It ends after ``at_end``, a coroutine function, once it is told to close.

    Every call is answered exactly once: with what its coroutine returns or raises, or, once the loop has ended, with
    StoreClosedError. So no thread waits for a loop that is gone.
    """

    at_end: Callable[[], Coroutine[Any, Any, None]] | None = None

    def __init__(self, name: str) -> None:
        self.pid = os.getpid()
        self.opened = False
        self.closing = False
        self.error: BaseException | None = None
        """Why there is no loop, or what ``at_end`` raised."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._must_close = asyncio.Event()
        self._started = threading.Event()
        self._ended = threading.Event()
        self._unanswered: set[_Call[Any]] = set()
        self._forked = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # --- on any thread

    def start(self) -> None:
        """Start the thread and its loop. Raises OSError or RuntimeError at the limits of open files or of threads."""
        self._thread.start()
        self._started.wait()
        if self.error is not None:
            raise self.error

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def is_current(self) -> bool:
        return threading.get_ident() == self._thread.ident

    def refuse_its_own_thread(self) -> None:
        """Raise RuntimeError on the loop's own thread, where a wait for the loop would never end."""
        if self.is_current():
            raise RuntimeError(
                "a method of shapestore.sync.ShapeStore was called on its store's own event loop, and would block it "
                "forever: call it from another thread. A creator that uses the store must be a plain function"
            )

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run the coroutine that ``make`` gives on the loop, in a copy of the caller's context, and wait for it.

        An exception that ends the wait early, such as KeyboardInterrupt, cancels the coroutine and is raised at once.
        """
        self.refuse_its_own_thread()
        call = _Call(make, self._unanswered)
        try:
            self._post(call.start)
            call.wait()
        except BaseException:
            self.post(call.give_up)
            self._unanswered.discard(call)
            raise
        return call.result()

    def post(self, step: Callable[[], object]) -> None:
        """Call ``step`` on the loop some time soon, unless the loop has ended. Never waits."""
        if self.pid != os.getpid():
            at_fork.keep(step)  # a task of the parent's loop complains if it is freed
            return
        with contextlib.suppress(StoreClosedError):
            self._post(step)

    def pause(self, seconds: float) -> None:
        """Have the loop stand still between two steps while another thread forks; wait ``seconds`` for it at most."""
        if self.is_current():
            return
        paused, self._forked = threading.Event(), threading.Event()
        self.post(partial(_stand_still, paused, self._forked))
        paused.wait(seconds)

    def resume(self) -> None:
        self._forked.set()

    def close_soon(self) -> None:
        """Begin the closing. Never waits."""
        self.closing = True
        self.post(self._must_close.set)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, or for ``timeout`` seconds."""
        # An interrupted Thread.join may take a running thread for one that has ended (before Python 3.13).
        if self._ended.wait(timeout):
            self._thread.join()

    def _post(self, step: Callable[[], object]) -> None:
        if self._loop is None:
            raise _closed_meanwhile()
        try:
            self._loop.call_soon_threadsafe(step)
        except RuntimeError:  # the loop is closed
            raise _closed_meanwhile() from None

    # --- on its own thread

    def _run(self) -> None:
        _threads.add(self)
        try:
            # On this thread, where no signal handler can interrupt it half way.
            self._loop = asyncio.new_event_loop()
        except Exception as error:
            self.error = error
        else:
            with at_fork.pausing(self):
                self._run_loop(self._loop)
        _threads.discard(self)
        self._ended.set()
        self._started.set()

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(self._until_closed(), name="shapestore loop")
        task.add_done_callback(lambda _: loop.stop())
        self._started.set()
        while not task.done():
            # What a creator raised to end the program has reached its caller already, and this is not the main thread.
            with contextlib.suppress(KeyboardInterrupt, SystemExit):
                loop.run_forever()
        loop.close()  # from here on every new call is refused
        while self._unanswered:
            self._unanswered.pop().refuse()

    async def _until_closed(self) -> None:
        loop = asyncio.get_running_loop()
        if self.closing:  # an interrupted start may have asked for it before there was a loop to post to
            loop.call_soon(self._must_close.set)
        # In any case: what was posted before, such as an opening, begins before this ends.
        await self._must_close.wait()
        try:
            if self.at_end is not None:
                await self.at_end()
        except BaseException as error:
            self.error = error
        until = loop.time() + _CLEAN_UP_SECONDS
        generators = asyncio.create_task(loop.shutdown_asyncgens())
        # Calls of other threads may come meanwhile: their tasks end too.
        while (tasks := asyncio.all_tasks() - {asyncio.current_task()}) and loop.time() < until:
            for task in tasks - {generators}:
                task.cancel()
            await asyncio.wait(tasks, timeout=until - loop.time())


def _stand_still(paused: threading.Event, forked: threading.Event) -> None:
    paused.set()
    forked.wait()


class _Call(Generic[T]):
    """A coroutine to be run on the loop, and the thread that waits for it.

    It waits on a bare lock, not on a Future: ``asyncio.run_coroutine_threadsafe`` takes about twice as long.
    """

    __slots__ = ("_answered", "_error", "_make", "_task", "_unanswered", "_value")

    _value: T

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]], unanswered: set[_Call[Any]]) -> None:
        self._make = make
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._answered = threading.Lock()
        self._answered.acquire()
        self._unanswered = unanswered
        unanswered.add(self)

    # --- on the caller's thread

    def wait(self) -> None:
        # A signal that comes in the moment before a wait begins, or to another thread, does not end it: Python sees to
        # it once the wait is over.
        while not self._answered.acquire(timeout=_SIGNAL_SECONDS):
            pass

    def result(self) -> T:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # else the error, its traceback and this call would keep each other
        return self._value

    # --- on the loop

    def start(self) -> None:
        self._task = _start_now(self._run())

    def give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def refuse(self) -> None:
        """Answer with StoreClosedError, since the loop has ended."""
        self._error = _closed_meanwhile()
        self._answered.release()

    async def _run(self) -> None:
        try:
            self._value = await self._make()
        except asyncio.CancelledError:
            self._error = _closed_meanwhile()
        except BaseException as error:
            self._error = error
        if self in self._unanswered:
            self._unanswered.discard(self)
            self._answered.release()


def _start_now(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that begins at once where Python can do that (from 3.12 on), which saves a turn of the loop."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)


def _closed_meanwhile() -> StoreClosedError:
    return StoreClosedError("the store was closed during this call")


def _close_at_exit() -> None:
    """Close the stores that are still open, and wait a second at most: a creator that hangs must not block the exit."""
    until = time.monotonic() + _EXIT_SECONDS
    threads = [thread for thread in _threads.copy() if thread.pid == os.getpid()]
    for thread in threads:
        thread.close_soon()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


# Daemon threads still run at that time. Callbacks that the application registers later run before this one.
atexit.register(_close_at_exit)
