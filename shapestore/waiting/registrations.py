"""Which shapes are waited for in this store, said in the file, so that every process evicts others first.

A shape is registered once, however many wait for it, and only if that takes longer than a moment. It stays so for a
while after the last of them has gone: those who were told of a change mostly come back for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib

from shapestore.errors import ShapeStoreError
from shapestore.storage.commands import Register
from shapestore.storage.log.positions import MAX_POSITION
from shapestore.storage.writer import Writer

BEGIN_AFTER_SECONDS = 0.05
END_AFTER_SECONDS = 5.0


class Registrations:
    """The shapes that are waited for, by their numbers.

    They are registered as readers at the last position there can be, so that they keep nothing of a log. The key of a
    registration is the number below 0: other readers have the keys above it.
    """

    def __init__(self, writer: Writer) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._waited_for: set[int] = set()
        self._registered: set[int] = set()
        self._unsure: set[int] = set()
        """What could not be written of these: of an error it is not known what it has left."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def begin(self, number: int, _handle: str) -> None:
        """The shape is waited for."""
        self._waited_for.add(number)
        if number not in self._registered:
            self._write_within(BEGIN_AFTER_SECONDS)

    def end(self, number: int) -> None:
        """The last of its waiters has gone."""
        self._waited_for.discard(number)
        if number in self._registered:
            self._write_within(END_AFTER_SECONDS)

    def changed(self, number: int) -> None:
        """It stays registered as long as it is waited for."""

    def close(self) -> None:
        """Write nothing more: the store's end removes all of its registrations."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _write_within(self, seconds: float) -> None:
        due = self._loop.time() + seconds
        if self._closed or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._write)

    def _write(self) -> None:
        self._timer = None
        begun = self._waited_for - self._registered
        ended = (self._registered | self._unsure) - self._waited_for
        self._registered, self._unsure = self._waited_for.copy(), set()
        if not begun and not ended:
            return
        register = Register({str(-number): (number, MAX_POSITION) for number in begun}, [-number for number in ended])
        with contextlib.suppress(ShapeStoreError):  # the store closes
            written = self._writer.submit(register)
            written.add_done_callback(lambda written: self._written(begun, ended, written))

    def _written(self, begun: set[int], ended: set[int], written: asyncio.Future[None]) -> None:
        """What could not be written is tried again a while later."""
        if written.cancelled() or written.exception() is not None:
            self._registered -= begun
            self._unsure |= begun | ended
            self._write_within(END_AFTER_SECONDS)
