"""Hits: what was stored is asked for again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from diskcache import Cache

from benchmark import peers
from benchmark.files import fill, new_file, numbered, plain
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import Row, Target
from benchmark.sizes import Sizes
from shapestore import ShapeStore
from shapestore.storage import queries

SHAPES = 1_000

MADE_ONCE = "shapestore, Shape made once"
MADE_EACH_TIME = "shapestore, Shape made each time"
PLAIN = "plain sqlite3, prepared SELECT"


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    shapes = [numbered(n) for n in range(SHAPES)]
    keys = [shape.comparable for shape in shapes]
    path = new_file(folder)
    fill(path, shapes)
    many = _rounds(sizes.hits)
    few = _rounds(sizes.hits // 20)

    async def value(key: str) -> str:
        return key[-32:]

    async with ShapeStore(path) as store:
        with closing(plain(path)) as connection:

            async def made_once() -> Sample:
                with stopwatch() as watch:
                    for _ in many:
                        for shape in shapes:
                            await store.get_or_create(shape)
                return watch.each(len(many) * SHAPES)

            async def made_each_time() -> Sample:
                with stopwatch() as watch:
                    for _ in many:
                        for n in range(SHAPES):
                            await store.get_or_create(numbered(n))
                return watch.each(len(many) * SHAPES)

            async def prepared() -> Sample:
                with stopwatch() as watch:
                    for _ in many:
                        for key in keys:
                            connection.execute(queries.FIND, (key,)).fetchall()
                return watch.each(len(many) * SHAPES)

            def awaited(get: peers.AsyncGet, rounds: range = many) -> Sampler:
                async def sample() -> Sample:
                    asked = keys[: SHAPES if rounds is many else SHAPES // 10]
                    for key in asked:
                        await get(key)
                    with stopwatch() as watch:
                        for _ in rounds:
                            for key in asked:
                                await get(key)
                    return watch.each(len(rounds) * len(asked))

                return sample

            def called(get: Callable[[str], Any], rounds: range = many) -> Sampler:
                async def sample() -> Sample:
                    asked = keys[: SHAPES if rounds is many else SHAPES // 10]
                    for key in asked:
                        get(key)
                    with stopwatch() as watch:
                        for _ in rounds:
                            for key in asked:
                                get(key)
                    return watch.each(len(rounds) * len(asked))

                return sample

            in_memory, in_dbm = peers.dogpile(), peers.dogpile(folder / "dogpile")
            on_disk = Cache(str(folder / "diskcache"))
            for key in keys:
                on_disk.set(key, key[-32:])
            row = await in_turns(
                "hit, without its rows",
                "µs",
                {
                    MADE_ONCE: made_once,
                    MADE_EACH_TIME: made_each_time,
                    PLAIN: prepared,
                    "diskcache.get": called(on_disk.get),
                    "async-lru": awaited(peers.async_lru(value)),
                    "dogpile memory": called(lambda key: in_memory(key, lambda: key[-32:])),
                    "dogpile dbm": called(lambda key: in_dbm(key, lambda: key[-32:]), few),
                    "aiocache": awaited(peers.aiocache(value), few),
                    "cashews memory": awaited(peers.cashews(value), few),
                    "cashews disk": awaited(peers.cashews(value, f"disk://?directory={folder}/cashews"), few),
                },
                repeats=sizes.repeats,
                targets=[
                    Target(contender=MADE_ONCE, peer=PLAIN, bound=1.5),
                    Target(contender=MADE_EACH_TIME, peer=PLAIN, bound=3),
                    Target(contender=MADE_ONCE, peer="diskcache.get", bound=1),
                ],
            )
    return [row]


def _rounds(hits: int) -> range:
    return range(max(1, hits // SHAPES))
