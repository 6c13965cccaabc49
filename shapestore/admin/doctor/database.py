"""The database as SQLite knows it: pages, indexes, journal mode, SQLite's version; and whether it is a store."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator

from shapestore.admin.doctor.finding import Finding, Severity
from shapestore.admin.sources import is_in_wal_mode
from shapestore.admin.wording import count
from shapestore.errors import CorruptStoreError, MigrationRequiredError, ShapeStoreError, StorageError
from shapestore.storage import migrations
from shapestore.storage.connection import OLDEST_SQLITE

_MOST_COMPLAINTS = 10


def examine(real: str, connection: sqlite3.Connection, *, quick: bool) -> Iterator[Finding]:
    yield from sqlite_version(sqlite3.sqlite_version_info)
    yield from _journal_mode(real, connection)
    yield from _schema(real, connection)
    yield from _integrity(connection, quick)
    yield from _foreign_keys(connection)


def no_store(real: str, connection: sqlite3.Connection) -> Finding | None:
    """The only finding about a database that is not a store, or None."""
    try:
        if migrations.current_revision(connection) is not None:
            return None
    except StorageError as error:
        return Finding(Severity.ERROR, "no-store", f"this is not a store: {error}", "Give the path of a store.")
    return Finding(
        Severity.ERROR,
        "no-store",
        f"this is not a store: {real!r} is empty",
        f"Give the path of a store, or make this file one: shapestore migrate {shlex.quote(real)}",
    )


def is_no_database(error: ShapeStoreError) -> bool:
    """Whether SQLite says that the file is not a database."""
    return getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB


def no_database(real: str) -> Finding:
    """The only finding about such a file."""
    return Finding(
        Severity.ERROR,
        "no-store",
        f"this is not a store: {real!r} is not a SQLite database, or its beginning is damaged",
        "Give the path of a store. If this was one, restore it from a backup, or move it away with its -wal and -shm.",
    )


def is_readable(found: list[Finding]) -> bool:
    """Whether the tables can be examined at all."""
    return not any(finding.name in ("schema", "integrity") for finding in found)


def unreadable(error: ShapeStoreError) -> Finding:
    """The finding about a file that cannot be read."""
    name = "integrity" if isinstance(error, CorruptStoreError) else "unreadable"
    return Finding(Severity.ERROR, name, str(error), _RESTORE)


_RESTORE = (
    "Stop what uses the file, and restore it from a backup, as by `shapestore backup COPY PATH --force`; or move it "
    "away with its -wal and -shm, and the shapes are created again. A backup that was put in its place by hand, beside "
    "the -wal of the former file, is damaged by that: remove the -wal, and put it there again."
)


def sqlite_version(version: tuple[int, ...]) -> Iterator[Finding]:
    shown = ".".join(map(str, version))
    if version < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        yield Finding(
            Severity.ERROR,
            "sqlite-version",
            f"this Python has SQLite {shown}; a store needs {needed} or later",
            "Use a newer Python build.",
        )
    elif has_wal_reset_bug(version):
        yield Finding(
            Severity.NOTE,
            "sqlite-version",
            f"this Python has SQLite {shown}, which can lose committed pages when a checkpoint races with a commit; "
            "stores are safe from each other, since their gate never lets a checkpoint run beside a commit",
            "Write to the file with other programs (a sqlite3 shell, Litestream) only if their SQLite is 3.51.3 or "
            "later, 3.50.7 or 3.44.6, or while no store is open.",
        )


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this SQLite has the WAL-reset bug: 3.7.0 to 3.51.2, except 3.50.7 and 3.44.6, where it is fixed."""
    return (3, 7, 0) <= version < (3, 51, 3) and not (
        (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    )


def _journal_mode(real: str, connection: sqlite3.Connection) -> Iterator[Finding]:
    ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
    if mode != "wal" and not is_in_wal_mode(real):  # a connection without locks cannot tell
        yield Finding(
            Severity.WARNING,
            "journal-mode",
            f"the journal mode is {mode}, not wal: readers and the writer block each other",
            "Open it as a store, which switches it back. Find out which program switched it.",
        )


def _schema(real: str, connection: sqlite3.Connection) -> Iterator[Finding]:
    try:
        migrations.check(connection, real)
    except (MigrationRequiredError, StorageError) as error:
        yield Finding(Severity.ERROR, "schema", str(error), "Do what the message says.")
        return
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema").fetchall()}
    missing = sorted(_names_of_the_schema() - there)
    if missing:
        yield Finding(
            Severity.ERROR,
            "schema",
            f"the file has the schema {migrations.HEAD!r}, but lacks {', '.join(missing)}: a program has dropped them",
            _RESTORE,
        )


def _names_of_the_schema() -> set[str]:
    from shapestore.storage import schema  # noqa: PLC0415 - SQLAlchemy takes 140 ms to load
    from shapestore.storage.schema import views  # noqa: PLC0415

    tables = schema.metadata.tables.values()
    indexes = {str(index.name) for table in tables for index in table.indexes}
    return {table.name for table in tables} | indexes | set(schema.TRIGGERS) | set(views.VIEWS)


def _integrity(connection: sqlite3.Connection, quick: bool) -> Iterator[Finding]:
    # quick_check does not compare indexes with their tables.
    pragma = "quick_check" if quick else "integrity_check"
    try:
        complaints = [text for (text,) in connection.execute(f"PRAGMA {pragma}({_MOST_COMPLAINTS})").fetchall()]
    except sqlite3.DatabaseError as error:
        complaints = [str(error)]
    if complaints != ["ok"]:
        yield Finding(Severity.ERROR, "integrity", f"{pragma}: {'; '.join(complaints)}", _RESTORE)


def _foreign_keys(connection: sqlite3.Connection) -> Iterator[Finding]:
    broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    if broken:
        yield Finding(
            Severity.ERROR,
            "foreign-keys",
            f"{count(len(broken), 'row')} of {', '.join(sorted({row[0] for row in broken}))} refer to missing rows",
            _RESTORE,
        )
