"""How an attempt's end is put down: its rows discarded, its outcome recorded, in the transaction that ends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shapestore.locking.create_lock import Failure, State
from shapestore.storage import queries
from shapestore.storage.transaction import Transaction


async def end_attempts(tx: Transaction, ended: list[tuple[Any, ...]], outcome: str) -> None:
    """Discard and record the attempts among the lock rows ``ended``; failures have been, when they failed."""
    under_way = [row for row in ended if row[2] == State.IN_PROGRESS]
    await discard(tx, under_way)
    await record(tx, [(handle, key, outcome, None, None, 0) for handle, key, _ in under_way])


async def discard(tx: Transaction, rows: Iterable[Sequence[Any]]) -> None:
    handles = [row[0] for row in rows]
    if handles:
        await tx.run(queries.DISCARD, as_json(handles))


async def record_created(tx: Transaction, created: dict[str, tuple[int, int]]) -> None:
    """Each handle with the duration of its creation, in milliseconds, and the number of followers."""
    await tx.run(queries.ADD_CREATED, as_json(created), tx.now_ms)
    await tx.run(queries.TRIM_CREATIONS)


Outcome = tuple[str, str, str, Failure | None, int | None, int]


async def record(tx: Transaction, outcomes: list[Outcome]) -> None:
    """Of attempts that ended without a shape."""
    if not outcomes:
        return
    rows = []
    for handle, comparable, outcome, failure, duration_ms, followers in outcomes[-queries.KEPT_CREATIONS :]:
        error = (failure.error_type, failure.message, failure.retry_after_ms) if failure else (None, None, None)
        rows.append((handle, comparable, outcome, *error, duration_ms, followers))
    await tx.run(queries.ADD_ENDED, as_json(rows), tx.now_ms)
    await tx.run(queries.TRIM_CREATIONS)


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
