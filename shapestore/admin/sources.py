"""The SQLite sources that live shapes follow: how far they are followed, and what is in them now."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from shapestore.admin.inspector import Inspector
from shapestore.locking.file_lock import content_if_locked
from shapestore.locking.owner import owners_folder
from shapestore.shape.stored_shape import at
from shapestore.source.sqlite_feed.changes import newest
from shapestore.storage.connection import BUSY_TIMEOUT_MS, open_immutable, open_point_reader

_SOURCES = """
    SELECT number, name, live_shapes, followed_seq, followed_nonce, followed_at_ms, unfinished_round
    FROM sources JOIN (SELECT source, count(*) AS live_shapes FROM shapes WHERE live GROUP BY source) ON source = number
    ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A source that live shapes follow."""

    source: str
    """The path of its file."""
    live_shapes: int
    followed_seq: int
    """The change of the source up to which it was followed."""
    followed_at: datetime | None
    """When the last round ended that brought anything."""
    is_in_a_round: bool
    """Whether a round goes on that takes several transactions."""
    behind: int | None
    """How many changes are not followed yet; None if the source cannot be read, or captures no changes."""
    follower: int | None
    """The process that follows the source; None if none does."""
    number: int
    followed_nonce: int | None


def sources(inspector: Inspector) -> list[SourceRecord]:
    """The sources that live shapes follow. Each is opened, and read for a moment."""
    return [
        SourceRecord(
            source=name,
            live_shapes=live_shapes,
            followed_seq=followed_seq,
            followed_at=None if followed_at_ms is None else at(followed_at_ms),
            is_in_a_round=unfinished_round is not None,
            behind=_behind(name, followed_seq),
            follower=_follower(inspector.path, number),
            number=number,
            followed_nonce=nonce,
        )
        for number, name, live_shapes, followed_seq, nonce, followed_at_ms, unfinished_round in inspector.read(_SOURCES)
    ]


@contextlib.contextmanager
def opened_source(path: str) -> Iterator[sqlite3.Connection]:
    """A connection that reads a source, and leaves no file beside it. Raises sqlite3.Error.

    While the source is ``at_rest`` no lock is taken: what was read counts if it is at rest still, and unchanged.
    """
    is_at_rest = at_rest(path) is not None
    reader = open_immutable(path) if is_at_rest else open_point_reader(path, busy_timeout_ms=BUSY_TIMEOUT_MS)
    with contextlib.closing(reader) as connection:
        yield connection


def at_rest(path: str) -> tuple[int, ...] | None:
    """What shows whether a database that no program writes is changed; None if one may be writing it, or it is gone."""
    if any(os.path.exists(f"{path}{suffix}") for suffix in ("-wal", "-journal")):
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def is_in_wal_mode(path: str) -> bool:
    """Whether the database in a file is in WAL mode. Raises OSError.

    A connection that leaves no file beside it cannot tell. The file itself is read only where no log is beside it:
    SQLite's locks, which this process would lose, are not held there by a transaction.
    """
    if os.path.exists(f"{path}-wal"):
        return True
    if os.path.exists(f"{path}-journal"):
        return False
    with open(path, "rb") as file:
        return file.read(20)[18:] == b"\x02\x02"


def _follower(store: str, number: int) -> int | None:
    """The process that has the lock of a source; 0 if it cannot be told which."""
    try:
        content = content_if_locked(os.path.join(owners_folder(store), f"follow-{number}"))
    except OSError:
        return 0
    if content is None:
        return None
    return int(content) if content.strip().isdigit() else 0


def _behind(path: str, followed_seq: int) -> int | None:
    try:
        with opened_source(path) as connection:
            position = newest(connection)
    except sqlite3.Error:
        return None
    return None if position is None else max(0, position.seq - followed_seq)
