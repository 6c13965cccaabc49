"""Hits while another process commits all the time, against hits while it does not."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from benchmark.children import Child
from benchmark.files import another, at_once, fill, new_file, numbered
from benchmark.measuring import Sample, in_turns, stopwatch
from benchmark.rows import Row, Target
from benchmark.sizes import Sizes
from shapestore import ShapeStore

SHAPES = 1_000

BESIDE = "shapestore, another process commits"
QUIET = "shapestore, nobody writes"


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    shapes = [numbered(n) for n in range(SHAPES)]
    path = new_file(folder)
    fill(path, shapes)
    rounds = range(max(1, sizes.hits // SHAPES))
    async with ShapeStore(path) as store, Child("beside_a_writer", path) as writer:

        async def quiet() -> Sample:
            with stopwatch() as watch:
                for _ in rounds:
                    for shape in shapes:
                        await store.get_or_create(shape)
            return watch.each(len(rounds) * SHAPES)

        async def beside() -> Sample:
            await writer.ask("go")
            sample = await quiet()
            assert int(await writer.ask("stop")) > 0
            return sample

        row = await in_turns(
            "hits while another process commits all the time",
            "µs",
            {BESIDE: beside, QUIET: quiet},
            repeats=sizes.repeats,
            targets=[Target(contender=BESIDE, peer=QUIET, bound=1.5)],
        )
    return [row]


async def commit_when_told(path: str) -> None:
    """The other process: from "go" to "stop" it creates shapes, one after another. It says how many."""
    async with ShapeStore(path, create=at_once) as store:
        while await asyncio.to_thread(sys.stdin.readline):
            print("going", flush=True)
            told = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
            before = store.stats.batches
            while not told.done() or store.stats.batches == before:
                await store.get_or_create(another())
            print(store.stats.batches - before, flush=True)


if __name__ == "__main__":
    asyncio.run(commit_when_told(sys.argv[1]))
