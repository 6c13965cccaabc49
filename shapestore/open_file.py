"""A store's file as one owner has it open: how it is made, migrated and opened under the gate, and let go of again."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import aiosqlite

from shapestore.concurrency.uncancelled import uncancelled
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.errors import MigrationRequiredError, ShapeStoreError, StorageError
from shapestore.locking import fork_guard
from shapestore.locking.gate import Gate
from shapestore.locking.owner import Owner, is_alive, living_owners, remove_dead_owner_files
from shapestore.storage import migrations, queries
from shapestore.storage import path as paths
from shapestore.storage.commands import end_owner
from shapestore.storage.connection import Durability, abandon, check_sqlite_version, open_writer
from shapestore.storage.log import queries as log_queries
from shapestore.storage.reader import Reader
from shapestore.storage.sqlite_errors import damaged, translated
from shapestore.storage.transaction import Transaction, transact


@dataclass(frozen=True, slots=True, eq=False)
class OpenFile:
    """The file at the resolved ``path``, and all that has to be held open with it."""

    path: str
    stat: os.stat_result
    """What was at the path before it was opened: what takes its place meanwhile is another file."""
    gate: Gate
    owner: Owner
    connection: aiosqlite.Connection
    """The one that writes."""
    reader: Reader
    newest_round: int
    """The newest round that the file knew when it was opened."""

    @classmethod
    async def open(cls, path: str, *, durability: Durability, migrate: bool, threads: WorkerThreads) -> OpenFile:
        """Open, make or migrate the file, clear away what dead owners have left, and register as an owner.

        All of it under the gate, so that several processes can do it at the same moment. If it fails, or is cancelled,
        it is undone.
        """
        check_sqlite_version()
        fork_guard.opening(path)
        gate = Gate(path)
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(fork_guard.closed, path)
            undo.callback(gate.close)
            try:
                paths.check_beside(path)
                revision = migrations.refuse_foreign(path)
                await gate.acquire()
                if revision != migrations.HEAD:
                    # The thread cannot be stopped, and the gate is held until it has ended.
                    await uncancelled(threads.run(lambda: _bring_to_head(path, migrate), name="shapestore migration"))
                paths.check_writable(path)
                stat = os.stat(path)
                connection = await open_writer(path, durability, partial(migrations.check, path=path))
                undo.push_async_callback(connection.close)
                reader = await Reader.open(path)
                undo.push_async_callback(reader.close)
                owner = Owner(path)
                undo.callback(owner.withdraw)
                newest_round = await transact(connection, owner.id, lambda tx: _register(tx, path))
            except sqlite3.Error as error:
                raise translated(error, path) from error
            except PermissionError as error:
                raise StorageError(
                    f"{path!r} cannot be opened: {error.filename!r}: permission denied; this user needs read and write "
                    "access to the file, to those beside it whose names begin with its own, and to the folder"
                ) from error
            except (OSError, RuntimeError) as error:  # the system has no file, or no thread, for it
                raise StorageError(f"{path!r} cannot be opened: {error}") from error
            undo.pop_all()
            gate.release()
            return cls(path, stat, gate, owner, connection, reader, newest_round)

    async def close(self, checkpoint: Callable[[], Awaitable[None]]) -> None:
        """Remove all traces of this owner from the file, and close the connections. ``drop`` follows it."""
        try:
            await self.gate.acquire()
        except (ShapeStoreError, OSError):
            # Another process holds it: others will find the owner dead, and clear away what it has left in the file.
            await self._close_connections()
            return
        # The gate is held until the connections are closed.
        with contextlib.suppress(sqlite3.Error):
            await transact(self.connection, self.owner.id, lambda tx: end_owner(tx, tx.owner, "abandoned"))
            await checkpoint()
        await self._close_connections()
        self.owner.withdraw()

    async def _close_connections(self) -> None:
        # The writer last: the last connection to close checkpoints the log, and a reader cannot.
        for connection in (self.reader, self.connection):
            with contextlib.suppress(sqlite3.Error):
                await connection.close()

    def drop(self) -> None:
        """Let go of everything that is still open, as the end of the process would."""
        self.reader.abandon()
        abandon(self.connection)
        self.owner.abandon()
        self.gate.close()
        fork_guard.closed(self.path)


def _bring_to_head(path: str, migrate: bool) -> None:
    if migrate:
        paths.make_if_missing(path)
        migrations.upgrade(path)
    elif not os.path.exists(path):
        raise MigrationRequiredError(
            f"{path!r} does not exist, and migrate=False makes no store: run `shapestore migrate {shlex.quote(path)}`"
        )
    else:
        paths.check_writable(path)
        migrations.check_as_it_is(path)


def _register(tx: Transaction, path: str) -> int:
    """Remove the rows and files of dead owners, and add the row of this one. Returns the newest round, see Reader."""
    if not living_owners(path) - {tx.owner}:
        tx.run(queries.SET_JUMP_DUE)  # the file may be an older copy of one that has gone on
    for (owner,) in tx.run(queries.OWNERS):
        if not is_alive(path, owner):
            end_owner(tx, owner, "died")
    remove_dead_owner_files(path)
    tx.run(queries.ADD_OWNER, pid=os.getpid(), hostname=_text(socket.gethostname()), program=_text(_program()))
    for round_, jump_due, _ in tx.run(log_queries.LOG_STATE):
        return int(round_) + int(jump_due)
    raise damaged("it does not know its newest round", path)


def _program() -> str:
    """Return what people call this process: its script, or what follows ``python -m``."""
    folder, script = os.path.split(sys.argv[0] if sys.argv else "")
    return os.path.basename(folder) if script == "__main__.py" and folder else script or "python"


def _text(name: str) -> str:
    """A name as the system has it, in text: bytes in it that are not UTF-8 are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
