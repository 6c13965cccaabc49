"""One look at a source: the keys that were written, the rows that are there under them, and the shapes they match.

All of it is read in one transaction, which ends before anything is written to the store.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from shapestore.errors import InvalidSourceError
from shapestore.following.registry import LiveShape, Loaded, Registry
from shapestore.following.round_contents import ContentsReader
from shapestore.following.routing import Fault, Router, RoutingError
from shapestore.following.source_table import SourceTable, read_table
from shapestore.source.sqlite_feed.changes import Changes, SourcePosition, keys_between, newest, nonce_at
from shapestore.source.sqlite_feed.file import Meanings, opened
from shapestore.source.sqlite_feed.followed_table import wrong_mode
from shapestore.storage.log.wanted import RoundContents

MAX_CHANGES = 2_000
"""Rows of the change table in one round."""


@dataclass(slots=True)
class Unfollowable:
    """Live shapes that cannot be followed any further: all that was found before anything of the round is written."""

    lost: set[int] = field(default_factory=set)
    """What they were read from has changed, or is not the source that is there: they are to be read again."""
    faults: dict[int, Fault] = field(default_factory=dict)
    """By their numbers, why their rows cannot be told."""
    too_many: list[int] = field(default_factory=list)
    """Those whose wheres are of more forms than are followed at once, or cannot be asked by a follower."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.faults or self.too_many)

    @property
    def why(self) -> str:
        """Of one of them."""
        return next((fault.message for fault in self.faults.values()), "their table or its triggers have changed")


@dataclass(slots=True)
class Look:
    """What a round is made of."""

    seq: int
    """Up to this change, all keys are in it."""
    nonce: int
    read_at: int
    """The newest change that is in the rows."""
    contents: RoundContents
    markers: Sequence[int]
    newcomers: dict[int, int]
    """The shapes that the round reaches for the first time, and the changes as of which they were read."""


class SourceConnection:
    """A connection to a source, and what is known of its tables and prepared on it. Any error makes it useless.

    Raises InvalidSourceError if the source is not in WAL mode, as one may be that was put back: it would keep the
    application from writing.
    """

    def __init__(self, path: str, *, nan_as_null: bool, meanings: Meanings) -> None:
        self.path = path
        self._nan_as_null = nan_as_null
        self._file = os.stat(path)  # before it is opened: one that takes its place meanwhile is another one
        with contextlib.ExitStack() as stack:
            self._connection = stack.enter_context(opened(path))
            if why := wrong_mode(self._connection):
                raise InvalidSourceError(f"{path!r}: {why}")
            self._connection.execute(f"PRAGMA case_sensitive_like = {meanings.case_sensitive_like:d}")
            self._router = Router(self._connection, meanings.own)
            self._stack = stack.pop_all()
        self._schema_version = -1
        self._tables: dict[int, SourceTable] = {}
        self._limit = MAX_CHANGES

    def close(self) -> None:
        self._stack.close()

    def is_at(self, path: str) -> bool:
        """Whether the path names the file that is open."""
        return os.path.samestat(os.stat(path), self._file)

    def data_version(self) -> int:
        """It is another one after each commit of another connection."""
        ((version,),) = self._connection.execute("PRAGMA data_version").fetchall()
        return int(version)

    def newest_change(self) -> SourcePosition | None:
        """The newest change of the source; None if nothing is captured."""
        return newest(self._connection)

    def look(self, registry: Registry, loaded: Loaded, store: sqlite3.Connection) -> Look | Unfollowable:
        """What the shapes of the registry need to know of the source, as it is now.

        The registry was loaded before. ``store`` is a connection that reads the store.
        """
        begin_look(self._connection)
        try:
            return self._prepare(registry, loaded) or self._look(registry, store)
        except RoutingError as error:
            return Unfollowable(faults=dict(error.faults))
        finally:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    # --- before the rows

    def _prepare(self, registry: Registry, loaded: Loaded) -> Unfollowable:
        """Find the shapes that cannot be followed, and have the others routed."""
        unfollowable = Unfollowable(lost=self._of_another_past(registry))
        for known in self._to_be_checked(registry, loaded):
            table = self._table(registry, known.table)
            if table is None or table.signature != known.signature:
                unfollowable.lost.add(known.number)
        if not unfollowable:
            self._router.remove(loaded.removed)
            unfollowable.too_many = self._router.add(loaded.added, self._tables)
        return unfollowable

    def _of_another_past(self, registry: Registry) -> set[int]:
        """The shapes that have not followed this source: a backup was put back, or they did so too long ago."""
        follows = registry.follows
        if len(registry.newcomers) < len(registry.shapes) and not self._has(follows.seq, follows.nonce):
            return set(registry.shapes)
        has = {read: self._has(*read) for read in set(registry.newcomers.values())}
        return {number for number, read in registry.newcomers.items() if not has[read]}

    def _has(self, seq: int, nonce: int | None) -> bool:
        found = nonce_at(self._connection, seq)
        return found is not None and found == nonce

    def _to_be_checked(self, registry: Registry, loaded: Loaded) -> Sequence[LiveShape]:
        """All shapes whenever the schema has changed; else those that are new here, or were read again."""
        ((version,),) = self._connection.execute("PRAGMA main.schema_version").fetchall()
        if version != self._schema_version:
            self._tables.clear()
            self._schema_version = version
            return list(registry.shapes.values())
        return [*loaded.added, *(registry.shapes[number] for number in registry.newcomers)]

    def _table(self, registry: Registry, number: int) -> SourceTable | None:
        if number not in self._tables:
            table = read_table(self._connection, registry.tables[number])
            if table is None:
                return None
            self._tables[number] = table
        return self._tables[number]

    # --- the rows

    def _look(self, registry: Registry, store: sqlite3.Connection) -> Look | Unfollowable:
        end, after = newest(self._connection), registry.position
        assert end is not None
        assert after is not None
        reader = ContentsReader(self._connection, store, registry, self._tables, nan_as_null=self._nan_as_null)
        while True:
            changes = self._changes(after, end.seq)
            if nameless := self._with_nameless_rows(registry, changes):
                return Unfollowable(lost=nameless)
            contents = reader.read(self._router, changes, whole=self._limit == 1)
            if contents is not None:
                break
            self._limit = max(1, self._limit // 2)
        self._limit = min(MAX_CHANGES, 2 * self._limit)
        nonce = end.nonce if changes.until == end.seq else nonce_at(self._connection, changes.until)
        if nonce is None:  # a part that ends where a row is missing
            return Unfollowable(lost=set(registry.shapes))
        newcomers = {number: read.seq for number, read in registry.newcomers.items() if read.seq <= changes.until}
        return Look(changes.until, nonce, end.seq, contents, changes.markers, newcomers)

    def _changes(self, after: int, until: int) -> Changes:
        widths = {table.feed_number: len(table.key) for table in self._tables.values()}
        return keys_between(self._connection, after, until, widths, self._limit)

    def _with_nameless_rows(self, registry: Registry, changes: Changes) -> set[int]:
        """The shapes of tables in which a row has a key that names nothing."""
        tables = {number for number, table in self._tables.items() if table.feed_number in changes.unfollowable}
        if not tables:  # as a rule; there may be many shapes
            return set()
        return {number for number, known in registry.shapes.items() if known.table in tables}


def begin_look(connection: sqlite3.Connection) -> None:
    """Begin the transaction in which a source is read. It sees the source from its first statement on."""
    connection.execute("BEGIN")
