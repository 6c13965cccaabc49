"""The parts of an open store, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import sqlite3
import sys
from functools import partial

import aiosqlite

from shapestore.concurrency.uncancelled import uncancelled
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.creating.coalescer import Coalescer
from shapestore.creating.services import Services
from shapestore.errors import MigrationRequiredError, ShapeStoreError, StorageError
from shapestore.following.followers import Followers
from shapestore.freshness.background import BackgroundRefreshes
from shapestore.freshness.policy import FreshnessPolicy
from shapestore.freshness.polling import Polling
from shapestore.freshness.requests import Requests
from shapestore.freshness.touched import TouchedRows
from shapestore.locking.gate import Gate
from shapestore.locking.owner import Owner, is_alive, living_owners, remove_dead_owner_files
from shapestore.maintenance import Maintenance
from shapestore.options import Options
from shapestore.reading.log_pages import LogPages
from shapestore.reading.recent_texts import RecentTexts
from shapestore.reading.row_batches import RowBatches
from shapestore.source.creator import Creator
from shapestore.storage import fork_guard, migrations, queries
from shapestore.storage import path as paths
from shapestore.storage.access_tracker import AccessTracker
from shapestore.storage.commands import end_owner
from shapestore.storage.connection import abandon, check_sqlite_version, open_writer
from shapestore.storage.log import queries as log_queries
from shapestore.storage.reader import Reader
from shapestore.storage.sqlite_errors import damaged, translated
from shapestore.storage.transaction import Transaction, transact
from shapestore.storage.writer import Writer
from shapestore.telemetry import Telemetry
from shapestore.waiting.followed import FollowedSources
from shapestore.waiting.registrations import Registrations
from shapestore.waiting.waits import Waits


class OpenStore:
    """An open store: its owner, connections, writer, flights and maintenance."""

    def __init__(
        self,
        path: str,
        options: Options,
        telemetry: Telemetry,
        *,
        create: Creator | None,
        freshness: FreshnessPolicy,
        gate: Gate,
        owner: Owner,
        file: os.stat_result,
        connection: aiosqlite.Connection,
        reader: Reader,
        threads: WorkerThreads,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.options = options
        self._path = path
        self._gate = gate
        self._owner = owner
        self._connection = connection
        self.threads = threads
        self.telemetry = telemetry
        self.reader = reader
        self.access = AccessTracker()
        self.writer = Writer(
            path,
            connection,
            gate,
            owner.id,
            file=file,
            threads=threads,
            # A flight has one command in the queue at most; the rest is for invalidations, deletions and the like.
            max_queued=options.max_in_flight + 1_000,
            telemetry=self.telemetry,
        )
        services = Services(
            reader,
            self.writer,
            self.access,
            self.telemetry,
            threads,
            owner=owner.id,
            path=path,
            create_timeout=options.create_timeout,
            failure_grace=options.failure_grace,
            max_creating=options.max_creating,
            namespace=options.namespace,
        )
        self.coalescer = Coalescer(services, max_in_flight=options.max_in_flight)
        background = BackgroundRefreshes(
            self.coalescer,
            services.timers,
            max_creating=options.max_creating,
            max_scheduled=options.max_in_flight,
        )
        self.sources = FollowedSources(reader, threads)
        self.requests = Requests(services, self.coalescer, background, self.sources)
        self.touched = TouchedRows(services, create, options.namespace)
        self.recent_texts = RecentTexts(reader)
        self.row_batches = RowBatches(reader, self.writer, self.access, keep_replaced=options.keep_replaced)
        self._registrations = Registrations(self.writer)
        polling = Polling(services, background, create, freshness)
        self.waits = Waits(reader, [self._registrations, polling])
        self.writer.on_commit = self.waits.committed
        self.log_pages = LogPages(reader, self.access)
        self.maintenance = Maintenance(
            reader,
            self.writer,
            self.coalescer,
            self.access,
            self.telemetry,
            options,
            keep_provable=owner.keep_provable,
        )
        self.followers = Followers(
            path,
            self.writer,
            telemetry,
            compact_later=self.maintenance.compact_later,
            sweep_later=self.maintenance.sweep_later,
        )
        services.follow = self.followers.wake
        self.followers.follow(create)
        self.sources.wake = partial(self.followers.wake, create)
        self._dropped = False
        self._writing = asyncio.create_task(self.writer.run(), name="shapestore writer")
        self._maintaining = asyncio.create_task(self.maintenance.run(), name="shapestore maintenance")

    @classmethod
    async def open(
        cls, path: str, options: Options, telemetry: Telemetry, create: Creator | None, freshness: FreshnessPolicy
    ) -> OpenStore:
        """Open, make or migrate the file, clear away what dead owners have left, and register as an owner.

        ``create`` and ``freshness`` are for what the store does by itself, without a call that says otherwise.

        All of it under the gate, so that several processes can do it at the same moment. If it fails, or is cancelled,
        it is undone.
        """
        check_sqlite_version()
        fork_guard.opening(path)
        gate = Gate(path)
        threads = WorkerThreads()
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(fork_guard.closed, path)
            undo.callback(gate.close)
            undo.callback(threads.close)
            try:
                paths.check_beside(path)
                revision = migrations.refuse_foreign(path)
                await gate.acquire()
                undo.callback(gate.release)
                if revision != migrations.HEAD:
                    # The thread cannot be stopped, and the gate is held until it has ended.
                    await uncancelled(
                        threads.run(lambda: _bring_to_head(path, options.migrate), name="shapestore migration")
                    )
                paths.check_writable(path)
                file = os.stat(path)
                connection = await open_writer(path, options.durability, partial(migrations.check, path=path))
                undo.push_async_callback(connection.close)
                reader = await Reader.open(path)
                undo.push_async_callback(reader.close)
                owner = Owner(path)
                undo.callback(owner.withdraw)
                newest_round = await transact(connection, owner.id, lambda tx: _register(tx, path))
            except sqlite3.Error as error:
                raise translated(error, path) from error
            except OSError as error:
                raise StorageError(f"{path!r} cannot be opened: {error}") from error
            store = cls(
                path,
                options,
                telemetry,
                create=create,
                freshness=freshness,
                gate=gate,
                owner=owner,
                file=file,
                connection=connection,
                reader=reader,
                threads=threads,
            )
            store.writer.has_seen(newest_round)
            undo.pop_all()
            gate.release()
            return store

    async def close(self) -> None:
        """Give up what is in flight, write what is queued, leave nothing but the shapes in the file. It always ends.

        ``drop`` follows it, however it ends. If it is cancelled (by what cancels all tasks), it waits for nothing more:
        to others the store ends as a killed process does, and the next opening clears away what it has left in the
        file.
        """
        self._end_waits()
        await self.followers.close()
        await self.coalescer.close()
        self._maintaining.cancel()
        with contextlib.suppress(ShapeStoreError):
            await self.maintenance.note()
        self.writer.close()
        await asyncio.wait([self._maintaining, self._writing])
        try:
            await self._gate.acquire()
        except (ShapeStoreError, OSError):
            # Another process holds it: others will find the owner dead, and clear away what it has left in the file.
            await self._close_connections()
        else:
            await self._leave()

    def _end_waits(self) -> None:
        self._registrations.close()
        self.waits.close()
        self.sources.close()

    def drop(self) -> None:
        """Let go of everything that is still open, as the end of the process would; again does no harm.

        At once, or as soon as the tasks have ended that use it.
        """
        self.followers.stop()
        if not self.loop.is_closed():  # and its tasks with it
            for task in (self._maintaining, self._writing):
                if not task.done():
                    task.cancel()
                    task.add_done_callback(lambda _: self.drop())
                    return
        if self._dropped:
            return
        self._dropped = True
        self._end_waits()
        self.reader.abandon()
        abandon(self._connection)
        self._owner.abandon()
        self.threads.close()
        self._gate.close()
        fork_guard.closed(self._path)

    async def _leave(self) -> None:
        """Remove all traces of this store from the file. The gate is held until the connections are closed."""
        with contextlib.suppress(sqlite3.Error):
            await transact(self._connection, self._owner.id, lambda tx: end_owner(tx, tx.owner, "abandoned"))
            await self.writer.checkpoint()
        await self._close_connections()
        self._owner.withdraw()

    async def _close_connections(self) -> None:
        # The writer last: the last connection to close checkpoints the log, and a reader cannot.
        for connection in (self.reader, self._connection):
            with contextlib.suppress(sqlite3.Error):
                await connection.close()


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
        with migrations.opened(path) as connection:
            migrations.check(connection, path)


def _register(tx: Transaction, path: str) -> int:
    """Remove the rows and files of dead owners, and add the row of this one. Returns the newest round, see Reader."""
    if not living_owners(path) - {tx.owner}:
        tx.run(queries.SET_JUMP_DUE)  # the file may be an older copy of one that has gone on
    for (owner,) in tx.run(queries.OWNERS):
        if not is_alive(path, owner):
            end_owner(tx, owner, "died")
    remove_dead_owner_files(path)
    tx.run(queries.ADD_OWNER, pid=os.getpid(), hostname=socket.gethostname(), program=_program())
    for round_, jump_due, _ in tx.run(log_queries.LOG_STATE):
        return int(round_) + int(jump_due)
    raise damaged("it does not know its newest round", path)


def _program() -> str:
    """Return what people call this process: its script, or what follows ``python -m``."""
    folder, script = os.path.split(sys.argv[0])
    return os.path.basename(folder) if script == "__main__.py" and folder else script or "python"
