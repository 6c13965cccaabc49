"""A thread for one creator that blocks.

Not a pool's: the threads of pools are joined when the interpreter ends, and a creator that hangs would hang it.
A creation is a slow query; beside it, starting a thread costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_in_thread(function: Callable[[], T], name: str) -> T:
    """Call ``function`` in a daemon thread, in the caller's context; its result, or whatever it raised.

    A cancelled wait leaves the thread running: nothing can stop it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = context.run(function)
        except StopIteration as error:  # which no future can hold
            _tell(RuntimeError(f"the creator raised {error!r}"))
        except BaseException as error:
            _tell(error)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(_set_result, done, result)

    def _tell(error: BaseException) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_exception, done, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


def _set_result(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)


def _set_exception(done: asyncio.Future[T], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
