"""What a log holds, page by page, as HTTP serves it: each page is of one moment, and bounded in bytes.

The snapshot of a handle is served in parts, whose ends were fixed when it was made, and by compactions since. So a part
says the same however often it is asked for, as long as the floor stays. Behind the last part come changes, cut between
rounds where that is possible.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from shapestore.storage.log import chunks, queries
from shapestore.storage.log.positions import MAX_POSITION, Standing, accepted, pack
from shapestore.storage.log.read import one_moment
from shapestore.storage.row_codec import as_json


class Part(NamedTuple):
    """The end of a part of the snapshot."""

    number: int
    """Parts count from 0; -1 is the beginning of the first, and ``LAST`` the last that there is."""
    floor: int
    """The public position of the floor that the snapshot is as of; 0 for the first snapshot."""


LAST = 1 << 62
BEGINNING = Part(-1, 0)


class End(Enum):
    """The end of a log, wherever it is."""

    NOW = "now"


Place = Part | int | End
"""Where a page begins: behind a part of the snapshot, or behind a public position; or at the end."""


class ServedLog(NamedTuple):
    """A stored shape's log, as it stands at the moment of a page."""

    standing: Standing
    comparable: str
    part_ends: tuple[int, ...]
    """The position at the end of each part of the snapshot: one at least."""
    last_seen: int
    """The newest round of which all that is in this log can be read."""
    snapshot_seq: int | None
    """What the snapshot has seen of its source; None if that is not followed."""
    followed_seq: int | None
    """What the end of the log has seen of its source, at least; None if that is not followed."""

    @property
    def floor(self) -> int:
        """The public position of the floor."""
        return pack(self.standing.floor_round, self.standing.floor)

    @property
    def end(self) -> Part | int:
        """Where the log ends now."""
        standing = self.standing
        if standing.position == standing.base:
            return Part(len(self.part_ends) - 1, self.floor)
        return standing.public


class SnapshotRange(NamedTuple):
    """Names some rows of a snapshot, and all that is told of them: what it names stays the same for ever.

    A handle is never given out twice, nor a public position; as of one floor the rows of a handle do not change, nor
    what is known of their columns.
    """

    handle: str
    floor: int
    """The public position of the floor that the rows are as of."""
    after: int
    """The position behind which they stand."""
    last: int
    """The position at which they end."""
    snapshot_seq: int | None
    """What the snapshot has seen of its source."""


class RowLines(NamedTuple):
    """Rows of a snapshot in their order, a line each."""

    row_count: int
    first: int
    """The position behind which they stand."""
    values: bytes
    keys: bytes | None
    """None where rows have no key."""


class LoggedChange(NamedTuple):
    """A change, with the row before and after it, as JSON."""

    position: int
    round: int
    operation: str
    key: str
    row: str | None
    old: str | None
    is_last: bool = False
    """Whether no other change of its round follows in this log."""


class Page(NamedTuple):
    """What comes behind a place of a log."""

    log: ServedLog
    end: Part | int
    """Where the next page begins."""
    is_end: bool
    """Whether nothing follows, as of the moment of the page."""
    range: SnapshotRange | None = None
    """Which rows of the snapshot they are; None if they are changes."""
    rows: RowLines | None = None
    """None if they are changes."""
    changes: Sequence[LoggedChange] = ()
    seqs: Mapping[int, list[int]] = MappingProxyType({})
    """For each round of the changes: what it had read of its source, and the markers that it has passed."""


class Refused(NamedTuple):
    """A place that is not one of the log, or not any more."""

    log: ServedLog


def page(connection: sqlite3.Connection, handle: str, place: Place, most_bytes: int) -> Page | Refused | None:
    """What comes behind ``place``, of about ``most_bytes``; None if no shape has this handle (any more)."""
    with one_moment(connection):
        log = served_log(connection, handle)
        if log is None:
            return None
        if isinstance(place, End):
            return end_of(log)
        if isinstance(place, Part):
            return _behind_part(connection, handle, log, place, most_bytes)
        position = accepted(connection, log.standing, place)
        if position is None or position < log.standing.base:
            return Refused(log)
        return _changes(connection, log, position, most_bytes)


def end_of(log: ServedLog) -> Page:
    """What comes behind the end of a log: nothing."""
    return Page(log, log.end, is_end=True)


