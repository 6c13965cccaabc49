"""What two stores on one file must answer: the model of ``test_life_machine.py``. It does no I/O.

A refresh of a key whose rows have keys keeps the handle and moves its position on. Without them, rows that differ get a
new handle. Equal rows change neither. Each pair of handle and position has the rows of one moment, which stay readable:
those of the present handle, and those of the last two that were replaced or dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from shapestore import Shape, StoredShape

Rows = list[dict[str, Any]]

# Two keys of one table, and one of another: an invalidation ends some, and not others.
KEYS = [Shape("Track"), Shape("Track", columns=["Name"]), Shape("Album")]
# Those whose rows have keys.
KEYED = {KEYS[0], KEYS[2]}
# So many handles of a key are kept for certain after they were replaced or dropped.
KEPT_HANDLES = 2


class Age(IntEnum):
    """How old a stored shape is, in steps of ``SECONDS_OF_AN_AGE``: the real time of a test adds none."""

    FRESH = 0
    STALE = 1
    """It is served, and refreshed in the background."""
    EXPIRED = 2
    """Callers wait for a refresh, and are served the stale shape if that fails."""
    TOO_OLD = 3
    """Callers wait for a refresh."""

    @property
    def next(self) -> Age:
        return Age(min(self + 1, Age.TOO_OLD))


SECONDS_OF_AN_AGE = 10_000
FRESHNESS = {
    "max_age": 0.9 * SECONDS_OF_AN_AGE,
    "stale_while_revalidate": 1.0 * SECONDS_OF_AN_AGE,
    "stale_if_error": 2.0 * SECONDS_OF_AN_AGE,
}


@dataclass(eq=False)
class Attempt:
    """A creator that was called: by which store, for what, and how it is to end."""

    number: int
    store: int
    shape: Shape
    ending: asyncio.Future[Rows]
    compared_with: Log | None = None
    """Of a refresh: what was stored when it began."""
    ended: bool = False

    @property
    def message(self) -> str:
        """What its creator raises."""
        return f"attempt <{self.number}> failed"

    def gives_a_difference(self, rows: Rows) -> bool:
        """Whether it ends by changing what it was compared with, and not by a new handle."""
        return self.compared_with is not None and (self.shape in KEYED or rows == self.compared_with.rows)


@dataclass(eq=False)
class Caller:
    """A caller that waits for an attempt."""

    store: int
    task: asyncio.Task[StoredShape]
    accepts_stale: bool
    """Whether it may be served what is stored if the attempt fails."""


@dataclass
class Moment:
    """The rows of a handle as of one position."""

    stored: StoredShape
    rows: Rows


@dataclass(eq=False)
class Log:
    """A handle: its moments, of which the last is the present one."""

    moments: list[Moment]

    @property
    def stored(self) -> StoredShape:
        return self.moments[-1].stored

    @property
    def rows(self) -> Rows:
        return self.moments[-1].rows

    def advance(self, stored: StoredShape, given: Rows) -> None:
        """A refresh gave these rows. Rows that stay keep their place, and new ones come at the end."""
        old = self.stored
        assert (stored.handle, stored.created_at) == (old.handle, old.created_at)
        assert stored.refreshed_at >= old.refreshed_at
        new = {row["row"]: row for row in given}
        rows = [new.pop(row["row"]) for row in self.rows if row["row"] in new]
        rows += new.values()
        if rows == self.rows:
            assert stored.position == old.position
            self.moments[-1].stored = stored
        else:
            assert stored.position > old.position
            self.moments.append(Moment(stored, rows))


@dataclass(eq=False)
class Key:
    """What is so of one key."""

    log: Log | None = None
    """The handle that is stored."""
    age: Age = Age.FRESH
    kept: list[Log] = field(default_factory=list)
    in_progress: Attempt | None = None
    failed: Attempt | None = None
    waiting: list[Caller] = field(default_factory=list)
    background: set[int] = field(default_factory=set)
    """The stores whose background refresh waits for an attempt, as a caller does."""

    @property
    def stored(self) -> StoredShape | None:
        return None if self.log is None else self.log.stored

    @property
    def readable(self) -> list[Log]:
        """The handles whose rows can be read for certain."""
        return self.kept if self.log is None else [*self.kept, self.log]

    @property
    def is_served(self) -> bool:
        """Whether callers are given what is stored, without waiting."""
        return self.log is not None and self.age <= Age.STALE

    @property
    def serves_after_error(self) -> bool:
        """Whether callers who waited for a refresh that fails are given what is stored."""
        return self.log is not None and self.age <= Age.EXPIRED

    def waits(self, store: int) -> bool:
        return store in self.background or any(caller.store == store for caller in self.waiting)

    def flies(self, store: int) -> bool:
        """Whether this store has a flight of this key: it leads, or waits."""
        return self.waits(store) or (self.in_progress is not None and self.in_progress.store == store)

    def confirm(self, stored: StoredShape, attempt: Attempt, rows: Rows) -> None:
        """The attempt has ended well."""
        if attempt.gives_a_difference(rows):
            assert self.log is not None
            self.log.advance(stored, rows)
        else:
            assert stored.position == len(rows)
            self.drop()
            self.log = Log([Moment(stored, rows)])
        assert (stored.shape, stored.row_count) == (attempt.shape, len(rows))
        self.age = Age.FRESH

    def drop(self) -> None:
        """What is stored is replaced, deleted or invalidated."""
        self.kept = self.readable[-KEPT_HANDLES:]
        self.log = None


@dataclass(eq=False)
class Reading:
    """A reader that reads one moment of a handle, row by row."""

    store: int
    rows: AsyncIterator[dict[str, Any]]
    expected: Rows
