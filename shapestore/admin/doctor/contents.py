"""What is in the tables: whether it fits together, and what the dead have left behind."""

from __future__ import annotations

import os
import shlex
import sqlite3
import time
from collections.abc import Iterator

from shapestore.admin.doctor.finding import Finding, Severity
from shapestore.admin.inspector import Inspector
from shapestore.admin.records import LockRecord
from shapestore.admin.vacuum import ORPHANS
from shapestore.errors import InvalidShapeError
from shapestore.locking.create_lock import State
from shapestore.locking.owner import is_alive, owners_folder
from shapestore.shape.shape import Shape

# Longer than any creation takes that its own deadline ends: its process is stopped, or hangs.
LONG_CREATION_SECONDS = 3600
# A failure is swept by its owner as soon as its window is over.
LATE_SWEEP_SECONDS = 60
_MOST_NAMED = 5


def examine(real: str, connection: sqlite3.Connection, *, quick: bool) -> Iterator[Finding]:
    seen = Inspector(real, connection)
    with seen.one_moment():
        found = [*_shapes(seen), *_row_counts(seen, quick), *_total(seen), *_orphans(seen)]
        discarded = seen.number("SELECT count(*) FROM discarded")
    yield from found
    yield from _owners(seen, discarded)
    yield from _locks(seen)


# --- shapes and their rows


def _shapes(seen: Inspector) -> Iterator[Finding]:
    """The key of a shape is its canonical text, and `invalidate` finds it by its table."""
    wrong = []
    for handle, comparable, table in seen.read("SELECT handle, comparable, table_name FROM shapes ORDER BY handle"):
        try:
            if Shape.from_comparable(comparable).table == table:
                continue
        except InvalidShapeError:
            pass
        wrong.append(handle)
    if wrong:
        yield Finding(
            Severity.ERROR,
            "shape",
            f"{_count(len(wrong), 'shape')} cannot be read back, or names another table than its row does: "
            f"{_some(wrong)}",
            _drop(seen.path, wrong),
        )


def _row_counts(seen: Inspector, quick: bool) -> Iterator[Finding]:
    """A shape has the rows 1 to row_count, each a JSON object."""
    counted = "(SELECT max(position) FROM shape_rows WHERE shape_rows.handle = shapes.handle)"
    if not quick:
        counted = """(SELECT CASE WHEN max(position) = count(*) AND min(json_valid(value)) THEN count(*) ELSE -1 END
                      FROM shape_rows WHERE shape_rows.handle = shapes.handle HAVING count(*))"""
    wrong = seen.read(
        f"SELECT handle, row_count, coalesce({counted}, 0) AS found FROM shapes"
        " WHERE found <> row_count ORDER BY handle"
    )
    if wrong:
        each = [
            f"{handle} is to have {row_count} and "
            + (f"has {found}" if found >= 0 else "has gaps, or no JSON, in them")
            for handle, row_count, found in wrong
        ]
        yield Finding(
            Severity.ERROR,
            "row-count",
            f"{_count(len(wrong), 'shape')} without the rows promised: {_some(each, '; ')}",
            _drop(seen.path, [row[0] for row in wrong]),
        )


def _total(seen: Inspector) -> Iterator[Finding]:
    ((total, stored),) = seen.read(
        "SELECT (SELECT value FROM totals WHERE name = 'shapes'), (SELECT count(*) FROM shapes)"
    )
    if total != stored:
        yield Finding(
            Severity.ERROR,
            "totals",
            f"the counter of shapes says {total}, and there are {stored}: max_shapes would keep too many or too few",
            "While no store is open: sqlite3 "
            f"{shlex.quote(seen.path)} \"INSERT OR REPLACE INTO totals SELECT 'shapes', count(*) FROM shapes\"",
        )


def _orphans(seen: Inspector) -> Iterator[Finding]:
    orphans = [handle for (handle,) in seen.read(ORPHANS)]
    if orphans:
        yield Finding(
            Severity.WARNING,
            "orphaned-rows",
            f"rows that belong to no shape, and that nobody is going to delete, under {_some(orphans)}",
            f"Give the space back: shapestore vacuum {shlex.quote(seen.path)}",
        )


