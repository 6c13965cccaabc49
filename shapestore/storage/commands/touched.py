"""What an application says of its source: rows of a table may have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from shapestore.storage.commands import touched_queries as queries
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.shapes import drop
from shapestore.storage.log.live import queries as live_queries
from shapestore.storage.log.wanted import WantedRow, append_wanted
from shapestore.storage.row_codec import as_json
from shapestore.storage.transaction import Transaction


class MarkTouched(Command[None]):
    """Have what is being read of a table now count as stale once it is published."""

    namespace: str
    table: str

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[None]:
        for namespace, table in {(command.namespace, command.table) for command in group}:
            tx.run(queries.MARK_ATTEMPTS_TOUCHED, namespace=namespace, table=table)
        return [None] * len(group)


class MarkStale(Command[int | None]):
    """Have a table's shapes count as stale, ``SHAPES`` at most, and what is being read of it.

    ``after`` is the number of the last one of the previous part. Answered with that of the last one of this part; None
    if no more are left.
    """

    SHAPES: ClassVar[int] = 1_000

    namespace: str
    table: str
    after: int = 0

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[int | None]:
        parts = {(c.namespace, c.table, c.after): c for c in group}  # what many callers tell at once is done once
        marked = {part: command.run(tx) for part, command in parts.items()}
        return [marked[c.namespace, c.table, c.after] for c in group]

    def run(self, tx: Transaction) -> int | None:
        named = {"namespace": self.namespace, "table": self.table}
        tx.run(queries.MARK_ATTEMPTS_TOUCHED, **named)
        numbers = tx.column(queries.MARK_SHAPES_STALE, after=self.after, limit=self.SHAPES, **named)
        tx.changed.update(numbers)
        return max(numbers) if len(numbers) == self.SHAPES else None


class MarkTheseStale(Command[None]):
    """Have the shapes of these numbers count as stale."""

    numbers: Sequence[int]

    def run(self, tx: Transaction) -> None:
        tx.changed.update(tx.column(queries.MARK_THESE_STALE, numbers=as_json(list(self.numbers))))


class PublishTouched(Command[bool]):
    """Append what shapes of a table should hold under some keys, as it was read from the source.

    A shape whose log is full is dropped, as by a round: the next one begins with an empty log.
    Answered False, and nothing appended, if it was read too early: one of the keys was published since the number
    ``since`` of the ring, or one of the shapes was refreshed, or another refresh is in progress in the table.
    ``judged`` has the attempts that had confirmed the shapes, and those that were refreshing them.
    """

    namespace: str
    table: str
    keys: Sequence[str]
    since: int
    judged: Mapping[int, tuple[str, str | None]]
    wanted: Sequence[WantedRow]

    @property
    def size(self) -> int:
        return sum(len(row.row or "") for row in self.wanted)

    def run(self, tx: Transaction) -> bool:
        named = {"namespace": self.namespace, "table": self.table, "keys": as_json(list(self.keys))}
        is_too_old = tx.run(queries.PUBLISHED_SINCE, since=self.since, **named)
        if is_too_old or tx.run(queries.REFRESHED_SINCE, judged=as_json(self.judged), **named):
            return False
        appended = append_wanted(tx, self.wanted)
        if appended is not None:
            drop(tx, appended.full)
        tx.run(queries.ADD_TOUCHED_KEYS, **named)
        tx.run(live_queries.TRIM_RING)
        return True
