"""What becomes of shapes that are stored: dropped, evicted, read; and of the rows of those that are gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

from shapestore.storage import queries
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.history import as_json, discard, end_attempts
from shapestore.storage.transaction import Transaction


class Delete(Command[bool]):
    """Drop one shape. Answered False if there is none with this handle."""

    def __init__(self, handle: str) -> None:
        self.handle = handle

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        gone = await tx.run(queries.DELETE_SHAPES, as_json([command.handle for command in group]))
        await discard(tx, gone)
        handles = {handle for (handle,) in gone}
        answers = []
        for command in group:
            answers.append(command.handle in handles)
            handles.discard(command.handle)  # of two who drop a shape at once, one has dropped it
        return answers


class Invalidate(Command[tuple[int, list[str]]]):
    """Drop a table's shapes, ``SHAPES`` at most, and end the attempts that are reading it.

    Answered with the number of the shapes and the handles of the attempts.
    """

    SHAPES: ClassVar[int] = 1_000

    def __init__(self, table: str) -> None:
        self.table = table

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[tuple[int, list[str]]]:
        answers = []
        for command in group:
            ended = await tx.run(queries.RELEASE_TABLE, command.table)
            await end_attempts(tx, ended, "invalidated")
            gone = await tx.run(queries.DELETE_SHAPES_OF_TABLE, command.table, cls.SHAPES)
            await discard(tx, gone)
            answers.append((len(gone), [row[0] for row in ended]))
        return answers


class Evict(Command[list[str]]):
    """Drop what was least recently read of the shapes beyond ``max_shapes``: ``at_once`` at most. Answered with them.

    How many there are, and which are ``spared``, is asked only now: another store may have evicted some meanwhile.
    """

    def __init__(self, max_shapes: int, at_once: int, spared: Callable[[], list[str]]) -> None:
        self.max_shapes = max_shapes
        self.at_once = at_once
        self.spared = spared

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[list[str]]:
        answers = []
        for command in group:
            ((count,),) = await tx.run(queries.COUNT)
            over = max(0, min(count - command.max_shapes, command.at_once))
            gone = await tx.run(queries.DELETE_LEAST_READ, over, as_json(command.spared()))
            await discard(tx, gone)
            answers.append([handle for (handle,) in gone])
        return answers


class Note(Command[None]):
    """Note what has happened since the last time: which shapes were read, and which creations served how many more."""

    def __init__(self, read: list[str], followers: dict[str, int]) -> None:
        self.read = read
        self.followers = followers

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[None]:
        for command in group:
            await tx.run(queries.NOTE_READS, as_json(command.read), tx.now_ms)
            if command.followers:
                await tx.run(queries.NOTE_FOLLOWERS, as_json(command.followers))
        return [None] * len(group)


class DeleteDiscarded(Command[bool]):
    """Delete some of the rows whose handles are discarded. Answered True while there is more to delete."""

    HANDLES: ClassVar[int] = 200
    ROWS: ClassVar[int] = 5_000

    @classmethod
    async def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        await tx.run(queries.DELETE_ROWS, cls.HANDLES, cls.ROWS)
        await tx.run(queries.FORGET_DISCARDED, cls.HANDLES)
        more = bool(await tx.run(queries.NEXT_DISCARDED))
        return [more] * len(group)
