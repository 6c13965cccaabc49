"""Counts what a store does, and tells each event to ``on_event``. Neither may slow down or break what it watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVarTuple

from shapestore import events
from shapestore.concurrency.interrupts import raise_from_loop
from shapestore.events import Event
from shapestore.logger import logger

OnEvent = Callable[[Event], object]

Facts = TypeVarTuple("Facts")


def _counter(unit: str, description: str, event: type[Event] | None = None) -> Any:
    """A number that only grows: how often ``event`` was told, or what is counted in place."""
    return field(metadata={"unit": unit, "description": description, "gauge": False, "event": event})


def _gauge(unit: str, description: str) -> Any:
    """A number of the moment."""
    return field(metadata={"unit": unit, "description": description, "gauge": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a store has done since it was made (counters), and what it is doing now (gauges, at the end)."""

    hits: int = _counter("{caller}", "Callers answered by a stored shape, at once")
    leaders: int = _counter("{attempt}", "Attempts that led: their lock rows were committed", events.Led)
    followers: int = _counter("{caller}", "Callers who joined a flight of another caller of the store", events.Followed)
    created: int = _counter("{shape}", "Shapes created", events.Created)
    failed: int = _counter("{attempt}", "Attempts that failed", events.Failed)
    timeouts: int = _counter("{caller}", "Callers that timed out", events.TimedOut)
    takeovers: int = _counter(
        "{attempt}", "Attempts that took over another: its owner was dead, or its failure out of date", events.TakenOver
    )
    superseded: int = _counter(
        "{attempt}", "Attempts whose fencing token no longer held; they changed nothing", events.Superseded
    )
    polls: int = _counter("{poll}", "Polls of lock rows by flights: the cost of waiting")
    batches: int = _counter("{transaction}", "Write transactions")
    commands: int = _counter("{command}", "Commands given to the writer")
    evicted: int = _counter("{shape}", "Shapes dropped to keep to max_shapes and max_bytes")
    rounds: int = _counter("{round}", "Rounds that brought changes of sources into live shapes", events.RoundMade)
    changes_followed: int = _counter("{change}", "Changes of sources that these rounds took")

    in_flight: int = _gauge("{key}", "Keys being created, refreshed or waited for")
    waiting: int = _gauge(
        "{caller}", "Callers that wait for changes of shapes; HTTP clients at one place of a log are one"
    )
    behind: int = _gauge("{change}", "Changes of sources that this store has seen and not followed yet")
    queue_depth: int = _gauge("{command}", "Commands that wait for the writer")
    wal_bytes: int = _gauge(
        "By", "What is in the write-ahead log and not in the database yet, as far as the store knows"
    )


_COUNTED_BY: dict[str, type[Event] | None] = {
    each.name: each.metadata["event"] for each in fields(Stats) if not each.metadata["gauge"]
}


class Telemetry:
    """The counts of one store. What has no event, or is too frequent for a call, is counted in place."""

    def __init__(self, on_event: OnEvent | None) -> None:
        self._listeners: tuple[OnEvent, ...] = () if on_event is None else (on_event,)
        self._told: dict[object, int] = dict.fromkeys(Event.__subclasses__(), 0)
        self.hits = self.polls = self.batches = self.commands = self.evicted = self.changes_followed = 0

    def tell_also(self, on_event: OnEvent) -> None:
        """From now on tell every event to this listener too."""
        self._listeners = (*self._listeners, on_event)

    def tell(self, event: Callable[[*Facts], Event], *facts: *Facts) -> None:
        """Count an event of this class; if there are listeners, make it of these facts and tell it to them."""
        self._told[event] += 1
        if self._listeners:
            self._tell(event(*facts))

    def counts(self) -> dict[str, int]:
        """The counters of Stats by name. Safe in any thread."""
        return {
            name: getattr(self, name) if event is None else self._told[event] for name, event in _COUNTED_BY.items()
        }

    def stats(self, **gauges: int) -> Stats:
        """The counters, and the gauges as given."""
        return Stats(**self.counts(), **gauges)

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except (KeyboardInterrupt, SystemExit) as interrupt:  # of the program, not of what is being done
                raise_from_loop(interrupt)
            except BaseException:  # a CancelledError too: of a future that the listener waited for, not of the writer
                logger.exception("on_event raised for %r; the store continues", event)
