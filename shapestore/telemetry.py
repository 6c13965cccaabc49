"""Counting what happens, and telling it to ``on_event``. None of it may slow down or break what it watches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields

from shapestore import events
from shapestore.events import Event
from shapestore.locking.create_lock import Failure

logger = logging.getLogger("shapestore")

OnEvent = Callable[[Event], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a store has done since it was made, and what it is doing (the gauges, at the end)."""

    hits: int
    """Callers answered by a stored shape, at once."""
    leaders: int
    """Attempts that led: lock rows of ours."""
    followers: int
    """Callers who joined what another caller of this store had begun."""
    created: int
    failed: int
    timeouts: int
    """Callers whose time was up."""
    takeovers: int
    superseded: int
    polls: int
    """Looks at lock rows by flights: the cost of waiting."""
    batches: int
    """Write transactions."""
    commands: int
    """Commands that the writer was given."""
    evicted: int

    in_flight: int
    """Keys being created, refreshed or waited for now."""
    queue_depth: int
    """Commands that wait for the writer now."""
    wal_bytes: int
    """The size of the write-ahead log now."""


_GAUGES = frozenset({"in_flight", "queue_depth", "wal_bytes"})


class Telemetry:
    """The counts of one store. ``hits`` and ``polls`` are counted in place: a call would cost more than they."""

    def __init__(self, on_event: OnEvent | None) -> None:
        self._listeners: tuple[OnEvent, ...] = () if on_event is None else (on_event,)
        self.hits = self.polls = 0
        self.leaders = self.followers = self.created = self.failed = self.timeouts = 0
        self.takeovers = self.superseded = self.batches = self.commands = self.evicted = 0

    def tell_also(self, on_event: OnEvent) -> None:
        """From now on tell every event to this listener too."""
        self._listeners = (*self._listeners, on_event)

    def stats(self, *, in_flight: int, queue_depth: int, wal_bytes: int) -> Stats:
        counts = {field.name: getattr(self, field.name) for field in fields(Stats) if field.name not in _GAUGES}
        return Stats(**counts, in_flight=in_flight, queue_depth=queue_depth, wal_bytes=wal_bytes)

    def queued(self) -> None:
        self.commands += 1

    def committed(self) -> None:
        self.batches += 1

    def followed(self, comparable: str) -> None:
        self.followers += 1
        if self._listeners:
            self._tell(events.Followed(comparable))

    def led(self, comparable: str, handle: str, over: str | None) -> None:
        self.leaders += 1
        if over is not None:
            self.takeovers += 1
        if self._listeners:
            self._tell(events.Led(comparable, handle))
        if over is not None:
            self._tell(events.TakenOver(comparable, handle, over))

    def was_created(self, comparable: str, handle: str, row_count: int, duration_ms: int, followers: int) -> None:
        self.created += 1
        if self._listeners:
            self._tell(events.Created(comparable, handle, row_count, duration_ms, followers))

    def has_failed(self, comparable: str, handle: str, failure: Failure, duration_ms: int) -> None:
        self.failed += 1
        error = failure.error_type, failure.message, failure.retry_after_ms
        self._tell(events.Failed(comparable, handle, *error, duration_ms))

    def timed_out(self, comparable: str) -> None:
        self.timeouts += 1
        self._tell(events.TimedOut(comparable))

    def was_superseded(self, comparable: str, handle: str) -> None:
        self.superseded += 1
        self._tell(events.Superseded(comparable, handle))

    def was_abandoned(self, comparable: str, handle: str) -> None:
        self._tell(events.Abandoned(comparable, handle))

    def swept(self, handles: list[str]) -> None:
        self._tell(events.Swept(tuple(handles)))

    def has_evicted(self, handles: list[str]) -> None:
        self.evicted += len(handles)
        self._tell(events.Evicted(tuple(handles)))

    def checkpointed(self, wal_bytes: int) -> None:
        self._tell(events.Checkpointed(wal_bytes))

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # a CancelledError too: of a future that the listener asked, and not of the writer
                logger.exception("on_event raised for %r; the store goes on", event)
