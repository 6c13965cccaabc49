"""What becomes of stored shapes: they are read, dropped, evicted; and of handles that are kept for their readers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import ClassVar, Self

from shapestore.storage import drop_queries, queries
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.history import discard, end_attempts
from shapestore.storage.log.live import queries as live_queries
from shapestore.storage.row_codec import as_json
from shapestore.storage.transaction import Transaction


def drop(tx: Transaction, numbers: Collection[int]) -> list[str]:
    """Drop shapes; their handles are kept for their readers, two a key at most. The handles of those dropped."""
    if not numbers:
        return []
    tx.changed.update(numbers)
    given = as_json(numbers)
    tx.run(drop_queries.KEEP, numbers=given)
    dropped = tx.run(drop_queries.DROP_SHAPES, numbers=given)
    if any(source is not None for _, source in dropped):
        tx.run(live_queries.END_EMPTY_ROUNDS)
    _forget_beyond_two(tx, numbers)
    return [handle for handle, _ in dropped]


class Delete(Command[bool]):
    """Drop one shape. Answered False if there is none with this handle."""

    handle: str

    def run(self, tx: Transaction) -> bool:
        return bool(drop(tx, tx.column(drop_queries.NUMBER_OF_HANDLE, handle=self.handle)))


class Invalidate(Command[tuple[int, list[str]]]):
    """Drop a table's shapes, ``SHAPES`` at most, and end the attempts that are reading it.

    Answered with the number of the shapes and the handles of the attempts.
    """

    SHAPES: ClassVar[int] = 1_000

    namespace: str
    table: str

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[tuple[int, list[str]]]:
        attempts = defaultdict(list)
        for namespace, table, handle in tx.run(queries.ATTEMPTS):  # once, since it goes through the failures too
            attempts[namespace, table].append(handle)
        return [command._invalidate(tx, attempts.pop((command.namespace, command.table), [])) for command in group]

    def _invalidate(self, tx: Transaction, attempts: list[str]) -> tuple[int, list[str]]:
        ended = end_attempts(tx, "invalidated", queries.RELEASE, handles=as_json(attempts)) if attempts else []
        named = {"namespace": self.namespace, "table": self.table}
        return len(drop(tx, tx.column(drop_queries.NUMBERS_OF_TABLE, limit=self.SHAPES, **named))), ended


class InvalidateKey(Command[tuple[int, list[str]]]):
    """Drop one shape, and end the attempt that is reading it. Answered as ``Invalidate``."""

    comparable: str

    def run(self, tx: Transaction) -> tuple[int, list[str]]:
        ended = end_attempts(tx, "invalidated", queries.RELEASE_KEY_IN_PROGRESS, comparable=self.comparable)
        dropped = drop(tx, tx.column(drop_queries.NUMBER_OF_KEY, comparable=self.comparable))
        return len(dropped), ended


class Evict(Command[list[str]]):
    """Drop the least recently read shapes beyond ``max_shapes`` and ``max_bytes``. Answered with their handles.

    Those that are waited for, in any process, go last. How many there are is asked only now: another store may have
    evicted some meanwhile.
    """

    AT_ONCE: ClassVar[int] = 500

    max_shapes: int | None
    max_bytes: int | None

    def run(self, tx: Transaction) -> list[str]:
        totals = dict(tx.run(queries.TOTALS))
        too_many = beyond(totals["shapes"], self.max_shapes)
        too_large = beyond(totals["bytes"], self.max_bytes)
        if not too_many and not too_large:
            return []
        candidates = tx.run(drop_queries.LEAST_READ, limit=self.AT_ONCE)
        if len(candidates) < self.AT_ONCE:
            candidates += tx.run(drop_queries.LEAST_READ_OF_THOSE_WAITED_FOR, limit=self.AT_ONCE)
        return drop(tx, first_beyond(candidates, too_many, too_large))


def beyond(total: int, limit: int | None) -> int:
    """By how much a limit is exceeded."""
    return 0 if limit is None else max(0, total - limit)


def first_beyond(candidates: Iterable[tuple[int, int]], too_many: int, too_large: int) -> list[int]:
    """The first of numbers and sizes that together are as many, and as large, as what is too much."""
    numbers: list[int] = []
    size = 0
    for number, bytes_ in candidates:
        if len(numbers) >= too_many and size >= too_large:
            break
        numbers.append(number)
        size += bytes_
    return numbers


class ForgetKept(Command[None]):
    """Have the rows of kept handles deleted, except those that a registered reader reads."""

    numbers: list[int]

    def run(self, tx: Transaction) -> None:
        _forget(tx, self.numbers)


def forget_readers_of(tx: Transaction, owner: str) -> None:
    """Forget the readers of an owner that is gone, and what was kept for them alone."""
    _forget_beyond_two(tx, tx.column(drop_queries.FORGET_READERS_OF_OWNER, owner=owner))


def _forget_beyond_two(tx: Transaction, numbers: Collection[int]) -> None:
    """Of the keys of these numbers: forget the oldest handles that are kept, beyond two a key."""
    if numbers:
        _forget(tx, tx.column(drop_queries.MORE_THAN_TWO_OF_A_KEY, numbers=as_json(numbers)))


def _forget(tx: Transaction, numbers: list[int]) -> None:
    if numbers:
        discard(tx, tx.column(drop_queries.FORGET_KEPT, numbers=as_json(numbers)))


class Register(Command[None]):
    """Register long readers of this store, and forget those that have ended; None: all others.

    ``begun`` has, for each reading, the number of what is read and the position as of which.
    """

    begun: dict[str, tuple[int, int]]
    ended: list[int] | None

    def run(self, tx: Transaction) -> None:
        if self.ended is None:
            read = tx.column(drop_queries.FORGET_READERS_OF_OWNER, owner=tx.owner)
        else:
            read = tx.column(drop_queries.FORGET_READERS, readings=as_json(self.ended))
        tx.run(drop_queries.ADD_READERS, readers=as_json(self.begun))
        _forget_beyond_two(tx, read)


class Note(Command[None]):
    """Note what has happened since the last time: which shapes were read, and which creations served how many more."""

    read: list[str]
    followers: dict[str, int]

    def run(self, tx: Transaction) -> None:
        tx.run(drop_queries.NOTE_READS, handles=as_json(self.read))
        if self.followers:
            tx.run(queries.NOTE_FOLLOWERS, followers=as_json(self.followers))
