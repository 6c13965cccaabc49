"""How an attempt's end is recorded: its rows discarded and its outcome kept, in the transaction that ends it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shapestore.locking.create_lock import Failure, State
from shapestore.storage import queries
from shapestore.storage.log import compact_queries
from shapestore.storage.row_codec import as_json
from shapestore.storage.transaction import Transaction


def end_attempts(tx: Transaction, outcome: str, statement: str, **which: str) -> list[str]:
    """Remove lock rows by a statement that returns them; discard and record the attempts among them. Their handles.

    Failures were discarded and recorded when they failed.
    """
    ended = tx.run(statement, **which)
    in_progress = [row for row in ended if row[2] == State.IN_PROGRESS]
    discard(tx, (number for *_, number in in_progress))
    record(tx, [(handle, key, outcome, None, None, 0) for handle, key, *_ in in_progress])
    return [handle for handle, *_ in ended]


def discard(tx: Transaction, numbers: Iterable[int]) -> None:
    """Have the rows and changes under these numbers deleted later."""
    given = list(numbers)
    if given:
        tx.run(compact_queries.DISCARD, numbers=as_json(given))


Outcome = tuple[str, str, str, Failure | None, int | None, int]


def record(tx: Transaction, outcomes: list[Outcome]) -> None:
    """Of attempts that ended without a shape."""
    if not outcomes:
        return
    rows = []
    for handle, comparable, outcome, failure, duration_ms, followers in outcomes[-queries.KEPT_CREATIONS :]:
        error = (failure.error_type, failure.message, failure.retry_after_ms) if failure else (None, None, None)
        rows.append((handle, comparable, outcome, *error, duration_ms, followers))
    add_outcomes(tx, queries.ADD_ENDED, len(rows), ended=as_json(rows))


def add_outcomes(tx: Transaction, statement: str, count: int, **parameters: Any) -> None:
    """Have a statement add so many outcomes; the oldest of all go whenever a hundred new ones have come."""
    newest = tx.add(statement, **parameters)
    if newest is not None and newest % queries.TRIMMED_AT_ONCE < count:
        tx.run(queries.TRIM_CREATIONS, newest=newest)
