"""Whatever is written, killed and stopped: in the end each live shape is what its query gives, and so is its log.

Random writers and stores in several processes, among them ones that sleep between the steps of a round, that are killed
and stopped; clients that read logs from wherever they are, a few changes at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import followed_world
import pytest
from followed_world import SHAPES, make_source
from inspections import eventually
from processes import assert_sound

from shapestore import Shape, ShapeGoneError, ShapeStore, SQLSource
from shapestore.storage.log.positions import MAX_POSITION
from shapestore.storage.row_codec import encode_row

SETTLE_SECONDS = 60.0

Rows = dict[tuple[Any, ...], dict[str, Any]]


class Client:
    """Holds what the log of one handle has told it, and no more."""

    def __init__(self, handle: str, shape: Shape) -> None:
        self.handle = handle
        self.shape = shape
        self.position = 0
        self.rows: Rows = {}

    async def read(self, store: ShapeStore, limit: int) -> bool:
        """Read on. False at the end of the log. Raises ShapeGoneError."""
        page = await store.read_log(self.handle, after=self.position, limit=limit)
        for change in page:
            if change.row is None:
                del self.rows[change.key]
            else:
                assert (change.operation == "insert") == (change.key not in self.rows)
                self.rows[change.key] = change.row
            self.position = change.position
        return bool(page)


def processes_of(path: Path, source: Path, *, writers: int, stores: int, seed: int) -> Iterator[list[str]]:
    program = [sys.executable, "-W", "ignore", followed_world.__file__]
    for n in range(writers):
        yield [*program, "write", str(source), str(seed + n), "0.01"]
    for n in range(stores):
        yield [*program, "use", str(path), str(source), str(seed + n), "0.05"]


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})


async def run_for(seconds: float, tmp_path: Path, seed: int, *, writers: int, stores: int, kill_every: float) -> int:
    """How often processes were killed."""
    chance = random.Random(seed)
    path, source = tmp_path / "shapes.db", tmp_path / "app.db"
    make_source(str(source))
    creator = SQLSource(f"sqlite:///{source}", follow=True)
    commands = list(processes_of(path, source, writers=writers, stores=stores, seed=seed))
    kills = 0
    async with ShapeStore(path, create=creator) as store:
        running = [start(command) for command in commands]
        try:
            for shape in SHAPES:
                await store.get_or_create(shape)
            await eventually(lambda: len(list(tmp_path.glob("*-ready-*"))) == len(commands))
            until, kill_at = time.monotonic() + seconds, time.monotonic() + kill_every
            clients: list[Client] = []
            while time.monotonic() < until:
                await _read_some(store, clients, chance)
                if time.monotonic() > kill_at:
                    kill_at = time.monotonic() + kill_every * chance.random() * 2
                    place = chance.randrange(len(running))
                    if chance.random() < 0.3:
                        running[place].send_signal(signal.SIGSTOP)
                        await asyncio.sleep(chance.random() * 3)
                        running[place].send_signal(signal.SIGCONT)
                    else:
                        running[place].kill()
                        await asyncio.to_thread(running[place].wait)
                        running[place] = start(commands[place])
                        kills += 1
            Path(f"{source}-stop").touch()
            for process in running:
                await asyncio.to_thread(process.wait, SETTLE_SECONDS)
        finally:
            for process in running:
                process.kill()
                process.wait()
        await _settled(str(path), str(source))
        await _all_is_equal(store, clients, creator)
    assert_sound(path)
    return kills


async def _read_some(store: ShapeStore, clients: list[Client], chance: random.Random) -> None:
    shape = chance.choice(SHAPES)
    with contextlib.suppress(ShapeGoneError):
        stored = await store.get(shape)
        if stored is not None and len(clients) < 100:
            clients.append(Client(stored.handle, shape))
    for client in chance.sample(clients, min(len(clients), 5)):
        try:
            await client.read(store, chance.choice((1, 3, 10, 1_000)))
            if chance.random() < 0.1:
                await _compare_as_of(store, client)
        except ShapeGoneError:
            clients.remove(client)
    await asyncio.sleep(0.005)


async def _compare_as_of(store: ShapeStore, client: Client) -> None:
    """What the log has told, up to its end at one moment, is what the rows are as of that moment."""
    stored = await store.get_by_handle(client.handle)
    if stored is None:
        return
    rows = [row async for row in store.rows(stored)]
    while client.position & MAX_POSITION < stored.position & MAX_POSITION and await client.read(store, 1):
        pass
    if client.position & MAX_POSITION == stored.position & MAX_POSITION:
        assert _sorted(rows) == _sorted(client.rows.values()), client.shape


async def _settled(path: str, source: str) -> None:
    """Wait until all that was written has been followed."""
    until = time.monotonic() + SETTLE_SECONDS
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as store,
        contextlib.closing(sqlite3.connect(source, isolation_level=None)) as app,
    ):
        while True:
            ((newest,),) = app.execute("SELECT max(seq) FROM shapestore_changes").fetchall()
            states = store.execute("SELECT followed_seq, unfinished_round FROM sources").fetchall()
            newcomers = store.execute("SELECT 1 FROM shapes WHERE source_seq IS NOT NULL LIMIT 1").fetchall()
            live = store.execute("SELECT 1 FROM shapes WHERE live LIMIT 1").fetchall()
            if not live or (states == [(newest, None)] and not newcomers):
                return
            assert time.monotonic() < until, (newest, states, newcomers)
            await asyncio.sleep(0.05)


async def _all_is_equal(store: ShapeStore, clients: list[Client], creator: SQLSource) -> None:
    async for stored in store.shapes():
        assert stored.live
        expected = expected_rows(creator, stored.shape)
        rows = [row async for row in store.rows(stored)]
        assert _sorted(rows) == _sorted(expected), stored.shape
        assert stored.row_count == len(rows)
        clients.append(Client(stored.handle, stored.shape))
    for client in clients:
        with contextlib.suppress(ShapeGoneError):
            while await client.read(store, 7):
                pass
            current = await store.get_by_handle(client.handle)
            if current is not None:
                assert _sorted(client.rows.values()) == _sorted(expected_rows(creator, client.shape)), client.shape


def expected_rows(creator: SQLSource, shape: Shape) -> list[dict[str, Any]]:
    """What the query gives, as a store holds it."""
    return [json.loads(encode_row(row, 1)) for row in creator(shape)]


def _sorted(rows: Any) -> list[Any]:
    return sorted(repr(row) for row in rows)


async def test_live_shapes_are_what_their_queries_give(tmp_path: Path) -> None:
    await run_for(5.0, tmp_path, random.randrange(10**6), writers=2, stores=2, kill_every=1.0)


@pytest.mark.slow
async def test_live_shapes_are_what_their_queries_give_for_long(tmp_path: Path) -> None:
    until, kills, run = time.monotonic() + 1_800, 0, 0
    while time.monotonic() < until or kills < 1_000:
        run += 1
        folder = tmp_path / str(run)
        folder.mkdir()
        kills += await run_for(30.0, folder, run, writers=3, stores=3, kill_every=0.5)
