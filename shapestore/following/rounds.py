"""Rounds of one source: each is one look at the source, and one command to the writer.

What is known of the source and of its shapes is kept from round to round, as long as nothing contradicts it. Then, and
after any error, the object is closed, and another one begins with nothing half known.
"""

from __future__ import annotations

import contextlib
import sqlite3
from enum import Enum, auto

from shapestore.concurrency import at_fork
from shapestore.events import RoundMade
from shapestore.following.registry import Registry
from shapestore.following.source_look import Look, SourceConnection, Unfollowable
from shapestore.following.store_side import StoreSide
from shapestore.locking import boot_clock
from shapestore.logger import logger
from shapestore.storage.commands import FollowRound, Unfollow
from shapestore.storage.commands.rounds import Follows

REFUSED_MS = 10_000
"""For so long the key of a shape whose where fails on a row fails too."""
_DROPPED_AT_ONCE = 1_000
ROWS_LEFT_AT_ONCE = 20_000
"""Rows of shapes that are left, whose keys are deleted with them."""


class Made(Enum):
    """What has become of a round."""

    FINISHED = auto()
    """It is written: all that the source held is in the shapes."""
    PART = auto()
    """A part of it is written; the next one goes on."""
    NOTHING = auto()
    """Nothing is known any more, and there is something to be done."""
    NO_SHAPES = auto()
    """No shape of the source is live."""


class Rounds:
    """Makes rounds. ``section`` is what a fork waits for: it is held while SQLite is at work."""

    def __init__(self, side: StoreSide, source: int, connection: SourceConnection, section: at_fork.Section) -> None:
        self._side = side
        self._store = side.store
        self._registry = Registry(source)
        self._section = section
        self.source = source
        """What stands for the source in the store's file."""
        self.connection = connection
        self.reached = 0
        """Up to which change of the source the last round went."""
        self.behind = 0
        """How many changes the last round has seen and left to the next one."""

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()

    def make(self) -> Made:
        """Make a round, or a part of one."""
        began = boot_clock.now()
        with self._section.lock:
            look = self._look()
        if look is None:
            return Made.NO_SHAPES
        if isinstance(look, Look):
            return self._write(look, began)
        self._unfollow(look)
        return Made.NOTHING

    def _look(self) -> Look | Unfollowable | None:
        """None if no shape is live any more."""
        loaded = self._registry.load(self._side.reader)
        if not self._registry.shapes:
            return None
        return self.connection.look(self._registry, loaded, self._side.reader)

    def _write(self, look: Look, began: boot_clock.Moment) -> Made:
        known = self._registry.follows
        round_ = FollowRound(
            self.source,
            known,
            seq=look.seq,
            nonce=look.nonce,
            read_at=look.read_at,
            began=began,
            contents=look.contents,
            markers=look.markers,
            newcomers=look.newcomers,
        )
        shown = self._side.written(round_)
        if shown is None:  # another follower has made a round
            return Made.NOTHING
        self._registry.reached(Follows(known.rounds + 1, look.seq, look.nonce), look.newcomers)
        self.reached, self.behind = look.seq, look.read_at - look.seq
        changes = 0 if known.nonce is None else look.seq - known.seq
        if changes:
            duration_ms = boot_clock.age_ms(began, boot_clock.now())
            self._store.made_round(RoundMade(self.connection.path, changes, len(shown), self.behind, duration_ms))
        return Made.FINISHED if look.seq == look.read_at else Made.PART

    def _unfollow(self, found: Unfollowable) -> None:
        """Drop shapes, before anything is written that was read without them."""
        failures = {number: (fault.error_type, fault.message, REFUSED_MS) for number, fault in found.faults.items()}
        dropped = [*found.lost, *failures]
        if dropped:
            logger.info("%d live shapes of %s are dropped: %s", len(dropped), self.connection.path, found.why)
        if found.too_many:
            logger.warning(
                "%d shapes are stored, but not followed: their wheres have more forms than are followed at once, or "
                "need a function or collation that only the application's own connections have; give them a max_age",
                len(found.too_many),
            )
        if failures:
            refused = self._side.written(Unfollow([], failures=failures))
            self._store.sweep_later(refused, REFUSED_MS / 1000)
        with self._section.lock:
            parts = self._side.in_parts(found.too_many, rows=ROWS_LEFT_AT_ONCE)
        for left in parts:
            self._side.written(Unfollow([], left=left))
        for start in range(0, len(dropped), _DROPPED_AT_ONCE):
            self._side.written(Unfollow(dropped[start : start + _DROPPED_AT_ONCE]))
