"""What a store tells to ``on_event``: one small object a step. Hits are only counted, in ``store.stats``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events."""


@dataclass(frozen=True, slots=True)
class Led(Event):
    """An attempt of this store leads: its lock row is committed, its creator is about to run."""

    comparable: str
    handle: str
    """The attempt's. The shape that it makes has it too, unless a refresh keeps the old handle."""


@dataclass(frozen=True, slots=True)
class Followed(Event):
    """A caller joined a flight of this store."""

    comparable: str


@dataclass(frozen=True, slots=True)
class Created(Event):
    """An attempt of this store was published."""

    comparable: str
    handle: str
    row_count: int
    duration_ms: int
    """From the claim to the publication."""
    followers: int
    """Callers of this store who were waiting, beside the first."""


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """An attempt of this store failed, and the failure was published."""

    comparable: str
    handle: str
    error_type: str
    message: str
    retry_after_ms: int
    """The failure TTL."""
    duration_ms: int
    """From the claim to the failure."""


@dataclass(frozen=True, slots=True)
class TimedOut(Event):
    """A caller's time was up."""

    comparable: str


@dataclass(frozen=True, slots=True)
class TakenOver(Event):
    """The attempt that has just led took over another, whose owner is dead or whose failure is out of date."""

    comparable: str
    handle: str
    over: str
    """The handle of the attempt that was taken over."""


@dataclass(frozen=True, slots=True)
class Superseded(Event):
    """The fencing token of an attempt of this store no longer held; the attempt changed nothing."""

    comparable: str
    handle: str


@dataclass(frozen=True, slots=True)
class Abandoned(Event):
    """An attempt of this store was given up: the store closes, or it begins again since its shape has changed."""

    comparable: str
    handle: str


@dataclass(frozen=True, slots=True)
class Swept(Event):
    """Failures past their TTL were removed."""

    handles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evicted(Event):
    """Shapes were dropped, least recently read first, to keep to ``max_shapes`` and ``max_bytes``."""

    handles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundMade(Event):
    """A follower of this store made a round: changes of a source are in its live shapes."""

    source: str
    """The path of its file."""
    changes: int
    """Changes of the source that were followed: rows that were written."""
    shapes: int
    """Shapes whose readers see something new."""
    behind: int
    """Changes that were logged too, and that the next round takes."""
    duration_ms: int
    """From the reading of the source to the commit."""


@dataclass(frozen=True, slots=True)
class Checkpointed(Event):
    """The write-ahead log was copied into the database."""

    wal_bytes: int
    """What is left of it: 0, unless a reader still needs it."""
