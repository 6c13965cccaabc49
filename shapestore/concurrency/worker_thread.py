"""A thread for one call that blocks, such as a creator's or a migration.

Not a pool's: the threads of pools are joined when the interpreter ends, so one that hangs would hang the interpreter.
Beside a slow query, starting a thread costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from shapestore.concurrency.futures import refuse, resolve

T = TypeVar("T")


def run_in_thread(function: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Call ``function`` in a daemon thread of that name, in the caller's context; its result, or what it raised.

    A future, and not a task: what cancels all tasks of a loop does not cancel it. If its waiter is cancelled the thread
    runs on: nothing can stop it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            answer = partial(resolve, done, context.run(function))
        except StopIteration as error:  # no future can hold one
            answer = partial(refuse, done, RuntimeError(f"{name} raised {error!r}"))
        except BaseException as error:
            answer = partial(refuse, done, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the waiter with it
            loop.call_soon_threadsafe(answer)
        del answer  # or an error and this frame, in its traceback, would keep each other in memory

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
