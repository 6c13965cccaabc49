"""Forgetting: a prefix of a log, and whatever is pending deletion.

What goes is measured by a reader, outside of any lock, and deleted in pieces that are bounded in rows and in bytes, so
that no transaction of the writer is long.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from shapestore.locking import boot_clock
from shapestore.storage import drop_queries, queries
from shapestore.storage.log import compact_queries
from shapestore.storage.log import queries as log
from shapestore.storage.log.chunks import MESSAGE_BYTES, PART_BYTES
from shapestore.storage.log.live import queries as live
from shapestore.storage.log.positions import BITS
from shapestore.storage.row_codec import as_json
from shapestore.storage.transaction import Transaction

PIECE_ROWS = 5_000
PIECE_BYTES = 1024 * 1024
PIECE_NUMBERS = 1_000
PIECE_LOOKS = 100_000
"""Numbers times the tables in which members of each are looked for."""


class Piece(NamedTuple):
    """Some of what is pending deletion: rows or changes of several numbers, up to an id. One transaction takes it."""

    statement: str
    numbers: list[int]
    last: int
    done: list[int]
    """Those of the numbers of which nothing is left after it."""
    members: Sequence[tuple[int, int]] = ()
    """Those whose rows are members, each with its source table: there may be thousands of tables to look in."""


def next_piece(connection: sqlite3.Connection) -> Piece | None:
    """What is to be deleted next; None if nothing is."""
    ((tables,),) = connection.execute(live.NEWEST_SOURCE_TABLE).fetchall()
    limit = max(1, min(PIECE_NUMBERS, PIECE_LOOKS // tables))
    numbers = [number for (number,) in connection.execute(queries.DISCARDED, {"limit": limit}).fetchall()]
    if not numbers:
        return None
    given = {"numbers": as_json(numbers)}
    changes = _cut(connection.execute(compact_queries.CHANGES_LEFT, given))
    if changes.last:
        return Piece(compact_queries.DELETE_CHANGES, numbers, changes.last, [])
    rows = _cut(connection.execute(compact_queries.ROWS_LEFT, given))
    done = numbers if rows.is_all else [number for number in numbers if number < rows.last >> BITS]
    reached = [number for number in numbers if number <= rows.last >> BITS]
    members = connection.execute(live.WITH_MEMBERS, {"numbers": as_json(reached)}).fetchall()
    return Piece(compact_queries.DELETE_ROWS, numbers, rows.last, done, members)


def delete(tx: Transaction, piece: Piece) -> None:
    """Delete a piece, and the members of its rows. It was discarded before it was measured, so nothing is added.

    What is not discarded any more stays: a copy of the file in which its shape was stored still was put back.
    """
    numbers = tx.column(compact_queries.STILL_DISCARDED, numbers=as_json(piece.numbers))
    discarded = set(numbers)
    for number, table in piece.members:
        if number in discarded:
            tx.run(live.FORGET_MEMBERS, number=number, table=table, last=piece.last)
    tx.run(piece.statement, numbers=as_json(numbers), last=piece.last)
    tx.run(compact_queries.FORGET_DISCARDED, numbers=as_json(piece.done))


def kept_beyond_two(connection: sqlite3.Connection, seen: int) -> tuple[int, list[int]]:
    """Handles that are kept beyond two a key, of the keys of those that were kept since ``seen``; and what is seen now.

    The transaction that keeps a handle spares those that were kept a moment before.
    """
    now = boot_clock.now()
    given = {"seen": seen, "boot": now.boot, "oldest": now.boot_ms - drop_queries.SPARED_MS, "limit": PIECE_NUMBERS}
    kept = connection.execute(drop_queries.KEPT_SINCE, given).fetchall()
    if not kept:
        return seen, []
    numbers = as_json([number for _, number in kept])
    beyond = connection.execute(drop_queries.MORE_THAN_TWO_OF_A_KEY, {"numbers": numbers, **now._asdict()}).fetchall()
    return kept[-1][0], [number for (number,) in beyond]


def long_logs(connection: sqlite3.Connection, numbers: Iterable[int]) -> list[int]:
    """Those of the logs that are long beside their rows, or have changes that a floor has left behind."""
    found = connection.execute(compact_queries.LONG_LOGS, {"numbers": as_json(list(numbers))}).fetchall()
    return [number for (number,) in found]


def shapes_behind(connection: sqlite3.Connection, number: int, limit: int) -> list[int]:
    """The numbers of the shapes that come next behind ``number``, in order."""
    found = connection.execute(compact_queries.SHAPES_BEHIND, {"number": number, "limit": limit}).fetchall()
    return [behind for (behind,) in found]


def raise_floor(tx: Transaction, number: int, keep_ms: int) -> bool:
    """Forget the changes of a log that is long beside its rows. Whether there are some to be trimmed.

    What was superseded less than ``keep_ms`` ago stays, and what a registered reader needs. The floor is always the end
    of a round.
    """
    for base, end in tx.run(compact_queries.LONG_LOG, number=number):
        ((reader,),) = tx.run(compact_queries.OLDEST_READER, number=number)
        old = _last_old(tx, number, base, end, tx.moment.boot_ms - keep_ms)
        floor = old if reader is None else min(old, reader)
        for (floor_round,) in tx.run(log.ROUND_AT, number=number, position=floor):
            if tx.change(compact_queries.RAISE_FLOOR, number=number, position=floor, round=floor_round):
                _add_part_ends(tx, number, floor)
                return True
    return False


def _last_old(tx: Transaction, number: int, base: int, end: int, oldest: int) -> int:
    """The last position of a log whose round had ended by then. The rounds of one log end in their order."""

    def is_young(position: int) -> bool:
        return bool(tx.run(compact_queries.IS_YOUNG, number=number, position=position, oldest=oldest))

    return base + bisect_left(range(base + 1, end + 1), True, key=is_young)


def _add_part_ends(tx: Transaction, number: int, floor: int) -> None:
    """Divide what the snapshot has more, now that it is as of ``floor``, into parts as its creation did.

    The parts that there were stay, though their rows may have become fewer or larger; but if that makes a difference,
    all of it is divided again. The last ends at the floor itself, which is not written.
    """
    ((stored, rows, size),) = tx.run(compact_queries.PART_ENDS, number=number, beside=MESSAGE_BYTES)
    known: list[int] = msgspec.json.decode(stored)
    ends = known.copy() if _are_of_their_size(len(known) + 1, rows, size) else []
    after = ends[-1] if ends else 0
    given = {"number": number, "after": after, "last": floor, "size": PART_BYTES, "beside": MESSAGE_BYTES}
    ends += tx.column(compact_queries.FURTHER_PART_ENDS, **given)[:-1]
    if ends != known:
        tx.run(compact_queries.SET_PART_ENDS, number=number, ends=as_json(ends))


def _are_of_their_size(parts: int, rows: int, size: int) -> bool:
    """Whether so many parts have about half to twice the size of a part, where rows of ``size`` bytes are in them."""
    are_too_large = parts < rows and size > 2 * PART_BYTES * parts
    are_too_many = PART_BYTES * (parts - 2) > 2 * size
    return not are_too_large and not are_too_many


def next_trim(connection: sqlite3.Connection, number: int) -> int | None:
    """The id up to which the changes below a floor are deleted next; None if there are none."""
    below = connection.execute(compact_queries.BELOW_FLOOR, {"number": number, "limit": PIECE_ROWS + 1})
    return _cut(below).last or None


def trim(tx: Transaction, number: int, last: int) -> None:
    """Delete changes below the floor, up to the id ``last``."""
    sizes = tx.column(compact_queries.TRIM_LOG, number=number, last=last)
    tx.run(compact_queries.SHORTEN_LOG, number=number, size=sum(size or 0 for size in sizes))


class _Cut(NamedTuple):
    last: int
    is_all: bool


def _cut(sized: Iterable[tuple[int, int | None]]) -> _Cut:
    """The last id of the first so many, and whether they are all: one at least, then until a piece is full."""
    last = size = 0
    for count, (id_, bytes_) in enumerate(sized, 1):
        size += bytes_ or 0
        if count > 1 and (count > PIECE_ROWS or size > PIECE_BYTES):
            return _Cut(last, is_all=False)
        last = id_
    return _Cut(last, is_all=True)
