"""OpenTelemetry metrics and spans of a store, collected by the SDK."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from file_rows import add_lock
from inspections import eventually
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shapestore import CreateFailedError, Shape, ShapeStore, Stats, StoreClosedError, StoredShape, sync
from shapestore.otel import instrument

Point = HistogramDataPoint | NumberDataPoint

ROWS = [{"TrackId": 1}, {"TrackId": 2}]

TRACKS = Shape("Track")


class Collector:
    """The SDK with its exporters in memory."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    def instrument(self, store: ShapeStore) -> ShapeStore:
        return instrument(store, meter_provider=self.meters, tracer_provider=self.tracers)

    def close(self) -> None:
        self.meters.shutdown()
        self.tracers.shutdown()

    def metrics(self) -> dict[str, Metric]:
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {metric.name: metric for r in data.resource_metrics for s in r.scope_metrics for metric in s.metrics}

    def points(self, name: str) -> list[Any]:
        metric = self.metrics().get(f"shapestore.{name}")
        return [] if metric is None else list(metric.data.data_points)

    def value(self, name: str) -> Any:
        [point] = self.points(name)
        return point.value

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def span(self) -> ReadableSpan:
        [span] = self.spans()
        return span


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
async def store(empty_path: str, collector: Collector) -> AsyncIterator[ShapeStore]:
    async with collector.instrument(ShapeStore(empty_path, create=lambda _: ROWS)) as store:
        yield store


def facts(thing: ReadableSpan | Point) -> dict[str, Any]:
    """The attributes, but for the path, which is the same for all."""
    attributes = dict(thing.attributes or {})
    assert str(attributes.pop("shapestore.path")).endswith("shapes.db")
    return attributes


async def get(store: ShapeStore, shape: Shape = TRACKS) -> StoredShape:
    """The shape, when its flight is over too: callers are answered a moment before."""
    stored = await store.get_or_create(shape)
    await eventually(lambda: store.stats.in_flight == 0)
    return stored


def fail(_: Shape) -> list[dict[str, Any]]:
    raise ValueError("no such album")


# Without asyncio


def test_a_synchronous_store_reports_as_the_other_does(empty_path: str, collector: Collector) -> None:
    store = sync.ShapeStore(empty_path, create=lambda _: ROWS)
    tracer = collector.tracers.get_tracer("the application")
    for _ in range(2):
        assert instrument(store, meter_provider=collector.meters, tracer_provider=collector.tracers) is store
    assert collector.points("queue_depth") == []
    with store:
        with tracer.start_as_current_span("request") as request:
            store.fetch(TRACKS)
        store.fetch(TRACKS)
        assert (collector.value("created"), collector.value("hits")) == (1, 1)
        assert collector.value("queue_depth") == 0
    creation = next(span for span in collector.spans() if span.name == "create Track")
    assert creation.parent == request.get_span_context()


# Metrics


async def test_every_field_of_stats_is_a_metric_of_the_same_value(store: ShapeStore, collector: Collector) -> None:
    await asyncio.gather(*(get(store) for _ in range(5)))
    await get(store)
    told = dataclasses.asdict(store.stats)
    assert (told["hits"], told["followers"], told["created"]) == (1, 4, 1)
    assert {name: collector.value(name) for name in told} == told


async def test_counts_only_grow_and_gauges_come_and_go_with_the_open_store(
    empty_path: str, collector: Collector
) -> None:
    store = collector.instrument(ShapeStore(empty_path, create=lambda _: ROWS))
    for opened in (1, 2):
        async with store:
            await get(store, Shape(f"table {opened}"))
            await get(store, Shape(f"table {opened}"))
            assert collector.value("in_flight") == 0
        assert (collector.value("hits"), collector.value("created")) == (opened, opened)
        assert collector.points("in_flight") == collector.points("wal_bytes") == []


async def test_the_hits_of_a_store_that_is_closed_and_gone_are_still_reported(
    empty_path: str, collector: Collector
) -> None:
    for _ in range(2):  # a store object for each life of an app, as a lifespan makes it
        async with collector.instrument(ShapeStore(empty_path, create=lambda _: ROWS)) as store:
            await get(store)
            await get(store)
        del store
    assert (collector.value("hits"), collector.value("created")) == (3, 1)


async def test_a_store_that_is_gone_is_not_kept_and_its_counts_never_go_back(
    empty_path: str, collector: Collector
) -> None:
    gone: list[weakref.ref[ShapeStore]] = []
    for life in range(1, 4):
        store = collector.instrument(ShapeStore(empty_path, create=lambda _: ROWS))
        async with store:
            await get(store, Shape(f"table {life}"))
        gone.append(weakref.ref(store))
        del store
        await eventually(lambda: gc.collect() >= 0 and gone[-1]() is None)
        assert (collector.value("created"), collector.points("in_flight")) == (life, [])
        assert collector.value("created") == life


