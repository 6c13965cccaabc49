"""What coalescing buys as callers grow: shapestore, the design as its source describes it, and the naive way.

One caller comes first, and the herd when its lock is there, for the source's design coalesces only from then on.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmark.files import Row as ShapeRow
from benchmark.files import another, new_file, one_row
from benchmark.measuring import Sample, in_turns, stopwatch
from benchmark.rows import SHAPESTORE, Row
from benchmark.sizes import Sizes
from benchmark.strategies import EveryCallerQueues, EveryFollowerPolls, Strategy
from shapestore import Shape, ShapeStore

CREATOR_SECONDS = 0.2
AHEAD_SECONDS = 0.02

POLLS = "every follower polls"
QUEUES = "every caller queues at the writer"

QUEUE = "queue at the writer"
TIME = "time over the creator's"
CPU = "CPU time"


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(ShapeStore(new_file(folder)))
        polls = await stack.enter_async_context(EveryFollowerPolls(str(folder / "polls.db")))
        queues = await stack.enter_async_context(EveryCallerQueues(str(folder / "queues.db")))
        rows: list[Row] = []
        for callers in sizes.growing_herd:
            rows += await _herds(sizes, store, {POLLS: polls, QUEUES: queues}, callers)
    return rows


async def _herds(sizes: Sizes, store: ShapeStore, others: dict[str, Strategy], callers: int) -> list[Row]:
    keys = map(f"{callers}-{{}}".format, itertools.count())
    queued: dict[str, list[float]] = {}

    async def create_shape(shape: Shape) -> list[ShapeRow]:
        await asyncio.sleep(CREATOR_SECONDS)
        return one_row(shape)

    async def create(key: str) -> str:
        await asyncio.sleep(CREATOR_SECONDS)
        return key

    async def shapestore() -> Sample:
        shape, before = another(), store.stats.commands
        sample = await herd(callers, lambda: store.get_or_create(shape, create_shape))
        # All that it was given for this herd, and so no less than what stood in its queue at any moment.
        queued.setdefault(SHAPESTORE, []).append(store.stats.commands - before)
        return sample

    async def other(name: str) -> Sample:
        key, strategy = next(keys), others[name]
        strategy.queued_most = 0
        sample = await herd(callers, lambda: strategy.get_or_create(key, create))
        queued.setdefault(name, []).append(strategy.queued_most)
        return sample

    taken = await in_turns(
        f"{TIME}, {callers:,} callers",
        "ms",
        {SHAPESTORE: shapestore, POLLS: lambda: other(POLLS), QUEUES: lambda: other(QUEUES)},
        repeats=sizes.long_repeats,
        callers=callers,
    )
    return [
        Row(
            work=f"{QUEUE}, {callers:,} callers",
            unit="commands",
            samples={name: counts[1:] for name, counts in queued.items()},
            callers=callers,
        ),
        taken,
        Row(
            work=f"{CPU}, {callers:,} callers",
            unit="ms",
            samples={name: [each * callers / 1e3 for each in samples] for name, samples in taken.cpu_us.items()},
            callers=callers,
        ),
    ]


async def herd(callers: int, call: Callable[[], Awaitable[Any]]) -> Sample:
    with stopwatch() as watch:
        first = asyncio.ensure_future(call())
        await asyncio.sleep(AHEAD_SECONDS)
        await asyncio.gather(first, *(call() for _ in range(callers - 1)))
    return watch.over(CREATOR_SECONDS, callers)
