"""Knowing that the process was told to stop, before the server waits for its answers to end.

A server such as uvicorn, once it gets SIGTERM, waits for every answer to end, and tells the application only then. A
live answer would keep it waiting for up to a minute. So the handler of the signal, whosever it is, is wrapped by one
that first has live answers end. Where no handler is set, the signal ends the process by itself, and nothing is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_all: weakref.WeakSet[Stopping] = weakref.WeakSet()


class Stopping:
    """Whether the live answers of one application are to end, and whom to tell."""

    def __init__(self) -> None:
        self.begun = False
        self._told: set[Callable[[], None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        _all.add(self)

    def begin(self) -> None:
        """Have all live answers end, now and from now on."""
        self.begun = True
        for tell in list(self._told):
            tell()

    def tell(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called on the loop when it begins; at once, if it has."""
        self.watch()
        self._told.add(tell)
        if self.begun:
            tell()

    def forget(self, tell: Callable[[], None]) -> None:
        """Do not call ``tell`` any more."""
        self._told.discard(tell)

    @contextlib.contextmanager
    def telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """While in here, ``tell`` is called as above."""
        self.tell(tell)
        try:
            yield
        finally:
            self.forget(tell)

    def watch(self) -> None:
        """Notice the signals that tell the process to stop, from now on."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self.begun = loop, False
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                _wrap(number)

    def signalled(self) -> None:
        """Called amid whatever the main thread does."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.begin)


class _Wrapped:
    """A handler of a signal that has live answers end first."""

    def __init__(self, handler: Callable[[int, FrameType | None], object]) -> None:
        self._handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        for stopping in list(_all):
            stopping.signalled()
        self._handler(number, frame)


def _wrap(number: int) -> None:
    handler = signal.getsignal(number)
    if callable(handler) and not isinstance(handler, _Wrapped):
        signal.signal(number, _Wrapped(handler))