async def test_stores_of_several_files_are_reported_apart(tmp_path: Path, collector: Collector) -> None:
    for name in ("a", "b"):
        async with collector.instrument(ShapeStore(tmp_path / name, create=lambda _: ROWS)) as store:
            await get(store)
    paths = [point.attributes["shapestore.path"] for point in collector.points("created")]
    assert paths == [str(tmp_path / "a"), str(tmp_path / "b")]


async def test_stores_of_one_file_are_reported_together(empty_path: str, collector: Collector) -> None:
    """As those of several namespaces: a gauge was that of the store that was instrumented last."""
    begun, end = asyncio.Semaphore(0), asyncio.Event()

    async def create(_: Shape) -> list[dict[str, int]]:
        begun.release()
        await end.wait()
        return ROWS

    async with (
        collector.instrument(ShapeStore(empty_path, create=create, namespace="a")) as first,
        collector.instrument(ShapeStore(empty_path, create=create, namespace="b")) as second,
    ):
        asked_for = ((first, "t"), (first, "u"), (second, "t"))
        calls = [asyncio.create_task(store.get_or_create(Shape(name))) for store, name in asked_for]
        for _ in calls:
            await begun.acquire()
        assert collector.value("in_flight") == 3
        before = first.stats.wal_bytes
        assert 0 < before <= collector.value("wal_bytes") <= first.stats.wal_bytes
        end.set()
        await asyncio.gather(*calls)


def test_stores_that_are_instrumented_by_several_threads_at_once_are_all_reported(tmp_path: Path) -> None:
    """Each thread made instruments, and those of the second were not read."""

    class SlowProvider(MeterProvider):
        def get_meter(self, *arguments: Any, **more: Any) -> Any:
            if not threads:
                threads.append(threading.Thread(target=observe, args=("second",)))
                threads[0].start()
                threads[0].join(timeout=0.1)  # it waits for this one
            return super().get_meter(*arguments, **more)

    def observe(name: str) -> None:
        stores.append(instrument(sync.ShapeStore(tmp_path / name), meter_provider=meters))

    threads: list[threading.Thread] = []
    stores: list[sync.ShapeStore] = []
    reader = InMemoryMetricReader()
    meters = SlowProvider([reader])
    observe("first")
    threads[0].join()
    data = reader.get_metrics_data()
    assert data is not None
    [hits] = [
        metric for metric in data.resource_metrics[0].scope_metrics[0].metrics if metric.name == "shapestore.hits"
    ]
    paths = {dict(point.attributes or {})["shapestore.path"] for point in hits.data.data_points}
    assert paths == {str(tmp_path / "first"), str(tmp_path / "second")}
    meters.shutdown()


async def test_a_store_that_is_instrumented_twice_is_counted_once(store: ShapeStore, collector: Collector) -> None:
    assert collector.instrument(store) is store
    await get(store)
    assert collector.value("created") == collector.points("creation.duration")[0].count == len(collector.spans()) == 1


async def test_the_duration_and_the_rows_of_a_creation_are_reported_by_table(
    store: ShapeStore, collector: Collector
) -> None:
    await get(store)
    [duration], [rows] = collector.points("creation.duration"), collector.points("creation.rows")
    assert facts(duration) == facts(rows) == {"shapestore.table": "Track"}
    assert (duration.count, rows.count, rows.sum) == (1, 1, 2)
    assert 0 <= duration.sum < 30


async def test_a_failure_is_measured_by_the_type_of_its_error(store: ShapeStore, collector: Collector) -> None:
    with pytest.raises(CreateFailedError):
        await store.get_or_create(TRACKS, fail)
    await eventually(lambda: store.stats.in_flight == 0)
    [duration] = collector.points("creation.duration")
    assert facts(duration) == {"shapestore.table": "Track", "error.type": "ValueError"}
    assert (duration.count, collector.value("failed"), collector.points("creation.rows")) == (1, 1, [])


async def test_checkpoints_are_counted(store: ShapeStore, collector: Collector) -> None:
    await get(store)
    await store.close()
    assert collector.value("checkpoints") == 1


def test_every_metric_has_a_unit_and_a_description(collector: Collector, tmp_path: Path) -> None:
    names = {field.name for field in dataclasses.fields(Stats)}
    collector.instrument(ShapeStore(tmp_path / "never opened"))
    metrics = collector.metrics()
    gauges = {"in_flight", "waiting", "behind", "queue_depth", "wal_bytes"}
    assert {name.removeprefix("shapestore.") for name in metrics} == names - gauges
    assert all(metric.unit and metric.description for metric in metrics.values())


