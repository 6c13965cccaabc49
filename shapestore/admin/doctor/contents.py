"""The tables: whether their contents are consistent, and what crashed processes left behind."""

from __future__ import annotations

import shlex
import sqlite3
import time
from collections.abc import Iterator

from shapestore.admin.doctor.finding import Finding, Severity
from shapestore.admin.inspector import Inspector
from shapestore.admin.records import LockRecord, OwnerRecord
from shapestore.admin.vacuum import ORPHANS
from shapestore.admin.wording import count
from shapestore.errors import InvalidShapeError
from shapestore.locking.create_lock import State
from shapestore.locking.owner import dead_owner_files
from shapestore.shape.comparable import namespace_of
from shapestore.shape.listing import listed
from shapestore.shape.shape import Shape

# Longer than any create_timeout in use: the process is stopped, or hangs.
LONG_CREATION_SECONDS = 3600
# A failure is swept by its owner as soon as its failure TTL is over.
LATE_SWEEP_SECONDS = 60
_MOST_DROPPED = 5

_OF_SHAPE = "shape_rows.id > shapes.number << 28 AND shape_rows.id < (shapes.number + 1) << 28"

_HIDDEN_ROWS = """coalesce((
    SELECT sum((operation = 'insert') - (operation = 'delete')) FROM shape_changes
    WHERE id > (number << 28) + shapes.position AND id <= (number << 28) + shapes.written), 0)
"""

_TOTALS = " UNION ALL ".join(
    f"SELECT '{name}', (SELECT value FROM totals WHERE name = '{name}'), (SELECT {real})"
    for name, real in {
        "shapes": "count(*) FROM shapes",
        "bytes": "coalesce(sum(bytes + log_bytes), 0) FROM shapes",
        "kept": "count(*) FROM kept",
        "kept_bytes": "coalesce(sum(bytes + log_bytes), 0) FROM kept",
    }.items()
)


def examine(real: str, connection: sqlite3.Connection, *, quick: bool) -> Iterator[Finding]:
    inspector = Inspector(real, connection)
    with inspector.one_moment():
        found = [*_shapes(inspector), *_row_counts(inspector, quick), *_total(inspector), *_orphans(inspector)]
        discarded = inspector.number("SELECT count(*) FROM discarded")
    yield from found
    owners = inspector.owners()
    yield from _owners(inspector, owners)
    if discarded:
        yield _discarded(inspector, discarded, is_at_work=any(owner.alive for owner in owners))
    yield from _locks(inspector)


# --- shapes and their rows


def _shapes(inspector: Inspector) -> Iterator[Finding]:
    """The key of a shape is its canonical text, and `invalidate` finds it by the names of its namespace and table."""
    wrong = []
    for handle, comparable, *names in inspector.read(
        "SELECT handle, comparable, namespace, table_name FROM shapes ORDER BY handle"
    ):
        try:
            if [namespace_of(comparable), Shape.from_comparable(comparable).table] == names:
                continue
        except InvalidShapeError:
            pass
        wrong.append(handle)
    if wrong:
        yield Finding(
            Severity.ERROR,
            "shape",
            f"{count(len(wrong), 'shape')} with a canonical text that is unreadable, or names another table or "
            f"namespace than the shape's row: {listed(wrong)}",
            _drop(inspector.path, wrong),
        )


def _row_counts(inspector: Inspector, quick: bool) -> Iterator[Finding]:
    """A shape has row_count rows, each of them JSON; and what a round that goes on has written and not shown yet."""
    counted = f"(SELECT count(*) FROM shape_rows WHERE {_OF_SHAPE})"
    if not quick:
        counted = f"""(SELECT CASE WHEN min(json_valid(value)) THEN count(*) ELSE -1 END
                       FROM shape_rows WHERE {_OF_SHAPE} HAVING count(*))"""
    wrong = inspector.read(
        f"SELECT handle, row_count + {_HIDDEN_ROWS} AS expected, coalesce({counted}, 0) AS found FROM shapes"
        " WHERE found <> expected ORDER BY handle"
    )
    if wrong:
        each = [
            f"{handle} should have {count(expected, 'row')} and "
            + (f"has {found:,}" if found >= 0 else "has text among them that is not JSON")
            for handle, expected, found in wrong
        ]
        yield Finding(
            Severity.ERROR,
            "row-count",
            f"{count(len(wrong), 'shape')} with missing or damaged rows: {listed(each, '; ')}",
            _drop(inspector.path, [row[0] for row in wrong]),
        )


