"""Regular work that no caller waits for: sweeping failures, recording what was read, evicting, deleting rows that are
pending deletion, releasing keys of this store that no flight leads, and keeping the store provably alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from shapestore.concurrency.interrupts import raise_from_loop
from shapestore.creating.coalescer import Coalescer
from shapestore.errors import ShapeStoreError, StorageError, StoreBusyError, StoreClosedError
from shapestore.events import Evicted, Swept
from shapestore.logger import logger
from shapestore.long_logs import LongLogs
from shapestore.options import Options
from shapestore.storage.commands import (
    Abandon,
    DeletePiece,
    EndOwner,
    Evict,
    ForgetKept,
    Note,
    Sweep,
)
from shapestore.storage.commands.shapes import beyond, first_beyond
from shapestore.storage.drop_queries import SPARED_MS
from shapestore.storage.log.compact import kept_beyond_two, next_piece
from shapestore.storage.readers import Registrations
from shapestore.storage.wal import CHECKPOINT_BYTES

TICK_SECONDS = 1.0
NOTE_SECONDS = 5.0
EVICTIONS_A_TURN = 5


class Maintenance:
    """One coroutine that wakes at every tick, and when a sweep is due. It writes through the writer, as callers do.

    ``keep_provable`` makes the owner file again if it was removed; it raises OSError if it cannot.
    """

    def __init__(
        self, coalescer: Coalescer, registrations: Registrations, options: Options, *, keep_provable: Callable[[], None]
    ) -> None:
        services = coalescer.services
        self._services = services
        self._reader = services.reader
        self._writer = services.writer
        self._access = services.access
        self._coalescer = coalescer
        self._registrations = registrations
        self._keep_provable = keep_provable
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._noted_at = self._loop.time()
        self._to_be_swept: list[str] = []
        self._wakeup = asyncio.Event()
        self._working, self._proving = _Trouble(), _Trouble()
        self._dead_owners: set[str] = set()
        """Those that were dead at the last look."""
        self._kept_seen = 0
        """Handles that were kept up to this one were looked at for being more than two a key."""
        self.logs = LongLogs(self._reader, self._writer, self._keep_ms)
        services.sweep_later = self.sweep_later
        if options.max_shapes is not None or options.max_bytes is not None:
            services.after_publish = self._wakeup.set

    def sweep_later(self, handle: str, seconds: float) -> None:
        """Sweep the failure of the attempt ``handle`` in so many seconds."""
        self._services.timers.after(seconds, self._sweep_soon, handle)

    def _sweep_soon(self, handle: str) -> None:
        self._to_be_swept.append(handle)
        self._wakeup.set()

    async def run(self) -> None:
        """Take turns until the writer closes, or the task is cancelled."""
        self._wakeup.set()
        while True:
            try:
                await self._sleep()
                self._prove()
                if await self._take_turn():
                    self._wakeup.set()
                self._working.over()
            except StoreClosedError:
                return
            except ShapeStoreError as error:
                # The disk is full, another process holds the gate, the file is gone: what is due stays due until the
                # next tick. It is logged, for where all callers are served from what is stored, no caller sees it.
                if self._working.is_new(error):
                    logger.warning("maintenance cannot write to the file, and tries again every second: %s", error)
            except Exception as error:
                if self._working.is_new(error):
                    logger.exception("unexpected error in maintenance, which continues in a second")
            except (KeyboardInterrupt, SystemExit) as interrupt:  # the loop may go on all the same
                raise_from_loop(interrupt)

    def _prove(self) -> None:
        try:
            self._keep_provable()
            self._proving.over()
        except OSError as error:
            if self._proving.is_new(error):
                logger.warning(
                    "the owner file of this store was removed and cannot be made again, which is tried every second: "
                    "%s",
                    error,
                )

    async def _take_turn(self) -> bool:
        """Do what is due; whether more is left to do at once. What takes long is done in parts, one in each turn."""
        self._writer.check_file()
        self._writer.has_seen(self._reader.newest_round(self._writer.newest_round))  # those of other processes, too
        self._registrations.forget_idle()
        steps: list[Callable[[], Awaitable[bool | None]]]
        steps = [self._sweep, self._evict, self._forget_kept, self.logs.find, self.logs.cut]
        if self._loop.time() >= self._noted_at + NOTE_SECONDS:
            self._noted_at = self._loop.time()
            steps += [self.note, self._end_dead_owners, self._checkpoint_if_long]
        return await _all_of([*steps, self._free_orphans, self._delete_discarded])

    async def _sleep(self) -> None:
        timer = self._loop.call_later(TICK_SECONDS, self._wakeup.set)
        try:
            await self._wakeup.wait()
        finally:
            timer.cancel()
        self._wakeup.clear()

    async def _sweep(self) -> None:
        handles, self._to_be_swept = self._to_be_swept, []
        if not handles:
            return
        try:
            await self._writer.submit(Sweep(handles))
        except BaseException:
            self._to_be_swept += handles
            raise
        self._services.telemetry.tell(Swept, tuple(handles))

    async def note(self) -> None:
        """Record what was read since the last time."""
        read, followers = self._access.drain()
        if not read and not followers:
            return
        try:
            await self._writer.submit(Note(read, followers))
        except ShapeStoreError:  # or what was read last would be evicted first
            self._access.put_back(read, followers)
            raise

    async def _checkpoint_if_long(self) -> None:
        """Have a long write-ahead log checkpointed, even if nothing is written.

        The reader that prevented it may have ended.
        """
        if self._writer.wal.size() >= CHECKPOINT_BYTES:
            self._writer.wal.checkpoint_soon()
            await self._writer.submit(Note([], {}))

    async def _end_dead_owners(self) -> None:
        """Remove what killed processes have left: no other store may be opened for long, which would clear it away.

        Not before the next look: a store whose owner file was removed has made itself provable again by then.
        """
        dead = {owner for owner in await self._reader.owners() if not self._services.is_alive(owner)}
        for owner in dead & self._dead_owners:
            await self._writer.submit(EndOwner(owner))
        self._dead_owners = dead

    async def _evict(self) -> bool:
        """Drop some of what was least recently read, beyond the limits. Whether there may be more."""
        limits, totals = self._options, self._reader.totals()
        if not beyond(totals["shapes"], limits.max_shapes) and not beyond(totals["bytes"], limits.max_bytes):
            return False
        # The shape that is too many may be published, and its callers not be answered yet: only then is it the newest
        # of what was read. The writer answers in order, so once this is answered, they are.
        await self._writer.submit(Note([], {}))
        await self.note()
        for _ in range(EVICTIONS_A_TURN):
            evicted = await self._writer.submit(Evict(limits.max_shapes, limits.max_bytes))
            if evicted:
                self._services.telemetry.evicted += len(evicted)
                self._services.telemetry.tell(Evicted, tuple(evicted))
            if len(evicted) < Evict.AT_ONCE:
                break
        return bool(evicted)

    async def _forget_kept(self) -> None:
        """Discard handles that were kept for ``keep_replaced`` seconds, and those beyond two a key or the limits."""
        totals = self._reader.totals()
        if not totals["kept"]:
            return
        numbers = await self._reader.expired(await self._keep_ms())
        seen, beyond_two = await self._reader.run(partial(kept_beyond_two, seen=self._kept_seen))
        known = {*numbers, *beyond_two}
        too_many = beyond(totals["kept"] - len(known), self._options.max_shapes)
        too_large = beyond(totals["kept_bytes"], self._options.max_bytes)
        if too_many or too_large:
            known.update(first_beyond(await self._reader.oldest_kept(), too_many, too_large))
        if known:
            await self._writer.submit(ForgetKept(list(known)))
        self._kept_seen = seen  # not before that: what could not be written is found again

    async def _keep_ms(self) -> int:
        """For how long what was replaced is kept. The readers of other stores have to be registered by then."""
        keep_ms = self._options.keep_ms
        return SPARED_MS if keep_ms < SPARED_MS and len(await self._reader.owners()) > 1 else keep_ms

    async def _free_orphans(self) -> None:
        """Release lock rows of ours that no flight leads: their claim was committed, though the disk reported an error.

        And tell flights that lead by a row which another process has ended. Otherwise their callers would wait for a
        creator that hangs, though the shape may be stored by now.
        """
        claimed = self._coalescer.claimed()
        in_progress = set(await self._reader.in_progress(self._services.owner))
        self._coalescer.supersede(claimed - in_progress)
        for handle in in_progress - self._coalescer.leading():
            await self._writer.submit(Abandon(handle))

    async def _delete_discarded(self) -> bool:
        """Delete some of the rows that are pending deletion. Whether there are more."""
        piece = await self._reader.run(next_piece) if self._reader.has_discarded() else None
        if piece is not None:
            await self._writer.submit(DeletePiece(piece))
        return piece is not None


async def _all_of(steps: Iterable[Callable[[], Awaitable[bool | None]]]) -> bool:
    """Do them all, one after the other; whether any says that more is left. The first error is raised afterwards.

    But at once where nothing can be written, by none of them.
    """
    more = False
    failed: Exception | None = None
    for step in steps:
        try:
            more |= bool(await step())
        except (StorageError, StoreBusyError, StoreClosedError):
            raise
        except Exception as error:
            failed = failed or error
    try:
        if failed is not None:
            raise failed
    finally:
        del failed  # or the error and this frame would keep each other in memory
    return more


class _Trouble:
    """Something that may fail at every tick: each different error is logged once, until it is over."""

    def __init__(self) -> None:
        self._last = ""

    def is_new(self, error: Exception) -> bool:
        before, self._last = self._last, repr(error)
        return self._last != before

    def over(self) -> None:
        self._last = ""
