"""Follows one source: a thread that makes rounds whenever something was written there.

It decides when to look, and what becomes of a source that cannot be read. Who of several processes makes the rounds is
in ``leadership``, and how one is made in ``rounds``.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

from shapestore.concurrency import at_fork
from shapestore.errors import InvalidSourceError, ShapeStoreError, StoreClosedError
from shapestore.following.alarm import Alarm
from shapestore.following.leadership import Leadership
from shapestore.following.rounds import Made, Rounds
from shapestore.following.source_look import SourceConnection
from shapestore.following.source_path import Source, SourcePath
from shapestore.following.store_side import LiveShapes, Store, StoreSide
from shapestore.logger import logger
from shapestore.source.sqlite_feed.file import Meanings
from shapestore.storage.commands import UnfollowSource

TICK_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
"""So often a follower makes a round even if nothing was written: others see by it that the source is followed."""
SHORTEST_PAUSE = 0.002
LONGEST_PAUSE = 0.05
LONGEST_PAUSE_IF_TOLD = 0.25
"""Where the system tells of what is written to the source."""
SOONEST = 0.00005
"""After it has told: the commit ends in a moment."""
UNREADABLE_SECONDS = 60.0
"""The live shapes of a source that cannot be read for so long are dropped."""
_FOLLOWERS_PAUSE = 0.25


class Follower:
    """The follower of one source in one open store. ``start`` it once; ``stop`` ends its thread."""

    def __init__(self, source: Source, store: Store) -> None:
        self._source = source
        self._alarm = Alarm()
        self._section = at_fork.Section()
        self._store = store
        self._side = StoreSide(store)
        self._leadership = Leadership(self._side)
        self._rounds: Rounds | None = None
        self._place = SourcePath(source)
        self._path: str | None = None
        self._meanings: Meanings | None = None
        """Asked once, with the first path."""
        self._number: int | None = None
        self._data_version = -1
        self._goes_on = False
        """Whether the last round left something to be done at once."""
        self._pause = SHORTEST_PAUSE
        self._round_at = 0.0
        self._unreadable_at: int | None = None
        """How many rounds there were when the source could not be read."""
        self._unreadable_since = 0.0
        self._trouble = ""
        self.ended = threading.Event()

    def start(self) -> None:
        """Raises RuntimeError if the system has no thread for it."""
        try:
            threading.Thread(target=self._run, name="shapestore follower", daemon=True).start()
        except RuntimeError:
            self._alarm.close()
            raise

    def wake(self) -> None:
        """A live shape was published, or a caller waits: look at once."""
        self._alarm.ring()

    def stop(self) -> None:
        """End soon, without waiting for it."""
        self._side.stopped = True
        self._alarm.ring()

    @property
    def path(self) -> str | None:
        """The resolved path of the source's file; None until it was found for the first time."""
        return self._path

    @property
    def behind(self) -> int:
        """How many changes its last round has left to the next one; 0 if it is not its turn to make that."""
        rounds = self._rounds
        return 0 if rounds is None else rounds.behind

    # --- the thread

    def _run(self) -> None:
        with at_fork.pausing(self._section):
            try:
                with contextlib.suppress(StoreClosedError):
                    while not self._side.stopped:
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
            return self._follow_if_possible()
        except StoreClosedError:
            raise
        except Exception:
            logger.exception("unexpected error in a follower, which begins again in a second")
            self._give_up()
            return TICK_SECONDS

    def _follow_if_possible(self) -> float:
        try:
            pause = self._follow()
        except StoreClosedError:
            raise
        except (sqlite3.Error, OSError, InvalidSourceError) as error:
            return self._met("the source %r cannot be followed; tried again every second: %s", error, source=True)
        except ShapeStoreError as error:
            return self._met("no round of %r can be written; tried again every second: %s", error, source=False)
        self._unreadable_at = None
        self._trouble = ""
        return pause

    def _follow(self) -> float:
        """Make a round, if it is due and this follower's turn; for how many seconds there is nothing more to do."""
        self._be_at(self._find())
        with self._section.lock:
            rounds = self._ready()
            if rounds is None:
                return self._rest()
            if not self._leads(rounds):
                return self._stand_by(rounds)
            self._alarm.watch(f"{self._path}-wal")
            version = rounds.connection.data_version()
            is_due = self._goes_on or version != self._data_version
            if not is_due:  # else a round will tell
                live = self._side.live_shapes(rounds.source)
                if live is LiveShapes.NONE:
                    return self._rest()
                is_due = live is LiveShapes.WITH_NEWCOMERS
        if not is_due and time.monotonic() - self._round_at < HEARTBEAT_SECONDS:
            self._pause = min(LONGEST_PAUSE_IF_TOLD if self._alarm.is_watching else LONGEST_PAUSE, self._pause * 1.5)
            return self._pause
        if is_due:
            self._pause = SHORTEST_PAUSE
        self._data_version = version  # read before the look at the source begins
        self._goes_on = self._make_round(rounds)
        return 0.0 if self._goes_on else self._pause

    def _find(self) -> str:
        """The path of the source's file. If another file is there than is open, it is closed."""
        with self._section.lock:
            if self._rounds is None or not self._rounds.connection.is_at(self._place.named):
                self._close_source()
                path = self._place.now()
                self._meanings = self._meanings or self._source.meanings()
                return path
            return self._rounds.connection.path

    def _be_at(self, path: str) -> None:
        if self._path != path:
            if self._path is not None:  # what its shapes follow is not the source any more
                self._drop_all()
            self._path = path
            self._store.is_at(self, path)

    def _ready(self) -> Rounds | None:
        """The rounds of the source; None if none of its shapes is live. Opens what is not open."""
        side = self._side
        side.open()
        assert self._path is not None
        assert self._meanings is not None
        number = side.number_of(self._path)
        if number != self._number:  # a copy of the file was put back, or a link to the source was switched
            self._set_number(number)
            self._leadership.close()
        elif self._rounds is not None:
            return self._rounds
        self._close_source()
        if self._number is None or side.live_shapes(self._number) is LiveShapes.NONE:
            return None
        connection = SourceConnection(
            self._path,
            nan_as_null=self._source.nan_as_null,
            meanings=self._meanings,
        )
        self._rounds = Rounds(side, self._number, connection, self._section)
        return self._rounds

    def _set_number(self, number: int | None) -> None:
        self._number = number
        self._store.has_found(self, number)

    def _leads(self, rounds: Rounds) -> bool:
        """Whether this follower makes the rounds: it has the lock, or who has it does nothing."""
        return self._leadership.holds_lock(rounds.source) or self._leadership.is_overdue(
            rounds.source, rounds.connection.newest_change()
        )

    def _rest(self) -> float:
        """Nothing is live."""
        self._close_source()
        return TICK_SECONDS

    def _stand_by(self, rounds: Rounds) -> float:
        """Another process makes the rounds: be ready to take its place."""
        if self._side.live_shapes(rounds.source) is LiveShapes.NONE:
            return self._rest()
        self._alarm.unwatch()
        rounds.behind = 0
        return _FOLLOWERS_PAUSE

    def _make_round(self, rounds: Rounds) -> bool:
        """Whether more is to be done at once."""
        made = rounds.make()
        self._round_at = time.monotonic()
        if made in {Made.FINISHED, Made.PART}:
            self._leadership.reached(rounds.reached, finished=made is Made.FINISHED)
        else:
            self._forget()
        return made in {Made.PART, Made.NOTHING}

    # --- trouble, and the end

    def _met(self, message: str, error: Exception, *, source: bool) -> float:
        """Log an error, once for each different one; drop the live shapes of a source that was gone for too long."""
        if self._trouble != str(error):
            logger.warning(message, self._path or self._source, error)
        self._trouble = str(error)
        self._give_up()
        now = time.monotonic()
        rounds = self._rounds_made() if source else None
        if rounds is None or rounds != self._unreadable_at:  # it is not the source, or another process can read it
            self._unreadable_at, self._unreadable_since = rounds, now
        elif now - self._unreadable_since > UNREADABLE_SECONDS:
            with contextlib.suppress(ShapeStoreError):
                self._drop_all()
            self._unreadable_at = None
        return TICK_SECONDS

    def _rounds_made(self) -> int | None:
        """How many rounds of the source there were, by any process; None if that cannot be told.

        The store's file is asked for the source once more: a copy may have been put back that knows it by another
        number, or not at all.
        """
        path = self._path or self._place.expected()
        with self._section.lock, contextlib.suppress(sqlite3.Error):
            self._set_number(None)
            self._side.open()
            self._set_number(None if path is None else self._side.number_of(path))
            if self._number is not None:
                return self._side.follows(self._number).rounds
        return None

    def _drop_all(self) -> None:
        """The source is gone: its shapes are not live any more, and no round of it goes on."""
        if self._number is not None:
            while self._side.written(UnfollowSource(self._number)) == UnfollowSource.SHAPES:
                pass

    def _forget(self) -> None:
        """Begin again with nothing half known."""
        with self._section.lock:
            self._close_source()

    def _give_up(self) -> None:
        """Begin again, and leave the rounds to another process until then: it may be in no trouble."""
        with self._section.lock:
            self._close_source()
            self._leadership.close()

    def _close_source(self) -> None:
        self._alarm.unwatch()
        rounds, self._rounds = self._rounds, None
        self._data_version = -1
        if rounds is not None:
            rounds.close()

    def _let_go(self) -> None:
        with self._section.lock:
            self._close_source()
            self._side.close()
            self._leadership.close()
            self._alarm.close()
