"""Herds in one process: many callers ask at once for one key that is not there."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmark import peers
from benchmark.files import Row as ShapeRow
from benchmark.files import another, new_file, one_row
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes
from shapestore import Shape, ShapeStore

CREATOR_SECONDS = 0.05

FLOOR = "bare futures, one callback"
MEMORY_ONLY = "async-lru"


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    async with ShapeStore(new_file(folder)) as store:
        bounds = zip(sizes.herds, (1.0, 0.6), strict=True)
        return [await _herd(sizes, folder, store, callers, bound) for callers, bound in bounds]


async def _herd(sizes: Sizes, folder: Path, store: ShapeStore, callers: int, bound: float) -> Row:
    keys = map("key {}".format, itertools.count())
    smallest = callers == sizes.herds[0]

    async def create_shape(shape: Shape) -> list[ShapeRow]:
        await asyncio.sleep(CREATOR_SECONDS)
        return one_row(shape)

    async def create(key: str) -> str:
        await asyncio.sleep(CREATOR_SECONDS)
        return key

    async def shapestore() -> Sample:
        shape = another()
        return await herd(callers, lambda: store.get_or_create(shape, create_shape))

    def awaited(get: peers.AsyncGet) -> Sampler:
        async def sample() -> Sample:
            key = next(keys)
            return await herd(callers, lambda: get(key))

        return sample

    def in_threads(make: Callable[[], peers.ThreadGet]) -> Sampler:
        async def sample() -> Sample:
            return await asyncio.to_thread(herd_of_threads, callers, make(), next(keys))

        return sample

    contenders: dict[str, Sampler] = {
        SHAPESTORE: shapestore,
        MEMORY_ONLY: awaited(peers.async_lru(create)),
        FLOOR: lambda: herd_of_futures(callers),
        "cashews memory": awaited(peers.cashews(create)),
    }
    if smallest:
        contenders |= {
            "cashews disk": awaited(peers.cashews(create, f"disk://?directory={folder}/cashews")),
            "aiocache": awaited(peers.aiocache(create)),
            "dogpile memory, threads": in_threads(peers.dogpile),
            "dogpile dbm, threads": in_threads(lambda: peers.new_dogpile_dbm(folder)),
            "diskcache.Lock, threads": in_threads(lambda: peers.diskcache(folder / "diskcache")),
        }
    return await in_turns(
        f"herd in one process, {callers:,} callers, time over the creator's {CREATOR_SECONDS * 1000:.0f} ms",
        "ms",
        contenders,
        repeats=sizes.repeats,
        targets=[Target(peer=MEMORY_ONLY, bound=bound), Target(peer=FLOOR, bound=3)],
    )


async def herd(callers: int, call: Callable[[], Awaitable[Any]]) -> Sample:
    with stopwatch() as watch:
        answers = await asyncio.gather(*(call() for _ in range(callers)))
    assert answers == [answers[0]] * callers
    return watch.over(CREATOR_SECONDS, callers)


async def herd_of_futures(callers: int) -> Sample:
    """The floor: nothing is looked up or stored, no caller has a deadline, and none may be cancelled."""
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[None]] = []

    async def call() -> None:
        future = loop.create_future()
        waiting.append(future)
        await future

    def answer() -> None:
        for future in waiting:
            future.set_result(None)

    loop.call_later(CREATOR_SECONDS, answer)
    return await herd(callers, call)


def herd_of_threads(callers: int, get: peers.ThreadGet, key: str) -> Sample:
    """The threads are there before the clock starts."""
    begin = threading.Event()

    answers: list[str] = []

    def create() -> str:
        threading.Event().wait(CREATOR_SECONDS)
        return key

    def call() -> None:
        begin.wait()
        answers.append(get(key, create))

    threads = [threading.Thread(target=call, daemon=True) for _ in range(callers)]
    for thread in threads:
        thread.start()
    with stopwatch() as watch:
        begin.set()
        for thread in threads:
            thread.join()
    assert answers == [key] * callers, "a caller that died is not to be taken for one that was quick"
    return watch.over(CREATOR_SECONDS, callers)
