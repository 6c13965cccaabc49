"""How soon a program is there: the import, and the opening of a store that is up to date."""

from __future__ import annotations

from pathlib import Path

from diskcache import Cache

from benchmark.children import said_by
from benchmark.files import new_file, plain
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes
from shapestore import ShapeStore

MODULES = ("shapestore", "sqlalchemy", "aiosqlite", "diskcache", "dogpile.cache", "cashews")


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    path = new_file(folder)

    async def shapestore() -> Sample:
        store = ShapeStore(path)
        with stopwatch() as watch:
            await store.open()
        await store.close()
        return Sample(watch.wall * 1e3)

    async def diskcache() -> Sample:
        with stopwatch() as watch:
            cache = Cache(str(folder / "diskcache"))
        cache.close()
        return Sample(watch.wall * 1e3)

    async def sqlite() -> Sample:
        with stopwatch() as watch:
            connection = plain(str(folder / "plain.db"))
        connection.close()
        return Sample(watch.wall * 1e3)

    return [
        await in_turns(
            "import",
            "ms",
            {module: _imported(module) for module in MODULES},
            repeats=sizes.repeats,
            targets=[Target(peer="sqlalchemy", bound=1.3)],
        ),
        await in_turns(
            "opening a store that is up to date",
            "ms",
            {SHAPESTORE: shapestore, "diskcache.Cache": diskcache, "plain sqlite3": sqlite},
            repeats=sizes.repeats,
            targets=[Target(peer=None, bound=10)],
        ),
    ]


def _imported(module: str) -> Sampler:
    async def sample() -> Sample:
        return Sample(float(await said_by("importing", module)))

    return sample
