"""Threads for calls that block, such as a creator's or a migration. An idle thread is kept for the next call.

They are daemons, and not those of a pool, which are joined when the interpreter ends: a call that hangs would hang the
interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from shapestore.concurrency.futures import refuse, resolve

T = TypeVar("T")

# An idle thread ends after this long.
IDLE_SECONDS = 5.0


class Handover:
    """Brings to an event loop what has ended in threads. It is woken once for all that end before it comes to that."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ended: deque[tuple[Callable[[asyncio.Future[Any], Any], None], asyncio.Future[Any], Any]] = deque()
        """How a future is to be resolved, the future, and by what. Each use of it is atomic."""
        self._is_announced = False

    def add(self, how: Callable[[asyncio.Future[Any], Any], None], done: asyncio.Future[Any], by: Any) -> None:
        """Have ``how(done, by)`` called on the loop. From any thread."""
        self._ended.append((how, done, by))
        if not self._is_announced:
            self._is_announced = True
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the waiter with it
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_announced = False  # first: what ends from now on is announced again
        try:
            while self._ended:
                how, done, by = self._ended.popleft()
                how(done, by)
        finally:
            if self._ended:  # the program was interrupted
                self.loop.call_soon(self._deliver)


class Call(NamedTuple):
    """A function to call, and the future of its result, or of what it raises."""

    function: Callable[[], Any]
    context: Context
    name: str
    handover: Handover
    done: asyncio.Future[Any]


class WorkerThreads:
    """The threads of one open store: as many as have been busy at once, and no more.

    They take their calls from one queue: of many quick ones the first thread may make most before another has woken up.
    There are never more calls in the queue than threads that make none, so that no call waits for another.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._idle: list[None] = []
        """An item for each thread that makes no call and has none in the queue. Each use of the list is atomic."""
        self._handover: Handover | None = None
        """To the loop that has called last."""
        self._closed = False

    def run(self, function: Callable[[], T], name: str) -> asyncio.Future[T]:
        """Call ``function`` in a thread of that name, in a copy of the caller's context; its result, or what it raised.

        It waits for no other call: if no thread is idle, a new one is started. The future is not a task: what cancels
        all tasks of a loop does not cancel it. If its waiter is cancelled the thread runs on: nothing can stop it.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        if self._handover is None or self._handover.loop is not loop:
            self._handover = Handover(loop)
        if not self._take_idle():
            self._start_thread(name)
        self._calls.put(Call(function, copy_context(), name, self._handover, done))
        return done

    def _start_thread(self, name: str) -> None:
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except BaseException:
            if thread.is_alive():  # the program was interrupted, and no call comes
                self._idle.append(None)
            raise

    def close(self) -> None:
        """End each thread, a busy one as soon as its call has returned. Again does no harm."""
        self._closed = True
        while self._take_idle():
            self._calls.put(None)

    def _take_idle(self) -> bool:
        """Whether there was an idle thread. What is queued next is for it, or for another that is quicker."""
        try:
            self._idle.pop()
        except IndexError:
            return False
        return True

    def _work(self) -> None:
        while self._goes_on():
            threading.current_thread().name = "shapestore idle"

    def _goes_on(self) -> bool:
        """Wait for the next call and make it. False if the thread is to end."""
        try:
            call = self._next()
        except Empty:
            return False
        if call is None:
            self.close()  # it may have been for another, which waits while this one has just become idle
            return False
        threading.current_thread().name = call.name
        how, by = _outcome(partial(call.context.run, call.function), call.name)
        # Idle before the outcome is known. Otherwise the next call might find no idle thread, and start one too many.
        self._idle.append(None)
        call.handover.add(how, call.done, by)
        return True

    def _next(self) -> Call | None:
        """What is queued next. Raises Empty if this thread is to end since nothing comes."""
        while True:
            is_closed = self._closed
            try:
                return self._calls.get(timeout=0 if is_closed else IDLE_SECONDS)
            except Empty:
                if self._take_idle():
                    raise
            # None is idle, so something is about to be queued for this thread; unless the program was interrupted just
            # before that. While others may be queued it is waited for, and once all is closed not for ever.
            if is_closed:
                return self._calls.get(timeout=IDLE_SECONDS)


def _outcome(call: Callable[[], Any], name: str) -> tuple[Callable[[asyncio.Future[Any], Any], None], Any]:
    """How a future is to be resolved, and by what.

    In a frame of its own, without the future: a future and a frame in its error's traceback would keep each other in
    memory.
    """
    try:
        return resolve, call()
    except StopIteration as error:  # no future can hold one
        return refuse, RuntimeError(f"{name} raised {error!r}")
    except BaseException as error:
        return refuse, error
