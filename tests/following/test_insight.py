"""What a store tells of the rounds that it makes: events, stats and metrics."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from inspections import eventually
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from shapestore import Shape, ShapeStore, SQLSource
from shapestore.admin.inspector import open_inspector
from shapestore.admin.sources import sources
from shapestore.events import Event, RoundMade
from shapestore.following import source_look
from shapestore.following.rounds import Made, Rounds
from shapestore.otel import instrument


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = str(tmp_path / "source.db")
    write(path, "PRAGMA journal_mode = WAL", "CREATE TABLE track (id INTEGER PRIMARY KEY, name TEXT)")
    write(path, "INSERT INTO track VALUES (1, 'one')")
    return path


def write(path: str, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_rounds_that_bring_changes_are_told_counted_and_measured(empty_path: str, source: str) -> None:
    rounds: list[RoundMade] = []

    def on_event(event: Event) -> None:
        if isinstance(event, RoundMade):
            rounds.append(event)

    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    store = ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True), on_event=on_event)
    async with instrument(store, meter_provider=meters):
        stored = await store.get_or_create(Shape("track"))
        await store.followed(timeout=60)
        task = asyncio.create_task(store.wait(stored, stored.position, timeout=60))
        await eventually(lambda: store.stats.waiting == 1)
        write(source, "BEGIN", *(f"INSERT INTO track VALUES ({n}, 'new')" for n in range(2, 7)), "COMMIT")
        assert await task > stored.position
        await eventually(lambda: sum(made.changes for made in rounds) == 5)
        made = rounds[-1]
        assert (made.source, made.shapes, made.behind) == (source, 1, 0)
        assert (store.stats.rounds, store.stats.changes_followed, store.stats.behind) == (len(rounds), 5, 0)
        data = reader.get_metrics_data()
        assert data is not None
        metrics = {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
        [point] = metrics["shapestore.round.duration"].data.data_points
        assert dict(point.attributes or {})["shapestore.source"] == source
        assert point.count == len(rounds)  # type: ignore[union-attr]
    meters.shutdown()


async def test_a_source_without_shapes_has_no_changes_that_are_not_followed_yet(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last shape may go while a round has left changes to the next one, which is never made."""
    monkeypatch.setattr(source_look, "MAX_CHANGES", 2)
    has_made_a_part, goes_on = threading.Event(), threading.Event()
    make = Rounds.make

    def held(rounds: Rounds) -> Made:
        made = make(rounds)
        if made is Made.PART:
            has_made_a_part.set()
            assert goes_on.wait(60)
        return made

    monkeypatch.setattr(Rounds, "make", held)
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as store:
        stored = await store.get_or_create(Shape("track"))
        await store.followed(timeout=60)
        try:
            write(source, "BEGIN", *(f"INSERT INTO track VALUES ({n}, 'new')" for n in range(2, 7)), "COMMIT")
            await eventually(has_made_a_part.is_set)
            assert store.stats.behind == 3
            await store.delete(stored)
        finally:
            goes_on.set()
        await eventually(lambda: store.stats.behind == 0)


async def test_the_process_that_follows_is_named(empty_path: str, source: str) -> None:
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as store:
        await store.get_or_create(Shape("track"))
        await store.followed(timeout=60)
        with open_inspector(empty_path) as inspector:
            [record] = sources(inspector)
        assert (record.source, record.follower, record.behind) == (source, os.getpid(), 0)
    with open_inspector(empty_path) as inspector:
        assert [record.follower for record in sources(inspector)] == [None]
