"""Installing change capture in a source, telling whether it is whole, and removing it."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from shapestore.errors import InvalidSourceError, UnknownTableError
from shapestore.source.sqlite_feed.changes import (
    CHANGES,
    MAKE_CHANGES,
    MAKE_TABLES,
    MARKER,
    RING,
    TABLES,
    make_ring,
    newest,
    table_number,
)
from shapestore.source.sqlite_feed.file import ask, opened, transaction
from shapestore.source.sqlite_feed.followed_table import FollowedTable, describe, refuse_unfollowable
from shapestore.source.sqlite_feed.triggers import token_of, triggers_of


def install(path: str, *tables: str) -> list[str]:
    """Capture the changes of ``tables`` from now on; repair what is there of it. Return those where it was not whole.

    In one transaction, which takes some milliseconds whatever the size of the tables. Any number of stores may call it
    at once. Raises UnknownTableError, or InvalidSourceError if a table cannot be followed, or the file not be written;
    then nothing was changed.
    """
    with _errors_of(path), opened(path) as connection:
        for table in tables:
            refuse_unfollowable(connection, table)  # outside of the transaction: it may search the table
        with transaction(connection):
            missing = [table for table in dict.fromkeys(tables) if signature(connection, table) is None]
            if missing:
                _make_change_table(connection)
            for table in missing:
                _put_triggers(connection, describe(connection, table))
    return missing


def uninstall(path: str) -> list[str]:
    """Remove all that was ever put into the source. Return the names of the tables that were followed.

    A store that is open with ``follow=True`` puts it back with the next shape that it creates.
    """
    with _errors_of(path), opened(path) as connection, transaction(connection):
        triggers, tables = _parts(connection)
        for name in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for name in tables:
            connection.execute(f"DROP TABLE {name}")
    return sorted({part.table for part in triggers.values()} - {CHANGES})


class Captured(NamedTuple):
    """A table of which all changes are captured."""

    table: FollowedTable
    number: int
    """What stands for it in the change table."""
    signature: str
    """What stands for the table, its unique indexes and its triggers, exactly."""


def signature(connection: sqlite3.Connection, table: str) -> str | None:
    """The signature of a table; None unless all of its changes are captured."""
    found = captured(connection, table)
    return found and found.signature


def captured(connection: sqlite3.Connection, table: str) -> Captured | None:
    """The table as it is; None unless all of its changes are captured."""
    triggers, tables = _parts(connection)
    if {name: part.text for name, part in tables.items()} != _TABLES:
        return None
    if RING not in triggers or triggers[RING].text != make_ring() or newest(connection) is None:
        return None
    there = {name: part.text for name, part in triggers.items() if part.table == table}
    number = table_number(connection, table)
    tokens = {token_of(name) for name in there}
    if number is None or not tokens:
        return None
    try:
        followed = describe(connection, table)
    except (InvalidSourceError, UnknownTableError):
        return None
    if there != triggers_of(followed, number, str(tokens.pop())):
        return None
    signed = hashlib.sha256(json.dumps([followed.definition, there]).encode()).hexdigest()
    return Captured(followed, number, signed)


# --- what is there


class _Part(NamedTuple):
    table: str
    text: str


_TABLES = {CHANGES: MAKE_CHANGES, TABLES: MAKE_TABLES}


def _parts(connection: sqlite3.Connection) -> tuple[dict[str, _Part], dict[str, _Part]]:
    """Our triggers and tables by their names. Those of other programs are left out, whatever their names."""
    rows = ask(
        connection,
        # Not by LIKE, which may mean anything on the application's connections.
        "SELECT type, name, tbl_name, sql FROM main.sqlite_schema"
        " WHERE name >= 'shapestore' AND name < 'shapestorf' ORDER BY name",
    )
    triggers = {
        name: _Part(table, text)
        for kind, name, table, text in rows
        if kind == "trigger" and (token_of(name) or (name, table) == (RING, CHANGES))
    }
    tables = {name: _Part(name, text) for kind, name, _, text in rows if kind == "table" and _TABLES.get(name) == text}
    return triggers, tables


# --- putting it there

# Not the number that the table had, if it had one: a table that was renamed has taken its triggers with it, and logs
# keys of its own under that number.
_NUMBER_ANEW = f"""
    INSERT INTO {TABLES} (number, name) SELECT coalesce(max(number), {MARKER}) + 1, ? FROM {TABLES} WHERE true
    ON CONFLICT (name) DO UPDATE SET number = excluded.number
"""


def _make_change_table(connection: sqlite3.Connection) -> None:
    _, tables = _parts(connection)
    for name, text in _TABLES.items():
        if name not in tables:
            _refuse_other_program(connection, name)
            connection.execute(text)
    connection.execute(f"DROP TRIGGER IF EXISTS {RING}")
    connection.execute(make_ring())
    if newest(connection) is None:
        connection.execute(f"INSERT INTO {CHANGES} (tab) VALUES ({MARKER})")


def _refuse_other_program(connection: sqlite3.Connection, name: str) -> None:
    if ask(connection, "SELECT 1 FROM main.sqlite_schema WHERE name = ?", name):
        raise InvalidSourceError(
            f'the source has a "{name}" that this version of shapestore did not make: run `shapestore unfollow` of the '
            "version that did, or rename it"
        )


def _put_triggers(connection: sqlite3.Connection, table: FollowedTable) -> None:
    triggers, _ = _parts(connection)
    for name, part in triggers.items():
        if part.table == table.name:
            connection.execute(f"DROP TRIGGER {name}")
    connection.execute(_NUMBER_ANEW, (table.name,))
    number = table_number(connection, table.name)
    assert number is not None
    for text in triggers_of(table, number, secrets.token_hex(8)).values():
        connection.execute(text)


@contextmanager
def _errors_of(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise InvalidSourceError(
            f"change capture in {path!r} could not be changed: {error}; nothing was changed. It takes a SQLite "
            "database that exists, that this user may write, and that no other program keeps locked"
        ) from error
