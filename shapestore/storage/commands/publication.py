"""What brings the rows of an attempt into the file, and makes a shape of them."""

from __future__ import annotations

from typing import Any, Self

from shapestore.storage import queries
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.history import as_json, end_attempts, record_created
from shapestore.storage.commands.shapes import drop
from shapestore.storage.log import queries as log
from shapestore.storage.log.append import append
from shapestore.storage.log.chunks import Chunk, Encoder
from shapestore.storage.log.difference import Difference, Run
from shapestore.storage.log.keys import quoted
from shapestore.storage.transaction import Transaction

FEW_ROWS = 50


class AddRows(Command[bool]):
    """Add a chunk of rows to an attempt. Answered False, and nothing added, if its fencing token no longer holds."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.size = chunk.size

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        numbers = _leading(tx, [command.chunk.handle for command in group])
        _add_rows(tx, [(numbers[c.chunk.handle], c.chunk) for c in group if c.chunk.handle in numbers])
        return [command.chunk.handle in numbers for command in group]


class CopyRows(Command[int]):
    """Add a run of stored rows, as they are, to an attempt that replaces their shape, whose number is ``source``.

    Answered with how many there were; 0, and nothing copied, if the fencing token no longer holds.
    """

    def __init__(self, handle: str, run: Run, source: int) -> None:
        self.handle = handle
        self.rows = {"first": run.first, "source": source, "after": run.after, "last": run.last}
        self.size = run.size

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[int]:
        numbers = _leading(tx, [command.handle for command in group])
        return [
            tx.change(log.COPY_ROWS, number=numbers[command.handle], **command.rows) if command.handle in numbers else 0
            for command in group
        ]


class Publish(Command[int | None]):
    """End an attempt with a shape: its last rows, its shape row and its lock row change together.

    Answered with the time of creation in milliseconds, or with None, and nothing changed, if the fencing token no
    longer holds.
    """

    def __init__(
        self,
        rest: Chunk,
        encoder: Encoder,
        *,
        replaces: bool,
        duration_ms: int,
        followers: int,
    ) -> None:
        self.rest = rest
        self.size = rest.size
        self.row_count = encoder.row_count
        self._encoder = encoder
        self.replaces = replaces
        self.duration_ms = duration_ms
        self.followers = followers

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[int | None]:
        replacing = [command.rest.handle for command in group if command.replaces]
        if replacing:
            drop(tx, tx.run(queries.REPLACED, handles=as_json(replacing)))
        published = {command.rest.handle: command._columns() for command in group}
        numbers = dict(tx.run(queries.PUBLISH, published=as_json(published)))
        winners = [command for command in group if command.rest.handle in numbers]
        if winners:
            tx.run(queries.UNLOCK, handles=as_json([winner.rest.handle for winner in winners]))
            _add_rows(tx, [(numbers[winner.rest.handle], winner.rest) for winner in winners])
            record_created(tx, {w.rest.handle: (w.duration_ms, w.followers) for w in winners})
        return [tx.moment.wall_ms if command.rest.handle in numbers else None for command in group]

    def _columns(self) -> tuple[Any, ...]:
        encoder = self._encoder
        key_columns = None if encoder.key_columns is None else as_json(list(encoder.key_columns))
        return encoder.row_count, encoder.bytes, key_columns, as_json(encoder.part_ends), encoder.columns_described


class PublishDifference(Command[tuple[Any, ...] | None]):
    """End an attempt that refreshes: append what is different to the log of the shape that it was compared with.

    Answered with the columns ``queries.STORED`` of the shape; or with None, and nothing appended, if the fencing token
    no longer holds or the shape is gone (then the attempt is ended too).
    """

    def __init__(self, handle: str, shape: int, difference: Difference, *, duration_ms: int, followers: int) -> None:
        self.handle = handle
        self.shape = shape
        """The number of the stored shape."""
        self.difference = difference
        self.size = difference.bytes
        self.duration_ms = duration_ms
        self.followers = followers

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[tuple[Any, ...] | None]:
        return [command._publish(tx) for command in group]

    def _publish(self, tx: Transaction) -> tuple[Any, ...] | None:
        held = tx.run(queries.REFRESHED_BY, handle=self.handle)
        if not held:
            return None
        ((number,),) = held
        if number != self.shape:
            end_attempts(tx, tx.run(queries.RELEASE, handles=as_json([self.handle])), "abandoned")
            return None
        if self.difference.changes:
            append(tx, number, self.difference)
        (stored,) = tx.run(queries.CONFIRM, handle=self.handle, number=number)
        tx.run(queries.UNLOCK, handles=as_json([self.handle]))
        tx.run(
            queries.ADD_REFRESHED,
            handle=self.handle,
            number=number,
            duration_ms=self.duration_ms,
            changes=len(self.difference.changes),
            followers=self.followers,
        )
        tx.run(queries.TRIM_CREATIONS)
        return stored


def _leading(tx: Transaction, handles: list[str]) -> dict[str, int]:
    """The numbers of those attempts whose fencing token still holds."""
    return dict(tx.run(queries.STILL_LEADING, handles=as_json(handles)))


def _add_rows(tx: Transaction, chunks: list[tuple[int, Chunk]]) -> None:
    """The rows of many small chunks together, those of a large one by themselves."""
    small, small_keyed = [], []
    for number, chunk in chunks:
        if len(chunk.rows) > FEW_ROWS:
            statement = log.ADD_ROWS if chunk.keys is None else log.ADD_KEYED_ROWS
            tx.run(statement, number=number, first=chunk.first, rows=chunk.as_json())
        elif chunk.keys is None:
            small.append(f"[{number},{chunk.first},{chunk.as_json()}]")
        else:
            keys = ",".join(map(quoted, chunk.keys))
            small_keyed.append(f"[{number},{chunk.first},[{','.join(chunk.rows)}],[{keys}]]")
    if small:
        tx.run(log.ADD_SMALL_CHUNKS, chunks=f"[{','.join(small)}]")
    if small_keyed:
        tx.run(log.ADD_SMALL_KEYED_CHUNKS, chunks=f"[{','.join(small_keyed)}]")
