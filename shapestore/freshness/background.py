"""Refreshes that no caller waits for: a stale shape was served, and is refreshed once, for all processes."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable
from contextvars import Context
from functools import partial

from shapestore.creating.coalescer import Coalescer
from shapestore.creating.slots import Slots
from shapestore.creating.timers import Timers
from shapestore.errors import ShapeStoreError
from shapestore.shape.shape import Shape
from shapestore.source.creator import Creator

_NEVER = 365 * 86_400.0


class BackgroundRefreshes:
    """At most half of the ``max_creating`` slots are taken by refreshes that began here, but always one at least.

    At most ``max_scheduled`` are running or scheduled.
    """

    def __init__(self, coalescer: Coalescer, timers: Timers, *, max_creating: int, max_scheduled: int) -> None:
        self._coalescer = coalescer
        self._timers = timers
        self._slots = Slots(max(1, max_creating // 2))
        self._max_scheduled = max_scheduled
        self._keys: set[str] = set()

    def schedule(self, key: str, shape: Shape, creator: Creator, *, older: str, within: float) -> None:
        """Refresh what the attempt ``older`` confirmed, unless that is in flight here.

        It begins some time ``within`` so many seconds: of several processes the first is seen by the others. If too
        many are scheduled, it is left to the next stale hit.
        """
        if key in self._keys or len(self._keys) >= self._max_scheduled or self._coalescer.get(key) is not None:
            return
        self._keys.add(key)
        begin = partial(self._begin, contextvars.copy_context(), key, shape, creator, older)
        self._timers.after(random.uniform(0, within), self._take_slot, begin)

    def _take_slot(self, begin: Callable[[], None]) -> None:
        # Not at once where one is granted: it may release the slot, and so grant it to the next.
        if self._slots.take(partial(self._timers.after, 0.0, begin)):
            begin()

    def _begin(self, context: Context, key: str, shape: Shape, creator: Creator, older: str) -> None:
        try:
            flight = context.run(self._coalescer.join, key, shape, creator, older=older)
            waiter = flight.waiters.add(_NEVER)
        except ShapeStoreError:  # too many keys are in flight, or the store closes: the next stale hit tries again
            self._end(key)
        else:
            waiter.add_done_callback(lambda _: self._end(key))

    def _end(self, key: str) -> None:
        self._keys.discard(key)
        self._slots.release()
