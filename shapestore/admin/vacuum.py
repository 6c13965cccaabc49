"""Returning free space: rows that belong to no shape are deleted, and the file shrinks to what it holds.

A person asks for it. It blocks and holds the write gate, so writes of other processes wait; reads go on.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from shapestore.admin.inspector import Inspector, existing, open_inspector
from shapestore.errors import StoreBusyError
from shapestore.locking.gate import Gate
from shapestore.storage import migrations, queries
from shapestore.storage.commands import ForgetKept
from shapestore.storage.commands.history import discard
from shapestore.storage.connection import BUSY_TIMEOUT_MS
from shapestore.storage.log import compact
from shapestore.storage.path import check_beside
from shapestore.storage.transaction import Transaction
from shapestore.storage.wal import wal_bytes

# Expected to be empty: the transaction that ends an attempt also marks its rows as pending deletion.
ORPHANS = "SELECT number FROM left_behind WHERE what = 'rows that belong to no shape'"


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """The size of the file and its write-ahead log together, in bytes."""

    bytes_before: int
    bytes_after: int


def vacuum(path: str | os.PathLike[str], *, beside_others: bool = False) -> Vacuumed:
    """Delete the rows that belong to no shape, and return the free space to the file system.

    Meanwhile it takes as much space on the disk as the file has, once more. Raises StoreBusyError if other stores have
    the file open, unless ``beside_others`` (their writes wait, and are refused after ten seconds); and always if
    Litestream may be replicating the file.
    """
    real = existing(path)
    with open_inspector(real):
        pass  # refuses a file that is not a store before a gate is made beside it
    with _alone(real, beside_others) as connection:
        before = _size(real)
        _delete_left_behind(connection, forget_kept=not beside_others)
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return Vacuumed(before, _size(real))


def delete_left_behind(path: str | os.PathLike[str]) -> None:
    """Delete the rows of dropped shapes, unless a store has the file open: an open store does that by itself."""
    try:
        with _alone(existing(path), beside_others=False) as connection:
            _delete_left_behind(connection, forget_kept=True)
    except StoreBusyError:
        pass


@contextmanager
def _alone(real: str, beside_others: bool) -> Iterator[sqlite3.Connection]:
    """A read-write connection under the gate, so that no store opens the file meanwhile."""
    check_beside(real)
    with closing(Gate(real)) as gate, gate.hold_blocking(), migrations.opened(real) as connection:
        migrations.check(connection, real)
        living = [owner for owner in Inspector(real, connection).owners() if owner.alive]
        if living and not beside_others:
            processes = ", ".join(owner.process for owner in living)
            raise StoreBusyError(
                f"{real!r} is open in {processes}, whose writes would have to wait: close it there first, or use "
                "--force"
            )
        _refuse_beside_litestream(connection, real)
        yield connection


def _refuse_beside_litestream(connection: sqlite3.Connection, real: str) -> None:
    """A checkpoint that Litestream does not make may spoil its replica.

    Its table stays in the file after Litestream has exited. But SQLite leaves WAL mode only if no other connection has
    the file open.
    """
    if not connection.execute(queries.HAS_LITESTREAM).fetchall():
        return
    connection.execute("PRAGMA busy_timeout = 0").fetchall()
    try:
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    except sqlite3.OperationalError as error:
        raise StoreBusyError(
            f"{real!r} is replicated by Litestream and open in another process: stop Litestream, and close the file "
            "in every process that has it open"
        ) from error
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").fetchall()


def _delete_left_behind(connection: sqlite3.Connection, *, forget_kept: bool) -> None:
    """Delete a piece at a time, so that the write-ahead log stays short.

    Handles that are kept for their readers are forgotten where no store has the file open, and so no reader.
    """

    def commit(work: Callable[[Transaction], None]) -> None:
        Transaction(connection, "vacuum").commit(work)

    commit(lambda tx: discard(tx, tx.column(ORPHANS)))
    if forget_kept:
        commit(lambda tx: ForgetKept(tx.column("SELECT number FROM kept")).run(tx))
    while piece := compact.next_piece(connection):
        commit(partial(compact.delete, piece=piece))
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _size(real: str) -> int:
    return os.stat(real).st_size + wal_bytes(real)
