"""Work that a cancellation must not leave half done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Uncancelled(asyncio.Future[T]):
    """A future that is waited for to its end: a cancellation of the task that awaits it is raised only afterwards.

    It does for a future what ``uncancelled`` does for any work, in one turn of the event loop instead of three.
    """

    def cancel(self, msg: Any | None = None) -> bool:
        """Say that it cannot be: then the task remembers its cancellation, and raises it when this is done."""
        return False


async def uncancelled(work: Awaitable[T]) -> T:
    """Await ``work`` to completion; a cancellation of the caller is raised only afterwards."""
    future = asyncio.ensure_future(work)
    cancellation = await until_done(future)
    if cancellation is None:
        return future.result()
    if not future.cancelled():
        future.exception()  # the caller is told of its cancellation instead
    try:
        raise cancellation
    finally:
        del cancellation  # or the exception and this frame would keep each other in memory


async def until_done(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until ``future`` is done, whatever becomes of it. Returns the cancellation of the caller, if there was one.

    Of several it is the first, and the very exception that was caught: anyio recognizes its own cancellation by the
    exception's message, and cancels again in every turn of the event loop.
    """
    cancellation = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancellation = cancellation or error
    return cancellation
