"""A waiter that is cancelled, by asyncio or by anyio, at whatever await it is: it alone ends, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from inspections import eventually
from scopes import Scope, both_scopes
from sources import Rows
from steps import Steps

from shapestore import Shape, ShapeStore, StoredShape

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")


async def next_change(store: ShapeStore, stored: StoredShape) -> int:
    async with contextlib.aclosing(store.changes(stored)) as changes:
        return (await anext(changes)).position


CALLS: dict[str, Callable[[ShapeStore, StoredShape], Awaitable[int]]] = {
    "wait": lambda store, stored: store.wait(stored, stored.position),
    "changes": next_change,
}


@both_scopes
@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_waiter_ends_at_its_scope_whatever_step_it_is_at(
    empty_path: str, scope: Scope, name: str
) -> None:
    source = Rows(1)
    answers = 0
    with Steps() as steps:
        async with ShapeStore(empty_path, create=source) as store:

            async def ask(step: int) -> bool:
                """Whether there were so many steps."""
                nonlocal answers
                stored = await store.get_or_create(TRACK)
                source.put(1, n=step)
                changing = asyncio.create_task(store.refresh(TRACK))
                reached = True
                async with scope() as cancel:
                    steps.do_at(step, cancel)
                    position = await CALLS[name](store, stored)
                    reached = steps.done()
                    answers += 1
                steps.done()
                end = (await changing).position
                assert reached or position == end
                return reached

            reached, step = True, 0
            while reached:
                step += 1
                reached = await asyncio.create_task(ask(step))
                await eventually(lambda: len(store._live().waits) == 0)
            assert step > 3
            assert answers < step


async def test_the_others_wait_on_when_one_is_cancelled(empty_path: str) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        tasks = [asyncio.create_task(store.wait(stored, stored.position)) for _ in range(10)]
        await eventually(lambda: len(store._live().waits) == 10)
        for task in tasks[::2]:
            task.cancel()
        await eventually(lambda: len(store._live().waits) == 5)
        source.put(1, n=1)
        end = (await store.refresh(TRACK)).position
        assert [await task for task in tasks[1::2]] == [end] * 5
