"""Cancel scopes of anyio and of asyncio, which a test runs alike: each gives a callable that cancels it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import anyio
import pytest


@contextlib.asynccontextmanager
async def of_anyio() -> AsyncIterator[Callable[[], object]]:
    with anyio.move_on_after(3_600) as scope:
        yield scope.cancel


@contextlib.asynccontextmanager
async def of_asyncio() -> AsyncIterator[Callable[[], object]]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3_600) as scope:
            yield lambda: scope.reschedule(0)


Scope = Callable[[], contextlib.AbstractAsyncContextManager[Callable[[], object]]]
both_scopes = pytest.mark.parametrize("scope", [of_anyio, of_asyncio])
