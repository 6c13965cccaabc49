"""Live shapes of random tables, whose keys, values and unique indexes collide often, are what their queries give."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from followed_tables import Followed, name, outcome
from random_writes import Statements, Table

from shapestore import Shape, ShapeStore, SQLSource
from shapestore.storage.row_codec import encode_row


def shapes_of(rnd: random.Random, table: Table) -> Iterator[Shape]:
    yield Shape(name(table))
    for column in rnd.sample(table.columns, 2):
        where = f"{column} {rnd.choice(('=', '<', '>=', '<>'))} :value"
        yield Shape(name(table), where=where, params={"value": rnd.choice((1, 2.0, -1, "a", "A"))})
    first, second, *_ = table.columns
    yield Shape(name(table), where=f"{first} LIKE 'a%' OR {second} IS NULL")


async def follow_at_random(folder: Path, seed: int, rounds: int) -> None:
    with closing(Followed(folder, seed)) as world:
        setting = world.rnd.choice(("foreign_keys", "recursive_triggers", "count_changes"))
        world.make(setting, triggers=0)
        url = f"sqlite:///{world.followed.path}"
        source, query = SQLSource(url, follow=True), SQLSource(url)
        shapes = [shape for table in world.tables for shape in shapes_of(world.rnd, table)]
        statements = iter(Statements(world.rnd, world.tables, one_row=False))
        statements = (statement for statement in statements if "9e999" not in statement)  # which JSON cannot hold
        async with ShapeStore(folder / f"{seed}-shapes.db", create=source, wait_timeout=60) as store:
            for _ in range(rounds):
                for statement in islice(statements, 12):
                    world.said.append(statement)
                    outcome(world.followed, statement)
                for end in ("COMMIT", "ROLLBACK"):
                    if world.followed.connection.in_transaction:
                        outcome(world.followed, end)
                await store.followed(timeout=60)
                for shape in shapes:
                    stored = await store.get_or_create(shape)
                    assert stored.live
                    held = sorted([repr(row) async for row in store.rows(stored)])
                    there = sorted(repr(json.loads(encode_row(row, 0))) for row in list(query(shape)))
                    assert held == there, (shape, world.story())


@pytest.mark.parametrize("seed", range(4))
async def test_at_random(tmp_path: Path, seed: int) -> None:
    await follow_at_random(tmp_path, seed, 5)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
async def test_at_random_for_long(tmp_path: Path, part: int) -> None:
    for seed in range(100 + part * 20, 120 + part * 20):
        await follow_at_random(tmp_path, seed, 10)
