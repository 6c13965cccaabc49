"""The lock row of a key: its states, who may change them, and what a flight does about what it has polled.

    from          to                          by           condition (beside "the row bears the handle that was judged")
    (none)        in_progress                 claim        no shape row with this key; or, to refresh, the one judged
    in_progress   in_progress, rows added     chunk        in_progress
    in_progress   (none), shape inserted,     publish      in_progress
                  or its log advanced
    in_progress   failed                      fail         in_progress
    in_progress   (none)                      abandon      in_progress, ours, without a flight
    in_progress   in_progress, new handle     take over    its owner is proved dead
    failed        in_progress, new handle     take over    its owner is proved dead, or seen for longer than its TTL
    failed        (none)                      sweep        failed; by its owner's timer
    any           (none)                      release      a person asked
    in_progress   (none)                      invalidate   its table is the one invalidated

The handle is the attempt's fencing token: random and never used twice, so "still bears the handle" means "is still the
same attempt". Every change is a transaction of a writer (storage/commands). This module only decides, without I/O.
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
    """Why an attempt ended without a shape, as its lock row publishes it."""

    error_type: str
    message: str
    retry_after_ms: int
    """The failure TTL: for so long callers are given this failure, and no other attempt is made."""

    def as_error(self, shape: str, cause: BaseException | None = None) -> CreateFailedError:
        """The error to raise to callers. ``shape`` is what the shape is called in it."""
        error = CreateFailedError(self.error_type, self.message, self.retry_after_ms / 1000, shape)
        error.__cause__ = cause
        return error


@dataclass(frozen=True, slots=True)
class CreateLock:
    """One row of ``create_locks``: an attempt in progress, or the failure of the last one."""

    comparable: str
    table: str
    state: State
    owner: str
    """The id of the open store that leads."""
    handle: str
    """The attempt's fencing token; also the handle of the shape that it makes. A refresh may keep the old handle."""
    started_at: datetime
    failed_at: datetime | None
    failure: Failure | None


class LockState(Struct, frozen=True):
    """What a poll reads of a lock row."""

    handle: str
    state: State
    owner: str
    failure: Failure | None


class KeyState(Struct, frozen=True):
    """What one poll reads: everything about one key, as of one moment."""

    stored: str | None
    """The attempt that has confirmed the stored shape last."""
    lock: LockState | None
    awaited_failure: Failure | None
    """The failure of the attempt that the flight followed, if it failed, however long ago its row was swept."""


class Serve(Struct, frozen=True):
    """The shape is stored: it is the answer."""


class Raise(Struct, frozen=True):
    """The attempt failed, and its failure is the answer."""

    failure: Failure


class Follow(Struct, frozen=True):
    """Another store's attempt is in progress: poll again later."""

    handle: str


class Lead(Struct, frozen=True):
    """Try to lead. ``over`` is the attempt to take over: one of a dead owner, or a failure that is out of date."""

    over: str | None


class ReleaseOwn(Struct, frozen=True):
    """A lock row of this store that no flight leads: release it, then poll again."""

    handle: str


Step = Serve | Raise | Follow | Lead | ReleaseOwn


def decide(
    seen: KeyState, *, me: str, owner_alive: bool, failure_seen_ms: float, awaited: str | None, older: str | None
) -> Step:
    """What a flight that does not lead does about what it has polled.

    ``me`` is the owner id of this store, ``owner_alive`` whether the lock row's owner is alive, ``failure_seen_ms`` for
    how long this store has seen that failure (by its own monotonic clock), ``awaited`` the attempt that this flight
    last followed, ``older`` the attempt that has confirmed what a refresh is to renew.
    """
    lock = seen.lock
    # 1. A shape is an answer, unless it is the very one that is to be refreshed.
    if seen.stored is not None and seen.stored != older:
        return Serve()
    # 2. The attempt that was followed has failed: that is the answer, even if its row was swept or taken over since.
    if seen.awaited_failure is not None:
        return Raise(seen.awaited_failure)
    if lock is None:
        return Lead(over=None)
    if lock.state is State.IN_PROGRESS:
        # 3. A key has one flight in a store, and this one does not lead: the row of our own is an orphan.
        if lock.owner == me:
            return ReleaseOwn(lock.handle)
        # 4. Only its owner's death ends another's attempt, and only the operating system can prove that.
        return Follow(lock.handle) if owner_alive else Lead(over=lock.handle)
    assert lock.failure is not None
    # 5. A failure is shared for its TTL. A dead owner does not sweep it, and a late sweep must not delay others.
    if awaited != lock.handle and (not owner_alive or failure_seen_ms > lock.failure.retry_after_ms):
        return Lead(over=lock.handle)
    return Raise(lock.failure)
