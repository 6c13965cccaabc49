"""What is measured: a row is one work, done by several contenders; a target is a bound on a ratio of their medians."""

from __future__ import annotations

from statistics import median, quantiles

import msgspec

SHAPESTORE = "shapestore"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """``contender``'s median is to be at most, or at least, ``bound`` times that of ``peer``.

    Without a ``peer``, ``bound`` is in the row's own unit.
    """

    contender: str = SHAPESTORE
    peer: str | None
    bound: float
    at_least: bool = False


class Row(msgspec.Struct, kw_only=True):
    """One work. ``samples`` has the repeats of each contender, in the order in which they were made."""

    work: str
    unit: str
    samples: dict[str, list[float]]
    cpu_us: dict[str, list[float]] = {}
    """CPU time of the whole process, all threads, in microseconds for each operation or caller."""
    targets: list[Target] = []
    callers: int | None = None
    """On the horizontal axis of a plot, where the work is one that grows."""

    def has_no_figure(self) -> bool:
        """Whether anything is missing, or nothing was measured where it ought to have been."""
        return not self.samples or any(not taken or min(taken) <= 0 for taken in self.samples.values())

    def median(self, contender: str) -> float:
        return median(self.samples[contender])

    def ratio(self, target: Target) -> float:
        """How the contender compares: the figure that the target bounds."""
        return self.median(target.contender) / (1.0 if target.peer is None else self.median(target.peer))

    def spread(self, target: Target) -> tuple[float, float]:
        """Between these is the middle half of the ratios, repeat by repeat."""
        ours = self.samples[target.contender]
        theirs = [1.0] * len(ours) if target.peer is None else self.samples[target.peer]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        if len(ratios) == 1:
            return ratios[0], ratios[0]
        lower, _, upper = quantiles(ratios, n=4, method="inclusive")
        return lower, upper

    def is_met(self, target: Target) -> bool:
        ratio = self.ratio(target)
        return ratio >= target.bound if target.at_least else ratio <= target.bound
