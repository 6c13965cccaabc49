"""OpenTelemetry's metrics and spans of a store (the extra ``otel``): one call, ``instrument(store)``.

What ``store.stats`` counts is read from there when metrics are collected, in the exporter's own thread, so a hit costs
what it costs without. Events give the rest: how long creations took, how many rows they made, and a span for each.
"""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version

from shapestore import events
from shapestore.errors import ShapeStoreError
from shapestore.events import Event
from shapestore.shape.shape import Shape
from shapestore.store import ShapeStore

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Span, StatusCode, Tracer, TracerProvider
except ImportError as error:
    raise ImportError("shapestore.otel needs OpenTelemetry's API: pip install 'shapestore[otel]'") from error

_COUNTS = {
    "hits": ("{caller}", "Callers answered by a stored shape, at once"),
    "leaders": ("{attempt}", "Attempts to create a shape that led"),
    "followers": ("{caller}", "Callers who joined what another caller of the store had begun"),
    "created": ("{shape}", "Shapes created"),
    "failed": ("{attempt}", "Attempts that failed"),
    "timeouts": ("{caller}", "Callers whose time was up"),
    "takeovers": ("{attempt}", "Attempts that led over another: its owner was dead, or its failure out of date"),
    "superseded": ("{attempt}", "Attempts that lost their fence and changed nothing"),
    "polls": ("{look}", "Looks at lock rows: the cost of waiting"),
    "batches": ("{transaction}", "Write transactions"),
    "commands": ("{command}", "Commands that the writer was given"),
    "evicted": ("{shape}", "Shapes dropped to keep to max_shapes"),
}
_GAUGES = {
    "in_flight": ("{key}", "Keys being created, refreshed or waited for"),
    "queue_depth": ("{command}", "Commands that wait for the writer"),
    "wal_bytes": ("By", "The size of the write-ahead log"),
}
_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60]
_ROWS = [0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000]

_VERSION = version("shapestore")


def instrument(
    store: ShapeStore, *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
) -> ShapeStore:
    """Make metrics and spans of what ``store`` does from now on. Gives back the store; a second call does nothing.

    >>> async with instrument(ShapeStore("shapes.db", create=source)) as store:
    ...     ...

    The providers are OpenTelemetry's global ones, unless given.
    """
    instruments = _instruments_of(meter_provider or metrics.get_meter_provider())
    if instruments.observe(store):
        tracer = trace.get_tracer("shapestore", _VERSION, tracer_provider)
        store._telemetry.tell_also(_Attempts(_path_of(store), instruments, tracer))
    return store


def _path_of(store: ShapeStore) -> str:
    return os.fspath(store._path)


