"""Helpers that inspect a store from a test: they wait for a state, and find what a store has left behind."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from descriptors import open_paths

from shapestore import Shape, ShapeStore, StoredShape
from shapestore.locking.gate import Gate

T = TypeVar("T")

# Nothing takes nearly as long; it only keeps a test that hangs from hanging for ever.
PATIENCE = 60.0


async def eventually(holds: Callable[[], T]) -> T:
    """Look until something holds, letting the loop go on meanwhile; what it gave."""
    async with asyncio.timeout(PATIENCE):
        while not (found := holds()):
            await asyncio.sleep(0.001)
    return found


async def quiet(store: ShapeStore, path: str) -> None:
    """Wait until nothing is in flight, then assert that no transaction is open and no lock row left."""
    await eventually(lambda: store.stats.in_flight == 0)
    async with gate_held(path):
        assert_no_transaction_is_open(path)
    async with asyncio.timeout(PATIENCE):
        while await store.locks():  # a failure, until it is swept
            await asyncio.sleep(0.001)


async def settled(store: ShapeStore, path: str) -> None:
    """As ``quiet``, and wait until the rows that belong to no handle are deleted, which may take a tick."""
    await quiet(store, path)
    await eventually(lambda: not lost_rows(path))


def assert_no_transaction_is_open(path: str) -> None:
    """Another connection can write at once. Whoever calls this holds the gate, or has no store open."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def lost_rows(path: str) -> int:
    """How many rows are in the file that belong to no shape, and to no handle that is kept for its readers."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as connection:
        [(count,)] = connection.execute(
            "SELECT count(*) FROM shape_rows"
            " WHERE shape NOT IN (SELECT number FROM shapes UNION ALL SELECT number FROM kept)"
        )
    return int(count)


@contextlib.asynccontextmanager
async def gate_held(path: str) -> AsyncIterator[None]:
    """Nobody writes meanwhile: what is to be written waits."""
    gate = Gate(path)
    await gate.acquire()
    try:
        yield
    finally:
        gate.release()
        gate.close()


async def rows_of(store: ShapeStore, stored: StoredShape) -> list[object]:
    return [row async for row in store.rows(stored.handle)]


def shapes(count: int) -> list[Shape]:
    return [Shape(f"table {number}") for number in range(count)]


_threads_before: set[threading.Thread] = set()


def note_threads() -> None:
    """Those that are there before a test are not its own: a creator of an earlier one may still run in its thread."""
    _threads_before.clear()
    _threads_before.update(threading.enumerate())


def left_open(path: str) -> list[str]:
    """The files of the store at ``path`` that this process has open, and the threads of whatever store of this test."""
    threads = [thread.name for thread in set(threading.enumerate()) - _threads_before if thread.is_alive()]
    return [name for name in open_paths() if name.startswith(path)] + [
        name for name in threads if "connection_worker" in name or name.startswith("shapestore ")
    ]
