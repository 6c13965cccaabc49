"""What brings the rows of an attempt into the file, and makes a shape of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Self

import msgspec

from shapestore.storage import drop_queries, queries
from shapestore.storage.commands import touched_queries
from shapestore.storage.commands.attempts import leading
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.history import add_outcomes, end_attempts
from shapestore.storage.commands.shapes import drop
from shapestore.storage.log import queries as log
from shapestore.storage.log.chunks import Chunk, Encoder
from shapestore.storage.log.difference import Difference, Run
from shapestore.storage.log.live import queries as live_queries
from shapestore.storage.log.live.followed import Followed, add_members, source_numbers
from shapestore.storage.log.live.refreshed import Refreshed, append_refreshed
from shapestore.storage.log.positions import MAX_POSITION
from shapestore.storage.log.wanted import append_difference
from shapestore.storage.row_codec import as_json
from shapestore.storage.transaction import Transaction

FEW_ROWS = 50


class AddRows(Command[bool]):
    """Add a chunk of rows to an attempt. Answered False, and nothing added, if its fencing token no longer holds."""

    chunk: Chunk
    followed: Followed | None = None
    """What the rows follow, if they are to be live."""

    @property
    def size(self) -> int:
        return self.chunk.size

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        _end_those_that_lack_rows(tx, [(command.chunk.handle, command.chunk.first) for command in group])
        numbers = leading(tx, [command.chunk.handle for command in group])
        _add_rows(tx, [(numbers[c.chunk.handle], c.chunk, c.followed) for c in group if c.chunk.handle in numbers])
        return [command.chunk.handle in numbers for command in group]


class CopyRows(Command[int]):
    """Add a run of stored rows, as they are, to an attempt that replaces their shape, whose number is ``source``.

    As they were at ``position``, whatever has changed since. Answered with how many there were; 0, and nothing copied,
    if the fencing token no longer holds, or it is not known any more what the rows were like then.
    """

    handle: str
    rows: Run
    source: int
    position: int
    followed: Followed | None = None

    @property
    def size(self) -> int:
        return self.rows.size

    def run(self, tx: Transaction) -> int:
        first = self.rows.first
        _end_those_that_lack_rows(tx, [(self.handle, first)])
        number = leading(tx, [self.handle]).get(self.handle)
        ((_, floor),) = tx.run(log.WRITTEN, number=self.source) or [(0, 0)]
        if number is None or floor > self.position:
            return 0
        given = {"source": self.source, "after": self.rows.after, "last": self.rows.last, "position": self.position}
        count = tx.change(log.COPY_ROWS, number=number, first=first, limit=MAX_POSITION, **given)
        if self.followed is not None:
            add_members(tx, [(self.followed, number, first, count)])
        return count


class Void(Enum):
    """Why what an attempt has read was not published."""

    SUPERSEDED = "its fencing token no longer holds, or the shape that it was compared with is gone"
    OVERTAKEN = "the shape shows what was read later, or it may; the attempt is ended"


class Publish(Command[int | Void]):
    """End an attempt with a shape: its last rows, its shape row and its lock row change together.

    Answered with the time of creation in milliseconds. It is overtaken if the live shape that it would replace shows
    what its source held later; ``at_any_rate``: that is replaced all the same.
    """

    rest: Chunk
    encoder: Encoder
    replaces: bool
    duration_ms: int
    followers: int
    at_any_rate: bool = False

    @property
    def size(self) -> int:
        return self.rest.size

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[int | Void]:
        _end_those_that_lack_rows(tx, [(command.rest.handle, command.rest.first) for command in group])
        overtaken = _end_those_that_are_overtaken(tx, group)
        replacing = [command.rest.handle for command in group if command.replaces]
        if replacing:
            drop(tx, tx.column(drop_queries.REPLACED, handles=as_json(replacing)))
        published = {command.rest.handle: command._columns(tx) for command in group}
        numbers = dict(tx.run(queries.PUBLISH, published=as_json(published)))
        winners = [command for command in group if command.rest.handle in numbers]
        if winners:
            tx.run(queries.UNLOCK, handles=as_json([winner.rest.handle for winner in winners]))
            _add_rows(tx, [(numbers[w.rest.handle], w.rest, w.encoder.followed) for w in winners])
            created = {w.rest.handle: (w.duration_ms, w.followers) for w in winners}
            add_outcomes(tx, queries.ADD_CREATED, len(created), created=as_json(created))
        answers = dict.fromkeys(overtaken, Void.OVERTAKEN) | dict.fromkeys(numbers, tx.moment.wall_ms)
        return [answers.get(command.rest.handle, Void.SUPERSEDED) for command in group]

    def _columns(self, tx: Transaction) -> tuple[Any, ...]:
        encoder, followed = self.encoder, self.encoder.followed
        key_columns = None if encoder.key_columns is None else as_json(list(encoder.key_columns))
        live = (None,) * 5 if followed is None else (*source_numbers(tx, followed), *followed[2:])
        return (
            encoder.row_count,
            encoder.bytes,
            key_columns,
            as_json(encoder.part_ends),
            encoder.columns_described,
            *live,
        )


class PublishDifference(Command[tuple[Any, ...] | Void]):
    """End an attempt that refreshes: append what is different to the log of the shape that it was compared with.

    Answered with the columns ``queries.STORED`` of the shape. It is overtaken if more was appended meanwhile than is
    noted. If the shape is gone, the attempt is ended too.
    """

    handle: str
    shape: int
    """The number of the stored shape."""
    difference: Difference
    duration_ms: int
    followers: int
    refreshed: Refreshed | None = None
    """As of when it was read, if the shape is live."""

    @property
    def size(self) -> int:
        return self.difference.bytes

    def run(self, tx: Transaction) -> tuple[Any, ...] | Void:
        held = tx.run(queries.REFRESHED_BY, handle=self.handle)
        if not held:
            return Void.SUPERSEDED
        is_its_shape = held == [(self.shape,)]
        if not is_its_shape or not self._append(tx):
            end_attempts(tx, "abandoned", queries.RELEASE, handles=as_json([self.handle]))
            return Void.OVERTAKEN if is_its_shape else Void.SUPERSEDED
        (stored,) = tx.run(queries.CONFIRM, handle=self.handle, number=self.shape)
        tx.run(queries.UNLOCK, handles=as_json([self.handle]))
        add_outcomes(
            tx,
            queries.ADD_REFRESHED,
            1,
            handle=self.handle,
            number=self.shape,
            duration_ms=self.duration_ms,
            changes=len(self.difference.changes),
            followers=self.followers,
        )
        return stored

    def _append(self, tx: Transaction) -> bool:
        if self.refreshed is not None:
            return append_refreshed(tx, self.handle, self.shape, self.difference, self.refreshed)
        return self._append_beside_touched(tx)

    def _append_beside_touched(self, tx: Transaction) -> bool:
        """Append the difference, except under keys that were touched meanwhile: what is stored of them is newer.

        Or it may be: so the attempt counts as stale, and another one is made.
        """
        ((overrun, keys),) = tx.run(touched_queries.TOUCHED_SINCE_CLAIM, handle=self.handle)
        if overrun:
            return False
        touched = msgspec.json.decode(keys, type=set[str])
        append_difference(tx, self.shape, [change for change in self.difference.changes if change.key not in touched])
        if touched:
            tx.run(touched_queries.MARK_ATTEMPT_TOUCHED, handle=self.handle)
        return True


def _end_those_that_lack_rows(tx: Transaction, adding: list[tuple[str, int]]) -> None:
    """End attempts whose rows before these are gone, by a copy of the file that was made earlier and is put back.

    ``adding``: the attempts' handles, and from which position on rows are added.
    """
    firsts = dict(reversed(adding))  # of several chunks of an attempt the first: the others come behind it
    further = {handle: first for handle, first in firsts.items() if first > 1}
    lacking = tx.column(queries.LACK_ROWS, firsts=as_json(further)) if further else []
    if lacking:
        end_attempts(tx, "abandoned", queries.RELEASE, handles=as_json(lacking))


def _end_those_that_are_overtaken(tx: Transaction, group: Sequence[Publish]) -> list[str]:
    """End attempts that would replace a live shape by what its source held before: a round has read it later."""
    read = {
        command.rest.handle: (followed.source, followed.seq)
        for command in group
        if command.replaces and (followed := command.encoder.followed) is not None and not command.at_any_rate
    }
    overtaken = tx.column(live_queries.SHOW_LATER, read=as_json(read)) if read else []
    if overtaken:
        end_attempts(tx, "abandoned", queries.RELEASE, handles=as_json(overtaken))
    return overtaken


def _add_rows(tx: Transaction, chunks: list[tuple[int, Chunk, Followed | None]]) -> None:
    """The rows of many small chunks together, those of a large one by themselves; and their members."""
    small = []
    for number, chunk, _ in chunks:
        keyed = int(chunk.keys is not None)
        if len(chunk.rows) > FEW_ROWS:
            tx.run(log.ADD_ROWS, number=number, first=chunk.first, keyed=keyed, rows=chunk.as_json())
        else:
            small.append(f"[{number},{chunk.first},{keyed},{chunk.as_json()}]")
    if small:
        tx.run(log.ADD_SMALL_CHUNKS, chunks=f"[{','.join(small)}]")
    add_members(tx, [(of, number, c.first, len(c.rows)) for number, c, of in chunks if of is not None])