class _Instruments:
    """The instruments of one meter provider. The stores they observe are kept: what was counted stays counted."""

    def __init__(self, provider: MeterProvider) -> None:
        # Replaced as a whole, never changed: the exporter's thread may be going through it.
        self._stores: tuple[ShapeStore, ...] = ()
        meter = provider.get_meter("shapestore", _VERSION)
        for name, (unit, what) in _COUNTS.items():
            meter.create_observable_counter(f"shapestore.{name}", [self._counts(name)], unit, what)
        for name, (unit, what) in _GAUGES.items():
            meter.create_observable_gauge(f"shapestore.{name}", [self._gauges(name)], unit, what)
        self.checkpoints = meter.create_counter(
            "shapestore.checkpoints", "{checkpoint}", "Checkpoints of the write-ahead log"
        )
        self.duration = meter.create_histogram(
            "shapestore.creation.duration",
            "s",
            "From an attempt's claim to its publication, or to its failure, which error.type names",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.rows = meter.create_histogram(
            "shapestore.creation.rows",
            "{row}",
            "Rows of the shapes created",
            explicit_bucket_boundaries_advisory=_ROWS,
        )

    def observe(self, store: ShapeStore) -> bool:
        """From now on read this store's counts and gauges. False if that is so already."""
        if store in self._stores:
            return False
        self._stores = (*self._stores, store)
        return True

    def _counts(self, name: str) -> Callable[[CallbackOptions], list[Observation]]:
        def read(_: CallbackOptions) -> list[Observation]:
            totals: Counter[str] = Counter()
            for store in self._stores:
                totals[_path_of(store)] += getattr(store._telemetry, name)
            return [Observation(total, {"shapestore.path": path}) for path, total in totals.items()]

        return read

    def _gauges(self, name: str) -> Callable[[CallbackOptions], list[Observation]]:
        def read(_: CallbackOptions) -> list[Observation]:
            now = {}
            for store in self._stores:
                try:
                    now[_path_of(store)] = getattr(store.stats, name)
                except ShapeStoreError:  # it is not open
                    continue
            return [Observation(value, {"shapestore.path": path}) for path, value in now.items()]

        return read


# One set for each provider: a second instrument of the same name would not be read.
_instruments: weakref.WeakKeyDictionary[MeterProvider, _Instruments] = weakref.WeakKeyDictionary()


def _instruments_of(provider: MeterProvider) -> _Instruments:
    instruments = _instruments.get(provider)
    if instruments is None:
        instruments = _instruments[provider] = _Instruments(provider)
    return instruments


class _Attempts:
    """What is told to ``on_event``, made into spans and measurements.

    That an attempt leads is told in the context in which its creator then runs, a copy of the first caller's. So its
    span is a child of that caller's, and what the creator does becomes a part of it.
    """

    def __init__(self, path: str, instruments: _Instruments, tracer: Tracer) -> None:
        self._path = path
        self._instruments = instruments
        self._tracer = tracer
        self._under_way: dict[str, Span] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case events.Led():
                self._begin(event)
            case events.TakenOver():
                self._annotate(event.handle, over=event.over)
            case events.Created():
                self._measure(event)
                self._annotate(event.handle, row_count=event.row_count, followers=event.followers)
                self._end(event.handle, "created")
            case events.Failed():
                self._measure(event)
                self._fail(event)
                self._end(event.handle, "failed")
            case events.Superseded():
                self._end(event.handle, "superseded")
            case events.Abandoned():
                self._end(event.handle, "abandoned")
            case events.Checkpointed():
                self._instruments.checkpoints.add(1, {"shapestore.path": self._path})

    def _begin(self, event: events.Led) -> None:
        table = _table_of(event.comparable)
        attributes = {
            "shapestore.path": self._path,
            "shapestore.table": table,
            "shapestore.handle": event.handle,
        }
        span = self._tracer.start_span(f"create {table}", attributes=attributes)
        self._under_way[event.handle] = span
        context.attach(trace.set_span_in_context(span))  # for good: the context is the attempt's own

    def _annotate(self, handle: str, **facts: str | int) -> None:
        if handle in self._under_way:
            self._under_way[handle].set_attributes({f"shapestore.{name}": fact for name, fact in facts.items()})

    def _fail(self, event: events.Failed) -> None:
        if event.handle in self._under_way:
            span = self._under_way[event.handle]
            span.set_attribute("error.type", event.error_type)
            span.set_status(StatusCode.ERROR, event.message)

    def _end(self, handle: str, outcome: str) -> None:
        self._annotate(handle, outcome=outcome)
        span = self._under_way.pop(handle, None)
        if span is not None:
            span.end()

    def _measure(self, event: events.Created | events.Failed) -> None:
        attributes = {"shapestore.path": self._path, "shapestore.table": _table_of(event.comparable)}
        if isinstance(event, events.Created):
            self._instruments.rows.record(event.row_count, attributes)
        else:
            attributes["error.type"] = event.error_type
        self._instruments.duration.record(event.duration_ms / 1000, attributes)


def _table_of(comparable: str) -> str:
    return Shape.from_comparable(comparable).table
