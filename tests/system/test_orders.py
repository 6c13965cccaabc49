"""Two or three stores on one file, step by step in an order that a seed gives: many orders, the rare ones too.

Refreshes, rounds, touched rows, compactions, evictions, invalidations, kills and openings come in between the steps of
each other. After each step a reader beside the stores looks at the file: what it sees was so at one moment, never goes
back, and follows from the log, from every position on. Callers are given what they were promised, all calls end, and
nothing is left over. A failure is repeated by its seed, and its report ends with the steps that led to it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from pathlib import Path

import pytest
from ordered_calls import World
from ordered_stores import KINDS, Kind
from processes import assert_sound
from simulated_steps import run
from simulation import Simulation

from shapestore import maintenance
from shapestore.admin.doctor import Severity, examine
from shapestore.following import source_look
from shapestore.storage.log import chunks, compact_queries

ACTIONS = 150


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Logs are cut at once, dead owners ended soon, and what killed stores complain of is not told."""
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(maintenance, "NOTE_SECONDS", 5.0)
    for name in ("LONG_LOG", "LONG_LOGS"):
        monkeypatch.setattr(compact_queries, name, getattr(compact_queries, name).replace(" + 100 ", " "))


async def live_through(world: World) -> None:
    for _ in range(world.options.stores):
        await world.open()
    for _ in range(ACTIONS):
        await world.turn()
        await world.act()
    await world.settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def explore(path: str, seed: int, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(source_look, "MAX_CHANGES", chance.choice((1, 2, 3, 2_000)))
    monkeypatch.setattr(chunks, "CHUNK_ROWS", chance.choice((1, 2, 2_000)))
    monkeypatch.setattr(random, "uniform", chance.uniform)
    simulation = Simulation(seed, holds_back=chance.choice((0.0, 0.02, 0.1)))
    world = World(str(Path(path).parent), simulation, seed, kind)
    simulation.after_each = world.logs.look
    try:
        run(simulation, live_through(world))
    except BaseException as error:
        error.add_note("\n".join([f"seed {seed}, {kind}; the last steps:", *simulation.trace[-60:]]))
        raise
    finally:
        world.close()
    assert_sound(path)
    assert [finding for finding in examine(path) if finding.severity is Severity.ERROR] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_stores_are_right_in_any_order_of_their_steps(
    empty_path: str, seed: int, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    explore(empty_path, seed, kind, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_stores_are_right_in_very_many_orders(
    empty_store: Path, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(1_000):
        folder = tmp_path / str(seed)
        folder.mkdir()
        explore(str(shutil.copy(empty_store, folder)), seed, kind, monkeypatch)
        shutil.rmtree(folder)
