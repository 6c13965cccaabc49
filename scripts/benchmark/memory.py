"""Memory: of waiters, and of a large snapshot. Each is the peak of a process of its own, beyond that of an idle one."""

from __future__ import annotations

import asyncio
import re
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmark import peers
from benchmark.children import said_by
from benchmark.files import Row as ShapeRow
from benchmark.files import another, new_file
from benchmark.measuring import Sample, Sampler, in_turns
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes
from benchmark.snapshot import rows
from shapestore import Shape, ShapeStore

FLOOR = "bare futures"


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    def waiters(what: str) -> Sampler:
        async def sample() -> Sample:
            crowd, one = [await _peak(what, new_file(folder), count) for count in (sizes.waiters, 1)]
            return Sample((crowd - one) / sizes.waiters / 1024)

        return sample

    async def snapshot() -> Sample:
        made, idle = [await _peak("snapshot", new_file(folder), count) for count in (sizes.snapshot_rows, 1)]
        return Sample((made - idle) / 1024**2)

    return [
        await in_turns(
            f"memory for each of {sizes.waiters:,} waiters, its task included",
            "KB",
            {what: waiters(what) for what in (SHAPESTORE, FLOOR, "async-lru")},
            repeats=sizes.long_repeats,
            targets=[Target(peer=None, bound=2)],
        ),
        await in_turns(
            f"memory for a snapshot of {sizes.snapshot_rows:,} rows, written and read, beyond that of one row",
            "MB",
            {SHAPESTORE: snapshot},
            repeats=sizes.long_repeats,
            targets=[Target(peer=None, bound=40)],
        ),
    ]


async def _peak(what: str, path: str, count: int) -> int:
    return int(await said_by("memory", what, path, str(count)))


# --- the process that is measured


async def _waiters(path: str, count: int) -> None:
    async with ShapeStore(path) as store:
        shape = another()
        await _crowd(count, lambda: store.get_or_create(shape, _never))


async def _futures(path: str, count: int) -> None:
    loop = asyncio.get_running_loop()

    async def call() -> None:
        await loop.create_future()

    await _crowd(count, call)


async def _async_lru(path: str, count: int) -> None:
    get = peers.async_lru(_never)
    await _crowd(count, lambda: get(path))


async def _never(_: object) -> list[ShapeRow]:
    await asyncio.Event().wait()
    return []


async def _crowd(count: int, call: Callable[[], Awaitable[Any]]) -> None:
    tasks = [asyncio.ensure_future(call()) for _ in range(count)]
    await asyncio.sleep(0.2)
    _say_peak()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _snapshot(path: str, count: int) -> None:
    async with ShapeStore(path, create=lambda _: rows(count), create_timeout=3_600) as store:
        stored = await store.get_or_create(Shape("Track"), timeout=3_600)
        async for _ in store.rows(stored.handle):
            pass
    _say_peak()


def _say_peak() -> None:
    """In bytes. Linux's ru_maxrss would be the parent's, where that is greater: it is handed down."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
    else:
        (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
        print(int(kilobytes) * 1024, flush=True)


_WHAT = {SHAPESTORE: _waiters, FLOOR: _futures, "async-lru": _async_lru, "snapshot": _snapshot}

if __name__ == "__main__":
    asyncio.run(_WHAT[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
