"""Records for people: the phrases that describe them, and the columns of their tables."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any

from shapestore.admin.records import CreationRecord, LockRecord, Record, ShapeRecord
from shapestore.cli.printing.output import plain
from shapestore.cli.printing.tables import Column
from shapestore.locking.create_lock import State

# --- quantities


def ago(moment: datetime | None) -> str:
    return "" if moment is None else f"{age(moment)} ago"


def age(moment: datetime | None) -> str:
    """The time since a moment, as the views of the file show it."""
    return "" if moment is None else duration(time.time() - moment.timestamp())


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, whichever takes two or three digits.

    >>> duration(90), duration(5_400), duration(180_000)
    ('90 s', '90 min', '2 days')
    """
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7_200:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3_600} h"
    return f"{whole // 86_400} days"


def grouped(number: int | None) -> str:
    """A number, with its digits in groups of three."""
    return "" if number is None else f"{number:,}"


def size(number: int) -> str:
    """A number of bytes."""
    if number < 10_000:
        return f"{number:,} bytes"
    return f"{number / 1000:,.0f} kB" if number < 10_000_000 else f"{number / 1_000_000:,.0f} MB"


def short(handle: str) -> str:
    """The end of a handle, which tells it from others; handles made at about the same time begin alike."""
    return handle[-12:]


# --- shapes


def described(record: Record) -> str:
    """A shape in a line: its table and predicate, with the parameters, after its namespace."""
    text = record.table
    if record.columns is not None:
        text += f" ({', '.join(record.columns)})"
    if record.where is not None:
        text += f" where {record.where}"
    if record.params:
        text += f" with {params(record.params)}"
    return f"{record.namespace}: {text}" if record.namespace else text


def params(values: Any) -> str:
    return ", ".join(f"{name}={param(value)}" for name, value in values.items())


def param(value: Any) -> str:
    """A parameter's value in the form that --param takes."""
    return f'"{value}"' if isinstance(value, str) else "null" if value is None else plain(value)


def _source(shape: ShapeRecord) -> str:
    """The source of a live shape, without its folder."""
    return os.path.basename(shape.follows or "")


# --- locks and creations


def lock_since(lock: LockRecord) -> datetime:
    return lock.failed_at or lock.started_at


def state(lock: LockRecord) -> str:
    return "creating" if lock.state is State.IN_PROGRESS else f"failed: {lock.error}"


def process_state(lock: LockRecord) -> str:
    return "running" if lock.owner.alive else "exited"


def took(creation: CreationRecord) -> str | None:
    return None if creation.duration_ms is None else f"{creation.duration_ms:,} ms"


def _owner(lock: LockRecord) -> str:
    return "gone" if lock.owner.pid is None else f"{lock.owner.pid} {lock.owner.program}"


def _callers(lock: LockRecord) -> str:
    """What a caller does now, or gets."""
    if not lock.owner.alive:
        return "take over"
    if lock.failed_at is None:
        return "wait"
    left = lock.failed_at.timestamp() + (lock.retry_after_ms or 0) / 1000 - time.time()
    return f"get this error, {duration(left)} more" if left > 0 else "take over"


# --- columns

SHAPES = [
    Column[ShapeRecord]("handle", lambda shape: short(shape.handle), lambda shape: shape.handle),
    Column[ShapeRecord]("shape", described, fold=True),
    Column[ShapeRecord]("rows", lambda shape: grouped(shape.row_count), lambda shape: shape.row_count, True),
    Column[ShapeRecord]("bytes", lambda shape: grouped(shape.bytes), lambda shape: shape.bytes, True, spare=1),
    Column[ShapeRecord]("created", lambda shape: ago(shape.created_at), lambda shape: shape.created_at, spare=2),
    Column[ShapeRecord]("last read", lambda shape: ago(shape.last_read_at), lambda shape: shape.last_read_at, spare=3),
    Column[ShapeRecord]("follows", _source, lambda shape: shape.follows, fold=True, rare=True),
]

LOCKS = [
    Column[LockRecord]("handle", lambda lock: short(lock.handle), lambda lock: lock.handle, spare=1),
    Column[LockRecord]("shape", described, fold=True),
    Column[LockRecord]("state", state, lambda lock: lock.state.value, fold=True),
    Column[LockRecord]("since", lambda lock: age(lock_since(lock)), lock_since, spare=3),
    Column[LockRecord]("rows", lambda lock: grouped(lock.rows_so_far), lambda lock: lock.rows_so_far, True, spare=5),
    Column[LockRecord]("owner", _owner, lambda lock: lock.owner.process, spare=4),
    Column[LockRecord]("is", process_state, spare=2),
    Column[LockRecord]("callers", _callers, fold=True),
]

CREATIONS = [
    Column[CreationRecord]("finished", lambda done: ago(done.finished_at), lambda done: done.finished_at, spare=1),
    Column[CreationRecord]("outcome", lambda done: done.outcome),
    Column[CreationRecord]("shape", described, fold=True),
    Column[CreationRecord]("rows", lambda done: grouped(done.row_count), lambda done: done.row_count, True, spare=3),
    Column[CreationRecord]("took", took, lambda done: done.duration_ms, True, spare=2),
    Column[CreationRecord](
        "followers", lambda done: grouped(done.followers), lambda done: done.followers, True, spare=4
    ),
    Column[CreationRecord]("error", lambda done: done.error, fold=True),
    Column[CreationRecord]("handle", lambda done: short(done.handle), lambda done: done.handle, spare=5),
]
