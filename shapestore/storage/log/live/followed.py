"""What makes a shape live: where it was read, as of when, and which of its rows has which key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from shapestore.storage.log.live import queries
from shapestore.storage.row_codec import as_json
from shapestore.storage.transaction import Transaction


class Followed(NamedTuple):
    """The table of a source that a shape follows, as it was when the rows were read."""

    source: str
    """The resolved path of the source's file."""
    table: str
    """The name of the table there."""
    seq: int
    """The newest change of the source that is in the rows."""
    nonce: int
    """The nonce of that change."""
    signature: str
    """Stands for the table and its triggers."""


def source_numbers(tx: Transaction, followed: Followed) -> tuple[int, int]:
    """The numbers of a source and of its table in this file; given to them if they have none."""
    tx.run(queries.ADD_SOURCE, name=followed.source)
    tx.run(queries.ADD_SOURCE_TABLE, source=followed.source, name=followed.table)
    ((source, table),) = tx.run(queries.SOURCE_NUMBERS, source=followed.source, name=followed.table)
    return source, table


def add_members(tx: Transaction, added: Iterable[tuple[Followed, int, int, int]]) -> None:
    """Note the keys of rows that were added to shapes that are followed, or to attempts at such.

    Each: what the shape follows, its number, the position of the first row, and how many come one behind the other.
    """
    tables: dict[tuple[str, str], int] = {}
    rows = []
    for followed, number, first, row_count in added:
        if row_count:
            name = followed.source, followed.table
            table = tables.get(name) or tables.setdefault(name, source_numbers(tx, followed)[1])
            rows.append((table, number, first, row_count))
    if rows:
        tx.run(queries.ADD_MEMBERS, added=as_json(rows))
