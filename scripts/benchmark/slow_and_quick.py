"""Whether the slow hold up the quick: creations, one after another, while creators of other shapes hang."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import quantiles

from benchmark.files import Row as ShapeRow
from benchmark.files import another, at_once, new_file, one_row
from benchmark.measuring import Sample, Sampler, in_turns
from benchmark.rows import Row, Target
from benchmark.sizes import Sizes
from shapestore import Shape, ShapeStore, StoreClosedError

HANGING = 8


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    never, never_in_a_thread = asyncio.Event(), threading.Event()

    async def hang(shape: Shape) -> list[ShapeRow]:
        await never.wait()
        return one_row(shape)

    def hang_in_a_thread(shape: Shape) -> list[ShapeRow]:
        never_in_a_thread.wait()
        return one_row(shape)

    async with AsyncExitStack() as stores:
        troubled, untroubled = [
            await stores.enter_async_context(ShapeStore(new_file(folder), create_timeout=3_600)) for _ in range(2)
        ]
        hanging = [
            asyncio.create_task(troubled.get_or_create(another(), creator, timeout=3_600))
            for creator in (hang, hang_in_a_thread) * (HANGING // 2)
        ]
        beside, quiet = f"shapestore, {HANGING} creators hang", "shapestore, none hangs"
        row = await in_turns(
            "99th percentile of quick creations, one after another",
            "µs",
            {beside: _slowest(troubled, sizes.creations), quiet: _slowest(untroubled, sizes.creations)},
            repeats=sizes.repeats,
            targets=[Target(contender=beside, peer=quiet, bound=1.5)],
        )
    ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(end, StoreClosedError) for end in ends)
    never_in_a_thread.set()
    return [row]


def _slowest(store: ShapeStore, count: int) -> Sampler:
    async def sample() -> Sample:
        times = []
        for _ in range(count):
            shape = another()
            begun = time.perf_counter()
            await store.get_or_create(shape, at_once)
            times.append((time.perf_counter() - begun) * 1e6)
        return Sample(quantiles(times, n=100)[98])

    return sample
