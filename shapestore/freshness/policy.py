"""How fresh a stored shape is, and what a caller is given of one that is not: HTTP's words with HTTP's meaning.

    age        0 ........ max_age ............................................................
               fresh    |  stale: served while one refresh runs in the background (stale_while_revalidate)
                        |  after that: callers wait for a refresh; if it fails, the stale shape is
                        |  served all the same (stale_if_error)

An age counts from the claim of the attempt that confirmed the rows last, by a clock that does not jump. Both windows
count from the moment at which the shape became stale; for one that ``touched`` was told of, that is the claim itself,
since it is not known which of its rows were right until then. See RFC 9111 and RFC 5861.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

from shapestore.locking import boot_clock
from shapestore.storage.from_row import Confirmation


class Freshness(IntEnum):
    """What a caller is given."""

    FRESH = 0
    """The stored shape."""
    STALE = 1
    """The stored shape, and a refresh begins in the background."""
    EXPIRED = 2
    """What a refresh gives."""


class FreshnessPolicy(NamedTuple):
    """The options of a store, or of a call, in seconds. Without ``max_age`` a shape is fresh at any age."""

    max_age: float | None = None
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0

    def judge(self, confirmation: Confirmation) -> Freshness:
        """How fresh the rows are that ``confirmation`` is about."""
        stale_for = -self.fresh_for(confirmation)
        if stale_for < 0:
            return Freshness.FRESH
        return Freshness.STALE if stale_for < self.stale_while_revalidate else Freshness.EXPIRED

    def serves_after_error(self, confirmation: Confirmation) -> bool:
        """Whether the rows are still served where their refresh has failed."""
        return -self.fresh_for(confirmation) < self.stale_if_error

    def refreshed_within(self, confirmation: Confirmation) -> float:
        """Seconds in which a background refresh begins, at some moment: so that one of several processes is the first.

        What the source was said to have changed is refreshed at once, however old it might become otherwise.
        """
        return 0.0 if self.max_age is None or confirmation.is_stale else self.max_age / 10

    def served_for(self, confirmation: Confirmation) -> float:
        """Seconds for which stale rows are still served, while their refresh runs in the background."""
        return max(0.0, self.fresh_for(confirmation) + self.stale_while_revalidate)

    def fresh_for(self, confirmation: Confirmation) -> float:
        """Seconds until the rows become stale; 0 or less once they are, and ``math.inf`` if they stay fresh."""
        age = boot_clock.age_ms(confirmation.moment, boot_clock.now()) / 1000
        if confirmation.is_stale:  # the source was touched while they were read
            return -age
        return (math.inf if self.max_age is None else self.max_age) - age
