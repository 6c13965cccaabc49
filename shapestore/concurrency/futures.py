"""Resolving a future whose waiter may have been cancelled, or may not look."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


def resolve(future: asyncio.Future[T], result: T) -> None:
    """Set the result, unless the future is done already (its waiter was cancelled)."""
    if not future.done():
        future.set_result(result)


def refuse(future: asyncio.Future[T], error: BaseException) -> None:
    """Set the exception, unless the future is done already. A waiter that never looks is not reported as a fault."""
    if not future.done():
        future.set_exception(error)
        future.exception()
