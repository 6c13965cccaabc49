"""The parts of an open store, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.creating.coalescer import Coalescer
from shapestore.creating.services import Services
from shapestore.errors import ShapeStoreError
from shapestore.following.followers import Followers
from shapestore.freshness.background import BackgroundRefreshes
from shapestore.freshness.policy import FreshnessPolicy
from shapestore.freshness.polling import Polling
from shapestore.freshness.requests import Requests
from shapestore.freshness.touched import TouchedRows
from shapestore.maintenance import Maintenance
from shapestore.open_file import OpenFile
from shapestore.options import Options
from shapestore.reading.log_pages import LogPages
from shapestore.reading.recent_texts import RecentTexts
from shapestore.reading.row_batches import RowBatches
from shapestore.source.creator import Creator
from shapestore.storage.path import resolve
from shapestore.storage.readers import AccessTracker, Registrations
from shapestore.storage.writer import Writer
from shapestore.telemetry import Telemetry
from shapestore.waiting.followed import FollowedSources
from shapestore.waiting.waits import Waits


class OpenStore:
    """An open store: its file, writer, flights, waiters, followers and maintenance."""

    def __init__(  # noqa: PLR0917 - what it is made of
        self,
        file: OpenFile,
        threads: WorkerThreads,
        options: Options,
        telemetry: Telemetry,
        create: Creator | None,
        freshness: FreshnessPolicy,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.options = options
        self.threads = threads
        self.telemetry = telemetry
        self._file = file
        self._dropped = False
        self.reader = file.reader
        self.access = AccessTracker()
        self.writer = Writer(
            file.path,
            file.connection,
            file.gate,
            file.owner.id,
            file=file.stat,
            threads=threads,
            # A flight has one command in the queue at most; the rest is for invalidations, deletions and the like.
            max_queued=options.max_in_flight + 1_000,
            telemetry=telemetry,
        )
        self.writer.has_seen(file.newest_round)
        services = Services(
            self.reader,
            self.writer,
            self.access,
            telemetry,
            threads,
            path=file.path,
            owner=file.owner.id,
            namespace=options.namespace,
            create_timeout=options.create_timeout,
            failure_grace=options.failure_grace,
            max_creating=options.max_creating,
        )
        self.coalescer = Coalescer(services, max_in_flight=options.max_in_flight)
        background = BackgroundRefreshes(
            self.coalescer,
            services.timers,
            max_creating=options.max_creating,
            max_scheduled=options.max_in_flight,
        )
        self.sources = FollowedSources(self.reader, threads)
        self.touched = TouchedRows(services, create)
        self.recent_texts = RecentTexts(self.reader)
        self._registrations = Registrations(self.writer)
        self.row_batches = RowBatches(
            self.reader, self.access, self._registrations, keep_replaced=options.keep_replaced
        )
        polling = Polling(services, background, create, freshness)
        self.waits = Waits(self.reader, self._registrations, polling)
        self.log_pages = LogPages(self.reader, self.access)
        self.maintenance = Maintenance(
            self.coalescer, self._registrations, options, keep_provable=file.owner.keep_provable
        )
        self.writer.on_commit = self._committed
        self.followers = Followers(file.path, self.writer, telemetry, sweep_later=self.maintenance.sweep_later)
        services.follow = self.followers.wake
        self.requests = Requests(services, self.coalescer, background, self.sources, self.followers)
        self.followers.follow(create)
        self.sources.wake = partial(self.followers.wake, create)
        self._writing = asyncio.create_task(self.writer.run(), name="shapestore writer")
        self._maintaining = asyncio.create_task(self.maintenance.run(), name="shapestore maintenance")

    @classmethod
    async def open(
        cls, path: str, options: Options, telemetry: Telemetry, create: Creator | None, freshness: FreshnessPolicy
    ) -> OpenStore:
        """Open the file at ``path``, and start what works on it. If that fails, or is cancelled, it is undone.

        ``create`` and ``freshness`` are for what the store does by itself, without a call that says otherwise.
        """
        threads = WorkerThreads()
        with contextlib.ExitStack() as undo:
            undo.callback(threads.close)
            file = await OpenFile.open(
                resolve(path), durability=options.durability, migrate=options.migrate, threads=threads
            )
            undo.callback(file.drop)
            store = cls(file, threads, options, telemetry, create, freshness)
            undo.pop_all()
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
        await self._file.close(self.writer.wal.cut)

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
        self.threads.close()
        self._file.drop()

    def _committed(self, numbers: set[int]) -> None:
        """The logs of these shapes have grown, or they were dropped."""
        self.waits.committed(numbers)
        if numbers:
            self.maintenance.logs.have_grown(numbers)

    def _end_waits(self) -> None:
        self._registrations.close()
        self.waits.close()
        self.sources.close()
