"""The live shapes of one source, as a follower knows them: read from the store's file, and kept up with it."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from shapestore.shape.shape import Shape
from shapestore.source.sqlite_feed.changes import SourcePosition
from shapestore.storage.commands.rounds import Follows
from shapestore.storage.log.live import queries
from shapestore.storage.log.read import one_moment


class LiveShape(NamedTuple):
    """A stored shape that follows its source."""

    number: int
    shape: Shape
    table: int
    """The number of its source table."""
    signature: str
    """Of the table and its triggers, under which the shape was read."""
    made_of: tuple[str, str | None, int]
    """Its key, its where as it was written, and its table. In a file that was put back, another shape may have its
    number."""


class Loaded(NamedTuple):
    """What has changed in the registry."""

    added: list[LiveShape]
    removed: list[int]


class Registry:
    """What a round needs to know of the store.

    It is right as long as no other follower makes a round: that is seen by the count of rounds, both when it is loaded
    and when a round is written. Then, and after any error, it is forgotten and loaded again.
    """

    def __init__(self, source: int) -> None:
        self.source = source
        self.follows = Follows(-1, 0, None)
        """Up to where the source is followed."""
        self.tables: dict[int, str] = {}
        """The names of the source's tables by their numbers."""
        self.shapes: dict[int, LiveShape] = {}
        self.newcomers: dict[int, SourcePosition] = {}
        """Those that no round has reached since they were read, and as of which change that was."""

    def load(self, connection: sqlite3.Connection) -> Loaded:
        """Load what has changed. Call it before the round's look at the source begins."""
        if self._summary(connection) == (self.follows, len(self.shapes), False):  # as a rule: one statement tells
            self.newcomers = {}
            return Loaded([], [])
        given = {"source": self.source}
        with one_moment(connection):
            follows, count, _ = self._summary(connection)
            is_known = follows == self.follows
            rows = connection.execute(queries.NEWCOMERS if is_known else queries.LIVE_SHAPES, given).fetchall()
            self.follows = follows
            added, replaced = self._take(rows)
            if any(shape.table not in self.tables for shape in added):
                self.tables = dict(connection.execute(queries.TABLES_OF_SOURCE, given).fetchall())
            if is_known and count == len(self.shapes):
                return Loaded(added, replaced)
            numbers = connection.execute(queries.LIVE_SHAPES, given).fetchall() if is_known else rows
        return Loaded(added, replaced + self._keep({row[0] for row in numbers}))

    def reached(self, follows: Follows, newcomers: dict[int, int]) -> None:
        """A round of our own was written."""
        self.follows = follows
        for number, seq in newcomers.items():
            if number in self.newcomers and self.newcomers[number].seq == seq:
                del self.newcomers[number]

    @property
    def position(self) -> int | None:
        """From which change on keys are to be asked for; None if there are no shapes.

        Where all shapes are newcomers, it does not matter up to where others were followed that are gone.
        """
        since = [read.seq for read in self.newcomers.values()]
        if len(self.newcomers) < len(self.shapes):
            since.append(self.follows.seq)
        return min(since, default=None)

    def _summary(self, connection: sqlite3.Connection) -> tuple[Follows, int, bool]:
        """Up to where the source is followed, how many live shapes it has, and whether newcomers are among them."""
        ((*follows, count, newcomers),) = connection.execute(queries.SOURCE_SUMMARY, {"source": self.source}).fetchall()
        return Follows(*follows), count, bool(newcomers)

    def _take(
        self, rows: list[tuple[int, str, str | None, int, str, int | None, int]]
    ) -> tuple[list[LiveShape], list[int]]:
        """Those that were not known, and the numbers of those that were known as other shapes."""
        added, replaced = [], []
        self.newcomers = {}
        for number, comparable, where, table, signature, seq, nonce in rows:
            known = self.shapes.get(number)
            made_of = comparable, where, table
            if known is None or known.made_of != made_of:
                if known is not None:
                    replaced.append(number)
                known = LiveShape(number, Shape.from_comparable(comparable, where), table, signature, made_of)
                added.append(known)
            self.shapes[number] = known._replace(signature=signature)
            if seq is not None:
                self.newcomers[number] = SourcePosition(seq, nonce)
        return added, replaced

    def _keep(self, numbers: set[int]) -> list[int]:
        """Forget the shapes that are gone."""
        gone = [number for number in self.shapes if number not in numbers]
        for number in gone:
            del self.shapes[number]
            self.newcomers.pop(number, None)
        return gone
