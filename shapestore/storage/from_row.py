"""What the columns of a row mean: stored shapes, confirmations, locks and failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from shapestore.locking.boot_clock import Moment
from shapestore.locking.create_lock import CreateLock, Failure, State
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape, at
from shapestore.storage.log.positions import pack
from shapestore.storage.queries import LIVE


class Confirmation(NamedTuple):
    """Which attempt confirmed a shape's rows last, and when it claimed: what a shape's age is counted from."""

    by: str
    """The handle of that attempt."""
    moment: Moment
    is_stale: int
    """1 if the source was touched while that attempt read it."""


def to_stored(shape: Shape, columns: Any) -> StoredShape:
    """The stored shape that a row says, from the columns ``queries.STORED``, of which the last may be a mark."""
    handle, row_count, position, round_, created_at_ms, refreshed_at_ms, live = columns
    public = pack(round_, position) if round_ else position
    return StoredShape(handle, shape, row_count, at(created_at_ms), at(refreshed_at_ms), public, live & LIVE != 0)


def to_confirmation(by: str, boot: str, at_boot_ms: int, at_ms: int, stale: int) -> Confirmation:
    return Confirmation(by, Moment(boot, at_boot_ms, at_ms), stale)


def to_create_lock(row: Sequence[Any]) -> CreateLock:
    """A lock from the columns of ``queries.LOCKS``."""
    comparable, table, state, owner, handle, started_at_ms, failed_at_ms, *failure = row
    return CreateLock(
        comparable=comparable,
        table=table,
        state=State(state),
        owner=owner,
        handle=handle,
        started_at=at(started_at_ms),
        failed_at=None if failed_at_ms is None else at(failed_at_ms),
        failure=to_failure(*failure),
    )


def to_failure(error_type: str | None, message: str | None, retry_after_ms: int | None) -> Failure | None:
    if error_type is None:
        return None
    return Failure(error_type, message or "", retry_after_ms or 0)
