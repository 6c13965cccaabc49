"""What a follower writes: rounds of its source, and shapes that cannot be followed any further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from shapestore.locking.boot_clock import Moment
from shapestore.locking.handles import Handles
from shapestore.storage.commands.command import Command
from shapestore.storage.commands.shapes import drop
from shapestore.storage.log.live import queries
from shapestore.storage.log.rounds import begin_round, finish_round
from shapestore.storage.log.wanted import RoundContents, append_round
from shapestore.storage.row_codec import as_json
from shapestore.storage.transaction import Transaction

NOTHING = "{}"


class Follows(NamedTuple):
    """Up to where a source is followed, as a follower knows it."""

    rounds: int
    """How many rounds there were: what it compares and sets."""
    seq: int
    nonce: int | None
    """None if it was never followed."""


class FollowRound(Command[set[int] | None]):
    """Append a round, or a part of one, to the live shapes of a source.

    ``known`` is what the follower went by; if that is not so any more, nothing is changed, and the answer is None.
    Otherwise it is the numbers of the shapes whose readers see something new.
    """

    source: int
    known: Follows
    seq: int
    """Up to this change of the source, all keys were asked for."""
    nonce: int
    read_at: int
    """The newest change that is in what was read: if it is later than ``seq``, the round goes on."""
    began: Moment
    """When the look at the source began: what the shapes' age is counted from."""
    contents: RoundContents
    markers: Sequence[int]
    newcomers: Mapping[int, int]
    """Shapes that the round reaches for the first time, each with the change as of which it was read."""

    @property
    def size(self) -> int:
        return len(self.contents.rows) + len(self.contents.matches)

    def run(self, tx: Transaction) -> set[int] | None:
        source, known = self.source, self.known
        finished = self.seq == self.read_at
        taken = tx.change(
            queries.TAKE_ROUND,
            source=source,
            rounds=known.rounds,
            before=known.seq,
            seq=self.seq,
            nonce=self.nonce,
            finished=finished,
            **self.began._asdict(),
        )
        if not taken:
            return None
        if self.newcomers:
            newcomers = as_json(list(self.newcomers.items()))
            tx.run(queries.NOTED_FROM_NOW, newcomers=newcomers)
            tx.run(queries.CATCH_UP, newcomers=newcomers)
        shown = set() if self.contents.asked == NOTHING else self._append(tx, finished=finished)
        if shown:  # then no round goes on
            return shown
        if not finished and (self.markers or self.contents.asked != NOTHING):
            # What was written with these may be different in a later part only: it may be undone here already.
            begin_round(tx, source, seq=self.read_at, markers=self.markers, finished=False)
        return finish_round(tx, source, seq=self.read_at, markers=self.markers) if finished else shown

    def _append(self, tx: Transaction, *, finished: bool) -> set[int]:
        """What becomes visible at once. A shape whose log is full is dropped: the next one begins with an empty log."""
        self._note_asked(tx)
        appended = append_round(tx, self.source, self.contents, self.read_at, self.markers, finished=finished)
        if appended is None:
            return set()
        drop(tx, appended.full)
        return appended.shapes if appended.round.is_visible else set()

    def _note_asked(self, tx: Transaction) -> None:
        """While a refresh of a live shape is in progress, so that it publishes nothing older over what is read now."""
        if tx.run(queries.ANY_REFRESHED, source=self.source):
            tx.run(queries.NOTE_ASKED, source=self.source, seq=self.read_at, asked=self.contents.asked)
            tx.run(queries.TRIM_RING)


class Unfollow(Command[list[str]]):
    """Drop live shapes that cannot be followed any further. Their handles are kept for their readers.

    ``failures``: what the keys of some of them fail by for a while, by their numbers: error type, message, and
    milliseconds. Answered with the handles of these failures, which are to be swept. ``left``: shapes that are not
    dropped, but are not live any more.
    """

    dropped: Sequence[int]
    failures: Mapping[int, tuple[str, str, int]] = {}
    left: Sequence[int] = ()

    def run(self, tx: Transaction) -> list[str]:
        handles = Handles()
        failures: dict[int, tuple[Any, ...]] = {
            number: (handles.new(), *failure) for number, failure in self.failures.items()
        }
        refused = tx.column(queries.REFUSE_KEYS, failures=as_json(failures)) if failures else []
        drop(tx, self.dropped)
        self._leave(tx)
        return refused

    def _leave(self, tx: Transaction) -> None:
        """These are not live any more, so their members go. One of which a round has hidden changes is dropped."""
        for number, table in tx.run(queries.WITH_MEMBERS, numbers=as_json(self.left)):
            tx.run(queries.FORGET_MEMBERS, number=number, table=table, last=(number + 1) << 28)
        tx.run(queries.LEAVE, numbers=as_json(self.left))
        drop(tx, tx.column(queries.STILL_LIVE, numbers=as_json(self.left)))
        tx.run(queries.END_EMPTY_ROUNDS)


class UnfollowSource(Command[int]):
    """Drop the live shapes of a source, ``SHAPES`` at most: it has another past, or cannot be read.

    With the last of them its unfinished round ends. Answered with their number.
    """

    SHAPES: ClassVar[int] = 1_000

    source: int

    def run(self, tx: Transaction) -> int:
        numbers = tx.column(queries.NUMBERS_OF_SOURCE, source=self.source, limit=self.SHAPES)
        drop(tx, numbers)
        if len(numbers) < self.SHAPES:
            tx.run(queries.FORGET_POSITION, source=self.source)
        return len(numbers)
