"""The waiters for logs in one open store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from shapestore.concurrency.file_watch import FileWatch
from shapestore.concurrency.futures import resolve
from shapestore.errors import ShapeGoneError, ShapeStoreError, StoreBusyError, StoreClosedError
from shapestore.storage.log import read
from shapestore.storage.log.positions import Standing
from shapestore.storage.reader import Reader
from shapestore.storage.row_codec import as_json
from shapestore.waiting.watched_log import Waiter, WatchedLog

MOST_WAITERS = 100_000
# How often commits of other processes are looked for, while a caller waits.
LOOK_SECONDS = 0.005
# The same where the system tells of what is written: then it is only a safeguard.
LOOK_SECONDS_IF_TOLD = 0.25
# After it has told, the commit ends in a moment: looks follow each other more and more slowly, beginning with this.
SOONEST = 0.0002
# A look that is to come so soon is not brought forward.
_SOON = 0.005
# Looking takes at most a fifth of the loop's time, however many logs are waited for.
_REST = 4


class Attendant(Protocol):
    """What does something about the shapes that are waited for."""

    def begin(self, number: int, handle: str) -> None:
        """The shape is waited for."""

    def end(self, number: int) -> None:
        """The last of its waiters has gone."""

    def changed(self, number: int) -> None:
        """Something has become of a shape that is waited for."""


class Waits:
    """Wakes the waiters of an open store: by ``committed``, and by what other processes commit."""

    def __init__(self, reader: Reader, attendants: Sequence[Attendant]) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._attendants = attendants
        self._logs: dict[int, WatchedLog] = {}
        self._numbers: str | None = None
        """Those of all logs, as JSON; None if it has to be made again."""
        self._waiters = 0
        self._watch: FileWatch | None = None
        self._listens = False
        """Whether the loop is told of what is written."""
        self._pause = 0.0
        """Until the next look."""
        self._due = 0.0
        """When it comes."""
        self._rests_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._version: int | None = None
        """The data version of the file as of which all logs were looked at; None if they have to be."""
        self._seen: dict[int, object] = {}
        """What was seen of each of them then."""
        self._closed = False

    def __len__(self) -> int:
        """How many wait."""
        return self._waiters

    async def wait(self, handle: str, after: int, timeout: float | None) -> int:
        """The public position at which the log ends, once that is behind ``after``; ``after`` when the time is up.

        Raises ShapeGoneError, StoreBusyError (too many wait), StoreClosedError.
        """
        looked = self._reader.ends_behind(handle, after)
        if looked is None:
            looked = await self._reader.run(partial(read.ends_behind, handle=handle, public=after))
            self._version = None  # it may have grown since, and other waiters have seen it
            self._seen.pop(looked[0].number, None)
        log, is_behind = looked
        if is_behind:
            return log.public
        if timeout == 0:
            return after
        watched = self._watched(handle, log)
        del looked, log  # of which each waiter has its own
        return await self._wait(watched, after, timeout)

    async def _wait(self, watched: WatchedLog, after: int, timeout: float | None) -> int:
        waiter: Waiter = self._loop.create_future()
        watched.add(after, waiter)
        self._waiters += 1
        timer = None if timeout is None else self._loop.call_later(timeout, resolve, waiter, after)
        try:
            return await waiter
        finally:
            if timer is not None:
                timer.cancel()
            self._waiters -= 1
            watched.remove(after, waiter)
            self._forget_if_unwatched(watched)

    def _watched(self, handle: str, log: Standing) -> WatchedLog:
        """The log, which is watched from now on. Raises if one more waiter is too many."""
        if self._closed:
            raise StoreClosedError("the store was closed during this call")
        if self._waiters >= MOST_WAITERS:
            raise StoreBusyError(f"{self._waiters} callers wait for changes, the limit of one store; try again later")
        watched = self._logs.get(log.number)
        if watched is None or watched.handle != handle:  # another shape had the number, in a file that was put back
            if watched is not None:
                watched.refuse(ShapeGoneError(watched.handle))
            watched = self._logs[log.number] = WatchedLog(log.number, handle)
            self._numbers = None
            for attendant in self._attendants:
                attendant.begin(log.number, handle)
        if self._timer is None:
            self._version = None
            self._begin_looking()
        return watched

    def _forget_if_unwatched(self, watched: WatchedLog) -> None:
        if not watched.is_waited_for and self._logs.get(watched.number) is watched:
            del self._logs[watched.number]
            self._seen.pop(watched.number, None)
            self._numbers = None
            for attendant in self._attendants:
                attendant.end(watched.number)
            if not self._logs:
                self._end_looking()

    # --- waking

    def committed(self, numbers: set[int]) -> None:
        """This store has committed, and changed the logs of these shapes. It still holds the gate.

        Those who wait for one of them are told. If nobody does, as once a second beside a follower of an idle source,
        this spares looks: no other store is in the middle of a commit, so one look sees all that was written until now.
        """
        if not self._logs.keys().isdisjoint(numbers):
            self._loop.call_soon(self._look_at, numbers)
        elif self._timer is not None and self._watch is not None:
            self._written()
            self._listen()
            self._pause = LOOK_SECONDS_IF_TOLD

    def _look_at(self, numbers: set[int]) -> None:
        """Tell the waiters for these, and what attends to them. Once more, if the file is busy."""
        for number in self._logs.keys() & numbers:
            if not self._logs[number].look(self._reader):
                self._version = None
                self._seen.pop(number, None)
            for attendant in self._attendants:
                attendant.changed(number)

    def _begin_looking(self) -> None:
        if self._watch is None:  # kept, since closing it takes the kernel some milliseconds
            with contextlib.suppress(OSError):  # the system cannot tell
                self._watch = FileWatch(self._reader.log_path)
        self._listen()
        self._look_later(LOOK_SECONDS)

    def _end_looking(self) -> None:
        self._listen_no_more()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _listen(self) -> None:
        """Be told of what is written from now on. What was written before is for the next look."""
        if self._watch is not None and not self._listens:
            try:
                self._watch.drain()
                self._loop.add_reader(self._watch, self._written)
                self._listens = True
            except (OSError, NotImplementedError):  # the system cannot tell any more, or the loop
                self._watch.close()
                self._watch = None

    def _listen_no_more(self) -> None:
        if self._listens:
            assert self._watch is not None
            self._listens = False
            if self._watch.fileno() >= 0:  # it is closed in the child of a fork
                self._loop.remove_reader(self._watch)

    def _written(self) -> None:
        """The file is being written: by this store too, whose commits are no news here.

        A commit is many writes. To be told of each would keep the loop busy, and with it the commit waiting.
        """
        self._listen_no_more()
        soonest = max(SOONEST, self._rests_until - self._loop.time())
        if self._timer is not None and soonest < self._due - self._loop.time():
            self._timer.cancel()
            self._look_later(soonest)
        else:  # the next look may come before the end of the commit: others are to follow it soon
            self._pause = SOONEST

    def _look_later(self, seconds: float) -> None:
        self._pause = seconds
        self._due = self._loop.time() + seconds  # uvloop's timers of less than a millisecond do not tell
        self._timer = self._loop.call_later(seconds, self._look_for_commits)

    def _look_for_commits(self) -> None:
        """Look at all logs if another connection has committed since the last time. And again, whatever happens."""
        began = time.perf_counter()
        if 2 * self._pause > _SOON:  # before it looks: what is written from now on is not in what it sees
            self._listen()
        try:
            version = self._reader.data_version()
            if version is not None and version != self._version:
                self._version = version
                self._look_at_all()
        except ShapeStoreError as error:  # the disk refuses to be read, say
            self._refuse_all(error)
        except BaseException:  # it was cut short
            self._version = None
            self._seen.clear()
            raise
        finally:
            rest = _REST * (time.perf_counter() - began)
            self._rests_until = self._loop.time() + rest
            longest = LOOK_SECONDS if self._watch is None else LOOK_SECONDS_IF_TOLD
            self._look_later(max(min(longest, 2 * self._pause), rest))

    def _look_at_all(self) -> None:
        """Look at those of which something has become since the last time."""
        if self._numbers is None:
            self._numbers = as_json(list(self._logs))
        ends = self._reader.ends(self._numbers)
        if ends is None:
            self._version = None
            return
        changed = {
            number for number in self._logs if number not in self._seen or self._seen[number] != ends.get(number)
        }
        self._seen = {number: ends.get(number) for number in self._logs}
        self._look_at(changed)

    # --- the end

    def close(self) -> None:
        """All waiters get StoreClosedError."""
        self._closed = True
        self._refuse_all(StoreClosedError("the store was closed while this change was waited for"))
        if not self._loop.is_closed():
            self._end_looking()
        if self._watch is not None:
            self._watch.close()

    def _refuse_all(self, error: ShapeStoreError) -> None:
        for log in self._logs.values():
            log.refuse(error)
