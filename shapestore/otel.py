"""OpenTelemetry metrics and spans of a store (the extra ``otel``): one call, ``instrument(store)``.

Each field of ``store.stats`` is a metric. It is read when metrics are collected, in the exporter's own thread, so that
hits cost no more than without. Events give the rest: durations and row counts of creations, and a span for each.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from typing import NamedTuple, Protocol, TypeVar

from shapestore import events
from shapestore.errors import ShapeStoreError
from shapestore.events import Event
from shapestore.shape.shape import Shape
from shapestore.store import ShapeStore
from shapestore.telemetry import Stats, Telemetry

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Span, StatusCode, Tracer, TracerProvider
except ImportError as error:
    raise ImportError("shapestore.otel needs OpenTelemetry's API: pip install 'shapestore[otel]'") from error

_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60]
_ROWS = [0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000]
_OF_THE_FILE = frozenset(("wal_bytes",))
"""Gauges that all stores of a file share. Of the others each store has its own, as those of several namespaces."""

_VERSION = version("shapestore")


class _Face(Protocol):
    """A shapestore.sync.ShapeStore, as it is seen from here."""

    _store: ShapeStore


S = TypeVar("S", bound=ShapeStore | _Face)


def instrument(
    store: S, *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
) -> S:
    """Report metrics and spans of ``store`` from now on. Returns the store; a second call does nothing.

    >>> async with instrument(ShapeStore("shapes.db", create=source)) as store:
    ...     ...

    ``store``: a ShapeStore, or one of shapestore.sync. The providers are OpenTelemetry's global ones, unless given.
    """
    observed = store if isinstance(store, ShapeStore) else store._store
    instruments = _instruments_of(meter_provider or metrics.get_meter_provider())
    if instruments.observe(observed):
        tracer = trace.get_tracer("shapestore", _VERSION, tracer_provider)
        observed._telemetry.tell_also(_Attempts(_path_of(observed), instruments, tracer))
    return store


def _path_of(store: ShapeStore) -> str:
    return os.fspath(store._path)


class _Observed(NamedTuple):
    """A store that is observed, which is not kept for that."""

    path: str
    store: weakref.ref[ShapeStore]
    telemetry: Telemetry


class _Instruments:
    """The instruments of one meter provider. They keep the counts of stores that are gone: they must never go back."""

    def __init__(self, provider: MeterProvider) -> None:
        self._lock = threading.Lock()
        """Of both below: the exporter's thread reads them."""
        self._observed: list[_Observed] = []
        self._gone: dict[str, Counter[str]] = {}
        """By path, the counts of all stores of it that are gone."""
        meter = provider.get_meter("shapestore", _VERSION)
        for each in fields(Stats):
            name, unit, description = f"shapestore.{each.name}", each.metadata["unit"], each.metadata["description"]
            if each.metadata["gauge"]:
                meter.create_observable_gauge(name, [self._gauge(each.name)], unit, description)
            else:
                meter.create_observable_counter(name, [self._counter(each.name)], unit, description)
        self.checkpoints = meter.create_counter(
            "shapestore.checkpoints", "{checkpoint}", "Checkpoints of the write-ahead log"
        )
        self.duration = meter.create_histogram(
            "shapestore.creation.duration",
            "s",
            "From an attempt's claim to its publication or its failure; error.type names the failure",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.rounds = meter.create_histogram(
            "shapestore.round.duration",
            "s",
            "From a follower's reading of a source to the commit of what has changed",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.rows = meter.create_histogram(
            "shapestore.creation.rows",
            "{row}",
            "Rows of the created shapes",
            explicit_bucket_boundaries_advisory=_ROWS,
        )

    def observe(self, store: ShapeStore) -> bool:
        """Observe this store from now on. False if it is observed already."""
        with self._lock:
            if any(one.store() is store for one in self._observed):
                return False
            self._observed.append(_Observed(_path_of(store), weakref.ref(store), store._telemetry))
            return True

    def _counter(self, name: str) -> Callable[[CallbackOptions], list[Observation]]:
        def read(_: CallbackOptions) -> list[Observation]:
            with self._lock:
                self._let_go()
                totals = Counter({path: counts[name] for path, counts in self._gone.items()})
                for one in self._observed:
                    totals[one.path] += one.telemetry.counts()[name]
            return [Observation(total, {"shapestore.path": path}) for path, total in totals.items()]

        return read

    def _let_go(self) -> None:
        """Keep no more of the stores that are gone than their counts, one for each path."""
        gone = [one for one in self._observed if one.store() is None]
        for one in gone:
            self._gone.setdefault(one.path, Counter()).update(one.telemetry.counts())
            self._observed.remove(one)

    def _gauge(self, name: str) -> Callable[[CallbackOptions], list[Observation]]:
        def read(_: CallbackOptions) -> list[Observation]:
            with self._lock:
                stores = [(one.path, one.store()) for one in self._observed]
            now: dict[str, int] = {}
            for path, store in stores:
                with contextlib.suppress(ShapeStoreError):  # it is not open
                    if store is not None:
                        value = getattr(store.stats, name)
                        now[path] = value if name in _OF_THE_FILE else value + now.get(path, 0)
            return [Observation(value, {"shapestore.path": path}) for path, value in now.items()]

        return read


# One set a provider: a second instrument of the same name would not be read.
_instruments: weakref.WeakKeyDictionary[MeterProvider, _Instruments] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def _instruments_of(provider: MeterProvider) -> _Instruments:
    with _making:
        instruments = _instruments.get(provider)
        if instruments is None:
            instruments = _instruments[provider] = _Instruments(provider)
        return instruments


class _Attempts:
    """Turns events into spans and measurements.

    ``Led`` is told in the context in which the creator then runs, a copy of the first caller's. So the attempt's span
    is a child of that caller's, and spans of the creator are its children.
    """

    def __init__(self, path: str, instruments: _Instruments, tracer: Tracer) -> None:
        self._path = path
        self._instruments = instruments
        self._tracer = tracer
        self._in_flight: dict[str, Span] = {}

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
            case events.RoundMade():
                attributes = {"shapestore.path": self._path, "shapestore.source": event.source}
                self._instruments.rounds.record(event.duration_ms / 1000, attributes)
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
        self._in_flight[event.handle] = span
        context.attach(trace.set_span_in_context(span))  # never detached: the context is the attempt's own

    def _annotate(self, handle: str, **facts: str | int) -> None:
        if handle in self._in_flight:
            self._in_flight[handle].set_attributes({f"shapestore.{name}": fact for name, fact in facts.items()})

    def _fail(self, event: events.Failed) -> None:
        if event.handle in self._in_flight:
            span = self._in_flight[event.handle]
            span.set_attribute("error.type", event.error_type)
            span.set_status(StatusCode.ERROR, event.message)

    def _end(self, handle: str, outcome: str) -> None:
        self._annotate(handle, outcome=outcome)
        span = self._in_flight.pop(handle, None)
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
