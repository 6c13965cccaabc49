"""A caller in a cancel scope of anyio, or of asyncio: its cancellation ends there, at whatever step it comes.

anyio knows its own cancellation by the exception's message, and cancels again in every turn of the event loop. So a
CancelledError that was caught has to be raised again, that very one, and at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from inspections import eventually, gate_held, quiet
from processes import assert_sound
from scopes import Scope, both_scopes
from steps import Steps

from shapestore import Shape, ShapeStore, StoreBusyError, StoredShape
from shapestore.locking import gate

pytestmark = pytest.mark.usefixtures("untroubled")

Row = dict[str, Any]


async def rows(shape: Shape) -> list[Row]:
    for _ in range(3):
        await asyncio.sleep(0)
    return [{"n": 1}]


Call = Callable[[ShapeStore, Shape], Awaitable[object]]

OF_A_MISSING_SHAPE: dict[str, Call] = {
    "get_or_create": lambda store, shape: store.get_or_create(shape),
    "get_or_create in a thread": lambda store, shape: store.get_or_create(shape, lambda shape: [{"n": 1}]),
}
OF_A_STORED_SHAPE: dict[str, Call] = {
    "refresh": lambda store, shape: store.refresh(shape),
    "invalidate": lambda store, shape: store.invalidate(shape.table),
    "release_lock": lambda store, shape: store.release_lock(shape),
}


@both_scopes
@pytest.mark.parametrize("name", OF_A_MISSING_SHAPE | OF_A_STORED_SHAPE)
async def test_a_cancelled_call_ends_at_its_scope_whatever_step_it_is_at(
    empty_path: str, scope: Scope, name: str
) -> None:
    call = (OF_A_MISSING_SHAPE | OF_A_STORED_SHAPE)[name]
    with Steps() as steps:
        async with ShapeStore(empty_path, create=rows) as store:

            async def ask(step: int, shape: Shape) -> bool:
                """Whether there were so many steps."""
                reached = True
                async with scope() as cancel:
                    steps.do_at(step, cancel)
                    await call(store, shape)
                    reached = steps.done()
                assert steps.done()  # without an answer only because it was cancelled
                for _ in range(3):
                    await asyncio.sleep(0)  # what comes after the scope is not cancelled
                return reached

            reached, step = True, 0
            while reached:
                step += 1
                shape = Shape(f"table {step}")
                if name in OF_A_STORED_SHAPE:
                    await store.get_or_create(shape)
                reached = await asyncio.create_task(ask(step, shape))
                await quiet(store, empty_path)
            assert step > 3
    assert_sound(empty_path)


@both_scopes
async def test_a_follower_of_another_store_in_a_scope_leaves_it_at_once(empty_path: str, scope: Scope) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        await go.wait()
        return [{"n": 1}]

    async with ShapeStore(empty_path, create=create) as leader, ShapeStore(empty_path, create=create) as follower:
        leading = asyncio.create_task(leader.get_or_create(Shape("Track")))
        await eventually(lambda: leader.stats.leaders)
        for polls in range(1, 4):
            async with scope() as cancel:
                asked = follower.stats.polls
                following = asyncio.create_task(follower.get_or_create(Shape("Track")))
                await eventually(lambda: follower.stats.polls >= asked + polls)  # noqa: B023
                cancel()
                await following
            assert following.cancelled()
            await eventually(lambda: follower.stats.in_flight == 0)
        go.set()
        assert isinstance(await leading, StoredShape)


@both_scopes
@pytest.mark.parametrize("name", ["invalidate", "release_lock", "delete"])
async def test_a_cancelled_change_that_is_refused_afterwards_complains_of_nothing(
    empty_path: str, scope: Scope, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "WAIT_SECONDS", 0.05)
    async with ShapeStore(empty_path, create=rows) as store:
        stored = await store.get_or_create(Shape("Track"))
        commands = store.stats.commands
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "invalidate": lambda: store.invalidate("Track"),
            "release_lock": lambda: store.release_lock(Shape("Track")),
            "delete": lambda: store.delete(stored.handle),
        }
        async with gate_held(empty_path):
            async with scope() as cancel:
                asyncio.get_running_loop().call_later(0.01, cancel)
                await calls[name]()
            await eventually(lambda: store.stats.commands > commands)
            # Those that come after it are refused when the gate could not be acquired: so was the cancelled one.
            with pytest.raises(StoreBusyError):
                await store.delete("another")
        assert await store.get(Shape("Track")) == stored
