"""Load for a store that will be killed: callers who do this and that with a few keys, and put down each call.

The history is a file to which every process appends, a line before each call and a line after it, each with one write.
What is in it was done by somebody who could have told others: nothing of it may be lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
import zlib
from collections.abc import AsyncIterator
from itertools import count
from random import Random
from typing import Any

from shapestore import Shape, ShapeGoneError, ShapeStore, StoredShape
from shapestore.storage.log.chunks import CHUNK_ROWS

Row = dict[str, Any]

# Keys that every caller creates and deletes, all the time.
CHURNED = [f"churned {number}" for number in range(8)]
# Beside them there is a new key every so often, which is kept.
NEW_KEY_NS = 20_000_000
CALLERS = 8


async def run(store: ShapeStore, history: str, seed: int, stop: str) -> None:
    """Call and call, until there is a file ``stop``."""
    callers = [_Caller(store, history, Random(f"{seed} {number}"), stop) for number in range(CALLERS)]
    await asyncio.gather(*(caller.call_until_stopped() for caller in callers))


class _Caller:
    _numbers = count()

    def __init__(self, store: ShapeStore, history: str, random: Random, stop: str) -> None:
        self._store = store
        self._history = os.open(history, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._random = random
        self._stop = stop
        self._last: dict[str, str] = {}
        """The handle last seen of each churned key."""

    async def call_until_stopped(self) -> None:
        while not os.path.exists(self._stop):
            await self._call()
        os.close(self._history)

    async def _call(self) -> None:
        chance = self._random.random()
        if chance < 0.4:
            now = time.monotonic_ns() // NEW_KEY_NS
            await self._get_or_create(f"kept {now - self._random.randrange(4)}")
            return
        key = self._random.choice(CHURNED)
        if chance < 0.75:
            self._last[key] = await self._get_or_create(key)
        elif chance < 0.85:
            await self._get(key)
        elif key in self._last:
            await self._delete(key, self._last[key])

    async def _get_or_create(self, key: str) -> str:
        call = self._begin("get_or_create", key)
        stored = await self._store.get_or_create(Shape(key), self._create)
        # The rows are read within the call's time, but that is no harm: it only makes the call longer.
        try:
            rows = [row async for row in self._store.rows(stored)]
        except ShapeGoneError:
            assert key in CHURNED
            self._end(call, _held(stored))
        else:
            assert len(rows) == stored.row_count
            self._end(call, _held(stored), rows=checksum(rows))
        return stored.handle

    async def _get(self, key: str) -> None:
        call = self._begin("get", key)
        stored = await self._store.get(Shape(key))
        self._end(call, stored and _held(stored))

    async def _delete(self, key: str, handle: str) -> None:
        call = self._begin("delete", key, handle=handle)
        self._end(call, await self._store.delete(handle))

    async def _create(self, shape: Shape) -> AsyncIterator[Row]:
        """Rows of one attempt, that can be told from those of another; now and then more than go into one chunk."""
        attempt = secrets.token_hex(8)
        many = self._random.choice([0, 1, 3, 3, 3, 3, 3, CHUNK_ROWS + 10])
        for number in range(many):
            yield {"attempt": attempt, "n": number, "of": many}
        await asyncio.sleep(self._random.random() * 0.005)

    def _begin(self, kind: str, key: str, **more: Any) -> str:
        call = f"{os.getpid()} {next(self._numbers)}"
        self._write({"call": call, "kind": kind, "key": key, "at": time.monotonic_ns()} | more)
        return call

    def _end(self, call: str, result: tuple[str, int] | bool | None, **more: Any) -> None:
        self._write({"call": call, "result": result, "at": time.monotonic_ns()} | more)

    def _write(self, what: dict[str, Any]) -> None:
        line = json.dumps(what).encode() + b"\n"
        assert os.write(self._history, line) == len(line)


def _held(stored: StoredShape) -> tuple[str, int]:
    return stored.handle, stored.position


def checksum(rows: list[Row]) -> str:
    """Of rows that are whole: all of one attempt, in order. They are known again by it."""
    assert [row["n"] for row in rows] == list(range(len(rows)))
    assert {(row["attempt"], row["of"]) for row in rows} <= {(rows[0]["attempt"], len(rows))} if rows else True
    return f"{len(rows)} {zlib.crc32(json.dumps(rows, sort_keys=True).encode()):08x}"