# --- owners, and what they leave


def _owners(seen: Inspector, discarded: int) -> Iterator[Finding]:
    owners = seen.owners()
    dead = [owner for owner in owners if not owner.alive]
    files = _dead_files(seen.path) - {owner.owner for owner in dead}
    if dead or files:
        named = [f"{owner.process}, which opened it {owner.opened_at:%Y-%m-%d %H:%M} UTC" for owner in dead]
        named += [f"the file {file}" for file in sorted(files)]
        yield Finding(
            Severity.WARNING,
            "dead-owner",
            f"{_count(len(named), 'store')} died without closing: {_some(named, '; ')}",
            "Nothing, if a store is about to be opened: that clears them away. Find out what killed them.",
        )
    if discarded:
        at_work = any(owner.alive for owner in owners)
        yield Finding(
            Severity.NOTE,
            "discarded",
            f"the rows of {_count(discarded, 'snapshot')} are not needed any more (dropped, replaced or unfinished), "
            "and still to be deleted",
            "Nothing: a store is at work on it."
            if at_work
            else f"Nothing: the next store that is opened does it. Or now: shapestore vacuum {shlex.quote(seen.path)}",
        )


def _dead_files(real: str) -> set[str]:
    folder = owners_folder(real)

    def unlocked() -> set[str]:
        try:
            return {name for name in os.listdir(folder) if not is_alive(folder, name)}
        except OSError:
            return set()

    found = unlocked()
    if found:
        time.sleep(0.05)  # one that is just being made is not locked yet
        found &= unlocked()
    return {name for name in found if os.path.lexists(os.path.join(folder, name))}


def _locks(seen: Inspector) -> Iterator[Finding]:
    now = time.time()
    locks = seen.locks()
    stale = [lock for lock in locks if not lock.owner.alive or _is_late(lock, now)]
    if stale:
        yield Finding(
            Severity.WARNING,
            "stale-lock",
            f"{_count(len(stale), 'lock')} of a store that is dead, or that failed to sweep a failure: "
            + _some([_lock(lock) for lock in stale], "; "),
            f"Nothing: the next caller claims over it. Or free it: {_unlock(seen.path, stale)}",
        )
    long = [lock for lock in locks if lock not in stale and _is_long(lock, now)]
    if long:
        yield Finding(
            Severity.WARNING,
            "long-creation",
            f"{_count(len(long), 'creation')} under way for more than an hour: "
            + _some([f"{_lock(lock)}, by {lock.owner.process}" for lock in long], "; "),
            f"See whether that process is stopped or hangs. Freeing the lock is safe: {_unlock(seen.path, long)}",
        )


def _is_late(lock: LockRecord, now: float) -> bool:
    if lock.state is not State.FAILED or lock.failed_at is None:
        return False
    return now > lock.failed_at.timestamp() + (lock.retry_after_ms or 0) / 1000 + LATE_SWEEP_SECONDS


def _is_long(lock: LockRecord, now: float) -> bool:
    return lock.state is State.IN_PROGRESS and now > lock.started_at.timestamp() + LONG_CREATION_SECONDS


# --- in words


def _lock(lock: LockRecord) -> str:
    return f"{lock.handle} ({lock.table}{f' where {lock.where}' if lock.where else ''})"


def _unlock(path: str, locks: list[LockRecord]) -> str:
    return f"shapestore unlock {shlex.quote(path)} --handle {locks[0].handle}"


def _drop(path: str, handles: list[str]) -> str:
    return f"Drop it, so that it is created anew: shapestore rm {shlex.quote(path)} {' '.join(handles[:_MOST_NAMED])}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _some(things: list[str], comma: str = ", ") -> str:
    more = len(things) - _MOST_NAMED
    return comma.join(things[:_MOST_NAMED]) + (f"{comma}and {more} more" if more > 0 else "")
