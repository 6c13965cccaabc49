"""Any source is live by polling: a shape that is waited for is refreshed when it becomes stale.

Several processes may wait for one shape. Each begins at another moment, and the first is seen by the others: a flight
that refreshes what another attempt has confirmed by now ends without one.
"""

from __future__ import annotations

import math

from shapestore.creating.services import Services
from shapestore.creating.timers import Timer
from shapestore.errors import ShapeStoreError
from shapestore.freshness.background import BackgroundRefreshes
from shapestore.freshness.policy import FreshnessPolicy
from shapestore.source.creator import Creator

# While a refresh is in flight, or has failed, the shape is looked at again after a part of max_age.
_SHORTEST_SECONDS = 0.05
_LONGEST_SECONDS = 1.0
# Rounds see a live shape about once a second, even if nothing happens: it is refreshed if they do not.
_ROUNDS_SECONDS = 3.0


class Polling:
    """Refreshes the shapes that are waited for in this store, each when it is due."""

    def __init__(
        self, services: Services, background: BackgroundRefreshes, creator: Creator | None, policy: FreshnessPolicy
    ) -> None:
        self._services = services
        self._background = background
        self._creator = creator
        self._policy = policy
        self._timers: dict[int, Timer] = {}
        """By the numbers of the shapes, when each is looked at next."""

    def look(self, number: int, handle: str) -> None:
        """The shape is waited for, or was changed since: it may have become stale, or have been refreshed."""
        if self._creator is not None:
            self._look_in(0.0, number, handle)

    def end(self, number: int) -> None:
        """The last of its waiters has gone."""
        timer = self._timers.pop(number, None)
        if timer is not None:
            self._services.timers.cancel(timer)

    def _look_in(self, seconds: float, number: int, handle: str) -> None:
        self.end(number)
        self._timers[number] = self._services.timers.after(seconds, self._look, number, handle)

    def _look(self, number: int, handle: str) -> None:
        """Refresh the shape if it is stale; look again when it will be."""
        del self._timers[number]
        try:
            found = self._services.reader.find_by_handle_with_age(handle)
        except ShapeStoreError:  # the file is busy, or cannot be read
            self._look_in(_LONGEST_SECONDS, number, handle)
            return
        if found is None:  # it has gone, as its waiters are told
            return
        key, shape, is_live, confirmation = found
        if key != shape.comparable_in(self._services.namespace):  # a handle names it; its creator is another store's
            return
        fresh_for = self._policy.fresh_for(confirmation)
        if is_live and not confirmation.is_stale:
            fresh_for += _ROUNDS_SECONDS
        if fresh_for > 0:
            if fresh_for < math.inf:
                self._look_in(fresh_for, number, handle)
            return
        assert self._creator is not None
        within = self._policy.refreshed_within(confirmation)
        self._background.schedule(key, shape, self._creator, older=confirmation.by, within=within)
        pause = (self._policy.max_age or 0.0) / 10
        self._look_in(within + min(max(pause, _SHORTEST_SECONDS), _LONGEST_SECONDS), number, handle)