def rows_behind(handle: str, log: ServedLog, part: Part, most_bytes: int) -> tuple[SnapshotRange, Part] | None:
    """Which rows of the snapshot a page behind ``part`` has, and where the next page begins; None if it has none."""
    index, ends = _index_of(part, log), log.part_ends
    if index is None or index == len(ends) - 1:
        return None
    last = min(index + max(1, most_bytes // chunks.PART_BYTES), len(ends) - 1)
    range_ = SnapshotRange(handle, log.floor, 0 if index < 0 else ends[index], ends[last], log.snapshot_seq)
    return range_, Part(last, log.floor)


def served_log(connection: sqlite3.Connection, handle: str) -> ServedLog | None:
    """The log of the stored shape with this handle, in the caller's moment."""
    for row in connection.execute(queries.LOCATE_SERVED, {"handle": handle}).fetchall():
        standing = Standing(*row[:12])
        comparable, ends, last_seen, snapshot_seq, followed_seq = row[12:]
        last_seen = max(last_seen, standing.round)
        part_ends = _part_ends(standing, ends)
        return ServedLog(standing, comparable, part_ends, last_seen, snapshot_seq, followed_seq)
    return None


def _part_ends(standing: Standing, stored: str) -> tuple[int, ...]:
    ends: list[int] = msgspec.json.decode(stored)
    return (*(end for end in ends if end < standing.base), standing.base)


def _index_of(part: Part, log: ServedLog) -> int | None:
    """The place of a part among those of a log; None if it is not one of them, or not any more."""
    index = len(log.part_ends) - 1 if part.number == LAST else part.number
    return None if index >= 0 and (part.floor != log.floor or index >= len(log.part_ends)) else index


def _behind_part(
    connection: sqlite3.Connection, handle: str, log: ServedLog, part: Part, most_bytes: int
) -> Page | Refused:
    behind = rows_behind(handle, log, part, most_bytes)
    if behind is not None:
        range_, end = behind
        return Page(log, end, is_end=False, range=range_, rows=_rows(connection, log.standing, range_))
    if _index_of(part, log) is None:
        return Refused(log)
    return _changes(connection, log, log.standing.base, most_bytes)


def _rows(connection: sqlite3.Connection, standing: Standing, wanted: SnapshotRange) -> RowLines:
    given = {"number": standing.number, "after": wanted.after, "last": wanted.last}
    if standing.written == standing.base:  # nothing has changed since
        statement = queries.PART
    else:
        statement, given = queries.PART_AS_OF, given | {"position": standing.base, "limit": MAX_POSITION}
    ((count, values, keys),) = connection.execute(statement, given).fetchall()
    return RowLines(count, wanted.after, values or b"", None if standing.key_columns is None else keys or b"")


def _changes(connection: sqlite3.Connection, log: ServedLog, after: int, most_bytes: int) -> Page:
    changes, following = _read_changes(connection, log.standing, after, most_bytes)
    if not changes:
        return end_of(log)
    if following == changes[-1].round:
        changes, following = _cut_between_rounds(changes)
    last = changes[-1]
    next_rounds = [change.round for change in changes[1:]] + [following]
    marked = [
        change._replace(is_last=change.round != next_) for change, next_ in zip(changes, next_rounds, strict=True)
    ]
    end, seqs = pack(last.round, last.position), _seqs(connection, changes)
    return Page(log, end, is_end=following is None, changes=marked, seqs=seqs)


def _read_changes(
    connection: sqlite3.Connection, standing: Standing, after: int, most_bytes: int
) -> tuple[list[LoggedChange], int | None]:
    """Changes behind ``after``, until their messages have about so many bytes; and the round of the one behind them."""
    changes: list[LoggedChange] = []
    size = 0
    given = {"number": standing.number, "after": after, "position": standing.position, "limit": MAX_POSITION}
    with closing(connection.execute(queries.LOG, given)) as rows:
        for row in rows:
            change = LoggedChange(*row)
            if changes and size >= most_bytes:
                return changes, change.round
            changes.append(change)
            size += len(change.row or "") + len(change.old or "") + chunks.MESSAGE_BYTES
    return changes, None


def _cut_between_rounds(changes: list[LoggedChange]) -> tuple[list[LoggedChange], int]:
    """Changes up to the end of a round, and the round behind them: all of them, if they are of a single round."""
    cut = changes[-1].round
    whole = [change for change in changes if change.round != cut]
    return whole or changes, cut


def _seqs(connection: sqlite3.Connection, changes: list[LoggedChange]) -> dict[int, list[int]]:
    rounds = as_json(sorted({change.round for change in changes}))
    return {
        number: list(dict.fromkeys((seq, *msgspec.json.decode(markers or "[]"))))
        for number, seq, markers in connection.execute(queries.ROUNDS, {"rounds": rounds}).fetchall()
        if seq is not None
    }
