"""The database as SQLite sees it: pages and indexes, journal mode, SQLite's version; and whether it is a store's."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator

from shapestore.admin.doctor.finding import Finding, Severity
from shapestore.errors import CorruptStoreError, MigrationRequiredError, ShapeStoreError, StorageError
from shapestore.storage import migrations
from shapestore.storage.connection import OLDEST_SQLITE

_MOST_COMPLAINTS = 10


def examine(real: str, connection: sqlite3.Connection, *, quick: bool) -> Iterator[Finding]:
    yield from sqlite_version(sqlite3.sqlite_version_info)
    yield from _journal_mode(connection)
    yield from _schema(real, connection)
    yield from _integrity(connection, quick)
    yield from _foreign_keys(connection)


def no_store(real: str, connection: sqlite3.Connection) -> Finding | None:
    """The one finding about a database that is no store's."""
    try:
        if migrations.current_revision(connection) is not None:
            return None
    except StorageError as error:
        return Finding(Severity.ERROR, "no-store", f"no store is here: {error}", "Give the path of a store's file.")
    return Finding(
        Severity.ERROR,
        "no-store",
        f"no store is here: {real!r} is empty",
        f"Give the path of a store's file; or make a store of this one: shapestore migrate {shlex.quote(real)}",
    )


def is_no_database(error: ShapeStoreError) -> bool:
    """Whether SQLite does not even know the file as a database."""
    return getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB


def no_database(real: str) -> Finding:
    """The one finding about such a file."""
    return Finding(
        Severity.ERROR,
        "no-store",
        f"no store is here: {real!r} is no SQLite database, or its beginning is damaged",
        "Give the path of a store's file; one that is damaged is restored from a backup, or moved away with its -wal "
        "and -shm.",
    )


def is_readable(found: list[Finding]) -> bool:
    """Whether what is in the tables can be judged at all."""
    return not any(finding.name in ("schema", "integrity") for finding in found)


def unreadable(error: ShapeStoreError) -> Finding:
    """The file could not even be read."""
    name = "integrity" if isinstance(error, CorruptStoreError) else "unreadable"
    return Finding(Severity.ERROR, name, str(error), _RESTORE)


_RESTORE = (
    "Stop what uses the file, and restore it from a backup; or move it away with its -wal and -shm, and shapes are "
    "created anew."
)


def sqlite_version(version: tuple[int, ...]) -> Iterator[Finding]:
    shown = ".".join(map(str, version))
    if version < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        yield Finding(
            Severity.ERROR,
            "sqlite-version",
            f"this Python has SQLite {shown}, and a store needs {needed}",
            "Use a newer Python build.",
        )
    elif has_wal_reset_bug(version):
        yield Finding(
            Severity.NOTE,
            "sqlite-version",
            f"this Python has SQLite {shown}, which can lose committed pages when a checkpoint races with a commit; "
            "stores cannot be hit by it among themselves, for their gate lets no checkpoint run beside a commit",
            "Write to the file by other programs (a sqlite3 shell, Litestream) only if their SQLite is 3.51.3 or "
            "later, 3.50.7 or 3.44.6; or while no store is open.",
        )


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this SQLite has the WAL-reset bug: 3.7.0 up to 3.51.2, but for 3.50.7 and 3.44.6, which were mended."""
    return (3, 7, 0) <= version < (3, 51, 3) and not (
        (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    )


def _journal_mode(connection: sqlite3.Connection) -> Iterator[Finding]:
    ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
    if mode != "wal":
        yield Finding(
            Severity.WARNING,
            "journal-mode",
            f"the journal mode is {mode}, not wal: readers and the writer would wait for each other",
            "Open it as a store: that switches it back. Find out what switched it.",
        )


def _schema(real: str, connection: sqlite3.Connection) -> Iterator[Finding]:
    try:
        migrations.check(connection, real)
    except (MigrationRequiredError, StorageError) as error:
        yield Finding(Severity.ERROR, "schema", str(error), "Do as it says.")
        return
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema").fetchall()}
    missing = sorted(_names_of_the_schema() - there)
    if missing:
        yield Finding(
            Severity.ERROR,
            "schema",
            f"the schema says it is {migrations.HEAD!r}, but lacks {', '.join(missing)}: somebody has dropped that",
            "Restore the file from a backup, or move it away with its -wal and -shm, and shapes are created anew.",
        )


def _names_of_the_schema() -> set[str]:
    from shapestore.storage import schema  # noqa: PLC0415 - SQLAlchemy takes 140 ms to load

    tables = schema.metadata.tables.values()
    indexes = {str(index.name) for table in tables for index in table.indexes}
    return {table.name for table in tables} | indexes | set(schema.TRIGGERS) | set(schema.VIEWS)


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
            f"{len(broken)} rows refer to rows that are not there, in {', '.join(sorted({row[0] for row in broken}))}",
            _RESTORE,
        )
