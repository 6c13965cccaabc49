"""An event loop whose time can be made to jump, so that no test sleeps through a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class SkippingLoop(asyncio.SelectorEventLoop):
    """Its time stands still, but for what is skipped."""

    _now = 1_000.0

    def time(self) -> float:
        return self._now

    async def skip(self, seconds: float) -> None:
        """Let so much time be past, and all who waited for it be told."""
        self._now += seconds
        for _ in range(5):
            await asyncio.sleep(0)


def in_skipping_loop(test: Callable[[SkippingLoop], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is run in such a loop, and is given it."""

    def run() -> None:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, SkippingLoop)
            runner.run(test(loop))

    # Not functools.wraps(): pytest would follow it, and look for the loop among its fixtures.
    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run
