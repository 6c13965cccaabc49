"""The sources that live shapes follow: whether all their changes are captured, and whether they are followed."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator

from shapestore.admin.doctor.finding import Finding, Severity
from shapestore.admin.inspector import Inspector
from shapestore.admin.sources import SourceRecord, at_rest, is_in_wal_mode, opened_source, sources
from shapestore.admin.wording import count
from shapestore.shape.listing import listed
from shapestore.source.sqlite_feed.changes import nonce_at
from shapestore.source.sqlite_feed.installation import signature

_LOOKS = 3

_TABLES = """
    SELECT source_tables.name, shapes.source_signature, count(*)
    FROM shapes JOIN source_tables ON source_tables.number = shapes.source_table
    WHERE shapes.live AND shapes.source = :source GROUP BY 1, 2 ORDER BY 1, 2
"""


def examine(real: str, connection: sqlite3.Connection) -> Iterator[Finding]:
    inspector = Inspector(real, connection)
    is_at_work = any(owner.alive for owner in inspector.owners())
    for record in sources(inspector):
        yield from _of_one_moment(inspector, record)
        if is_at_work and record.behind and record.follower is None:
            yield _not_followed(record)


def _of_one_moment(inspector: Inspector, record: SourceRecord) -> list[Finding]:
    """The findings about a source; found once more where it was written meanwhile, and may have been read half way."""
    for _ in range(_LOOKS):
        before = at_rest(record.source)
        found = list(_opened(inspector, record))
        if not found or at_rest(record.source) == before:
            break
    return found


def _opened(inspector: Inspector, record: SourceRecord) -> Iterator[Finding]:
    try:
        with opened_source(record.source) as source:
            yield from _examine(inspector, record, source)
    except (sqlite3.Error, OSError) as error:
        yield Finding(
            Severity.WARNING,
            "source-unreadable",
            f"{_shapes(record)} follow {record.source!r}, which cannot be read: {error}",
            "Put the file back, or give the user who runs the store the right to read and write it. A store that "
            "follows it drops these shapes after a minute. If the file was moved, nothing: a store that follows it "
            "where it is now drops them as soon as one of them is asked for.",
        )


def _not_followed(record: SourceRecord) -> Finding:
    return Finding(
        Severity.WARNING,
        "not-followed",
        f"no process follows {record.source!r}, which is {count(record.behind or 0, 'change')} ahead of "
        f"{_shapes(record)}, though stores are open",
        "Open one of them with SQLSource(..., follow=True) for this source. If one is, read its log, which says why "
        "the source cannot be followed.",
    )


def _examine(inspector: Inspector, record: SourceRecord, source: sqlite3.Connection) -> Iterator[Finding]:
    if not is_in_wal_mode(record.source):
        yield Finding(
            Severity.WARNING,
            "source-not-in-wal",
            f"the source {record.source!r} is not in WAL mode: to follow it would make the application's writes fail",
            f'Switch it back: sqlite3 {shlex.quote(record.source)} "PRAGMA journal_mode = WAL"',
        )
    yield from _capture(inspector, record, source)
    if record.followed_nonce is not None and nonce_at(source, record.followed_seq) != record.followed_nonce:
        yield Finding(
            Severity.WARNING,
            "ring-overtaken",
            f"the source {record.source!r} no longer has the change {record.followed_seq:,}, up to which it was "
            "followed: more than a million changes came since, or the file was replaced",
            f"Nothing, if a store that follows it is open: it drops the {_shapes(record)}, which are created again "
            "when they are asked for.",
        )


def _capture(inspector: Inspector, record: SourceRecord, source: sqlite3.Connection) -> Iterator[Finding]:
    tables = inspector.read(_TABLES, {"source": record.number})
    present = {table: signature(source, table) for table, _, _ in tables}
    missing = sorted(table for table in present if present[table] is None)
    if missing:
        yield Finding(
            Severity.WARNING,
            "triggers-missing",
            f"changes of {listed(missing)} in {record.source!r} are not captured, or not all: their triggers are gone, "
            "as after a migration that built the table again",
            f"Put them back: shapestore follow {shlex.quote(f'sqlite:///{record.source}')} "
            f"{' '.join(map(shlex.quote, missing))}. The shapes are created again when they are asked for.",
        )
    changed = [
        f"{count(shapes, 'shape')} of {table}"
        for table, read_under, shapes in tables
        if present[table] is not None and present[table] != read_under
    ]
    if changed:
        yield Finding(
            Severity.WARNING,
            "signature-off",
            f"{listed(changed)} in {record.source!r} were read before the table or its triggers changed",
            "Nothing, if a store that follows it is open: it drops them with its next round. Otherwise drop them: "
            f"shapestore invalidate {shlex.quote(inspector.path)} TABLE",
        )


def _shapes(record: SourceRecord) -> str:
    return count(record.live_shapes, "live shape")
