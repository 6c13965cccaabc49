"""Live shapes: how many changes of a source are followed in a second, and how soon a waiter is told of one."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

from benchmark.children import Child
from benchmark.files import new_file, plain
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes
from shapestore import Shape, ShapeStore, SQLSource

ONE = "shapestore, 1 shape"
MISSES = "shapestore, none is hit"
SAME, OTHER = "shapestore, same process", "shapestore, other process"
WITH, WITHOUT = "plain sqlite3, with the triggers", "plain sqlite3, without"

Wait = Callable[[int], Awaitable[float]]
"""Waits for a log to be longer than a position; the moment at which it was, of the clock that processes share."""


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    return [
        await _followed(sizes, folder),
        *await _lags(sizes, folder),
        await _idle(sizes, folder),
        await _own_writes(sizes, folder),
    ]


# --- how many


async def _followed(sizes: Sizes, folder: Path) -> Row:
    many = f"shapestore, {sizes.live_shapes:,} shapes"
    async with _live(folder, 1) as (one, one_source, _), _live(folder, sizes.live_shapes) as (store, source, _):
        return await in_turns(
            f"follow {sizes.changes:,} changes, each hits one of the shapes",
            "a second",
            {
                many: _changes(sizes.changes, store, source, lambda n: n % sizes.live_shapes),
                ONE: _changes(sizes.changes, one, one_source, lambda _: 0),
                MISSES: _changes(sizes.changes, store, source, lambda n: -1 - n),
            },
            repeats=sizes.long_repeats,
            targets=[
                Target(contender=many, peer=None, bound=20_000, at_least=True),
                Target(contender=many, peer=ONE, bound=0.8, at_least=True),
                Target(contender=MISSES, peer=None, bound=100_000, at_least=True),
            ],
        )


def _changes(count: int, store: ShapeStore, source: sqlite3.Connection, customer: Callable[[int], int]) -> Sampler:
    """Rows that come, each for the customer of its number; and go again, which is not measured."""

    async def sample() -> Sample:
        source.execute("BEGIN")
        source.executemany("INSERT INTO orders (customer) VALUES (?)", ((customer(n),) for n in range(count)))
        with stopwatch() as watch:
            source.execute("COMMIT")
            await store.followed(timeout=600)
        source.execute("DELETE FROM orders WHERE id > (SELECT max(id) - ? FROM orders)", (count,))
        await store.followed(timeout=600)
        return watch.a_second(count)

    return sample


# --- how soon


async def _lags(sizes: Sizes, folder: Path) -> list[Row]:
    async with _live(folder, 1) as (store, source, path), Child("live", path) as child:
        handle = (await store.get_or_create(_orders_of(0))).handle

        async def same_process(position: int) -> float:
            await store.wait(handle, position)
            return time.monotonic()

        async def other_process(position: int) -> float:
            return float(await child.ask(f"{handle} {position}"))

        def lag(wait: Wait, share: float) -> Sampler:
            async def sample() -> Sample:
                taken = sorted([await _lag(store, source, handle, wait) for _ in range(sizes.lags)])
                return Sample(taken[int(share * len(taken))])

            return sample

        return [
            await in_turns(
                f"lag from a commit in the source to a waiter, {name}",
                "ms",
                {SAME: lag(same_process, share), OTHER: lag(other_process, share)},
                repeats=sizes.long_repeats,
                targets=[
                    Target(contender=SAME, peer=None, bound=same),
                    Target(contender=OTHER, peer=None, bound=other),
                ],
            )
            for name, share, same, other in (("median", 0.5, 1.0, 4.0), ("99th percentile", 0.99, 5.0, 10.0))
        ]


async def _lag(store: ShapeStore, source: sqlite3.Connection, handle: str, wait: Wait) -> float:
    """Milliseconds from a commit to its waiter's answer."""
    stored = await store.get_by_handle(handle)
    assert stored is not None
    waiting = asyncio.ensure_future(wait(stored.position))
    await asyncio.sleep(0.02)  # it waits by now, and the follower is no longer awake from the change before
    source.execute("INSERT INTO orders (customer) VALUES (0)")
    committed = time.monotonic()
    return (await waiting - committed) * 1e3


async def wait_when_told(path: str) -> None:
    """The other process: it is told a handle and a position, and says when the log was longer."""
    async with ShapeStore(path) as store:
        while line := await asyncio.to_thread(sys.stdin.readline):
            handle, position = line.split()
            await store.wait(handle, int(position))
            print(time.monotonic(), flush=True)


# --- what it costs


async def _idle(sizes: Sizes, folder: Path) -> Row:
    async with _live(folder, 1) as (store, _, _):
        stored = await store.get_or_create(_orders_of(0))

        async def idle() -> Sample:
            with stopwatch() as watch:
                await store.wait(stored, stored.position, timeout=sizes.idle_seconds)
            return Sample(watch.cpu / watch.wall * 100)

        return await in_turns(
            "CPU of a process that follows an idle source, with one waiter",
            "%",
            {SHAPESTORE: idle},
            repeats=sizes.long_repeats,
            targets=[Target(peer=None, bound=0.5)],
        )


async def _own_writes(sizes: Sizes, folder: Path) -> Row:
    without = _new_source(folder)
    async with _live(folder, 1) as (_, followed, _):
        with closing(plain(without)) as unfollowed:
            return await in_turns(
                "the application's own writes, each its own transaction",
                "µs",
                {WITH: _writes(sizes.changes, followed), WITHOUT: _writes(sizes.changes, unfollowed)},
                repeats=sizes.long_repeats,
                targets=[Target(contender=WITH, peer=WITHOUT, bound=1.6)],
            )


def _writes(count: int, source: sqlite3.Connection) -> Sampler:
    async def sample() -> Sample:
        with stopwatch() as watch:
            for number in range(count):
                source.execute("UPDATE orders SET note = ? WHERE id = 1", (number,))
        return watch.each(count)

    return sample


# --- sources and stores


@asynccontextmanager
async def _live(folder: Path, shapes: int) -> AsyncIterator[tuple[ShapeStore, sqlite3.Connection, str]]:
    """A store of so many live shapes, its source, and its path."""
    source, path = _new_source(folder), new_file(folder)
    with closing(plain(source)) as connection:
        async with ShapeStore(path, create=SQLSource(f"sqlite:///{source}", follow=True), wait_timeout=600) as store:
            await asyncio.gather(*(store.get_or_create(_orders_of(customer)) for customer in range(shapes)))
            await store.followed(timeout=600)
            yield store, connection, path


def _orders_of(customer: int) -> Shape:
    return Shape("orders", where="customer = :customer", params={"customer": customer})


def _new_source(folder: Path) -> str:
    path = f"{new_file(folder)}-source"
    with closing(plain(path)) as source:
        source.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, note TEXT)")
        source.execute("CREATE INDEX orders_of_customer ON orders (customer)")
        source.execute("INSERT INTO orders (customer) VALUES (-1)")
    return path


if __name__ == "__main__":
    asyncio.run(wait_when_told(sys.argv[1]))
