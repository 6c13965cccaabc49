"""Rounds: how they are numbered, and those of a source, each of which changes all of its shapes together.

A round of a source that is too large for one transaction goes on in further ones. Until it is finished its changes are
written, but not visible: the shapes of its source stand at the end of the round before. A refresh of one of them that
has seen all that the round has asked for so far ends the round for this shape.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from shapestore.storage.log import queries, wanted_queries
from shapestore.storage.row_codec import as_json
from shapestore.storage.transaction import Transaction

_JUMP = (1 << 20, 1 << 31)


class Round(NamedTuple):
    """A round that changes are appended to."""

    number: int
    is_visible: bool
    """Whether readers see what is appended at once; else the round goes on."""


def begin_round(
    tx: Transaction,
    source: int | None = None,
    *,
    seq: int | None = None,
    markers: Sequence[int] = (),
    finished: bool = True,
) -> Round:
    """A new round of ``source`` (its number; None: of no source), or the one of it that goes on.

    ``seq`` is the change of the source as of which it was read. ``markers`` are the changes up to there that
    applications wait for by their numbers. ``finished``: False if more belongs to the round than is appended now.
    """
    noted = _noted(markers)
    for (unfinished,) in tx.run(wanted_queries.UNFINISHED_ROUND, source=source):
        number = _behind_a_jump(tx, source, unfinished)
        tx.run(wanted_queries.ADD_TO_ROUND, round=number, seq=seq, markers=noted)
        return Round(number, is_visible=False)
    number = next_round(tx)
    tx.run(queries.ADD_ROUND, round=number, source=source, seq=seq, markers=noted, finished=int(finished))
    tx.run(queries.TRIM_ROUNDS, round=number)
    if not finished:
        tx.run(wanted_queries.SET_UNFINISHED_ROUND, source=source, round=number)
    return Round(number, finished)


def finish_round(tx: Transaction, source: int, *, seq: int | None = None, markers: Sequence[int] = ()) -> set[int]:
    """Show what the unfinished round of ``source`` has written, if there is one; the shapes that it has changed."""
    if not tx.run(wanted_queries.UNFINISHED_ROUND, source=source):
        return set()
    round_ = begin_round(tx, source, seq=seq, markers=markers).number
    ((hidden,),) = tx.run(wanted_queries.HIDDEN_SHAPES, source=source)
    shown = msgspec.json.decode(hidden, type=set[int])
    tx.changed.update(shown)
    tx.run(wanted_queries.SHOW_WRITTEN, source=source, round=round_)
    tx.run(wanted_queries.FINISH_ROUND, round=round_)
    tx.run(wanted_queries.SET_UNFINISHED_ROUND, source=source, round=None)
    return shown


def show_alone(tx: Transaction, source: int, shape: int, *, seq: int, markers: Sequence[int] = ()) -> None:
    """Show what is written of one shape of ``source``, though a round goes on: all of it was read as of ``seq``.

    For this shape the round has ended, and has passed the ``markers``. For the others it goes on, under another number.
    The round has not read the source as of a later change: it would tell that the shape has seen that one, and its
    markers.
    """
    ((unfinished,),) = tx.run(wanted_queries.UNFINISHED_ROUND, source=source)
    ended = _behind_a_jump(tx, source, unfinished)
    if tx.change(wanted_queries.SHOW_WRITTEN_OF_ONE, source=source, round=ended, number=shape):
        new = next_round(tx)
        tx.run(wanted_queries.COPY_ROUND, round=ended, new=new)
        tx.run(wanted_queries.RENUMBER_CHANGES, source=source, new=new)
        tx.run(wanted_queries.SET_UNFINISHED_ROUND, source=source, round=new)
        tx.run(wanted_queries.ADD_TO_ROUND, round=ended, seq=seq, markers=_noted(markers))
        tx.run(wanted_queries.FINISH_ROUND, round=ended)
        tx.changed.add(shape)


def _noted(markers: Sequence[int]) -> str | None:
    return as_json(list(markers)) if markers else None


def _behind_a_jump(tx: Transaction, source: int | None, unfinished: int) -> int:
    """The number under which a round goes on: where a copy of the file may have finished it otherwise, a new one."""
    if not jump_is_due(tx):
        return unfinished
    new = next_round(tx)
    tx.run(wanted_queries.RENUMBER_CHANGES, source=source, new=new)
    tx.run(wanted_queries.RENUMBER_ROUND, round=unfinished, new=new)
    tx.run(wanted_queries.SET_UNFINISHED_ROUND, source=source, round=new)
    tx.run(queries.ADD_GAP, first=unfinished, last=unfinished)
    return new


def next_round(tx: Transaction) -> int:
    """The number of a new round.

    Where a copy of the file may have given out rounds that this one does not know (no store had it open when it was
    opened, or it knows fewer than this store has seen, or others), the counter jumps out of their way. So nothing has
    to be known about the copies.
    """
    jumps = jump_is_due(tx)
    gap = random.randint(*_JUMP) if jumps else 0
    ((round_,),) = tx.run(queries.NEXT_ROUND, gap=gap)
    tx.newest_round = round_
    if jumps:
        tx.run(queries.ADD_GAP, first=round_ - gap, last=round_ - 1)
        for (last,) in tx.run(queries.TRIM_GAPS):
            tx.run(queries.FORGET_GAPS_BEFORE, round=last + 1)
    return int(round_)


def jump_is_due(tx: Transaction) -> bool:
    """Whether the next round has to jump: also where a round that this store has seen is not in the file any more."""
    ((newest, jump_due, _),) = tx.run(queries.LOG_STATE)
    if jump_due or newest < tx.newest_round:
        return True
    return newest > tx.newest_round > 1 and not tx.run(queries.HAS_ROUND, round=tx.newest_round)
