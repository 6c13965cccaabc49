"""The waiters for logs in one open store."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from shapestore.concurrency.futures import resolve
from shapestore.errors import ShapeGoneError, ShapeStoreError, StoreBusyError, StoreClosedError
from shapestore.storage.log import read
from shapestore.storage.log.positions import Standing
from shapestore.storage.reader import Reader
from shapestore.storage.readers import Registrations
from shapestore.storage.row_codec import as_json
from shapestore.waiting.looks import Looks
from shapestore.waiting.watched_log import Waiter, WatchedLog

MOST_WAITERS = 100_000


class Refresher(Protocol):
    """What keeps the shapes that are waited for fresh."""

    def look(self, number: int, handle: str) -> None:
        """The shape is waited for, or something has become of it since."""

    def end(self, number: int) -> None:
        """The last of its waiters has gone."""


class Waits:
    """Wakes the waiters of an open store: by ``committed``, and by what other processes commit."""

    def __init__(self, reader: Reader, registrations: Registrations, refresher: Refresher) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._registrations = registrations
        self._refresher = refresher
        self._logs: dict[int, WatchedLog] = {}
        self._numbers: str | None = None
        """Those of all logs, as JSON; None if it has to be made again."""
        self._waiters = 0
        self._looks = Looks(f"{reader.path}-wal", self._look_for_commits)
        self._version: int | None = None
        """The data version of the file as of which all logs were looked at; None if they have to be."""

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
            self._look_anew(looked[0].number)  # it may have grown since, and other waiters have seen it
        log, is_behind = looked
        if is_behind:
            return log.public
        if timeout == 0:  # it only asks: that takes a tenth of the time, and changes nothing
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
        if self._waiters >= MOST_WAITERS:
            raise StoreBusyError(f"{self._waiters} callers wait for changes, the limit of one store; try again later")
        watched = self._logs.get(log.number)
        if watched is None or watched.handle != handle:  # another shape had the number, in a file that was put back
            if watched is not None:
                watched.refuse(ShapeGoneError(watched.handle))
            watched = self._logs[log.number] = WatchedLog(log.number, handle)
            self._numbers = None
            self._registrations.wait_begins(log.number)
            self._refresher.look(log.number, handle)
        if not self._looks.have_begun:
            self._version = None
            self._looks.begin()
        return watched

    def _forget_if_unwatched(self, watched: WatchedLog) -> None:
        if not watched.is_waited_for and self._logs.get(watched.number) is watched:
            del self._logs[watched.number]
            self._numbers = None
            self._registrations.wait_ends(watched.number)
            self._refresher.end(watched.number)
            if not self._logs:
                self._looks.end()

    # --- waking

    def committed(self, numbers: set[int]) -> None:
        """This store has committed, and changed the logs of these shapes. It still holds the gate.

        Those who wait for one of them are told. Where no caller does, as once a second beside a follower of an idle
        source, this spares looks.
        """
        if not self._logs.keys().isdisjoint(numbers):
            self._loop.call_soon(self._look_at, numbers)
        else:
            self._looks.own_commit()

    def _look_at(self, numbers: set[int]) -> None:
        """Tell the waiters for these, and what refreshes them. Once more, if the file is busy."""
        for number in self._logs.keys() & numbers:
            log = self._logs[number]
            if not log.look(self._reader):
                self._look_anew(number)
            self._refresher.look(number, log.handle)

    def _look_anew(self, number: int) -> None:
        """Have the log of this shape looked at, whatever was seen of it."""
        self._version = None
        if number in self._logs:
            self._logs[number].seen = ()

    def _look_for_commits(self) -> None:
        """Look at all logs if another connection has committed since the last time."""
        try:
            version = self._reader.data_version()
            if version is not None and version != self._version:
                self._version = version
                self._look_at_all()
        except ShapeStoreError as error:  # the disk refuses to be read, say
            self._refuse_all(error)
        except BaseException:  # it was cut short
            self._version = None
            for log in self._logs.values():
                log.seen = ()
            raise

    def _look_at_all(self) -> None:
        """Look at those of which something has become since the last time."""
        if self._numbers is None:
            self._numbers = as_json(list(self._logs))
        ends = self._reader.ends(self._numbers)
        if ends is None:
            self._version = None
            return
        changed = {number for number, log in self._logs.items() if log.seen != ends.get(number)}
        for number in changed:
            self._logs[number].seen = ends.get(number)
        self._look_at(changed)

    # --- the end

    def close(self) -> None:
        """All waiters get StoreClosedError. The first look tells one that comes late: it finds the file closed."""
        self._refuse_all(StoreClosedError("the store was closed while this change was waited for"))
        self._looks.close()

    def _refuse_all(self, error: ShapeStoreError) -> None:
        for log in self._logs.values():
            log.refuse(error)
