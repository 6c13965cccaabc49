"""Public positions: the round, a bit, and 28 bits of the position in the shape, in one integer that only grows.

No public position is ever given out twice, for two things. The round tells apart what two copies of one file have
logged at the same position: rounds are counted for the whole file, and the counter jumps by a random distance where a
copy may have been put back. Rows of the first snapshot have round 0, so that the public position of a fresh snapshot is
its number of rows.

Rows of a later snapshot, as of a floor, have the round of the floor, and the bit. Without it, the middle of a round of
changes would stand for the middle of the snapshot as of the end of that round, once the floor is there: who goes on
from it would miss the rest of the changes.

Packing is done here only, since a packed value may exceed the 63 bits that SQLite and JSON readers hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from shapestore.storage.log import queries
from shapestore.storage.row_codec import as_json

BITS = 28
MAX_POSITION = (1 << BITS) - 1
"""The last position in a shape."""

_OF_SNAPSHOT = 1 << BITS


class Standing(NamedTuple):
    """Where the log of a handle stands."""

    number: int
    row_count: int
    bytes: int
    snapshot: int
    position: int
    written: int
    round: int
    floor: int
    floor_round: int
    key_columns: str | None
    kept: int
    """1 if the handle was replaced or dropped, and is kept for its readers."""
    columns_described: str | None = None
    """What is known of its columns, as JSON; None too where it was not asked for."""
    source: str | None = None
    """The file of the source that it follows, where that was asked for."""
    was_left: int = 0
    """1 if it followed its source once, and was left, since its where cannot be routed beside those of the others."""

    def has_key_columns(self, names: Sequence[str] | None) -> bool:
        """Whether the keys of its rows are the values of these columns."""
        return self.key_columns == (None if names is None else as_json(list(names)))

    @property
    def base(self) -> int:
        """The last position of the snapshot: as of the floor, once the log was compacted."""
        return self.floor or self.snapshot

    @property
    def public(self) -> int:
        """The public position of its visible end."""
        return pack(self.round, self.position)


def pack(round: int, position: int) -> int:  # noqa: A002 - the domain's word
    """The public position of ``position``, logged in ``round``."""
    return round << BITS + 1 | position


def pack_row(log: Standing, position: int) -> int:
    """The public position of a row of the snapshot: as of the floor, if there is one."""
    return pack(log.floor_round, position) | (_OF_SNAPSHOT if log.floor else 0)


def unpack(public: int) -> tuple[int, int]:
    """Round and position in the shape of a public position.

    >>> unpack(pack(3, 17))
    (3, 17)
    """
    return public >> BITS + 1, public & MAX_POSITION


def locate(connection: sqlite3.Connection, handle: str) -> Standing | None:
    """Where the log of ``handle`` stands; None if the handle is gone."""
    for row in connection.execute(queries.LOCATE, {"handle": handle}).fetchall():
        return Standing(*row)
    return None


def accepted(connection: sqlite3.Connection, log: Standing, public: int) -> int | None:
    """The position in the shape that a public position stands for; None if it was not given out for this log."""
    if public == 0:
        return 0
    round_, position = unpack(public)
    if 0 < position <= log.base:  # a row of the snapshot, or its end
        return position if public in (pack_row(log, position), pack(log.floor_round, log.base)) else None
    if public & _OF_SNAPSHOT or position > log.position:
        return None
    if position > 0:
        logged = connection.execute(queries.ROUND_AT, {"number": log.number, "position": position}).fetchall()
        return position if logged == [(round_,)] else None
    return _end_of_round(connection, log, round_)


def _end_of_round(connection: sqlite3.Connection, log: Standing, round_: int) -> int | None:
    """The last position of this log whose round is not later than ``round_``, if that was ever a round."""
    ((newest, _, gaps_known_from),) = connection.execute(queries.LOG_STATE).fetchall()
    if not max(log.floor_round, gaps_known_from) <= round_ <= newest:
        return None
    if connection.execute(queries.GAP_AT, {"round": round_}).fetchall():
        return None
    ((position,),) = connection.execute(
        queries.LAST_POSITION_OF_ROUND, {"number": log.number, "round": round_}
    ).fetchall()
    return max(log.base, min(position or 0, log.position))
