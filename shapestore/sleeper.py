"""A sleep that somebody can end."""

from __future__ import annotations

import asyncio

from shapestore.deadlines import Deadlines


class Sleeper:
    """One coroutine sleeps; whoever has news for it wakes it. Waking one that is awake does nothing."""

    __slots__ = ("_deadlines", "_wakeup")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._wakeup: asyncio.Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        """Sleep for so long, or until woken."""
        loop = asyncio.get_running_loop()
        self._wakeup = loop.create_future()
        deadline = self._deadlines.at(loop.time() + seconds, self.wake)
        try:
            await self._wakeup
        finally:
            self._deadlines.cancel(deadline)
            self._wakeup = None

    def wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)
