"""The change table: how it is made, its newest row, and the keys that a part of it holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from shapestore.source.sqlite_feed.file import NotUtf8, any_text, ask

PREFIX = "shapestore_"
"""With it begin the names of all that we put into a source."""
CHANGES = "shapestore_changes"
TABLES = "shapestore_tables"
RING = "shapestore_ring"
MARKER = 0
"""Stands in ``tab`` for a row that an application wrote, to be told when its transaction has been followed."""
RING_SIZE = 1_000_000
"""Rows that are kept."""
RING_STEP = 1_000
"""Rows that are deleted at once."""
_RECENT = 1_000

MAKE_CHANGES = (
    f"CREATE TABLE {CHANGES} (seq INTEGER PRIMARY KEY, nonce INTEGER DEFAULT (random()), tab INTEGER, k0, k1, k2, k3)"
)
MAKE_TABLES = f"CREATE TABLE {TABLES} (number INTEGER PRIMARY KEY, name TEXT UNIQUE)"


def make_ring() -> str:
    return (
        f"CREATE TRIGGER {RING} AFTER INSERT ON {CHANGES} WHEN new.seq % {RING_STEP} = 0 "
        f"BEGIN DELETE FROM {CHANGES} WHERE seq <= new.seq - {RING_SIZE}; END"
    )


Key = tuple[int | float | str | bytes, ...]


class SourcePosition(NamedTuple):
    """A row of the change table: all that was committed before it is in what is read with it."""

    seq: int
    nonce: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What a part of the change table holds."""

    until: int
    """The last row that was read: what was asked for, or less if there was more than ``limit``."""
    keys: Mapping[int, Sequence[Key]]
    """By the number of the table: the keys that were written, each once, in the order of their first change."""
    markers: Sequence[int]
    unfollowable: frozenset[int]
    """Tables in which a row has a key that names nothing: NULL, or text that is not UTF-8."""


def newest(connection: sqlite3.Connection) -> SourcePosition | None:
    """The newest row; None where nothing is captured. Read it in the transaction that reads the source's rows."""
    rows = _ask_changes(connection, f"SELECT seq, nonce FROM {CHANGES} ORDER BY seq DESC LIMIT 1")
    return SourcePosition(*rows[0]) if rows else None


def recent_markers(connection: sqlite3.Connection) -> list[int]:
    """The markers among the newest rows. Those before them were followed long ago, as a rule."""
    statement = f"SELECT seq FROM {CHANGES} WHERE seq > (SELECT max(seq) FROM {CHANGES}) - ? AND tab = {MARKER}"
    return [seq for (seq,) in ask(connection, statement, _RECENT)]


def nonce_at(connection: sqlite3.Connection, seq: int) -> int | None:
    """The nonce of the row ``seq``; None if it is not there, or nothing is captured."""
    rows = _ask_changes(connection, f"SELECT nonce FROM {CHANGES} WHERE seq = ?", seq)
    return rows[0][0] if rows else None


def has_changes(connection: sqlite3.Connection) -> bool:
    """Whether the source has a change table."""
    return bool(ask(connection, "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?", CHANGES))


def table_number(connection: sqlite3.Connection, table: str) -> int | None:
    """What stands for ``table`` in the change table; None if it was never followed."""
    rows = ask(connection, f"SELECT number FROM {TABLES} WHERE name = ?", table)
    return rows[0][0] if rows else None


def keys_between(
    connection: sqlite3.Connection, after: int, until: int, widths: Mapping[int, int], limit: int
) -> Changes:
    """The keys in the rows behind ``after``, up to ``until``, of the tables in ``widths``: key columns by table.

    At most ``limit`` rows are read. Keys that differ in type are different: 1, 1.0, "1" and b"1"; but -0.0 is 0.0.
    """
    rows = _rows(connection, after, until, limit)
    by_table: dict[int, list[Any]] = {table: [] for table in widths} | {MARKER: []}
    for row in rows:
        if (of_table := by_table.get(row[1])) is not None:
            of_table.append(row)
    markers = [row[0] for row in by_table.pop(MARKER)]
    keys = {}
    unfollowable = set()
    for table, of_table in by_table.items():
        written = [row[2 : 2 + widths[table]] for row in of_table]
        kinds = set(map(type, chain.from_iterable(written)))
        if not _NAMING_NOTHING.isdisjoint(kinds):
            unfollowable.add(table)
            written = [key for key in written if _NAMING_NOTHING.isdisjoint(map(type, key))]
        if written:
            keys[table] = _distinct(written, kinds)
    return Changes(
        until=rows[-1][0] if len(rows) == limit else until,
        keys=keys,
        markers=markers,
        unfollowable=frozenset(unfollowable),
    )


def _distinct(keys: Sequence[Key], kinds: Set[type]) -> list[Key]:
    """Each key once. ``kinds`` are the types of the values."""
    if float not in kinds:  # values of the other types are equal only if their types are
        return list(dict.fromkeys(keys))
    plus_zero = [tuple(value + 0.0 if type(value) is float else value for value in key) for key in keys]
    return list({(key, *map(type, key)): key for key in plus_zero}.values())


_NAMING_NOTHING = frozenset((type(None), NotUtf8))


def _rows(connection: sqlite3.Connection, after: int, until: int, limit: int) -> list[Any]:
    statement = f"SELECT seq, tab, k0, k1, k2, k3 FROM {CHANGES} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    with any_text(connection):
        return connection.execute(statement, (after, until, limit)).fetchall()


def _ask_changes(connection: sqlite3.Connection, statement: str, *values: int) -> list[tuple[Any, ...]]:
    """The rows that a statement about the change table gives; none where there is no such table."""
    try:
        return ask(connection, statement, *values)
    except sqlite3.OperationalError:
        if has_changes(connection):
            raise
        return []
