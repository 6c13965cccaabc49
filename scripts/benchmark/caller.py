"""A process of callers: ``python -m benchmark.caller CONTENDER PATH``. Told a herd in a line, it answers in a line."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from benchmark import peers
from benchmark.files import Row as ShapeRow
from benchmark.files import numbered, one_row
from benchmark.rows import SHAPESTORE
from shapestore import Shape, ShapeStore

DOGPILE = "dogpile dbm, threads"
DISKCACHE = "diskcache.Lock, threads"
CASHEWS = "cashews disk"


class Herd(msgspec.Struct):
    """So many callers ask for one key at the moment ``begin``, of a clock that all processes of the machine share."""

    number: int
    callers: int
    begin: float
    create_seconds: float


class Answered(msgspec.Struct):
    latest: float
    creations: int
    looks: int = 0
    """At lock rows, by flights."""


Answer = Callable[[Herd], Awaitable[Answered]]


async def shapestore(path: str) -> None:
    creations = 0

    async with ShapeStore(path) as store:

        async def answer(herd: Herd) -> Answered:
            async def create(shape: Shape) -> list[ShapeRow]:
                nonlocal creations
                creations += 1
                await asyncio.sleep(herd.create_seconds)
                return one_row(shape)

            before, polls = creations, store.stats.polls
            shape = numbered(herd.number)
            await _herd(herd, lambda: store.get_or_create(shape, create))
            return Answered(time.monotonic(), creations - before, store.stats.polls - polls)

        await _listen(answer)


async def cashews(path: str) -> None:
    creations = 0
    seconds = 0.0

    async def create(key: str) -> str:
        nonlocal creations
        creations += 1
        await asyncio.sleep(seconds)
        return key

    get = peers.cashews(create, f"disk://?directory={path}")

    async def answer(herd: Herd) -> Answered:
        nonlocal seconds
        before, seconds = creations, herd.create_seconds
        await _herd(herd, lambda: get(f"key {herd.number}"))
        return Answered(time.monotonic(), creations - before)

    await _listen(answer)


async def in_threads(get: peers.ThreadGet) -> None:
    creations = 0

    async def answer(herd: Herd) -> Answered:
        def create() -> str:
            nonlocal creations
            creations += 1
            time.sleep(herd.create_seconds)
            return "value"

        answers: list[str] = []

        def call() -> None:
            begin.wait()
            answers.append(get(f"key {herd.number}", create))

        before, begin = creations, threading.Event()
        threads = [threading.Thread(target=call) for _ in range(herd.callers)]
        for thread in threads:
            thread.start()
        await asyncio.sleep(herd.begin - time.monotonic())
        begin.set()
        for thread in threads:
            thread.join()
        latest = time.monotonic()
        assert answers == ["value"] * herd.callers, "a caller that died is not to be taken for one that was quick"
        return Answered(latest, creations - before)

    await _listen(answer)


async def _herd(herd: Herd, call: Callable[[], Awaitable[Any]]) -> None:
    await asyncio.sleep(herd.begin - time.monotonic())
    await asyncio.gather(*(call() for _ in range(herd.callers)))


async def _listen(answer: Answer) -> None:
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        answered = await answer(msgspec.json.decode(line, type=Herd))
        print(msgspec.json.encode(answered).decode(), flush=True)


PROGRAMS: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
    SHAPESTORE: shapestore,
    CASHEWS: cashews,
    DISKCACHE: lambda path: in_threads(peers.diskcache(Path(path))),
    DOGPILE: lambda path: in_threads(peers.dogpile(Path(path))),
}

if __name__ == "__main__":
    asyncio.run(PROGRAMS[sys.argv[1]](sys.argv[2]))
