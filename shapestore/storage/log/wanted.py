"""The one way to change stored rows by key: say what each should be, and what is different is appended.

Rounds that follow a source, keys that an application says it has touched, and refreshes of live shapes all end here. To
say it twice, or needlessly, does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shapestore.storage.log import wanted_queries as queries
from shapestore.storage.log.keys import quoted
from shapestore.storage.log.rounds import NumberedHandles, Round, begin_round, numbered_handles
from shapestore.storage.transaction import Transaction


class WantedRow(NamedTuple):
    """What a shape should hold under a key."""

    shape: int
    """The number of the shape."""
    key: str
    row: str | None
    """The row as JSON; None if the shape should not hold the key."""


class Appended(NamedTuple):
    """What was different, and where it was appended."""

    round: Round
    shapes: NumberedHandles
    """The shapes whose logs have grown."""


def append_wanted(
    tx: Transaction,
    wanted: Iterable[WantedRow],
    *,
    source: int | None = None,
    seq: int | None = None,
    markers: Sequence[int] = (),
    finished: bool = True,
) -> Appended | None:
    """Append what is different from the stored rows to the logs of the shapes, as one round; None if nothing is.

    In each shape, updates and deletes come in the order of its rows, then inserts in the order in which they are given.
    Of two that name the same shape and key the last counts. A shape that is gone is left out. The round is as
    ``begin_round`` takes it; none is begun where nothing is different.
    """
    _compare(tx, f"[{','.join(map(_as_json, wanted))}]")
    if not tx.run(queries.ANY_APPENDED):
        return None
    round_ = begin_round(tx, source, seq=seq, markers=markers, finished=finished)
    tx.run(queries.ADVANCE_WANTED, round=round_.number, visible=int(round_.is_visible))
    tx.run(queries.APPEND_CHANGES, round=round_.number)
    for statement in (queries.APPEND_ROWS, queries.APPEND_REMOVALS, queries.REMOVE_MEMBERS, queries.APPEND_MEMBERS):
        tx.run(statement)
    shapes = numbered_handles(tx.run(queries.APPENDED_SHAPES))
    tx.changed.update(shapes)
    tx.run(queries.CLEAR_APPENDED)
    return Appended(round_, shapes)


def _compare(tx: Transaction, wanted: str) -> None:
    """Find what is different."""
    for statement in (queries.MAKE_WANTED, queries.MAKE_APPENDED, queries.CLEAR_WANTED, queries.CLEAR_APPENDED):
        tx.run(statement)  # a transaction that failed may have left something there
    tx.run(queries.WANT, wanted=wanted)
    for statement in (queries.FIND_AS_MEMBERS, queries.FIND_AMONG_ROWS, queries.COMPARE_WANTED, queries.CLEAR_WANTED):
        tx.run(statement)


def _as_json(wanted: WantedRow) -> str:
    shape, key, row = wanted
    return f"[{shape},{quoted(key)},{row or 'null'}]"
