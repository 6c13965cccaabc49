"""Whether a store slows down as it fills: hits and creations among many shapes, against the same among few."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from benchmark.files import another, at_once, fill, new_file, numbered
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import Row, Target
from benchmark.sizes import Sizes
from shapestore import ShapeStore


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    paths = {}
    for count in (sizes.many_shapes, sizes.few_shapes):
        paths[count] = new_file(folder)
        fill(paths[count], map(numbered, range(count)))
    many, few = (f"shapestore, {count:,} shapes" for count in paths)
    some = f"{many}, {sizes.few_shapes:,} of them"
    targets = [Target(contender=name, peer=few, bound=1.5) for name in (many, some)]
    async with ShapeStore(paths[sizes.many_shapes]) as full, ShapeStore(paths[sizes.few_shapes]) as empty:
        return [
            await in_turns(
                f"hit among {sizes.many_shapes:,} shapes or among {sizes.few_shapes:,}",
                "µs",
                {
                    many: _hits(full, range(sizes.many_shapes), sizes.hits),
                    some: _hits(full, random.Random(2).sample(range(sizes.many_shapes), sizes.few_shapes), sizes.hits),
                    few: _hits(empty, range(sizes.few_shapes), sizes.hits),
                },
                repeats=sizes.repeats,
                targets=targets,
            ),
            await in_turns(
                f"creation beside {sizes.many_shapes:,} shapes or beside {sizes.few_shapes:,}",
                "µs",
                {
                    many: _creations(full, sizes.creations),
                    few: _creations(empty, sizes.creations),
                },
                repeats=sizes.repeats,
                targets=targets[:1],
            ),
        ]


def _hits(store: ShapeStore, asked_for: Sequence[int], hits: int) -> Sampler:
    """Each of them as likely as any other, which is the hardest on every cache there is."""
    chance = random.Random(1)

    async def sample() -> Sample:
        shapes = [numbered(chance.choice(asked_for)) for _ in range(hits)]
        with stopwatch() as watch:
            for shape in shapes:
                await store.get_or_create(shape)
        return watch.each(hits)

    return sample


def _creations(store: ShapeStore, count: int) -> Sampler:
    """What was created is dropped again, so that few stay few."""

    async def sample() -> Sample:
        shapes = [another() for _ in range(count)]
        with stopwatch() as watch:
            handles = [(await store.get_or_create(shape, at_once)).handle for shape in shapes]
        for handle in handles:
            await store.delete(handle)
        return watch.each(count)

    return sample
