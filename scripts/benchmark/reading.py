"""Reading: the rows of a stored shape, beside a value of diskcache that has the same rows."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from diskcache import Cache

from benchmark.files import Row as ShapeRow
from benchmark.files import new_file
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import Row, Target
from benchmark.sizes import Sizes
from benchmark.snapshot import rows
from shapestore import Creator, Shape, ShapeStore, keyed
from shapestore.reading.recent_texts import RecentTexts

FETCH = "shapestore, fetch"
FETCH_READ = "shapestore, fetch of rows that are not in memory"
FETCH_CHANGED = "shapestore, fetch where half of the rows have changed"
FETCH_JSON = "shapestore, fetch_json"
FETCH_AND_DUMPS = "shapestore, fetch and json.dumps"
DISKCACHE = "diskcache.get"


class _Forgetful(RecentTexts):
    """What a store keeps in memory of rows that were fetched before many others: each makes room for the next."""

    def _keep(self, *text: Any) -> None:
        super()._keep(*text)
        if self._texts:
            self._forget_first()


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    cache = Cache(str(folder / "diskcache"))
    path = new_file(folder)
    async with ShapeStore(path) as store, ShapeStore(path) as forgetful:
        opened = forgetful._lifecycle.live
        opened.recent_texts = _Forgetful(opened.reader)
        return [await _read(sizes, store, forgetful, cache, count) for count in sizes.read_rows]


async def _read(sizes: Sizes, store: ShapeStore, forgetful: ShapeStore, cache: Cache, count: int) -> Row:
    """The rows as they were created, and those of a shape of which a refresh has changed every other one."""
    as_made, changed = (Shape(table, where="id < :count", params={"count": count}) for table in ("Track", "Changed"))
    made = list(rows(count))
    for shape in (as_made, changed):
        await store.get_or_create(shape, _giving(made))
    await store.refresh(changed, _giving([row | {"seconds": -1} if row["id"] % 2 == 0 else row for row in made]))
    cache.set(count, made)
    times = max(1, sizes.rows_a_sample // count)

    async def from_diskcache() -> Any:
        return cache.get(count)

    async def fetch_and_dumps() -> str:
        return json.dumps(await store.fetch(as_made))

    return await in_turns(
        f"read a stored shape of {count:,} rows, rows included",
        "µs",
        {
            FETCH: _each(times, lambda: store.fetch(as_made)),
            FETCH_READ: _each(times, lambda: forgetful.fetch(as_made)),
            FETCH_CHANGED: _each(times, lambda: store.fetch(changed)),
            FETCH_JSON: _each(times, lambda: store.fetch_json(as_made)),
            FETCH_AND_DUMPS: _each(times, fetch_and_dumps),
            DISKCACHE: _each(times, from_diskcache),
        },
        repeats=sizes.repeats,
        targets=[
            Target(contender=FETCH, peer=DISKCACHE, bound=1.1),
            Target(contender=FETCH_READ, peer=DISKCACHE, bound=1.1),
            Target(contender=FETCH_CHANGED, peer=DISKCACHE, bound=1.1),
            Target(contender=FETCH_JSON, peer=DISKCACHE, bound=1.0 if count < 100 else 0.6),
            *([Target(contender=FETCH_JSON, peer=FETCH_AND_DUMPS, bound=0.25)] if count >= 100 else []),
        ],
    )


def _each(times: int, read: Callable[[], Awaitable[Any]]) -> Sampler:
    async def sample() -> Sample:
        with stopwatch() as watch:
            for _ in range(times):
                await read()
        return watch.each(times)

    return sample


def _giving(given: list[ShapeRow]) -> Creator:
    return keyed(lambda _: given, "id")
