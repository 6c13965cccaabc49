"""A refresh of a live shape is appended beside the rounds that have gone on meanwhile.

What was read earlier is never published over what was read later. The rows of a refresh were read as of a change S of
the source, and compared with the shape as it stood at one position. Since then

- rounds that read the source as of a later change have asked for some keys: these are theirs, also where they found
  nothing to append. They note the keys they ask for, as long as a refresh is in progress. What was noted before a round
  has reached the shape does not count: of that, nothing is in the shape.
- rounds that had read the source before S may have been appended: what they changed becomes again what it is as of S.
  That is in the difference, or, where it is not, what stood at the position of the comparison.

A shape that no round has reached since it was read is as the refresh has compared it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from shapestore.storage.log.difference import Difference
from shapestore.storage.log.live import queries
from shapestore.storage.log.rounds import show_alone
from shapestore.storage.log.wanted import WantedRow, append_wanted
from shapestore.storage.log.wanted_queries import UNFINISHED_ROUND, UNFINISHED_ROUND_UP_TO
from shapestore.storage.transaction import Transaction


class Refreshed(NamedTuple):
    """As of when a live shape was read again, and with what it was compared."""

    position: int
    """In the shape: the rows were compared with those as of it."""
    seq: int
    """The newest change of the source that is in the rows."""
    nonce: int
    signature: str | None
    """Stands for the table and its triggers; None if the reader does not follow it."""
    markers: Sequence[int] = ()
    """The last changes up to ``seq`` that applications wait for by their numbers."""


def append_refreshed(tx: Transaction, handle: str, number: int, difference: Difference, refreshed: Refreshed) -> bool:
    """Append the difference that the attempt ``handle`` has found to the live shape ``number``.

    False, and nothing appended, if rounds have asked for more keys than are noted, if what they changed is forgotten
    already, if what is appended would not be seen before a round that goes on has ended, or if the shape is not live
    any more: the attempt must begin again.
    """
    found = tx.run(queries.REFRESHED_SHAPE, number=number, handle=handle, position=refreshed.position)
    if not found:
        return False
    ((source, table, awaits_round, noted_from),) = found
    wanted = {change.key: change.new for change in difference.changes}
    asked_later: list[str] = []
    if not awaits_round:
        if tx.run(queries.RING_OVERRUN, noted_from=noted_from):
            return False
        ((later,),) = tx.run(
            queries.KEYS_ASKED_LATER, noted_from=noted_from, source=source, table=table, seq=refreshed.seq
        )
        asked_later = msgspec.json.decode(later, type=list[str])
        ((before,),) = tx.run(queries.ROWS_CHANGED_SINCE, number=number, position=refreshed.position, but_for=later)
        wanted = msgspec.json.decode(before, type=dict[str, str | None]) | wanted
        for key in asked_later:
            wanted.pop(key, None)
    rows = (WantedRow(number, key, row) for key, row in wanted.items())
    seq, markers = refreshed.seq, refreshed.markers
    if not tx.run(UNFINISHED_ROUND, source=source):
        append_wanted(tx, rows, source=source, seq=seq, markers=markers)
    elif asked_later or not tx.run(UNFINISHED_ROUND_UP_TO, source=source, seq=seq):
        return False
    else:  # the other shapes in it may not have seen all that this one has
        append_wanted(tx, rows, source=source)
        show_alone(tx, source, number, seq=seq, markers=markers)
    tx.run(
        queries.SET_READ_AS_OF,
        number=number,
        seq=refreshed.seq,
        nonce=refreshed.nonce,
        signature=refreshed.signature,
    )
    return True
