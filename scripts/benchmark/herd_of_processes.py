"""Herds in several processes: all their callers ask at the same moment for one key that is not there."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from benchmark.caller import CASHEWS, DISKCACHE, DOGPILE, Answered, Herd
from benchmark.children import Child
from benchmark.files import new_file
from benchmark.measuring import Sample, Sampler, in_turns
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes

CREATOR_SECONDS = 0.05
# Until they begin, so that all have heard of it and the threads are there.
NOTICE_SECONDS = 0.2

_numbers = itertools.count()


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    contenders: dict[str, Sampler] = {}
    creations: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        for contender in (SHAPESTORE, DOGPILE, DISKCACHE, CASHEWS):
            path = new_file(folder) if contender == SHAPESTORE else str(folder / contender)
            children = [
                await stack.enter_async_context(Child("caller", contender, path)) for _ in range(sizes.processes)
            ]
            for child in children:
                assert await child.hear() == "ready"
            creations[contender] = []
            contenders[contender] = _herds(children, sizes.callers_a_process, creations[contender])
        latest = await in_turns(
            f"herd over {sizes.processes} processes of {sizes.callers_a_process} callers, "
            f"latest caller over the creator's {CREATOR_SECONDS * 1000:.0f} ms",
            "ms",
            contenders,
            repeats=sizes.long_repeats,
            targets=[Target(peer=DOGPILE, bound=1), Target(peer=DISKCACHE, bound=0.2)],
        )
    return [
        latest,
        Row(
            work=f"creations for such a herd over {sizes.processes} processes",
            unit="",
            samples={contender: taken[1:] for contender, taken in creations.items()},
            targets=[Target(peer=None, bound=1)],
        ),
    ]


def _herds(children: list[Child], callers: int, creations: list[float]) -> Sampler:
    async def sample() -> Sample:
        begin = time.monotonic() + NOTICE_SECONDS
        answers = await herd(children, Herd(next(_numbers), callers, begin, CREATOR_SECONDS))
        creations.append(sum(answer.creations for answer in answers))
        latest = max(answer.latest for answer in answers)
        return Sample((latest - begin - CREATOR_SECONDS) * 1e3)

    return sample


async def herd(children: list[Child], herd: Herd) -> list[Answered]:
    line = msgspec.json.encode(herd).decode()
    answers = await asyncio.gather(*(child.ask(line) for child in children))
    return [msgspec.json.decode(answer, type=Answered) for answer in answers]
