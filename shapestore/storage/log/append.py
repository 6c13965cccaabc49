"""A difference becomes the next round of a log, in the transaction of the writer that calls this."""

from __future__ import annotations

import random

from shapestore.storage.log import queries
from shapestore.storage.log.difference import Difference
from shapestore.storage.transaction import Transaction

_JUMP = (1 << 20, 1 << 31)


def append(tx: Transaction, number: int, difference: Difference) -> None:
    """Append ``difference`` to the log of the shape ``number``, as a round of its own."""
    round_ = next_round(tx)
    tx.changed.add(number)
    tx.run(queries.ADD_ROUND, round=round_, source=None, seq=None, markers=None, finished=1)
    tx.run(queries.TRIM_ROUNDS, round=round_)
    ((before,),) = tx.run(
        queries.ADVANCE,
        number=number,
        round=round_,
        count=len(difference.changes),
        rows=difference.more_rows,
        size=difference.more_bytes,
        log_size=difference.log_bytes,
    )
    changes = difference.as_json()
    for statement in (queries.ADD_CHANGES, queries.PUT_ROWS, queries.REMOVE_ROWS):
        tx.run(statement, number=number, first=before + 1, round=round_, changes=changes)


def next_round(tx: Transaction) -> int:
    """The number of a new round.

    Where a copy of the file may have given out rounds that this one does not know (no store had it open when it was
    opened, or it knows fewer than this store has seen, or others), the counter jumps out of their way. So nothing has
    to be known about the copies.
    """
    ((newest, jump_due, _),) = tx.run(queries.LOG_STATE)
    jumps = _jumps(tx, newest, jump_due)
    gap = random.randint(*_JUMP) if jumps else 0
    ((round_,),) = tx.run(queries.NEXT_ROUND, gap=gap)
    tx.newest_round = round_
    if jumps:
        tx.run(queries.ADD_GAP, first=newest + 1, last=round_ - 1)
        for (last,) in tx.run(queries.TRIM_GAPS):
            tx.run(queries.FORGET_GAPS_BEFORE, round=last + 1)
    assert isinstance(round_, int)
    return round_


def jump_is_due(tx: Transaction) -> bool:
    """Whether the next round has to jump: also where a round that this store has seen is not in the file any more."""
    ((newest, jump_due, _),) = tx.run(queries.LOG_STATE)
    return _jumps(tx, newest, jump_due)


def _jumps(tx: Transaction, newest: int, jump_due: int) -> bool:
    if jump_due or newest < tx.newest_round:
        return True
    return newest > tx.newest_round > 1 and not tx.run(queries.HAS_ROUND, round=tx.newest_round)
