"""A store that the real Litestream replicates while a herd writes, and its restored copy."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from inspections import eventually, rows_of

from shapestore import Shape, ShapeStore, StoredShape, maintenance
from shapestore.events import Checkpointed, Event
from shapestore.storage import wal

Row = dict[str, object]

RECIPE = Path(__file__).resolve().parents[1] / "apps" / "litestream.yml"

LITESTREAM = shutil.which("litestream", path=f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")

needs_litestream = pytest.mark.skipif(LITESTREAM is None, reason="litestream is not here: scripts/setup dev litestream")

PATIENCE = 120.0


def create(shape: Shape) -> list[Row]:
    """About 40 KB, the same for the same shape."""
    dice = random.Random(shape.table)
    return [{"number": number, "text": dice.randbytes(200).hex()} for number in range(100)]


class Litestream:
    """``litestream replicate`` by the README's recipe, with a socket by which it is told to sync."""

    def __init__(self, folder: Path, settings: str) -> None:
        assert LITESTREAM is not None
        self._program = LITESTREAM
        self._folder = folder
        self._config = folder / "litestream.yml"
        recipe = RECIPE.read_text().replace("path: shapes.db", f"path: shapes.db\n    {settings}")
        self._config.write_text(f"socket: {{enabled: true, path: {folder / 'socket'}}}\n{recipe}")
        self._log = (folder / "litestream.log").open("w+")
        self._process = subprocess.Popen(
            [LITESTREAM, "replicate", "-config", self._config], cwd=folder, stdout=self._log
        )

    async def sync(self) -> None:
        """Have all that is committed brought to the replica."""
        await self._run("sync", "-wait", "-socket", str(self._folder / "socket"), str(self._folder / "shapes.db"))

    async def restore(self, path: Path) -> None:
        await self._run("restore", "-config", str(self._config), "-o", str(path), str(self._folder / "shapes.db"))

    async def _run(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            self._program, *arguments, cwd=self._folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0, f"{said.decode()}\n{self.log()}"

    def has_begun(self) -> bool:
        assert self._process.poll() is None, self.log()
        with closing(sqlite3.connect(f"file:{self._folder / 'shapes.db'}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_litestream_seq'").fetchall())

    def log(self) -> str:
        return Path(self._log.name).read_text()

    def kill(self) -> None:
        """As the machine's end does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()


@pytest.mark.slow
@needs_litestream
@pytest.mark.parametrize("settings", ["", "monitor-interval: 10s", "min-checkpoint-page-count: 100"])
async def test_nothing_acknowledged_before_the_last_sync_is_lost(tmp_path: Path, settings: str) -> None:
    path = tmp_path / "shapes.db"
    acknowledged: list[StoredShape] = []
    async with ShapeStore(path, create=create) as one, ShapeStore(path, create=create) as other:
        litestream = Litestream(tmp_path, settings)
        try:
            await eventually(litestream.has_begun)
            herd = asyncio.create_task(write([one, other], acknowledged))
            for _ in range(6):
                await asyncio.sleep(1)
                synced = list(acknowledged)
                await litestream.sync()
            await asyncio.sleep(0.3)  # what is written now may be lost, but is not to spoil what is there
        finally:
            litestream.kill()
        herd.cancel()
        await asyncio.wait([herd])
        assert one.stats.wal_bytes < wal.LITESTREAM_IS_GONE_BYTES
    assert 100 < len(synced) < len(acknowledged)

    restored = tmp_path / "restored" / "shapes.db"
    restored.parent.mkdir()
    await litestream.restore(restored)
    for file in (path, restored):
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    async with ShapeStore(restored, create=create) as store:
        assert await store.locks() == []
        for stored in synced:
            assert await store.get(stored.shape) == stored
            assert await rows_of(store, stored) == create(stored.shape)
        assert (await store.get_or_create(Shape("a new one"))).row_count == 100


async def write(stores: list[ShapeStore], acknowledged: list[StoredShape]) -> None:
    """Create shape after shape, a few at a time, until cancelled."""
    number = 0
    while True:
        shapes = [Shape(f"table {number + n}") for n in range(20)]
        number += 20
        acknowledged += await asyncio.gather(*(store.get_or_create(shape) for shape in shapes for store in stores))
        await asyncio.sleep(0.02)


async def test_checkpoints_are_litestreams_where_it_replicates_the_file(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(maintenance, "NOTE_SECONDS", 0.01)
    told: list[Event] = []
    with closing(sqlite3.connect(empty_path)) as connection:
        connection.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
    # Whoever holds the file open: the last to close a file checkpoints it, whoever that is.
    with closing(sqlite3.connect(empty_path)) as litestream:
        litestream.execute("SELECT * FROM shapes").fetchall()
        async with ShapeStore(empty_path, create=create, on_event=told.append) as store:
            for number in range(100):
                await store.get_or_create(Shape(f"table {number}"))
            assert store.stats.wal_bytes > wal.CHECKPOINT_BYTES
            commands = store.stats.commands
            await eventually(lambda: store.stats.commands > commands + 2)  # maintenance has asked for one
        assert checkpoints(told) == []

        monkeypatch.setattr(wal, "LITESTREAM_IS_GONE_BYTES", 2 * wal.CHECKPOINT_BYTES)
        async with ShapeStore(empty_path, create=create, on_event=told.append) as store:
            for number in range(100, 200):
                await store.get_or_create(Shape(f"table {number}"))
            assert {event.wal_bytes for event in checkpoints(told)} == {0}


def checkpoints(told: list[Event]) -> list[Checkpointed]:
    return [event for event in told if isinstance(event, Checkpointed)]