# Spans


async def test_an_attempt_is_one_span_from_its_claim_to_its_publication(
    store: ShapeStore, collector: Collector
) -> None:
    answers = await asyncio.gather(*(get(store) for _ in range(5)))
    span = collector.span()
    assert span.name == "create Track"
    assert facts(span) == {
        "shapestore.table": "Track",
        "shapestore.handle": answers[0].handle,
        "shapestore.row_count": 2,
        "shapestore.followers": 4,
        "shapestore.outcome": "created",
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time < span.end_time


async def test_the_span_is_the_first_callers_child_and_the_creators_parent(
    store: ShapeStore, collector: Collector
) -> None:
    tracer = trace.get_tracer("an app", tracer_provider=collector.tracers)

    async def on_the_loop(_: Shape) -> list[dict[str, Any]]:
        return in_a_thread(_)

    def in_a_thread(_: Shape) -> list[dict[str, Any]]:
        with tracer.start_as_current_span("query"):
            return ROWS

    for create in (on_the_loop, in_a_thread):
        with tracer.start_as_current_span("request"):
            await store.get_or_create(Shape(create.__name__), create)
            await eventually(lambda: store.stats.in_flight == 0)
            here = trace.get_current_span()
            assert isinstance(here, ReadableSpan)
            assert here.name == "request"
        query, attempt, request = collector.spans()[-3:]
        assert query.parent == attempt.get_span_context()
        assert attempt.parent == request.get_span_context()
        assert request.parent is None


async def test_a_span_of_a_failure_says_what_failed(store: ShapeStore, collector: Collector) -> None:
    with pytest.raises(CreateFailedError):
        await store.get_or_create(TRACKS, fail)
    await eventually(lambda: store.stats.in_flight == 0)
    span = collector.span()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no such album")
    assert span.attributes is not None
    assert (span.attributes["shapestore.outcome"], span.attributes["error.type"]) == ("failed", "ValueError")


async def test_a_superseded_attempt_has_its_span_and_the_next_one_is_not_its_child(
    store: ShapeStore, collector: Collector
) -> None:
    running: list[asyncio.Event] = []

    async def create(_: Shape) -> list[dict[str, Any]]:
        running.append(asyncio.Event())
        await running[-1].wait()
        return ROWS

    caller = asyncio.create_task(store.get_or_create(TRACKS, create))
    await eventually(lambda: len(running) == 1)
    await store.release_lock(TRACKS)
    await eventually(lambda: len(running) == 2)
    running[1].set()
    await caller
    await eventually(lambda: store.stats.in_flight == 0)
    first, second = collector.spans()
    assert [facts(span)["shapestore.outcome"] for span in (first, second)] == ["superseded", "created"]
    assert (first.parent, second.parent) == (None, None)


async def test_the_span_of_an_attempt_that_takes_over_names_the_other_attempt(
    store: ShapeStore, empty_path: str, collector: Collector
) -> None:
    with closing(sqlite3.connect(empty_path, isolation_level=None)) as connection:
        add_lock(connection, "left behind", TRACKS, owner="who is dead")
    await get(store)
    assert facts(collector.span())["shapestore.over"] == "left behind"
    assert collector.value("takeovers") == 1


async def test_the_span_of_an_attempt_that_the_closing_ends_is_ended(store: ShapeStore, collector: Collector) -> None:
    running = asyncio.Event()

    async def create(_: Shape) -> list[dict[str, Any]]:
        running.set()
        await asyncio.Event().wait()
        return ROWS

    caller = asyncio.create_task(store.get_or_create(TRACKS, create))
    await running.wait()
    await store.close()
    with pytest.raises(StoreClosedError):
        await caller
    assert facts(collector.span())["shapestore.outcome"] == "abandoned"


# What it costs, and what it needs


async def test_a_hit_is_not_told(store: ShapeStore) -> None:
    await get(store)
    told: list[object] = []
    store._telemetry.tell_also(told.append)
    for _ in range(100):
        await get(store)
    assert (told, store.stats.hits) == ([], 100)


def test_without_opentelemetry_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import shapestore, shapestore.otel"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    said = "ImportError: shapestore.otel needs OpenTelemetry's API: pip install 'shapestore[otel]'"
    assert ran.stderr.splitlines()[-1] == said


def test_a_store_that_is_not_instrumented_does_not_import_opentelemetry() -> None:
    program = "import sys, shapestore.store; print('opentelemetry' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
