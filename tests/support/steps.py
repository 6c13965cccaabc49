"""Every step of every task of a loop, counted, so that a test can do something at any one of them.

A step is what a task does between two awaits. To cancel a task at step 1, then at step 2, and so on until the work
takes no more steps, is to cancel it at every await that there is, whatever the threads of the moment do.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Steps:
    """Counts the steps of the tasks that are made while it is entered."""

    def __init__(self) -> None:
        self._taken = 0
        self._at = 0
        self._then: Callable[[], object] = lambda: None
        self._again = False

    def do_at(self, step: int, then: Callable[[], object], *, again: bool = False) -> None:
        """Begin to count anew, and call ``then`` before that step; ``again``, before all that follow too."""
        self._taken, self._at, self._then, self._again = 0, step, then, again

    def done(self) -> bool:
        """Count no more. Whether there were as many steps as it was to be done at."""
        reached, self._at = self._taken >= self._at, 0
        return reached

    def __enter__(self) -> Steps:
        loop = asyncio.get_running_loop()
        self._others = loop.get_task_factory()
        loop.set_task_factory(self._make_task)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().set_task_factory(self._others)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(self._counted(coroutine), loop=loop, **options)
        task.add_done_callback(
            lambda _: coroutine.close()
        )  # one that was cancelled before it began complains otherwise
        return task

    async def _counted(self, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any]) -> Any:
        return await self._step_by_step(coroutine)

    @types.coroutine
    def _step_by_step(
        self, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any]
    ) -> Generator[Any, Any, Any]:
        thrown: BaseException | None = None
        while True:
            self._count()
            try:
                awaited = coroutine.send(None) if thrown is None else coroutine.throw(thrown)
            except StopIteration as end:
                return end.value
            try:
                yield awaited
                thrown = None
            except BaseException as error:
                thrown = error

    def _count(self) -> None:
        self._taken += 1
        if self._at and (self._taken == self._at or (self._again and self._taken > self._at)):
            self._then()
