"""The lock row of a key: its states, who may change them, and what a flight does about what it sees.

    from          to                    by           condition (beside "the row bears the handle that was judged")
    (none)        in_progress           claim        no shape row with this key, a refresh's own excepted
    in_progress   (none), shape added   publish      in_progress
    in_progress   failed                fail         in_progress
    in_progress   (none)                abandon      in_progress, ours, without a flight
    in_progress   in_progress, anew     claim over   its owner is proved dead
    failed        in_progress, anew     claim over   its owner is proved dead, or seen longer than its window
    failed        (none)                sweep        failed; by its owner's timer
    any           (none)                release      a person asked
    in_progress   (none)                invalidate   its table is the one invalidated

The handle is the attempt's fence: random, never used twice, so "still bears the handle" means "the same attempt".
Every change is a transaction of a writer (commands/). Here is only the judging, without I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from shapestore.errors import CreateFailedError


class State(StrEnum):
    IN_PROGRESS = "in_progress"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended without a shape, as its lock row says it."""

    error_type: str
    message: str
    retry_after_ms: int

    def as_error(self, cause: BaseException | None = None) -> CreateFailedError:
        """The error that callers are given."""
        error = CreateFailedError(self.error_type, self.message, self.retry_after_ms / 1000)
        error.__cause__ = cause
        return error


@dataclass(frozen=True, slots=True)
class CreateLock:
    """One row of ``create_locks``: an attempt under way, or the failure of the last one."""

    comparable: str
    table: str
    state: State
    owner: str
    """The id of the open store that leads."""
    handle: str
    """The handle that the shape will have; also the attempt's fence."""
    started_at: datetime
    failed_at: datetime | None
    failure: Failure | None


class LockState(Struct, frozen=True):
    """What a look sees of a lock row."""

    handle: str
    state: State
    owner: str
    failure: Failure | None


class KeyState(Struct, frozen=True):
    """What one look sees: everything about one key, of one moment."""

    stored: str | None
    """The handle of the stored shape."""
    lock: LockState | None
    awaited_failure: Failure | None
    """The failure of the attempt that the flight waited for, if it failed, however long ago its row was swept."""


class Serve(Struct, frozen=True):
    """The shape is there."""


class Raise(Struct, frozen=True):
    """The attempt failed, and its failure is the answer."""

    failure: Failure


class Follow(Struct, frozen=True):
    """Another store's attempt is under way: look again."""

    handle: str


class Lead(Struct, frozen=True):
    """Try to lead; over that attempt, where one is dead or its failure is out of date."""

    over: str | None


class ReleaseOwn(Struct, frozen=True):
    """A row of our own store that no flight leads: free it, then look again."""

    handle: str


Step = Serve | Raise | Follow | Lead | ReleaseOwn


def decide(
    seen: KeyState, *, me: str, owner_alive: bool, failure_seen_ms: float, awaited: str | None, older: str | None
) -> Step:
    """What a flight that does not lead does about what it sees.

    ``me`` is the owner id of this store, ``owner_alive`` whether the lock row's owner lives, ``failure_seen_ms``
    for how long this store has seen that failure (by its own monotonic clock), ``awaited`` the attempt this flight
    last waited for, ``older`` the handle that a refresh is to replace.
    """
    lock = seen.lock
    # 1. A shape is an answer, unless it is the very one to be replaced.
    if seen.stored is not None and seen.stored != older:
        return Serve()
    # 2. The attempt waited for has failed: that is the answer, even if its row was swept or claimed over since.
    if seen.awaited_failure is not None:
        return Raise(seen.awaited_failure)
    if lock is None:
        return Lead(over=None)
    if lock.state is State.IN_PROGRESS:
        # 3. One key has one flight in a store, and this one does not lead: nobody of ours works under this row.
        if lock.owner == me:
            return ReleaseOwn(lock.handle)
        # 4. Only death ends another's attempt; that is for the operating system to say.
        return Follow(lock.handle) if owner_alive else Lead(over=lock.handle)
    assert lock.failure is not None
    # 5. A failure is shared for its window. Nobody sweeps it for a dead owner, and a late sweep holds up nobody.
    if awaited != lock.handle and (not owner_alive or failure_seen_ms > lock.failure.retry_after_ms):
        return Lead(over=lock.handle)
    return Raise(lock.failure)
