from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shapestore.concurrency.uncancelled import Uncancelled, uncancelled


async def awaited(work: asyncio.Future[Any]) -> Any:
    return await work


async def guarded(work: asyncio.Future[Any]) -> Any:
    return await uncancelled(work)


@pytest.fixture(params=["a future", "any work"])
def kind(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def begun(kind: str) -> tuple[asyncio.Future[Any], asyncio.Task[Any]]:
    """Work, and a task that waits for it to its end."""
    if kind == "a future":
        work: asyncio.Future[Any] = Uncancelled()
        return work, asyncio.ensure_future(awaited(work))
    work = asyncio.get_running_loop().create_future()
    return work, asyncio.ensure_future(guarded(work))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_without_a_cancellation_the_result_is_given(kind: str) -> None:
    work, waiting = begun(kind)
    await turns()
    work.set_result("result")
    assert await waiting == "result"


async def test_without_a_cancellation_the_error_is_raised(kind: str) -> None:
    work, waiting = begun(kind)
    await turns()
    work.set_exception(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await waiting


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_is_raised_when_the_work_is_done_with_its_own_message(kind: str, fails: bool) -> None:
    """By its message anyio knows whose it is."""
    work, waiting = begun(kind)
    await turns()
    waiting.cancel("of a scope")
    await turns()
    assert not waiting.done()
    assert not work.done()
    if fails:
        work.set_exception(ValueError("broken"))
        work.exception()
    else:
        work.set_result("result")
    with pytest.raises(asyncio.CancelledError, match="of a scope"):
        await waiting
