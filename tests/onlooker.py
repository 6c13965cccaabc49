"""A test as an onlooker: it waits until something is so, and sees what a store has left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from shapestore import Shape, ShapeStore, StoredShape
from shapestore.gate import Gate

T = TypeVar("T")

# Nothing takes nearly as long; it only keeps a test that hangs from hanging for ever.
PATIENCE = 30.0


async def eventually(holds: Callable[[], T]) -> T:
    """Look until something holds, letting the loop go on meanwhile; what it gave."""
    async with asyncio.timeout(PATIENCE):
        while not (found := holds()):
            await asyncio.sleep(0.001)
    return found


async def settled(store: ShapeStore, path: str) -> None:
    """Wait until nothing is in flight, then assert that nothing is left: no transaction, no lock row, no lost row."""
    await eventually(lambda: store.stats.in_flight == 0)
    async with gate_held(path):
        assert_no_transaction_is_open(path)
    async with asyncio.timeout(PATIENCE):
        while await store.locks() or lost_rows(path):
            await asyncio.sleep(0.001)


def assert_no_transaction_is_open(path: str) -> None:
    """Another connection can write at once. Whoever calls this holds the gate, or has no store open."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def lost_rows(path: str) -> int:
    """How many rows are in the file that belong to no shape."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        [(count,)] = connection.execute(
            "SELECT count(*) FROM shape_rows WHERE handle NOT IN (SELECT handle FROM shapes)"
        )
    return int(count)


@contextlib.asynccontextmanager
async def gate_held(path: str) -> AsyncIterator[None]:
    """Nobody writes meanwhile: what is to be written waits."""
    gate = Gate(path)
    await gate.enter()
    try:
        yield
    finally:
        gate.leave()
        gate.close()


async def rows_of(store: ShapeStore, stored: StoredShape) -> list[object]:
    return [row async for row in store.rows(stored.handle)]


def shapes(count: int) -> list[Shape]:
    return [Shape(f"table {number}") for number in range(count)]


def threads() -> set[threading.Thread]:
    """All threads, but for the one that a process keeps to stop connections whose close was forgotten."""
    return {thread for thread in threading.enumerate() if thread.name != "shapestore-at-exit"}


def open_files() -> list[str]:
    """What the file descriptors of this process are of."""
    names = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that the listing itself had open
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(names)
