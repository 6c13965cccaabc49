"""What can be asked of the writer, and what each does to the file inside the batch's transaction.

Commands of one kind are done together, in bulk statements. Those of one batch are concurrent (none has been
answered yet), so any order among them is a right one; they are done in the order of ``KINDS``, in which what
ends attempts comes before what publishes, and what frees keys before what claims them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec

from shapestore import queries
from shapestore.create_lock import Failure, State
from shapestore.snapshot import Chunk
from shapestore.transaction import Transaction

T = TypeVar("T")


class Command(Generic[T]):
    """One wish, and the future of its answer. The future may be cancelled at any time; the wish is done all the same."""

    size: int = 0
    """Bytes of rows that it brings; they are what makes a transaction long."""

    def __init__(self) -> None:
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[T]:
        """Do all of ``group``; give back their answers in order. They are told after the commit."""
        raise NotImplementedError

    def answer(self, answer: T) -> None:
        if not self.done.done():
            self.done.set_result(answer)

    def refuse(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever waits is told; where nobody does, nobody is to be warned


class Claim(Command[bool]):
    """Lead the creation of ``comparable`` under ``handle``. Answered False if somebody else was first."""

    def __init__(self, comparable: str, handle: str, *, over: str | None, older: str | None) -> None:
        super().__init__()
        self.comparable = comparable
        self.handle = handle
        self.over = over
        """The attempt judged dead or out of date, which is ended in the same transaction."""
        self.older = older
        """The shape that a refresh is to replace."""

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        led: set[str] = set()
        for claim in group:
            if claim.over is not None:
                await _end_attempts(tx, await tx.run(queries.RELEASE, _json([claim.over])), "died")
            if claim.older is not None:
                parameters = (claim.comparable, tx.owner, tx.now_ms, claim.handle, claim.older)
                led.update(handle for (handle,) in await tx.run(queries.CLAIM_REFRESH, *parameters))
        fresh = {claim.handle: claim.comparable for claim in group if claim.older is None}
        if fresh:
            led.update(handle for (handle,) in await tx.run(queries.CLAIM, _json(fresh), tx.owner, tx.now_ms))
        return [claim.handle in led for claim in group]


class AddRows(Command[bool]):
    """Add a chunk of rows to an attempt. Answered False, and nothing added, if its fence no longer holds."""

    def __init__(self, chunk: Chunk) -> None:
        super().__init__()
        self.chunk = chunk
        self.size = chunk.size

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        handles = [command.chunk.handle for command in group]
        leading = {handle for (handle,) in await tx.run(queries.STILL_LEADING, _json(handles))}
        rows = [row for command in group if command.chunk.handle in leading for row in command.chunk.rows]
        if rows:
            await tx.run_many(queries.ADD_ROWS, rows)
        return [handle in leading for handle in handles]


class Publish(Command[int | None]):
    """End an attempt with a shape: its last rows, its shape row and its lock row change together.

    Answered with the time of creation in milliseconds, or with None, and nothing changed, if the fence no longer holds.
    """

    def __init__(
        self,
        comparable: str,
        table: str,
        rest: Chunk,
        row_count: int,
        *,
        replaces: bool,
        duration_ms: int,
        followers: int,
    ) -> None:
        super().__init__()
        self.comparable = comparable
        self.table = table
        self.rest = rest
        self.size = rest.size
        self.row_count = row_count
        self.replaces = replaces
        self.duration_ms = duration_ms
        self.followers = followers

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[int | None]:
        handles = [command.rest.handle for command in group]
        held = {handle for (handle,) in await tx.run(queries.UNLOCK, _json(handles))}
        winners = [command for command in group if command.rest.handle in held]
        for winner in winners:
            if winner.replaces:
                await _discard(tx, await tx.run(queries.DELETE_SHAPE_OF_KEY, winner.comparable))
        rows = [row for winner in winners for row in winner.rest.rows]
        if rows:
            await tx.run_many(queries.ADD_ROWS, rows)
        if winners:
            await tx.run_many(
                queries.ADD_SHAPE,
                [(w.rest.handle, w.comparable, w.table, w.row_count, tx.now_ms) for w in winners],
            )
            await _record(
                tx,
                [
                    (w.rest.handle, w.comparable, "created", None, w.duration_ms, w.row_count, w.followers)
                    for w in winners
                ],
            )
        return [tx.now_ms if handle in held else None for handle in handles]


class Fail(Command[bool]):
    """End an attempt with its failure. Answered False, and nothing changed, if its fence no longer holds."""

    def __init__(self, comparable: str, handle: str, failure: Failure, *, duration_ms: int, followers: int) -> None:
        super().__init__()
        self.comparable = comparable
        self.handle = handle
        self.failure = failure
        self.duration_ms = duration_ms
        self.followers = followers

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        errors = {
            command.handle: (command.failure.error_type, command.failure.message, command.failure.retry_after_ms)
            for command in group
        }
        held = {handle for (handle,) in await tx.run(queries.FAIL, _json(errors), tx.now_ms)}
        failed = [command for command in group if command.handle in held]
        await _discard(tx, [(command.handle,) for command in failed])
        await _record(
            tx, [(c.handle, c.comparable, "failed", c.failure, c.duration_ms, None, c.followers) for c in failed]
        )
        return [command.handle in held for command in group]


class Abandon(Command[bool]):
    """End an attempt of our own that has no flight (any more), without an outcome that others would take for an answer."""

    def __init__(self, handle: str) -> None:
        super().__init__()
        self.handle = handle

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        ended = await tx.run(queries.ABANDON, _json([command.handle for command in group]), tx.owner)
        await _end_attempts(tx, ended, "abandoned")
        gone = {row[0] for row in ended}
        return [command.handle in gone for command in group]


class Sweep(Command[None]):
    """Remove failures whose window is over: these very ones, never a newer row of the same key."""

    def __init__(self, handles: list[str]) -> None:
        super().__init__()
        self.handles = handles

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[None]:
        await tx.run(queries.SWEEP, _json([handle for command in group for handle in command.handles]))
        return [None] * len(group)


class Release(Command[str | None]):
    """Free a key because a person asked. Answered with the handle of the attempt or failure that was there."""

    def __init__(self, comparable: str) -> None:
        super().__init__()
        self.comparable = comparable

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[str | None]:
        answers = []
        for command in group:
            ended = await tx.run(queries.RELEASE_KEY, command.comparable)
            await _end_attempts(tx, ended, "released")
            answers.append(ended[0][0] if ended else None)
        return answers


class Invalidate(Command[tuple[list[str], list[str]]]):
    """Drop a table's shapes, and end the attempts that are reading it. Answered with the handles of both."""

    def __init__(self, table: str) -> None:
        super().__init__()
        self.table = table

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[tuple[list[str], list[str]]]:
        answers = []
        for command in group:
            ended = await tx.run(queries.RELEASE_TABLE, command.table)
            await _end_attempts(tx, ended, "invalidated")
            gone = await tx.run(queries.DELETE_SHAPES_OF_TABLE, command.table)
            await _discard(tx, gone)
            answers.append(([row[0] for row in gone], [row[0] for row in ended]))
        return answers


