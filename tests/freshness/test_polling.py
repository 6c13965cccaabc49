"""A shape that is waited for is refreshed when it is due: any source is live by polling."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from aging import edit, grow_old
from inspections import eventually
from processes import Workers
from sources import Rows

from shapestore import Shape, ShapeStore
from shapestore.freshness import polling

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK, ALBUM = Shape("Track"), Shape("Album")
LONG = 60.0


class Failing(Rows):
    """Fails as long as it is told to."""

    fails = True

    def __call__(self, shape: Shape) -> list[dict[str, Any]]:
        rows = super().__call__(shape)
        if self.fails:
            raise ValueError("not now")
        return rows


async def begun(store: ShapeStore, task: asyncio.Task[Any]) -> None:
    await eventually(lambda: task.done() or len(store._live().waits))


async def test_what_is_waited_for_is_refreshed_again_and_again(empty_path: str) -> None:
    source = Rows(1, 2)
    async with ShapeStore(empty_path, create=source, max_age=0.05) as store:
        stored = await store.get_or_create(TRACK)
        position = stored.position
        for n in range(1, 4):
            reads = source.reads
            task = asyncio.create_task(store.wait(stored, position, timeout=LONG))
            await eventually(lambda: source.reads > reads + 1)  # noqa: B023 - it is refreshed, though nothing changes
            assert not task.done()
            source.put(2, n=n)
            assert await task > position
            position = task.result()
        assert [row async for row in store.rows(stored.handle)] == [{"id": 1, "n": 0}, {"id": 2, "n": 3}]


async def test_what_is_not_waited_for_is_not_refreshed(empty_path: str) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source, max_age=0.02) as store:
        waited_for, _ = await store.get_or_create(TRACK), await store.get_or_create(ALBUM)
        task = asyncio.create_task(store.wait(waited_for, waited_for.position, timeout=LONG))
        await eventually(lambda: source.reads >= 5)
        task.cancel()
        await eventually(lambda: not len(store._live().waits) and not store.stats.in_flight)
        polled = store._live().waits._refresher
        assert isinstance(polled, polling.Polling)
        assert polled._timers == {}
        album = await store.get(ALBUM)
        assert album is not None
        assert album.refreshed_at == album.created_at


async def test_it_is_refreshed_when_it_is_due_and_not_before(empty_path: str) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source, max_age=3_600.0) as store:
        stored = await store.get_or_create(TRACK)
        source.put(1, n=1)
        task = asyncio.create_task(store.wait(stored, stored.position, timeout=LONG))
        await begun(store, task)
        polled = store._live().waits._refresher
        assert isinstance(polled, polling.Polling)
        await eventually(lambda: any(timer[0] > store._live().loop.time() + 3_000 for timer in polled._timers.values()))
        assert source.reads == 1
        grow_old(empty_path, 4_000)
        task.cancel()
        # Within a tenth of max_age it is refreshed, which is more than a test waits for: but by then it is scheduled.
        task = asyncio.create_task(store.wait(stored, stored.position, timeout=LONG))
        await eventually(lambda: store._live().requests._background._keys)
        task.cancel()


async def test_a_shape_of_another_namespace_is_refreshed_by_its_own_stores_alone(empty_path: str) -> None:
    """It was read by another creator, and put under a namespace whose ``invalidate`` did not find it."""
    own, other = Rows(1), Rows(1, 2)
    async with (
        ShapeStore(empty_path, create=own, namespace="own") as store,
        ShapeStore(empty_path, create=other, namespace="other", max_age=0.02) as foreign,
    ):
        stored, due = await store.get_or_create(TRACK), await foreign.get_or_create(ALBUM)
        waits = [asyncio.create_task(foreign.wait(shape, shape.position, timeout=LONG)) for shape in (stored, due)]
        await eventually(lambda: other.reads >= 5)  # and so what is waited for beside it would have been refreshed
        assert await store.fetch(TRACK) == [{"id": 1, "n": 0}]
        assert await store.invalidate("Track") == 1
        for wait in waits:
            wait.cancel()


@pytest.mark.parametrize("max_age", [None, 3_600.0, math.inf])
async def test_what_is_marked_stale_is_refreshed_at_once(
    empty_path: str, max_age: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    source = Rows(1)
    async with ShapeStore(empty_path, create=source, max_age=max_age) as store:
        stored = await store.get_or_create(TRACK)
        source.put(1, n=1)
        task = asyncio.create_task(store.wait(stored, stored.position, timeout=LONG))
        await begun(store, task)
        edit(empty_path, "UPDATE shapes SET stale = 1")  # as another process does it
        assert await task > stored.position
        source.put(1, n=2)
        edit(empty_path, "UPDATE shapes SET stale = 1")
        assert await store.wait(stored, task.result(), timeout=LONG) > task.result()


async def test_a_source_that_fails_is_asked_again(empty_path: str) -> None:
    source = Failing(1)
    source.fails = False
    async with ShapeStore(empty_path, create=source, max_age=0.02, failure_grace=0.01) as store:
        stored = await store.get_or_create(TRACK)
        source.fails = True
        task = asyncio.create_task(store.wait(stored, stored.position, timeout=LONG))
        await eventually(lambda: store.stats.failed >= 3)
        source.fails = False
        source.put(1, n=1)
        assert await task > stored.position


async def test_a_store_without_a_creator_refreshes_nothing(empty_path: str) -> None:
    async with ShapeStore(empty_path, max_age=0.01) as store:
        stored = await store.get_or_create(TRACK, Rows(1))
        assert await store.wait(stored, stored.position, timeout=0.1) == stored.position
        assert store.stats.leaders == 1


def test_processes_that_wait_for_one_shape_refresh_it_once_an_age(path: str, tmp_path: Path, workers: Workers) -> None:
    source, max_age = tmp_path / "source.json", 0.5

    def write(n: int) -> None:
        another = tmp_path / "another.json"
        another.write_text(json.dumps([{"id": 1, "n": n}]))
        another.replace(source)

    write(0)
    started = workers.open(path, 3, max_age=max_age, source=str(source))
    began = time.monotonic()
    handle, position = started[0].call("stored", key="Track")
    for n in range(1, 4):
        answers = [worker.send("wait", handle=handle, after=position) for worker in started]
        write(n)
        [position] = {answer.result(60) for answer in answers}
        assert started[0].call("rows", handle=handle) == [{"id": 1, "n": n}]
    assert 4 <= sum(worker.creations for worker in started) <= 1 + (time.monotonic() - began) / max_age
