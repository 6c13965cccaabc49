"""What changes a lock row: each bound to its fencing token, the handle of the attempt that was judged."""

from __future__ import annotations

from typing import Self

from shapestore.locking.create_lock import Failure
from shapestore.shape.shape import Shape
from shapestore.storage import queries
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.history import discard, end_attempts, record
from shapestore.storage.commands.shapes import forget_readers_of
from shapestore.storage.row_codec import as_json
from shapestore.storage.transaction import Transaction


class Claim(Command[bool]):
    """Lead the creation of a shape, whose key is ``comparable``, under ``handle``. Answered False if another leads."""

    shape: Shape
    handle: str
    comparable: str
    namespace: str
    over: str | None
    """The attempt judged dead or out of date, which is ended in the same transaction."""
    older: str | None
    """Of a refresh: the attempt that had confirmed the shape when it was judged."""

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        over = [claim.over for claim in group if claim.over is not None]
        if over:
            end_attempts(tx, "died", queries.RELEASE, handles=as_json(over))
        claims = {
            claim.handle: (
                claim.comparable,
                claim.namespace,
                claim.shape.table,
                claim.shape.where_as_written,
                claim.older,
            )
            for claim in group
        }
        if tx.change(queries.CLAIM, claims=as_json(claims)) == len(group):
            return [True] * len(group)
        led = leading(tx, list(claims))
        return [claim.handle in led for claim in group]


class Fail(Command[bool]):
    """End an attempt with its failure. Answered False, and nothing changed, if its fencing token no longer holds."""

    comparable: str
    handle: str
    failure: Failure
    duration_ms: int
    followers: int

    @classmethod
    def apply(cls, group: list[Self], tx: Transaction) -> list[bool]:
        failures = {
            command.handle: (command.failure.error_type, command.failure.message, command.failure.retry_after_ms)
            for command in group
        }
        held = dict(tx.run(queries.FAIL, failures=as_json(failures)))
        discard(tx, held.values())
        failed = [command for command in group if command.handle in held]
        record(tx, [(c.handle, c.comparable, "failed", c.failure, c.duration_ms, c.followers) for c in failed])
        return [command.handle in held for command in group]


class Abandon(Command[bool]):
    """End an attempt of our own that has no flight (any more), without an outcome that others take for an answer."""

    handle: str

    def run(self, tx: Transaction) -> bool:
        return bool(end_attempts(tx, "abandoned", queries.ABANDON, handle=self.handle))


class Sweep(Command[None]):
    """Remove failures whose failure TTL is over: these very ones, never a newer row of the same key."""

    handles: list[str]

    def run(self, tx: Transaction) -> None:
        tx.run(queries.SWEEP, handles=as_json(self.handles))


class Release(Command[str | None]):
    """Free a key because a person asked. Answered with the handle of the attempt or failure that was there."""

    comparable: str

    def run(self, tx: Transaction) -> str | None:
        return next(iter(end_attempts(tx, "released", queries.RELEASE_KEY, comparable=self.comparable)), None)


class EndOwner(Command[None]):
    """Remove every trace of an owner that is dead."""

    owner: str

    def run(self, tx: Transaction) -> None:
        end_owner(tx, self.owner, "died")


def leading(tx: Transaction, handles: list[str]) -> dict[str, int]:
    """The numbers of those attempts whose fencing token still holds."""
    return dict(tx.run(queries.STILL_LEADING, handles=as_json(handles)))


def end_owner(tx: Transaction, owner: str, outcome: str) -> None:
    """Remove every trace of an owner that is gone: its row, its failures, its readers, its attempts and their rows."""
    end_attempts(tx, outcome, queries.RELEASE_OWNER, owner=owner)
    forget_readers_of(tx, owner)
    tx.run(queries.FORGET_OWNER, owner=owner)
