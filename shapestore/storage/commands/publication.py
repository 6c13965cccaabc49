"""What brings the rows of an attempt into the file, and makes a shape of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import msgspec

from shapestore.storage import drop_queries, queries
from shapestore.storage.commands import touched_queries
from shapestore.storage.commands.attempts import leading
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.history import add_outcomes, end_attempts, record_created
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

    def __init__(self, chunk: Chunk, followed: Followed | None = None) -> None:
        self.chunk = chunk
        self.followed = followed
        """What the rows follow, if they are to be live."""
        self.size = chunk.size

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

    def __init__(self, handle: str, run: Run, source: int, *, position: int, followed: Followed | None = None) -> None:
        self.handle = handle
        self.followed = followed
        self.rows = {"first": run.first, "source": source, "after": run.after, "last": run.last}
        self._position = position
        self.size = run.size

    def run(self, tx: Transaction) -> int:
        _end_those_that_lack_rows(tx, [(self.handle, self.rows["first"])])
        number = leading(tx, [self.handle]).get(self.handle)
        ((written, floor),) = tx.run(log.WRITTEN, number=self.rows["source"]) or [(0, 0)]
        if number is None or floor > self._position:
            return 0
        statement = log.COPY_ROWS if written <= self._position else log.COPY_ROWS_AS_OF
        count = tx.change(statement, number=number, position=self._position, limit=MAX_POSITION, **self.rows)
        if self.followed is not None:
            add_members(tx, [(self.followed, number, self.rows["first"], count)])
        return count


class Publish(Command[int | None]):
    """End an attempt with a shape: its last rows, its shape row and its lock row change together.

    Answered with the time of creation in milliseconds; or with None, and nothing published, if the fencing token no
    longer holds, or if the live shape that is to be replaced shows what its source held later (then the attempt is
    ended too). ``at_any_rate``: it is replaced all the same.
    """

    def __init__(
        self,
        rest: Chunk,
        encoder: Encoder,
        *,
        replaces: bool,
        at_any_rate: bool = False,
        duration_ms: int,
        followers: int,
    ) -> None:
        self.rest = rest
        self.size = rest.size
        self.row_count = encoder.row_count
        self._encoder = encoder
        self.followed = encoder.followed
        self.replaces = replaces
        self.at_any_rate = at_any_rate
        self.was_overrun = False
        """Set where the shape shows what was read later, and so nothing was published."""
        self.duration_ms = duration_ms
        self.followers = followers

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[int | None]:
        _end_those_that_lack_rows(tx, [(command.rest.handle, command.rest.first) for command in group])
        _end_those_that_are_overrun(tx, group)
        replacing = [command.rest.handle for command in group if command.replaces]
        if replacing:
            drop(tx, tx.run(drop_queries.REPLACED, handles=as_json(replacing)))
        published = {command.rest.handle: command._columns(tx) for command in group}
        numbers = dict(tx.run(queries.PUBLISH, published=as_json(published)))
        winners = [command for command in group if command.rest.handle in numbers]
        if winners:
            tx.run(queries.UNLOCK, handles=as_json([winner.rest.handle for winner in winners]))
            _add_rows(tx, [(numbers[w.rest.handle], w.rest, w.followed) for w in winners])
            record_created(tx, {w.rest.handle: (w.duration_ms, w.followers) for w in winners})
        return [tx.moment.wall_ms if command.rest.handle in numbers else None for command in group]

    def _columns(self, tx: Transaction) -> tuple[Any, ...]:
        encoder, followed = self._encoder, self.followed
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


class PublishDifference(Command[tuple[Any, ...] | None]):
    """End an attempt that refreshes: append what is different to the log of the shape that it was compared with.

    Answered with the columns ``queries.STORED`` of the shape; or with None, and nothing appended, if the fencing token
    no longer holds or the shape is gone (then the attempt is ended too).
    """

    def __init__(
        self,
        handle: str,
        shape: int,
        difference: Difference,
        *,
        refreshed: Refreshed | None = None,
        duration_ms: int,
        followers: int,
    ) -> None:
        self.handle = handle
        self.refreshed = refreshed
        """As of when it was read, if the shape is live."""
        self.was_overrun = False
        """Set where more was appended meanwhile than is noted, and so nothing was published."""
        self.shape = shape
        """The number of the stored shape."""
        self.difference = difference
        self.size = difference.bytes
        self.duration_ms = duration_ms
        self.followers = followers

    def run(self, tx: Transaction) -> tuple[Any, ...] | None:
        held = tx.run(queries.REFRESHED_BY, handle=self.handle)
        if not held:
            return None
        ((number,),) = held
        if number != self.shape or not self._append(tx, number):
            end_attempts(tx, "abandoned", queries.RELEASE, handles=as_json([self.handle]))
            return None
        (stored,) = tx.run(queries.CONFIRM, handle=self.handle, number=number)
        tx.run(queries.UNLOCK, handles=as_json([self.handle]))
        add_outcomes(
            tx,
            queries.ADD_REFRESHED,
            1,
            handle=self.handle,
            number=number,
            duration_ms=self.duration_ms,
            changes=len(self.difference.changes),
            followers=self.followers,
        )
        return stored

    def _append(self, tx: Transaction, number: int) -> bool:
        if self.refreshed is not None:
            self.was_overrun = not append_refreshed(tx, self.handle, number, self.difference, self.refreshed)
        else:
            self._append_beside_touched(tx, number)
        return not self.was_overrun

    def _append_beside_touched(self, tx: Transaction, number: int) -> None:
        """Append the difference, except under keys that were touched meanwhile: what is stored of them is newer.

        Or it may be: so the attempt counts as stale, and another one is made.
        """
        ((overrun, keys),) = tx.run(touched_queries.TOUCHED_SINCE_CLAIM, handle=self.handle)
        if overrun:
            self.was_overrun = True
            return
        touched = msgspec.json.decode(keys, type=set[str])
        append_difference(tx, number, [change for change in self.difference.changes if change.key not in touched])
        if touched:
            tx.run(touched_queries.MARK_ATTEMPT_TOUCHED, handle=self.handle)


def _end_those_that_lack_rows(tx: Transaction, adding: list[tuple[str, int]]) -> None:
    """End attempts whose rows before these are gone, by a copy of the file that was made earlier and is put back.

    ``adding``: the attempts' handles, and from which position on rows are added.
    """
    further = {handle: first for handle, first in dict(reversed(adding)).items() if first > 1}
    lacking = tx.run(queries.LACK_ROWS, firsts=as_json(further)) if further else []
    if lacking:
        end_attempts(tx, "abandoned", queries.RELEASE, handles=as_json([handle for (handle,) in lacking]))


def _end_those_that_are_overrun(tx: Transaction, group: Sequence[Publish]) -> None:
    """End attempts that would replace a live shape by what its source held before: a round has read it later."""
    read = {
        command.rest.handle: (command.followed.source, command.followed.seq)
        for command in group
        if command.replaces and command.followed is not None and not command.at_any_rate
    }
    overrun = {handle for (handle,) in tx.run(live_queries.SHOW_LATER, read=as_json(read))} if read else set()
    if overrun:
        end_attempts(tx, "abandoned", queries.RELEASE, handles=as_json(list(overrun)))
    for command in group:
        command.was_overrun = command.rest.handle in overrun


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
