"""What a store's file says, as people and their tools are told it: each record is a row, read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shapestore.errors import InvalidShapeError
from shapestore.locking.create_lock import State
from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.stored_shape import at


@dataclass(frozen=True, slots=True)
class Record:
    """What all that is seen has in common: it is about a shape."""

    handle: str
    table: str
    where: str | None
    params: dict[str, Scalar]
    columns: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ShapeRecord(Record):
    row_count: int
    created_at: datetime
    last_read_at: datetime
    comparable: str


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """An open store, or one that died."""

    owner: str
    pid: int | None
    """None, as all that follows, if the owner is in no list of owners any more."""
    program: str | None
    hostname: str | None
    alive: bool
    opened_at: datetime | None

    @property
    def process(self) -> str:
        """In words."""
        if self.pid is None:
            return "a store that is gone"
        return f"process {self.pid} ({self.program}) on {self.hostname}"


@dataclass(frozen=True, slots=True)
class LockRecord(Record):
    state: State
    owner: OwnerRecord
    started_at: datetime
    rows_so_far: int
    failed_at: datetime | None
    error: str | None
    retry_after_ms: int | None
    comparable: str


@dataclass(frozen=True, slots=True)
class CreationRecord(Record):
    outcome: str
    finished_at: datetime
    duration_ms: int | None
    row_count: int | None
    followers: int
    error: str | None


# --- from rows

SHAPE_COLUMNS = "handle, comparable, table_name, row_count, created_at_ms, last_read_at_ms"
OWNER_COLUMNS = "owners.owner, pid, program, hostname, opened_at_ms"
LOCK_COLUMNS = """
    handle, comparable, table_name, state, started_at_ms,
    (SELECT max(position) FROM shape_rows WHERE shape_rows.handle = create_locks.handle),
    failed_at_ms, error_type, error_message, retry_after_ms
"""
CREATION_COLUMNS = """
    handle, comparable, outcome, finished_at_ms, duration_ms, row_count, followers, error_type, error_message
"""


def shape_record(row: Sequence[Any]) -> ShapeRecord:
    """From the columns of ``SHAPE_COLUMNS``."""
    handle, key, table, row_count, created_at_ms, last_read_at_ms = row
    return ShapeRecord(*_described(handle, key, table), row_count, at(created_at_ms), at(last_read_at_ms), key)


def owner_record(row: Sequence[Any], *, alive: bool) -> OwnerRecord:
    """From the columns of ``OWNER_COLUMNS``."""
    owner, pid, program, hostname, opened_at_ms = row
    return OwnerRecord(owner, pid, program, hostname, alive, _at(opened_at_ms))


def lock_record(row: Sequence[Any], owner: OwnerRecord) -> LockRecord:
    """From the columns of ``LOCK_COLUMNS``."""
    handle, key, table, state, started_at_ms, rows, failed_at_ms, kind, message, retry_after_ms = row
    return LockRecord(
        *_described(handle, key, table),
        state=State(state),
        owner=owner,
        started_at=at(started_at_ms),
        rows_so_far=rows or 0,
        failed_at=_at(failed_at_ms),
        error=_error(kind, message),
        retry_after_ms=retry_after_ms,
        comparable=key,
    )


def creation_record(row: Sequence[Any]) -> CreationRecord:
    """From the columns of ``CREATION_COLUMNS``."""
    handle, key, outcome, finished_at_ms, duration_ms, row_count, followers, kind, message = row
    return CreationRecord(
        *_described(handle, key, ""),
        outcome,
        at(finished_at_ms),
        duration_ms,
        row_count,
        followers,
        _error(kind, message),
    )


def _described(
    handle: str, comparable: str, table: str
) -> tuple[str, str, str | None, dict[str, Scalar], tuple[str, ...] | None]:
    """The fields of a Record. A comparable that cannot be read is shown as it is: it is for `doctor` to complain."""
    try:
        shape = Shape.from_comparable(comparable)
    except InvalidShapeError:
        return handle, table, f"(unreadable) {comparable}", {}, None
    return handle, shape.table, shape.where, dict(shape.params), shape.columns


def _error(kind: str | None, message: str | None) -> str | None:
    if kind is None:
        return None
    return f"{kind}: {message}" if message else kind


def _at(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else at(time_ms)
