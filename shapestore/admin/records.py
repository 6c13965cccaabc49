"""Records of a store's file, for people and their tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shapestore.errors import InvalidShapeError
from shapestore.locking.create_lock import CreateLock, State
from shapestore.shape import comparable as comparables
from shapestore.shape.shape import Scalar
from shapestore.shape.stored_shape import at


@dataclass(frozen=True, slots=True)
class Record:
    """What the records have in common: the handle of an attempt, and the shape that it is about."""

    handle: str
    namespace: str
    table: str
    where: str | None
    params: dict[str, Scalar]
    columns: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ShapeRecord(Record):
    row_count: int
    bytes: int
    """Bytes of the rows' JSON text."""
    log_bytes: int
    """Bytes of the log of changes."""
    created_at: datetime
    refreshed_at: datetime
    last_read_at: datetime
    follows: str | None
    """The file of the SQLite source that the shape follows; None if it is not live."""
    comparable: str


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """A store that is open, or whose process exited without closing it."""

    owner: str
    pid: int | None
    """None, as all that follows, if only a lock row still names the owner."""
    program: str | None
    hostname: str | None
    alive: bool
    """Whether the operating system says that the store is open. A stopped process is alive."""
    opened_at: datetime | None

    @property
    def process(self) -> str:
        """The process, for a message."""
        if self.pid is None:
            return "a store that is gone"
        return f"process {self.pid} ({self.program}) on {self.hostname}"


@dataclass(frozen=True, slots=True)
class LockRecord(Record):
    """A CreateLock with its shape, its owner, and how far the creation is."""

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


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of everything in the file."""

    shapes: int
    discarded: int
    """Attempts whose rows are pending deletion."""
    creations: int
    """Outcomes that are recorded: the last thousand."""
    created: int
    failed: int
    followers: int
    """Callers that those creations served, besides the first of each."""
    largest_herd: int


# --- from rows

SHAPE_COLUMNS = """
    handle, comparable, table_name, row_count, bytes, log_bytes, created_at_ms, refreshed_at_ms, last_read_at_ms,
    CASE WHEN live THEN (SELECT name FROM sources WHERE sources.number = shapes.source) END
"""
OWNER_COLUMNS = "owner, pid, program, hostname, opened_at_ms"
CREATION_COLUMNS = """
    handle, comparable, outcome, finished_at_ms, duration_ms, row_count, followers, error_type, error_message
"""


def shape_record(row: Sequence[Any]) -> ShapeRecord:
    """From the columns of ``SHAPE_COLUMNS``."""
    handle, key, table, row_count, bytes_, log_bytes, created, refreshed, last_read, follows = row
    times = at(created), at(refreshed), at(last_read)
    return ShapeRecord(*_described(handle, key, table), row_count, bytes_, log_bytes, *times, follows, key)


def owner_record(row: Sequence[Any], *, alive: bool) -> OwnerRecord:
    """From the columns of ``OWNER_COLUMNS``."""
    owner, pid, program, hostname, opened_at_ms = row
    return OwnerRecord(owner, pid, program, hostname, alive, at(opened_at_ms))


def lock_record(lock: CreateLock, owner: OwnerRecord, rows_so_far: int) -> LockRecord:
    failure = lock.failure
    return LockRecord(
        *_described(lock.handle, lock.comparable, lock.table),
        state=lock.state,
        owner=owner,
        started_at=lock.started_at,
        rows_so_far=rows_so_far,
        failed_at=lock.failed_at,
        error=None if failure is None else _error(failure.error_type, failure.message),
        retry_after_ms=None if failure is None else failure.retry_after_ms,
        comparable=lock.comparable,
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
        None if kind is None else _error(kind, message),
    )


def _described(
    handle: str, comparable: str, table: str
) -> tuple[str, str, str, str | None, dict[str, Scalar], tuple[str, ...] | None]:
    """The fields of a Record. A comparable that cannot be read is shown as it is; doctor reports it as an error."""
    try:
        fields = comparables.read(comparable)
    except InvalidShapeError:
        return handle, "", table, f"(unreadable) {comparable}", {}, None
    return handle, fields.namespace, fields.table, fields.where, fields.params, fields.columns


def _error(kind: str, message: str | None) -> str:
    return f"{kind}: {message}" if message else kind
