"""Follows one source: a thread that makes rounds whenever something was written there.

One follower of all processes holds the lock of the source, and makes the rounds; the others try the lock at every tick.
A second follower does no harm: a round is written only if no other was since the follower loaded what it goes by. So
one that sees the source far ahead of the rounds for a while, as behind a follower that is stopped, makes them itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from concurrent.futures import Future
from typing import Protocol, TypeVar

from shapestore.concurrency import at_fork
from shapestore.errors import InvalidSourceError, ShapeStoreError, StoreClosedError
from shapestore.events import RoundMade
from shapestore.following.alarm import Alarm
from shapestore.following.registry import Registry
from shapestore.following.source_look import Look, OtherPastError, SourceConnection, Unfollowable
from shapestore.locking.file_lock import FileLock
from shapestore.locking.owner import owners_folder
from shapestore.storage.commands import Command, FollowRound, Unfollow, UnfollowSource
from shapestore.storage.commands.rounds import Follows
from shapestore.storage.connection import BUSY_TIMEOUT_MS, open_point_reader
from shapestore.storage.log.live import queries

logger = logging.getLogger("shapestore")

T = TypeVar("T")

TICK_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
"""So often a follower makes a round even if nothing was written: others see by it that the source is followed."""
SHORTEST_PAUSE = 0.002
LONGEST_PAUSE = 0.05
LONGEST_PAUSE_IF_TOLD = 0.1
"""Where the system tells of what is written to the source."""
SOONEST = 0.0002
"""After it has told: the commit ends in a moment."""
BEHIND_SECONDS = 1.0
"""A source that is ahead of its rounds for so long has no follower that works."""
UNREADABLE_SECONDS = 60.0
"""The live shapes of a source that cannot be read for so long are dropped."""
REFUSED_MS = 10_000
"""For so long the key of a shape whose where fails on a row fails too."""
_FOLLOWERS_PAUSE = 0.25
_LOOK_UP_SECONDS = 0.5
_DROPPED_AT_ONCE = 1_000


class Source(Protocol):
    """What is followed: an SQLSource with ``follow=True``."""

    @property
    def nan_as_null(self) -> bool: ...

    def source_path(self) -> str: ...


class Store(Protocol):
    """What a follower needs of the open store. It calls from its own thread."""

    path: str

    def send(self, command: Command[T], answer: Future[T]) -> None:
        """Have a command written. Raises StoreClosedError."""

    def changed(self, shapes: list[int]) -> None:
        """The logs of these shapes have grown."""

    def sweep_later(self, failures: list[str], seconds: float) -> None:
        """Remove the failures with these handles in so many seconds."""

    def made_round(self, round_: RoundMade) -> None:
        """A round that brought changes is committed."""


class Follower:
    """The follower of one source in one open store. ``start`` it once; ``stop`` ends its thread."""

    def __init__(self, source: Source, store: Store) -> None:
        self._source = source
        self._store = store
        self._alarm = Alarm()
        self._stopped = False
        self._section = at_fork.Section()
        self._lock: FileLock | None = None
        self._reader: sqlite3.Connection | None = None
        self._connection: SourceConnection | None = None
        self._registry: Registry | None = None
        self._path: str | None = None
        self._number: int | None = None
        self._data_version = -1
        self._goes_on = False
        """Whether the last round left something to be done at once."""
        self._pause = SHORTEST_PAUSE
        self._round_at = 0.0
        self._ahead_since: float | None = None
        self._ahead_of = 0
        self._unreadable_at: int | None = None
        """How many rounds there were when the source could not be read."""
        self._unreadable_since = 0.0
        self._trouble = ""
        self.ended = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="shapestore follower", daemon=True).start()

    def wake(self) -> None:
        """A live shape was published, or a caller waits: look at once."""
        self._alarm.ring()

    def stop(self) -> None:
        """End soon, without waiting for it."""
        self._stopped = True
        self._alarm.ring()

    # --- the thread

    def _run(self) -> None:
        with at_fork.pausing(self._section):
            try:
                with contextlib.suppress(StoreClosedError):
                    while not self._stopped:
                        pause = self._turn()
                        # Neither after a round, when the next one would hold next to nothing, nor while it looks again
                        # and again already, is it woken by what is written.
                        if self._alarm.wait(pause, for_file=self._pause > SHORTEST_PAUSE):
                            self._pause = SOONEST
            finally:
                self._let_go()
                self.ended.set()

    def _turn(self) -> float:
        """Do what is to be done now; for how many seconds nothing is."""
        try:
            pause = self._follow()
        except StoreClosedError:
            raise
        except (sqlite3.Error, OSError, InvalidSourceError) as error:
            return self._met(
                "the source cannot be followed; the follower tries again at every tick: %s", error, source=True
            )
        except ShapeStoreError as error:
            return self._met("no round can be written; the follower tries again at every tick: %s", error, source=False)
        except Exception:
            logger.exception("unexpected error in a follower, which begins again at the next tick")
            self._forget()
            return TICK_SECONDS
        self._unreadable_at = None
        self._trouble = ""
        return pause

    def _follow(self) -> float:
        with self._section.lock:
            if not self._is_ready():
                self._close_source()
                return TICK_SECONDS
            assert self._connection is not None
            assert self._registry is not None
            if not self._leads():
                self._alarm.unwatch()
                return _FOLLOWERS_PAUSE
            self._alarm.watch(f"{self._path}-wal")
            version = self._connection.data_version()
            is_due = self._goes_on or version != self._data_version or self._reads(queries.ANY_NEWCOMER)
        if not is_due and time.monotonic() - self._round_at < HEARTBEAT_SECONDS:
            self._pause = min(LONGEST_PAUSE_IF_TOLD if self._alarm.is_watching else LONGEST_PAUSE, self._pause * 1.5)
            return self._pause
        if is_due:
            self._pause = SHORTEST_PAUSE
        self._data_version = version  # read before the look at the source begins
        self._goes_on = self._make_round(self._connection, self._registry)
        return 0.0 if self._goes_on else self._pause

    def _is_ready(self) -> bool:
        """Whether there are live shapes of the source. Opens what is not open."""
        if self._reader is None:
            self._reader = open_point_reader(self._store.path, busy_timeout_ms=BUSY_TIMEOUT_MS)
        if self._path is None:
            self._path = self._source.source_path()
        if self._number is None:
            found = self._reader.execute(queries.SOURCE_NUMBER, {"source": self._path}).fetchall()
            self._number = found[0][0] if found else None
        if self._number is None or not self._reads(queries.ANY_LIVE):
            return False
        if self._connection is not None and not self._connection.is_at_its_path():
            self._close_source()
        if self._connection is None:
            self._connection = SourceConnection(self._path, nan_as_null=self._source.nan_as_null)
        if self._registry is None:
            self._registry = Registry(self._number)
        return True

    def _reads(self, statement: str) -> bool:
        """Whether the store's file holds something of the source."""
        assert self._reader is not None
        return bool(self._reader.execute(statement, {"source": self._number}).fetchall())

    # --- who makes the rounds

    def _leads(self) -> bool:
        """Whether this follower makes the rounds: it has the lock, or who has it does nothing."""
        if self._lock is not None and not self._lock.is_at_its_path():  # a cleaner has removed it
            self._lock.close()
            self._lock = None
        if self._lock is None:
            lock = FileLock(os.path.join(owners_folder(self._store.path), f"follow-{self._number}"))
            if lock.try_lock():
                lock.write(f"{os.getpid():<20}\n".encode())  # for people and their tools
                self._lock = lock
            else:
                lock.close()
        return self._lock is not None or self._is_overdue()

    def _is_overdue(self) -> bool:
        """Whether the source has been ahead of the rounds for longer than a living follower needs."""
        assert self._connection is not None
        assert self._reader is not None
        ((_, followed, _),) = self._reader.execute(queries.SOURCE_STATE, {"source": self._number}).fetchall()
        if self._connection.newest_change() <= followed and not self._reads(queries.ANY_NEWCOMER):
            self._ahead_since = None
            return False
        now = time.monotonic()
        if self._ahead_since is None or self._ahead_of != followed:
            self._ahead_since, self._ahead_of = now, followed
        return now - self._ahead_since >= BEHIND_SECONDS

    # --- a round

    def _make_round(self, connection: SourceConnection, registry: Registry) -> bool:
        """Whether more is to be done at once."""
        began = time.monotonic()
        with self._section.lock:
            look = self._look(connection, registry)
        if isinstance(look, Look):
            return self._write(registry, look, began)
        if look is None:
            self._forget()
        else:
            self._unfollow(look)
        self._round_at = time.monotonic()
        return look is not None

    def _look(self, connection: SourceConnection, registry: Registry) -> Look | Unfollowable | None:
        """None if no shape is live any more."""
        assert self._reader is not None
        loaded = registry.load(self._reader)
        if not registry.shapes:
            return None
        try:
            return connection.look(registry, loaded, self._reader)
        except OtherPastError:
            return Unfollowable(lost=list(registry.shapes))

    def _write(self, registry: Registry, look: Look, began: float) -> bool:
        known = registry.follows
        round_ = FollowRound(
            registry.source,
            known,
            seq=look.seq,
            nonce=look.nonce,
            read_at=look.read_at,
            contents=look.contents,
            markers=look.markers,
            newcomers=look.newcomers,
        )
        shown = self._written(round_)
        if shown is None:  # another follower has made a round
            self._forget()
            return True
        registry.reached(Follows(known.rounds + 1, look.seq, look.nonce), look.newcomers)
        self._round_at = time.monotonic()
        self._ahead_of = look.seq
        if look.seq == look.read_at:
            self._ahead_since = None
        if shown:
            self._store.changed(list(shown))
        changes = 0 if known.nonce is None else look.seq - known.seq
        if changes:
            duration_ms = round((time.monotonic() - began) * 1000)
            behind = look.read_at - look.seq
            self._store.made_round(RoundMade(str(self._path), changes, len(shown), behind, duration_ms))
        return look.seq < look.read_at

    def _unfollow(self, found: Unfollowable) -> None:
        """Drop shapes, before anything is written that was read without them; then begin again."""
        failures = {number: (fault.error_type, fault.message, REFUSED_MS) for number, fault in found.faults.items()}
        dropped = [*found.lost, *failures]
        logger.info("%d live shapes are dropped: %s", len(dropped), found.why)
        refused = self._written(Unfollow([], failures=failures, left=found.too_many))
        for start in range(0, len(dropped), _DROPPED_AT_ONCE):
            self._written(Unfollow(dropped[start : start + _DROPPED_AT_ONCE]))
        if refused:
            self._store.sweep_later(refused, REFUSED_MS / 1000)
        self._forget()

    def _written(self, command: Command[T]) -> T:
        """The answer to a command. Raises what it is refused by, and StoreClosedError if this is to end."""
        answer: Future[T] = Future()
        self._store.send(command, answer)
        while True:
            try:
                return answer.result(timeout=_LOOK_UP_SECONDS)
            except TimeoutError:
                if self._stopped:
                    raise StoreClosedError("the store was closed while a round was being written") from None

    # --- trouble, and the end

    def _met(self, message: str, error: Exception, *, source: bool) -> float:
        """Log an error, once for each different one; drop the live shapes of a source that was gone for too long."""
        if self._trouble != str(error):
            logger.warning(message, error)
        self._trouble = str(error)
        self._forget()
        now = time.monotonic()
        rounds = self._rounds_made() if source else None
        if rounds is None or rounds != self._unreadable_at:  # it is not the source, or another process can read it
            self._unreadable_at, self._unreadable_since = rounds, now
        elif now - self._unreadable_since > UNREADABLE_SECONDS:
            self._drop_all()
            self._unreadable_at = None
        return TICK_SECONDS

    def _rounds_made(self) -> int | None:
        """How many rounds of the source there were, by any process; None if that cannot be told."""
        with self._section.lock, contextlib.suppress(sqlite3.Error):
            if self._reader is not None and self._number is not None:
                ((rounds, _, _),) = self._reader.execute(queries.SOURCE_STATE, {"source": self._number}).fetchall()
                return int(rounds)
        return None

    def _drop_all(self) -> None:
        """The source is gone: its shapes are not live any more, and no round of it goes on."""
        if self._number is not None:
            with contextlib.suppress(ShapeStoreError):
                while self._written(UnfollowSource(self._number)) == UnfollowSource.SHAPES:
                    pass

    def _forget(self) -> None:
        """Begin again with nothing half known."""
        with self._section.lock:
            self._close_source()

    def _close_source(self) -> None:
        self._alarm.unwatch()
        connection, self._connection, self._registry = self._connection, None, None
        self._data_version = -1
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _let_go(self) -> None:
        with self._section.lock:
            self._close_source()
            if self._reader is not None:
                self._reader.close()
            if self._lock is not None:
                self._lock.close()
            self._alarm.close()
