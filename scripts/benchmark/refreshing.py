"""Refreshing a large shape by difference, beside its creation: the time, and what is written."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from benchmark.files import Row as ShapeRow
from benchmark.files import new_file
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import Row, Target
from benchmark.sizes import Sizes
from benchmark.snapshot import rows
from shapestore import Creator, Shape, ShapeStore, keyed

CREATION = "shapestore, creation"
UNCHANGED = "shapestore, refresh that finds nothing changed"
TEN_CHANGED = "shapestore, refresh that finds 10 rows changed"

SHAPE = Shape("Track")
PROCESS_IO = Path("/proc/self/io")


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    count = sizes.refreshed_rows
    async with _open(new_file(folder)) as store:
        version = 0
        await store.get_or_create(SHAPE, _creator(count, version))

        async def create() -> None:
            async with _open(new_file(folder)) as new:
                await new.get_or_create(SHAPE, _creator(count, 0))

        async def refresh(newer: int) -> None:
            nonlocal version
            version += newer
            await store.refresh(SHAPE, _creator(count, version))

        works: dict[str, Callable[[], Awaitable[None]]] = {
            CREATION: create,
            UNCHANGED: partial(refresh, 0),
            TEN_CHANGED: partial(refresh, 1),
        }
        return [
            await in_turns(
                f"refresh a shape of {count:,} rows",
                "ms",
                {name: _time(work) for name, work in works.items()},
                repeats=sizes.long_repeats,
                targets=[Target(contender=UNCHANGED, peer=CREATION, bound=0.8)],
            ),
            await in_turns(
                f"bytes written by a refresh of {count:,} rows",
                "KB",
                {name: _written(work) for name, work in works.items()},
                repeats=sizes.long_repeats,
                targets=[Target(contender=TEN_CHANGED, peer=CREATION, bound=0.01)],
            ),
        ]


def _open(path: str) -> ShapeStore:
    return ShapeStore(path, create_timeout=600, wait_timeout=600)


def _creator(count: int, version: int) -> Creator:
    """Rows as ever, but for ten, spread evenly, which bear the version."""

    def create(_: Shape) -> Iterator[ShapeRow]:
        for row in rows(count):
            yield row | {"seconds": -version} if row["id"] % (count // 10) == 0 else row

    return keyed(create, "id")


def _time(work: Callable[[], Awaitable[None]]) -> Sampler:
    async def sample() -> Sample:
        with stopwatch() as watch:
            await work()
        return watch.over(0, callers=1)

    return sample


def _written(work: Callable[[], Awaitable[None]]) -> Sampler:
    """What the process gives to its files by write(2), the database's checkpoints included."""

    async def sample() -> Sample:
        before = _bytes_written()
        await work()
        return Sample((_bytes_written() - before) / 1024)

    return sample


def _bytes_written() -> int:
    found = re.search(r"wchar: (\d+)", PROCESS_IO.read_text())
    assert found is not None
    return int(found[1])
