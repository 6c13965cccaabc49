"""Resolving a future whose waiter may have been cancelled, may not look, or may be gone with its event loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

T = TypeVar("T")


def resolve(future: asyncio.Future[T], result: T) -> None:
    """Set the result, unless the future is done already (its waiter was cancelled)."""
    if not future.done():
        try:
            future.set_result(result)
        except RuntimeError:  # its loop is closed; contextlib.suppress would take as long as all of this
            return


def refuse(future: asyncio.Future[T], error: BaseException) -> None:
    """Set the exception, unless the future is done already. A waiter that never looks is not reported as a fault."""
    if not future.done():
        with contextlib.suppress(RuntimeError):  # its loop is closed
            future.set_exception(error)
        future.exception()
