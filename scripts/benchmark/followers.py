"""What following costs: the looks of a process at the lock row, while another process creates for a second."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import msgspec

from benchmark.caller import Answered, Herd
from benchmark.children import Child
from benchmark.files import new_file
from benchmark.measuring import Sample, Sampler, in_turns
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes

CREATOR_SECONDS = 1.0
AHEAD_SECONDS = 0.05

_numbers = itertools.count()


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    path = new_file(folder)
    async with Child("caller", SHAPESTORE, path) as leader, Child("caller", SHAPESTORE, path) as follower:
        for child in (leader, follower):
            assert await child.hear() == "ready"
        names = {callers: f"shapestore, {callers:,} callers" for callers in sizes.followers}
        row = await in_turns(
            f"looks of the followers in one process, for a creation of {CREATOR_SECONDS:g} s in another",
            "looks",
            {name: _looks(leader, follower, callers) for callers, name in names.items()},
            repeats=sizes.long_repeats,
            targets=[Target(contender=name, peer=None, bound=100) for name in names.values()],
        )
    return [row]


def _looks(leader: Child, follower: Child, callers: int) -> Sampler:
    async def sample() -> Sample:
        number, begin = next(_numbers), time.monotonic() + 0.1
        leads, follows = await asyncio.gather(
            _ask(leader, Herd(number, 1, begin, CREATOR_SECONDS)),
            _ask(follower, Herd(number, callers, begin + AHEAD_SECONDS, CREATOR_SECONDS)),
        )
        creations = leads.creations, follows.creations
        assert creations == (1, 0), f"of (1, 0) creations {creations} were made: the machine is too busy to measure on"
        return Sample(follows.looks)

    return sample


async def _ask(child: Child, herd: Herd) -> Answered:
    return msgspec.json.decode(await child.ask(msgspec.json.encode(herd).decode()), type=Answered)
