"""The one way to change stored rows: say what each should be, and what is different is appended.

Rounds that follow a source, keys that an application says it has touched, and refreshes all end here. To say it twice,
or needlessly, does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from shapestore.storage.log import wanted_queries as queries
from shapestore.storage.log.difference import RowChange
from shapestore.storage.log.keys import json_string
from shapestore.storage.log.positions import BITS
from shapestore.storage.log.rounds import Round, begin_round
from shapestore.storage.transaction import Transaction


class WantedRow(NamedTuple):
    """What a shape should hold under a key."""

    shape: int
    """The number of the shape."""
    key: str
    row: str | None
    """The row as JSON; None if the shape should not hold the key."""
    position: int | None = None
    """Where the shape holds the key, if that is known."""


class Appended(NamedTuple):
    """What was different, and where it was appended."""

    round: Round
    shapes: set[int]
    """The numbers of the shapes whose logs have grown."""
    full: set[int]
    """Those of them whose logs have hardly any positions left."""


class RoundContents(NamedTuple):
    """What a source says about some keys, for all live shapes of it at once. All of it is JSON text."""

    asked: str
    """An object of the keys, by the number of their source table."""
    rows: str
    """An object of rows by their keys. A key is there more than once if shapes have other columns of its row."""
    matches: str
    """An array of numbers, one for each shape that a row matches, as ``packed_match`` makes them."""


def packed_match(shape: int, row: int) -> int:
    """What stands for the shape with the number ``shape`` that matches a row, by its place among the rows."""
    return shape << BITS | row


def append_wanted(
    tx: Transaction,
    wanted: Iterable[WantedRow],
    *,
    source: int | None = None,
    seq: int | None = None,
    markers: Sequence[int] = (),
) -> Appended | None:
    """Append what is different from the stored rows to the logs of the shapes, as one round; None if nothing is.

    In each shape, updates and deletes come in the order of its rows, then inserts in the order in which they are given.
    Of two that name the same shape and key the last counts. A shape that is gone is left out. The round is as
    ``begin_round`` takes it; none is begun where nothing is different.
    """
    _begin_wanting(tx)
    tx.run(queries.WANT, wanted=_as_json(wanted))
    tx.run(queries.FIND_AS_MEMBERS)
    tx.run(queries.FIND_AMONG_ROWS)
    return _append(tx, source, seq, markers)


def append_difference(tx: Transaction, number: int, changes: Iterable[RowChange]) -> None:
    """Append changes of rows of one shape, which stand where the changes say, as one round, as ``append_wanted`` does.

    A row whose position is not known is a new one.
    """
    wanted = [WantedRow(number, change.key, change.new, change.position) for change in changes]
    if wanted:
        _begin_wanting(tx)
        tx.run(queries.WANT, wanted=_as_json(wanted))
        _append(tx, None, None, ())


def append_round(
    tx: Transaction, source: int, contents: RoundContents, seq: int, markers: Sequence[int], *, finished: bool
) -> Appended | None:
    """Append what a source says about some keys to the logs of its live shapes, as ``append_wanted`` does.

    A shape that holds a key and is not among its matches is to hold it no longer. Left alone are shapes that the round
    has not reached: those that were published while it read the source.
    """
    _begin_wanting(tx)
    # All keys are asked for, and all shapes are live: who holds a key is found here already.
    tx.run(queries.WANT_REMOVALS, source=source, asked=contents.asked)
    tx.run(queries.WANT_ROWS, rows=contents.rows)
    tx.run(queries.WANT_MATCHES, source=source, matches=contents.matches)
    return _append(tx, source, seq, markers, finished=finished)


def _begin_wanting(tx: Transaction) -> None:
    """Begin with nothing: what was wanted last is still there."""
    for statement in (
        queries.MAKE_WANTED,
        queries.MAKE_WANTED_ROWS,
        queries.MAKE_APPENDED,
        queries.CLEAR_WANTED,
        queries.CLEAR_WANTED_ROWS,
        queries.CLEAR_APPENDED,
    ):
        tx.run(statement)


def _append(
    tx: Transaction, source: int | None, seq: int | None, markers: Sequence[int], *, finished: bool = True
) -> Appended | None:
    if not tx.change(queries.COMPARE_WANTED):
        return None
    round_ = begin_round(tx, source, seq=seq, markers=markers, finished=finished)
    tx.run(queries.ADVANCE_WANTED, round=round_.number, visible=int(round_.is_visible))
    tx.run(queries.APPEND_CHANGES, round=round_.number)
    for statement in (queries.APPEND_ROWS, queries.APPEND_REMOVALS, queries.REMOVE_MEMBERS, queries.APPEND_MEMBERS):
        tx.run(statement)
    ((grown, full),) = tx.run(queries.APPENDED_SHAPES)
    shapes = msgspec.json.decode(grown, type=set[int])
    tx.changed.update(shapes)
    return Appended(round_, shapes, msgspec.json.decode(full, type=set[int]))


def _as_json(wanted: Iterable[WantedRow]) -> str:
    rows = (f"[{shape},{json_string(key)},{row or 'null'},{at or 'null'}]" for shape, key, row, at in wanted)
    return f"[{','.join(rows)}]"