class Delete(Command[bool]):
    """Drop one shape. Answered False if there is none with this handle."""

    def __init__(self, handle: str) -> None:
        super().__init__()
        self.handle = handle

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        answers = []
        for command in group:
            gone = await tx.run(queries.DELETE_SHAPE, command.handle)
            await _discard(tx, gone)
            answers.append(bool(gone))
        return answers


class DeleteDiscarded(Command[bool]):
    """Delete some rows of a discarded handle. Answered True while there is more to delete."""

    ROWS: ClassVar[int] = 5_000

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        for (handle,) in await tx.run(queries.NEXT_DISCARDED):
            await tx.run(queries.DELETE_ROWS, handle, cls.ROWS)
            await tx.run(queries.FORGET_DISCARDED, handle)
        more = bool(await tx.run(queries.NEXT_DISCARDED))
        return [more] * len(group)


KINDS: tuple[type[Command[Any]], ...] = (
    Abandon,
    Sweep,
    Release,
    Invalidate,
    Delete,
    Publish,
    Fail,
    AddRows,
    Claim,
    DeleteDiscarded,
)


async def end_owner(tx: Transaction, owner: str, outcome: str) -> None:
    """Remove every trace of an owner who is gone: its row, its failures, and its attempts with their rows."""
    ended = await tx.run(queries.LOCKS_OF_OWNER, owner)
    if ended:
        await tx.run(queries.RELEASE, _json([row[0] for row in ended]))
        await _end_attempts(tx, ended, outcome)
    await tx.run(queries.FORGET_OWNER, owner)


async def _end_attempts(tx: Transaction, ended: list[tuple[Any, ...]], outcome: str) -> None:
    """Discard and record the attempts among the lock rows ``ended``; failures have been, when they failed."""
    under_way = [row for row in ended if row[2] == State.IN_PROGRESS]
    await _discard(tx, under_way)
    await _record(tx, [(handle, key, outcome, None, None, None, 0) for handle, key, _ in under_way])


async def _discard(tx: Transaction, rows: Iterable[Sequence[Any]]) -> None:
    handles = [(row[0],) for row in rows]
    if handles:
        await tx.run_many(queries.DISCARD, handles)


Outcome = tuple[str, str, str, Failure | None, int | None, int | None, int]


async def _record(tx: Transaction, outcomes: list[Outcome]) -> None:
    if not outcomes:
        return
    rows = []
    for handle, comparable, outcome, failure, duration_ms, row_count, followers in outcomes[-queries.KEPT_CREATIONS :]:
        error = (failure.error_type, failure.message, failure.retry_after_ms) if failure else (None, None, None)
        rows.append((handle, comparable, outcome, *error, duration_ms, row_count, followers, tx.now_ms))
    await tx.run_many(queries.ADD_CREATION, rows)
    await tx.run(queries.TRIM_CREATIONS)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
