"""The single writer: a bounded queue, whole batches, one transaction each, under the gate.

Nothing but its coroutine ever awaits the read-write connection. A caller that was cancelled while it
awaited BEGIN IMMEDIATE would leave an open transaction behind; so callers await futures, or are called, instead.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import aiosqlite
import msgspec

from shapestore.concurrency.futures import refuse, resolve
from shapestore.concurrency.interrupts import raise_from_loop
from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.errors import ShapeStoreError, StorageError, StoreBusyError, StoreClosedError, fresh
from shapestore.locking.gate import Gate
from shapestore.logger import logger
from shapestore.storage import commands
from shapestore.storage.commands import Command
from shapestore.storage.sqlite_errors import damaged, is_environmental, translated
from shapestore.storage.transaction import Transaction, transact
from shapestore.storage.wal import WriteAheadLog
from shapestore.telemetry import Telemetry

T = TypeVar("T")

MAX_BATCH = 1_000
# A command that brings more rows than this waits in a line of its own, so that the quick ones do not wait behind it.
QUICK_BYTES = 32 * 1024
# A batch takes no further command once it brings this much, so that no commit waits for a longer one.
MAX_BATCH_BYTES = 1024 * 1024


class Queued(msgspec.Struct, frozen=True):
    """A command, and what is called with its answer, once, after the commit; or with the error, if nothing was done.

    The command does not know them: they mostly know it, and both would stay in memory until garbage is collected.
    """

    command: Command[Any]
    answered: Callable[[Any], object]
    refused: Callable[[ShapeStoreError], object]


Batch = deque[Queued]


class Writer:
    """Owns the read-write connection. ``submit`` a command and await its answer, or ``send`` it; ``run`` does it."""

    def __init__(
        self,
        path: str,
        connection: aiosqlite.Connection,
        gate: Gate,
        owner: str,
        *,
        file: os.stat_result,
        threads: WorkerThreads,
        max_queued: int,
        telemetry: Telemetry,
    ) -> None:
        self._path = path
        self._file = file
        """What was at the path before it was opened: what takes its place meanwhile is another file."""
        self._connection = connection
        self._gate = gate
        self._owner = owner
        self._max_queued = max_queued
        self._telemetry = telemetry
        self._quick: Batch = deque()
        self._bulky: Batch = deque()
        self._closing = False
        self._stopped = False
        self._idle: asyncio.Future[None] | None = None
        """What ``run`` waits for while nothing is queued."""
        self.wal = WriteAheadLog(path, connection, threads, telemetry)
        self.newest_round = 0
        """As far as this store has seen. A batch that takes a round and then fails leaves it greater than any in the
        file: the next one jumps."""
        self.on_commit: Callable[[set[int]], object] = lambda _: None
        """Called after each commit, while the gate is held: with the numbers of the shapes whose logs have grown, or
        that were dropped."""

    @property
    def queued(self) -> int:
        """How many commands wait."""
        return len(self._quick) + len(self._bulky)

    def submit(self, command: Command[T], *, refusable: bool = False) -> asyncio.Future[T]:
        """As ``send``; the future is of the answer. If it is cancelled, the command is done all the same."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.send(command, partial(resolve, answer), partial(refuse, answer), refusable=refusable)
        return answer

    def send(
        self,
        command: Command[T],
        answered: Callable[[T], object],
        refused: Callable[[ShapeStoreError], object],
        *,
        refusable: bool = False,
    ) -> None:
        """Queue a command. One of the two is called: after the commit, while the gate is still held.

        A ``refusable`` one is refused by StoreBusyError when the queue is full. Outcomes are not: they must land, and
        their number is bounded by that of the flights. Raises StoreClosedError once the writer closes.
        """
        if self._stopped:
            raise StoreClosedError(
                "the store's writer was cancelled, as by a program that cancels all its tasks: close the store, and "
                "open it again"
            )
        if self._closing:
            raise StoreClosedError("the store is closed; nothing more is written")
        if refusable and self.queued >= self._max_queued:
            raise StoreBusyError(f"{self.queued} commands wait for the writer, the limit; try again later", 0.1)
        (self._bulky if command.size > QUICK_BYTES else self._quick).append(Queued(command, answered, refused))
        self._telemetry.commands += 1
        self._wake()

    async def run(self) -> None:
        """Commit batch after batch until ``close``, and what is queued by then."""
        try:
            while self.queued or not self._closing:
                if self.queued:
                    await self._write(self._next_batch())
                else:
                    self._idle = asyncio.get_running_loop().create_future()
                    await self._idle
        finally:
            self._stopped = not self._closing
            self._closing = True
            for waiting in (self._quick, self._bulky):
                _refuse_all(waiting, StoreClosedError("the store was closed before this was written"))

    def has_seen(self, round_: int) -> None:
        """The file knows so many rounds: one that knows fewer, later, is an older copy that was put back."""
        self.newest_round = max(self.newest_round, round_)

    def close(self) -> None:
        """Take no more commands; ``run`` ends when those that are queued are done."""
        self._closing = True
        self._wake()

    def _wake(self) -> None:
        if self._idle is not None:
            resolve(self._idle, None)
            self._idle = None

    def _next_batch(self) -> Batch:
        """What is quick first, then as much of the bulky as keeps the transaction short, but one at least."""
        batch: Batch = deque()
        size = 0
        while self._quick and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            batch.append(self._quick.popleft())
            size += batch[-1].command.size
        room = max(size + 1, MAX_BATCH_BYTES)
        while self._bulky and size < room:
            batch.append(self._bulky.popleft())
            size += batch[-1].command.size
        return batch

    async def _write(self, batch: Batch) -> None:
        """Commit a batch, and answer each of its commands exactly once, whatever goes wrong.

        Those that are answered leave the batch.
        """
        try:
            await self._commit(batch)
        except Exception as error:
            if len(batch) == 1 or _is_of_all(error):
                _refuse_all(batch, self._explained(error))
            else:
                while batch:  # one of them is at fault: the others need not suffer for it
                    await self._write(deque([batch.popleft()]))
        finally:
            if batch:
                _refuse_all(batch, StoreClosedError("the writer was stopped in the middle; the outcome is unknown"))

    async def _commit(self, batch: Batch) -> None:
        await self._gate.acquire()
        try:
            self.check_file()
            work = partial(self._apply, [queued.command for queued in batch])
            answers, changed = await transact(self._connection, self._owner, work)
            self._telemetry.batches += 1
            _tell(self.on_commit, changed)
            for answer in answers:
                _tell(batch.popleft().answered, answer)
            await self.wal.committed()
        finally:
            self._gate.release()

    def _explained(self, error: Exception) -> ShapeStoreError:
        """The error that says to callers what has happened."""
        match error:
            case ShapeStoreError():
                return error
            case OSError():
                return StorageError(f"{self._path!r}: {error}; the store recovers once the cause is fixed")
            case UnicodeDecodeError():  # in SQLite's own message, which quotes what is in the file
                return damaged(error, self._path)
            case sqlite3.Error():
                return translated(error, self._path)
        logger.error("unexpected error in a command; reported to its caller", exc_info=error)
        return ShapeStoreError(f"unexpected {type(error).__name__}: {error}; please report it")

    def _apply(self, batch: list[Command[Any]], tx: Transaction) -> tuple[list[Any], set[int]]:
        """Carry out a batch, kind by kind; the answers in the order of the commands, and which shapes changed."""
        tx.newest_round = self.newest_round
        groups: dict[type[Command[Any]], list[Command[Any]]] = {}
        for command in batch:
            groups.setdefault(type(command), []).append(command)
        answers = {}
        for kind in sorted(groups, key=commands.KINDS.index):
            answers[kind] = iter(kind.apply(groups[kind], tx))
        self.has_seen(tx.newest_round)
        return [next(answers[type(command)]) for command in batch], tx.changed

    def check_file(self) -> None:
        """Raise StorageError unless the path still names the file that is open: SQLite itself would not notice."""
        try:
            same = os.path.samestat(os.stat(self._path), self._file)
        except FileNotFoundError:
            same = False
        except OSError as error:
            raise StorageError(f"{self._path!r} cannot be examined: {error}") from error
        if not same:
            raise StorageError(
                f"{self._path!r} was moved, removed or replaced while it was open: close all stores of it, and open "
                "them again"
            )


def _is_of_all(error: Exception) -> bool:
    """Whether every command would have met it, and so all of a batch are refused."""
    if isinstance(error, sqlite3.Error):
        return is_environmental(error)
    return isinstance(error, (ShapeStoreError, OSError, UnicodeDecodeError))


def _tell(told: Callable[[T], object], fact: T) -> None:
    """Tell one of those who wait for a commit. What is committed stays so, and the others are told, if it raises."""
    try:
        told(fact)
    except (KeyboardInterrupt, SystemExit) as interrupt:
        raise_from_loop(interrupt)
    except Exception:
        logger.exception("unexpected error of a caller that was told of a commit; the store continues")


def _refuse_all(batch: Batch, error: ShapeStoreError) -> None:
    while batch:
        batch.popleft().refused(fresh(error))
