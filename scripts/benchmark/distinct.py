"""Distinct shapes, all created at once: what a creation costs when creators cost nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

from benchmark import peers
from benchmark.files import another, at_once, new_file, one_row, plain
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes
from shapestore import ShapeStore
from shapestore.locking.handles import Handles
from shapestore.storage.commands import Claim, Publish
from shapestore.storage.connection import open_writer
from shapestore.storage.log.chunks import Encoder
from shapestore.storage.transaction import transact
from shapestore.storage.writer import MAX_BATCH

DEFAULT = "shapestore, default options"
PLAIN_FUNCTIONS = "shapestore, default options, plain functions"
STATEMENTS = "the bulk statements alone"
DISKCACHE = "diskcache.Lock + set"
DOGPILE = "dogpile dbm"
# It rewrites its index for every key: 5,000 of them take minutes. As many as these are to its advantage.
DOGPILE_KEYS = 1_000


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    return [await _created(sizes, folder, count) for count in sizes.distinct]


async def _created(sizes: Sizes, folder: Path, count: int) -> Row:
    bulk = await open_writer(new_file(folder), "normal")
    async with (
        ShapeStore(new_file(folder), create=at_once, max_creating=count) as store,
        ShapeStore(new_file(folder), create=at_once) as bounded,
        ShapeStore(new_file(folder), create=one_row) as in_threads,
    ):
        with closing(plain(f"{new_file(folder)}-plain")) as database:
            database.execute("CREATE TABLE shapes (key TEXT PRIMARY KEY, value TEXT) STRICT")

            def shapestore(store: ShapeStore) -> Sampler:
                async def sample() -> Sample:
                    shapes = [another() for _ in range(count)]
                    with stopwatch() as watch:
                        await asyncio.gather(*map(store.get_or_create, shapes))
                    return watch.a_second(count)

                return sample

            async def statements() -> Sample:
                """What the writer does for as many, with nothing around it."""
                handles = Handles()
                pairs = iter([_claim_and_publish(handles) for _ in range(count)])
                batches = list(iter(lambda: list(islice(pairs, MAX_BATCH)), []))
                with stopwatch() as watch:
                    for batch in batches:
                        await transact(bulk, "bulk", partial(Claim.apply, [claim for claim, _ in batch]))
                        await transact(bulk, "bulk", partial(Publish.apply, [publish for _, publish in batch]))
                return watch.a_second(count)

            async def transactions() -> Sample:
                keys = [another().comparable for _ in range(count)]
                with stopwatch() as watch:
                    for key in keys:
                        database.execute("INSERT INTO shapes VALUES (?, ?)", (key, "{}"))
                return watch.a_second(count)

            row = await in_turns(
                f"{count:,} distinct shapes created at once",
                "a second",
                {
                    SHAPESTORE: shapestore(store),
                    DEFAULT: shapestore(bounded),
                    PLAIN_FUNCTIONS: shapestore(in_threads),
                    STATEMENTS: statements,
                    DISKCACHE: _called(lambda: peers.diskcache(folder / "diskcache"), count // 5),
                    DOGPILE: _called(lambda: peers.new_dogpile_dbm(folder), min(count, DOGPILE_KEYS)),
                    "cashews disk": _awaited(f"disk://?directory={folder}/cashews", count // 10),
                    "plain sqlite3, an INSERT a transaction": transactions,
                },
                repeats=sizes.long_repeats,
                targets=[
                    Target(contender=DEFAULT, peer=DISKCACHE, bound=2.5, at_least=True),
                    Target(contender=PLAIN_FUNCTIONS, peer=DISKCACHE, bound=1.5, at_least=True),
                    Target(peer=DOGPILE, bound=100, at_least=True),
                    Target(peer=STATEMENTS, bound=0.5, at_least=True),
                ],
            )
    await bulk.close()
    return row


def _claim_and_publish(handles: Handles) -> tuple[Claim, Publish]:
    shape, handle = another(), handles.new()
    encoder = Encoder(handle)
    for row in one_row(shape):
        encoder.add(row)
    claim = Claim(shape, handle, comparable=shape.comparable, namespace="", over=None, older=None)
    return claim, Publish(encoder.rest(), encoder, replaces=False, duration_ms=0, followers=0)


def _called(make: Callable[[], peers.ThreadGet], count: int) -> Sampler:
    """In one thread: more of them would only wait for each other."""

    async def sample() -> Sample:
        get, keys = make(), [another().comparable for _ in range(count)]
        with stopwatch() as watch:
            for key in keys:
                get(key, dict)
        return watch.a_second(count)

    return sample


def _awaited(url: str, count: int) -> Sampler:
    async def create(key: str) -> str:
        return key

    get = peers.cashews(create, url)
    keys = map("key {}".format, itertools.count())

    async def sample() -> Sample:
        with stopwatch() as watch:
            await asyncio.gather(*(get(key) for key in islice(keys, count)))
        return watch.a_second(count)

    return sample
