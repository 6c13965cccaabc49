"""What changes a lock row: each bound to its fence, the handle of the attempt that was judged."""

from __future__ import annotations

from typing import Self

from shapestore.locking.create_lock import Failure
from shapestore.storage import queries
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.history import as_json, discard, end_attempts, record, record_created
from shapestore.storage.row_codec import Chunk
from shapestore.storage.transaction import Transaction

FEW_ROWS = 50


class Claim(Command[bool]):
    """Lead the creation of ``comparable`` under ``handle``. Answered False if somebody else was first."""

    def __init__(self, comparable: str, handle: str, *, over: str | None, older: str | None) -> None:
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
                await end_attempts(tx, await tx.run(queries.RELEASE, as_json([claim.over])), "died")
            if claim.older is not None:
                parameters = (claim.comparable, tx.owner, tx.now_ms, claim.handle, claim.older)
                led.update(handle for (handle,) in await tx.run(queries.CLAIM_REFRESH, *parameters))
        fresh = {claim.handle: claim.comparable for claim in group if claim.older is None}
        if fresh:
            led.update(handle for (handle,) in await tx.run(queries.CLAIM, as_json(fresh), tx.owner, tx.now_ms))
        return [claim.handle in led for claim in group]


class AddRows(Command[bool]):
    """Add a chunk of rows to an attempt. Answered False, and nothing added, if its fence no longer holds."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.size = chunk.size

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        handles = [command.chunk.handle for command in group]
        leading = {handle for (handle,) in await tx.run(queries.STILL_LEADING, as_json(handles))}
        await _add_rows(tx, [command.chunk for command in group if command.chunk.handle in leading])
        return [handle in leading for handle in handles]


class Publish(Command[int | None]):
    """End an attempt with a shape: its last rows, its shape row and its lock row change together.

    Answered with the time of creation in milliseconds, or with None, and nothing changed, if the fence no longer holds.
    """

    def __init__(
        self,
        rest: Chunk,
        row_count: int,
        *,
        replaces: bool,
        duration_ms: int,
        followers: int,
    ) -> None:
        self.rest = rest
        self.size = rest.size
        self.row_count = row_count
        self.replaces = replaces
        self.duration_ms = duration_ms
        self.followers = followers

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[int | None]:
        replacing = [command.rest.handle for command in group if command.replaces]
        if replacing:
            await discard(tx, await tx.run(queries.DELETE_REPLACED, as_json(replacing)))
        row_counts = {command.rest.handle: command.row_count for command in group}
        held = {handle for (handle,) in await tx.run(queries.PUBLISH, as_json(row_counts), tx.now_ms)}
        winners = [command for command in group if command.rest.handle in held]
        if winners:
            await tx.run(queries.UNLOCK, as_json([winner.rest.handle for winner in winners]))
            await _add_rows(tx, [winner.rest for winner in winners])
            await record_created(tx, {w.rest.handle: (w.duration_ms, w.followers) for w in winners})
        return [tx.now_ms if command.rest.handle in held else None for command in group]


class Fail(Command[bool]):
    """End an attempt with its failure. Answered False, and nothing changed, if its fence no longer holds."""

    def __init__(self, comparable: str, handle: str, failure: Failure, *, duration_ms: int, followers: int) -> None:
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
        held = {handle for (handle,) in await tx.run(queries.FAIL, as_json(errors), tx.now_ms)}
        failed = [command for command in group if command.handle in held]
        await discard(tx, [(command.handle,) for command in failed])
        await record(tx, [(c.handle, c.comparable, "failed", c.failure, c.duration_ms, c.followers) for c in failed])
        return [command.handle in held for command in group]


class Abandon(Command[bool]):
    """End an attempt of our own that has no flight (any more), without an outcome that others take for an answer."""

    def __init__(self, handle: str) -> None:
        self.handle = handle

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        ended = await tx.run(queries.ABANDON, as_json([command.handle for command in group]), tx.owner)
        await end_attempts(tx, ended, "abandoned")
        gone = {row[0] for row in ended}
        return [command.handle in gone for command in group]


class Sweep(Command[None]):
    """Remove failures whose window is over: these very ones, never a newer row of the same key."""

    def __init__(self, handles: list[str]) -> None:
        self.handles = handles

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[None]:
        await tx.run(queries.SWEEP, as_json([handle for command in group for handle in command.handles]))
        return [None] * len(group)


class Release(Command[str | None]):
    """Free a key because a person asked. Answered with the handle of the attempt or failure that was there."""

    def __init__(self, comparable: str) -> None:
        self.comparable = comparable

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[str | None]:
        answers = []
        for command in group:
            ended = await tx.run(queries.RELEASE_KEY, command.comparable)
            await end_attempts(tx, ended, "released")
            answers.append(ended[0][0] if ended else None)
        return answers


async def end_owner(tx: Transaction, owner: str, outcome: str) -> None:
    """Remove every trace of an owner who is gone: its row, its failures, and its attempts with their rows."""
    ended = await tx.run(queries.LOCKS_OF_OWNER, owner)
    if ended:
        await tx.run(queries.RELEASE, as_json([row[0] for row in ended]))
        await end_attempts(tx, ended, outcome)
    await tx.run(queries.FORGET_OWNER, owner)


async def _add_rows(tx: Transaction, chunks: list[Chunk]) -> None:
    """The rows of many small chunks together, those of a large one by themselves."""
    small = []
    for chunk in chunks:
        if len(chunk.rows) <= FEW_ROWS:
            small.append(f'["{chunk.handle}",{chunk.first},{chunk.as_array()}]')
        else:
            await tx.run(queries.ADD_ROWS, chunk.handle, chunk.first, chunk.as_array())
    if small:
        await tx.run(queries.ADD_SMALL_CHUNKS, f"[{','.join(small)}]")
