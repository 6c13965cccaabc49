"""How it is measured: contenders in turns, and wall time beside CPU time."""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from benchmark.rows import Row, Target


class Sample(NamedTuple):
    """What one contender needed, once: in the unit of its row, and in CPU microseconds for each operation."""

    value: float
    cpu_us: float | None = None


Sampler = Callable[[], Awaitable[Sample]]


class Stopwatch:
    """Seconds that went by, on the clock and on the CPUs."""

    wall = cpu = 0.0

    def each(self, operations: int) -> Sample:
        """Microseconds for each operation."""
        return Sample(self.wall / operations * 1e6, self.cpu / operations * 1e6)

    def a_second(self, operations: int) -> Sample:
        """Operations in a second."""
        return Sample(operations / self.wall, self.cpu / operations * 1e6)

    def over(self, seconds: float, callers: int) -> Sample:
        """Milliseconds beyond the ``seconds`` that the creator takes."""
        return Sample((self.wall - seconds) * 1e3, self.cpu / callers * 1e6)


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    watch = Stopwatch()
    cpu, wall = time.process_time(), time.perf_counter()
    yield watch
    watch.wall = time.perf_counter() - wall
    watch.cpu = time.process_time() - cpu


def _set_aside_what_others_have_left() -> None:
    """So that no contender is held up by the garbage collector looking through all that its rivals have loaded."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def in_turns(
    work: str,
    unit: str,
    contenders: Mapping[str, Sampler],
    *,
    repeats: int,
    targets: list[Target] | None = None,
    callers: int | None = None,
) -> Row:
    """Let each contender do the work once, for warmth, and then ``repeats`` times, in turns.

    Their order is another in each repeat: none always comes after the same rival, and what that has left behind.
    """
    chance = random.Random(1)
    row = Row(
        work=work,
        unit=unit,
        samples={name: [] for name in contenders},
        cpu_us={},
        targets=targets or [],
        callers=callers,
    )
    for repeat in range(repeats + 1):
        print(f"  {work}: {repeat} of {repeats}", file=sys.stderr, flush=True)
        for name, sample in chance.sample(list(contenders.items()), len(contenders)):
            _set_aside_what_others_have_left()
            taken = await sample()
            if repeat:
                row.samples[name].append(taken.value)
                if taken.cpu_us is not None:
                    row.cpu_us.setdefault(name, []).append(taken.cpu_us)
    return row
