"""One creation by itself: what a caller pays beyond the creator's own time when nobody else is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmark import peers
from benchmark.files import another, at_once, new_file, one_row, plain
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes
from shapestore import ShapeStore

COMMIT = "plain sqlite3, one commit"
COMMITS = 18
# A checkpoint comes with each five hundredth commit, or so: of as many commits as creations, some samples had none.
COMMITS_FOR_EACH = 10
# It slows down with every key: the fewer, the better for it.
DOGPILE_KEYS = 50


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    count = sizes.creations
    async with ShapeStore(new_file(folder)) as store:
        with closing(plain(str(folder / "plain.db"))) as database:
            database.execute("CREATE TABLE shapes (key TEXT PRIMARY KEY, value TEXT) STRICT")

            async def shapestore() -> Sample:
                shapes = [another() for _ in range(count)]
                with stopwatch() as watch:
                    for shape in shapes:
                        await store.get_or_create(shape, at_once)
                return watch.each(count)

            async def in_a_thread() -> Sample:
                shapes = [another() for _ in range(count)]
                with stopwatch() as watch:
                    for shape in shapes:
                        await store.get_or_create(shape, one_row)
                return watch.each(count)

            async def commit() -> Sample:
                keys = [another().comparable for _ in range(COMMITS_FOR_EACH * count)]
                with stopwatch() as watch:
                    for key in keys:
                        database.execute("INSERT INTO shapes VALUES (?, ?)", (key, "{}"))
                return watch.each(len(keys))

            row = await in_turns(
                "one creation by itself, over the creator's time",
                "µs",
                {
                    SHAPESTORE: shapestore,
                    "shapestore, creator in a thread": in_a_thread,
                    COMMIT: commit,
                    "diskcache.Lock + set": _called(lambda: peers.diskcache(folder / "diskcache"), count),
                    "dogpile dbm": _called(lambda: peers.new_dogpile_dbm(folder), DOGPILE_KEYS),
                },
                repeats=sizes.repeats,
                targets=[Target(peer=COMMIT, bound=COMMITS)],
            )
    return [row]


def _called(make: Callable[[], peers.ThreadGet], count: int) -> Sampler:
    async def sample() -> Sample:
        get, keys = make(), [another().comparable for _ in range(count)]
        with stopwatch() as watch:
            for key in keys:
                get(key, dict)
        return watch.each(count)

    return sample
