"""Whether a store slows down as it fills: hits and creations among many shapes, against the same among few."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmark.files import another, at_once, fill, new_file, numbered
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import Row, Target
from benchmark.sizes import Sizes
from shapestore import ShapeStore
from shapestore.storage import queries
from shapestore.storage.connection import open_point_reader

PLAIN = "plain sqlite3, prepared SELECT among as many"


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    paths = {}
    for count in (sizes.many_shapes, sizes.few_shapes):
        paths[count] = new_file(folder)
        fill(paths[count], map(numbered, range(count)))
    full_path, empty_path = paths.values()
    async with ShapeStore(full_path) as full, ShapeStore(empty_path) as empty:
        with closing(open_point_reader(full_path)) as plain:
            return [await _hit(sizes, full, empty, plain), await _creation(sizes, full, empty)]


async def _hit(sizes: Sizes, full: ShapeStore, empty: ShapeStore, plain: sqlite3.Connection) -> Row:
    many, few = _names(sizes)
    some = f"{many}, {sizes.few_shapes:,} of them"
    everywhere = range(sizes.many_shapes)
    return await in_turns(
        f"hit, without its rows, among {sizes.many_shapes:,} shapes or among {sizes.few_shapes:,}",
        "µs",
        {
            many: _hits(full, everywhere, sizes.hits),
            some: _hits(full, random.Random(2).sample(everywhere, sizes.few_shapes), sizes.hits),
            few: _hits(empty, range(sizes.few_shapes), sizes.hits),
            PLAIN: _selects(plain, everywhere, sizes.hits),
        },
        repeats=sizes.repeats,
        targets=[
            Target(contender=many, peer=PLAIN, bound=1.6),
            Target(contender=some, peer=few, bound=1.5),
        ],
    )


async def _creation(sizes: Sizes, full: ShapeStore, empty: ShapeStore) -> Row:
    many, few = _names(sizes)
    return await in_turns(
        f"creation beside {sizes.many_shapes:,} shapes or beside {sizes.few_shapes:,}",
        "µs",
        {many: _creations(full, sizes.creations), few: _creations(empty, sizes.creations)},
        repeats=sizes.repeats,
        targets=[Target(contender=many, peer=few, bound=1.5)],
    )


def _names(sizes: Sizes) -> tuple[str, str]:
    return f"shapestore, {sizes.many_shapes:,} shapes", f"shapestore, {sizes.few_shapes:,} shapes"


def _hits(store: ShapeStore, asked_for: Sequence[int], hits: int) -> Sampler:
    """Each of them as likely as any other, which is the hardest on every cache there is."""
    chance = random.Random(1)

    async def sample() -> Sample:
        shapes = [numbered(chance.choice(asked_for)) for _ in range(hits)]
        for shape in shapes:
            assert shape.comparable  # made now
        with stopwatch() as watch:
            for shape in shapes:
                await store.get_or_create(shape)
        return watch.each(hits)

    return sample


def _selects(connection: sqlite3.Connection, asked_for: Sequence[int], hits: int) -> Sampler:
    chance = random.Random(1)

    async def sample() -> Sample:
        keys = [numbered(chance.choice(asked_for)).comparable for _ in range(hits)]
        with stopwatch() as watch:
            for key in keys:
                connection.execute(queries.FIND, (key,)).fetchall()
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
