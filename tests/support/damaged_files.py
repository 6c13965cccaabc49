"""A store's file as a killed process leaves it, and copies of it that are cut off or have wrong bits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from shapestore import CreateFailedError, RetryLater, Shape, ShapeStore

SUPPORT = Path(__file__).resolve().parent

Row = dict[str, Any]
Contents = dict[str, int]
"""The version of each table's shape that is stored."""


def rows_of_version(table: str, version: int) -> list[Row]:
    """What a shape holds, and nothing else does: no row of it is in another version, and none in another table."""
    count = (0, 1, 40, 300, 2_400)[(len(table) + version) % 5]
    return [{"table": table, "version": version, "number": number, "of": count} for number in range(count)]


def overwrite_a_page(path: str) -> None:
    """The first page of the rows says nothing any more."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        [(page_size,)] = connection.execute("PRAGMA page_size")
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'shape_rows'")
    content = bytearray(Path(path).read_bytes())
    content[(page - 1) * page_size : page * page_size] = b"\x7f" * page_size
    Path(path).write_bytes(content)


class Left(NamedTuple):
    """What a killed process left: a database, its log, and all contents that it committed, one after the other."""

    folder: Path
    history: list[Contents]

    def copy_to(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name in ("shapes.db", "shapes.db-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(self.folder / name, folder)
        return folder / "shapes.db"


def leave(empty_store: Path, folder: Path, *, in_good_order: bool) -> Left:
    """Have a process fill a store. In good order, it closes it, so that there is no log; else it is killed."""
    folder.mkdir()
    shutil.copy(empty_store, folder / "shapes.db")
    ended = subprocess.run(
        [sys.executable, "-m", "damaged_files", str(folder / "shapes.db"), "close" if in_good_order else "die"],
        cwd=SUPPORT,
        env=os.environ | {"PYTHONPATH": f"{SUPPORT}{os.pathsep}{SUPPORT.parents[1]}"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert ended.returncode == (0 if in_good_order else -9)
    return Left(folder, [json.loads(line) for line in ended.stdout.splitlines()])


def cut(file: Path, size: int) -> None:
    os.truncate(file, size)


def flip(file: Path, chance: random.Random, bits: int, of: range | None = None) -> None:
    """Turn some bits over, among the bytes ``of`` the file."""
    with open(file, "r+b") as opened:
        size = os.fstat(opened.fileno()).st_size
        for _ in range(bits):
            place = chance.choice(of or range(size))
            opened.seek(place)
            [byte] = opened.read(1)
            opened.seek(place)
            opened.write(bytes([byte ^ (1 << chance.randrange(8))]))


async def contents(store: ShapeStore) -> Contents:
    """What a store serves. Raises AssertionError for whatever is not wholly what was once committed."""
    found = {}
    async for stored in store.shapes():
        rows = [row async for row in store.rows(stored.handle)]
        version = rows[0]["version"] if rows else version_without_rows(stored.shape.table)
        assert rows == rows_of_version(stored.shape.table, version)
        assert await store.get(Shape(stored.shape.table)) == stored
        found[stored.shape.table] = version
    return found


def version_without_rows(table: str) -> int:
    return next(version for version in range(5) if not rows_of_version(table, version))


# --- the process that leaves it


async def fill(path: str, *, in_good_order: bool) -> None:
    """Say what is stored after each change that anybody can see."""
    chance = random.Random(7)
    stored: Contents = {}

    async def set_version(store: ShapeStore, table: str, version: int) -> None:
        async def create(shape: Shape) -> list[Row]:
            return rows_of_version(table, version)

        await store.refresh(Shape(table), create)
        stored[table] = version

    async with ShapeStore(path) as store:
        await set_version(store, "a", 1)
        await set_version(store, "bb", 2)
    say(stored)
    async with ShapeStore(path) as store:
        said = [dict(stored)]
        while len(said) < 24:
            table, version = chance.choice(("a", "bb", "ccc", "dddd", "eeeee")), chance.randrange(5)
            then = {name: stored[name] for name in stored if name != table}
            if table not in stored or chance.random() < 0.7:
                then[table] = version
            if then in said:
                continue  # each is to be known by what it holds
            if table in then:
                await set_version(store, table, version)
            else:
                assert await store.invalidate(table) == 1
                del stored[table]
            assert stored == then
            said.append(then)
            say(stored)
        if not in_good_order:
            await be_killed(store)


async def be_killed(store: ShapeStore) -> None:
    """In the middle of a creation whose first rows are written, and while a failure is shared."""

    async def fail(shape: Shape) -> list[Row]:
        raise RetryLater(600)

    async def hang(shape: Shape) -> AsyncIterator[Row]:
        for row in rows_of_version("ccc", 1):
            yield row
        os.kill(os.getpid(), signal.SIGKILL)

    with contextlib.suppress(CreateFailedError):
        await store.get_or_create(Shape("failing"), fail)
    await store.get_or_create(Shape("hanging"), hang)


def say(stored: Contents) -> None:
    print(json.dumps(stored), flush=True)


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], in_good_order=sys.argv[2] == "close"))