def _total(inspector: Inspector) -> Iterator[Finding]:
    wrong = [(name, total, real) for name, total, real in inspector.read(_TOTALS) if total != real]
    if wrong:
        remedy = "; ".join(f"INSERT OR REPLACE INTO totals VALUES ('{name}', {real})" for name, _, real in wrong)
        yield Finding(
            Severity.ERROR,
            "totals",
            "; ".join(f"the total {name} is {total}, but should be {real}" for name, total, real in wrong)
            + ", so max_shapes and max_bytes would keep too much or too little",
            f'While no store is open: sqlite3 {shlex.quote(inspector.path)} "{remedy}"',
        )


def _orphans(inspector: Inspector) -> Iterator[Finding]:
    orphans = [f"number {number}" for (number,) in inspector.read(ORPHANS)]
    if orphans:
        yield Finding(
            Severity.WARNING,
            "orphaned-rows",
            f"rows that belong to no shape, and that no store will delete, under the handles {listed(orphans)}",
            f"Delete them: shapestore vacuum {shlex.quote(inspector.path)}",
        )


# --- owners, and what they leave


def _owners(inspector: Inspector, owners: list[OwnerRecord]) -> Iterator[Finding]:
    exited = [owner for owner in owners if not owner.alive]
    files = _dead_files(inspector.path) - {owner.owner for owner in exited}
    if exited or files:
        named = [f"{owner.process}, which opened it {owner.opened_at:%Y-%m-%d %H:%M} UTC" for owner in exited]
        named += [f"the file {file}" for file in sorted(files)]
        yield Finding(
            Severity.NOTE,
            "dead-owner",
            f"{count(len(named), 'store')} exited without closing: {listed(named, '; ')}",
            "Nothing: the next store that opens the file clears this away. If the process was not killed on purpose, "
            "find out why it exited.",
        )


def _discarded(inspector: Inspector, discarded: int, *, is_at_work: bool) -> Finding:
    return Finding(
        Severity.NOTE,
        "discarded",
        f"the rows of {count(discarded, 'attempt')} (dropped, replaced or unfinished) are pending deletion",
        "Nothing: an open store deletes them."
        if is_at_work
        else "Nothing: the next store that opens the file deletes them. Or delete them now: shapestore vacuum "
        f"{shlex.quote(inspector.path)}",
    )


def _dead_files(real: str) -> set[str]:
    found = dead_owner_files(real)
    if found:
        time.sleep(0.05)  # a file that was just made is not locked yet
        found &= dead_owner_files(real)
    return found


def _locks(inspector: Inspector) -> Iterator[Finding]:
    now = time.time()
    locks = inspector.locks()
    if stale := [lock for lock in locks if not lock.owner.alive]:
        yield Finding(
            Severity.NOTE,
            "stale-lock",
            f"{count(len(stale), 'lock')} of a store that has exited: {listed([_lock(lock) for lock in stale], '; ')}",
            "Nothing: the next caller takes over, and the next store that opens the file clears it away. Or free it: "
            f"{_unlock(inspector.path, stale)}",
        )
    running = [lock for lock in locks if lock.owner.alive]
    if late := [lock for lock in running if _is_late(lock, now)]:
        what = f"{count(len(late), 'failure')} that should have been swept"
        yield _of_running(inspector.path, "unswept-failure", what, late, "The next caller takes over. Or free the lock")
    if long := [lock for lock in running if _is_long(lock, now)]:
        what = f"{count(len(long), 'creation')} in progress for more than an hour"
        yield _of_running(inspector.path, "long-creation", what, long, "Freeing the lock is safe")


def _of_running(path: str, name: str, what: str, locks: list[LockRecord], remedy: str) -> Finding:
    """A finding about locks whose owners are open."""
    return Finding(
        Severity.WARNING,
        name,
        f"{what}: {listed([f'{_lock(lock)}, by {lock.owner.process}' for lock in locks], '; ')}",
        f"Find out whether that process is stopped or hangs. {remedy}: {_unlock(path, locks)}",
    )


def _is_late(lock: LockRecord, now: float) -> bool:
    if lock.state is not State.FAILED or lock.failed_at is None:
        return False
    return now > lock.failed_at.timestamp() + (lock.retry_after_ms or 0) / 1000 + LATE_SWEEP_SECONDS


def _is_long(lock: LockRecord, now: float) -> bool:
    return lock.state is State.IN_PROGRESS and now > lock.started_at.timestamp() + LONG_CREATION_SECONDS


# --- for messages


def _lock(lock: LockRecord) -> str:
    return f"{lock.handle} ({lock.table}{f' where {lock.where}' if lock.where else ''})"


def _unlock(path: str, locks: list[LockRecord]) -> str:
    return f"shapestore unlock {shlex.quote(path)} --handle {locks[0].handle}"


def _drop(path: str, handles: list[str]) -> str:
    return f"Drop it, and the next caller creates it again: shapestore rm {shlex.quote(path)} " + " ".join(
        handles[:_MOST_DROPPED]
    )
