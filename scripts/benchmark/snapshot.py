"""A large snapshot, written and read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from benchmark.files import Row as ShapeRow
from benchmark.files import new_file, plain
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes
from shapestore import Shape, ShapeStore

PLAIN = "plain sqlite3, json"
PLAIN_MSGSPEC = "plain sqlite3, msgspec"


def rows(count: int) -> Iterator[ShapeRow]:
    for n in range(count):
        yield {"id": n, "name": f"track number {n}", "price": 0.99, "seconds": n % 600, "album": None}


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    count = sizes.snapshot_rows
    # Written by one contender in one turn, and read in the next row of the table.
    files: dict[str, str] = {}

    async def write() -> Sample:
        path = _renew(files, SHAPESTORE, folder)
        async with ShapeStore(path, create=lambda _: rows(count), create_timeout=3_600) as store:
            with stopwatch() as watch:
                await store.get_or_create(Shape("Track"), timeout=3_600)
        return watch.a_second(count)

    async def read() -> Sample:
        async with ShapeStore(files[SHAPESTORE]) as store:
            stored = await store.get(Shape("Track"))
            assert stored is not None
            seen = 0
            with stopwatch() as watch:
                async for _ in store.rows(stored.handle):
                    seen += 1
        assert seen == count
        return watch.a_second(count)

    def plain_write(name: str, encode: Callable[[ShapeRow], str]) -> Sampler:
        async def sample() -> Sample:
            with closing(plain(_renew(files, name, folder))) as database, stopwatch() as watch:
                database.execute("BEGIN")
                database.executemany(
                    "INSERT INTO shape_rows (id, value) VALUES ((1 << 28) + ?, ?)",
                    ((n, encode(row)) for n, row in enumerate(rows(count), 1)),
                )
                database.execute("COMMIT")
            return watch.a_second(count)

        return sample

    def plain_read(name: str, decode: Callable[[str], ShapeRow]) -> Sampler:
        async def sample() -> Sample:
            seen = 0
            with closing(plain(files[name])) as database, stopwatch() as watch:
                for (text,) in database.execute(
                    "SELECT value FROM shape_rows WHERE id > 1 << 28 AND id < 2 << 28 ORDER BY id"
                ):
                    decode(text)
                    seen += 1
            assert seen == count
            return watch.a_second(count)

        return sample

    encoder = msgspec.json.Encoder()
    targets = [Target(peer=PLAIN, bound=0.6, at_least=True)]
    return [
        await in_turns(
            f"write a snapshot of {count:,} rows",
            "rows a second",
            {
                SHAPESTORE: write,
                PLAIN: plain_write(PLAIN, json.dumps),
                PLAIN_MSGSPEC: plain_write(PLAIN_MSGSPEC, lambda row: encoder.encode(row).decode()),
            },
            repeats=sizes.long_repeats,
            targets=targets,
        ),
        await in_turns(
            f"read a snapshot of {count:,} rows",
            "rows a second",
            {
                SHAPESTORE: read,
                PLAIN: plain_read(PLAIN, json.loads),
                PLAIN_MSGSPEC: plain_read(PLAIN_MSGSPEC, msgspec.json.decode),
            },
            repeats=sizes.long_repeats,
            targets=targets,
        ),
    ]


def _renew(files: dict[str, str], name: str, folder: Path) -> str:
    if name in files:
        os.unlink(files[name])
    files[name] = new_file(folder)
    return files[name]
