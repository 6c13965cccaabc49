"""Who reads what: what was read lately, for eviction; and who reads or waits for long, so that it is kept for them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable

from shapestore.errors import ShapeStoreError
from shapestore.storage.commands import Register
from shapestore.storage.log.positions import MAX_POSITION
from shapestore.storage.writer import Writer

# Forgotten beyond that: it only orders eviction, and tells people.
MAX_REMEMBERED = 100_000

# Most readers have ended by then, and cost no write. One that has not is registered.
BEGIN_AFTER_SECONDS = 0.05
# It stays registered for a while: those who were told of a change mostly come back for the next one.
END_AFTER_SECONDS = 5.0
# What could not be written is tried again.
AGAIN_AFTER_SECONDS = 1.0
# A reader that has not asked for rows for so long is forgotten: it was left half way, and what it read may go.
IDLE_SECONDS = 600.0


class AccessTracker:
    """The reads of one open store since they were last written down by maintenance, in one statement."""

    def __init__(self) -> None:
        self.recent: dict[str, None] = {}
        """Handles in the order of their last reading."""
        self._followers: Counter[str] = Counter()

    def touch(self, handle: str) -> None:
        """A shape was given to a caller, or its rows are."""
        self.recent.pop(handle, None)
        self.recent[handle] = None

    def published(self, handle: str) -> None:
        """A shape was published, which the file has as read last: nothing is to be written, unless others were before.

        What is to be written of those would come after it.
        """
        if self.recent:
            self.touch(handle)

    def followed(self, handle: str, callers: int) -> None:
        """So many callers of ours were served by another store's attempt."""
        self._followers[handle] += callers

    def drain(self) -> tuple[list[str], dict[str, int]]:
        """What is to be written down; it is forgotten here."""
        read, followers = list(self.recent)[-MAX_REMEMBERED:], dict(self._followers)
        self.recent.clear()
        self._followers.clear()
        return read, followers

    def put_back(self, read: list[str], followers: dict[str, int]) -> None:
        """What ``drain`` gave could not be written down: it comes before what was read since."""
        since, self.recent = self.recent, dict.fromkeys(read)
        for handle in since:
            self.touch(handle)
        if len(self._followers) < MAX_REMEMBERED:
            self._followers.update(followers)


class Registrations:
    """Those who read or wait in one open store for longer than a moment, as all processes are told of them by the file.

    A reader of rows has a key of its own, above 0. All who wait for changes of a shape have one: its number, below 0.
    They are registered at the last position there can be, so that they keep nothing of a log.
    """

    def __init__(self, writer: Writer) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._keys = itertools.count(1)
        self._wanted: dict[int, tuple[int, int]] = {}
        """By key, the number of the shape and the position as of which it is read."""
        self._asked_at: dict[int, float] = {}
        """When readers of rows have last asked for some."""
        self._registered: set[int] = set()
        """The keys that the file has, once all that was sent is written."""
        self._is_sure = True
        """Whether the file has them. A write that has failed may have left anything: then all is written again."""
        self._due: dict[int, float] = {}
        """When it is to be written that a registration begins or ends."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    # --- those who wait

    def wait_begins(self, number: int) -> None:
        """The first caller waits for changes of the shape."""
        self._begin(-number, number, MAX_POSITION)

    def wait_ends(self, number: int) -> None:
        """The last of them has gone."""
        self._end(-number)

    # --- those who read rows

    def new_reader(self) -> int:
        """A key for a reader."""
        return next(self._keys)

    def reader_asks(self, key: int, number: int, position: int) -> None:
        """A reader asks for rows, as of ``position``. One that was forgotten meanwhile is registered again."""
        self._asked_at[key] = self._loop.time()
        if key not in self._wanted:
            self._begin(key, number, position)

    def reader_ends(self, key: int) -> None:
        """A reader has ended, or never asked. Again does no harm."""
        self._asked_at.pop(key, None)
        self._end(key)

    async def register_now(self, key: int) -> None:
        """Have a reader registered. If that fails it goes on, as long as its rows are there, and it is tried again."""
        self._due[key] = self._loop.time()
        written = self._write()
        if written is not None:
            await asyncio.wait([written])

    def forget_idle(self) -> None:
        """Forget readers that were left half way."""
        idle_since = self._loop.time() - IDLE_SECONDS
        for key, asked_at in list(self._asked_at.items()):
            if asked_at < idle_since:
                self.reader_ends(key)

    # --- both

    def close(self) -> None:
        """Write nothing more: the store's end removes all of its registrations."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, key: int, number: int, position: int) -> None:
        self._wanted[key] = number, position
        self._note(key, BEGIN_AFTER_SECONDS)

    def _end(self, key: int) -> None:
        if self._wanted.pop(key, None) is not None:
            self._note(key, END_AFTER_SECONDS)

    def _note(self, key: int, within: float) -> None:
        if (key in self._wanted) == (key in self._registered):
            self._due.pop(key, None)
        else:
            self._due[key] = self._loop.time() + within
            self._write_at(self._due[key])

    def _write_at(self, due: float) -> None:
        """Write at this moment, or earlier."""
        if self._closed or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._write)

    def _write(self) -> asyncio.Future[None] | None:
        """Have what is due written, if anything is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        due = [key for key, at in self._due.items() if at <= now]
        for key in due:
            del self._due[key]
        if self._due:  # not one by one, however many come and go
            self._write_at(max(now + BEGIN_AFTER_SECONDS, min(self._due.values())))
        begun = [key for key in due if key in self._wanted]
        ended = [key for key in due if key not in self._wanted]
        self._registered.update(begun)
        self._registered.difference_update(ended)
        if not self._is_sure:
            self._registered.intersection_update(self._wanted)
            register = Register(self._places(self._registered), None)
        elif due:
            register = Register(self._places(begun), ended)
        else:
            return None
        self._is_sure = True
        with contextlib.suppress(ShapeStoreError):  # the store closes
            written = self._writer.submit(register)
            written.add_done_callback(self._written)
            return written
        return None

    def _places(self, keys: Iterable[int]) -> dict[str, tuple[int, int]]:
        return {str(key): self._wanted[key] for key in keys}

    def _written(self, written: asyncio.Future[None]) -> None:
        if written.exception() is not None:
            self._is_sure = False
            self._write_at(self._loop.time() + AGAIN_AFTER_SECONDS)
