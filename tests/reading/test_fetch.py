"""Rows and their shape in one call: decoded, or as the JSON that is stored."""

from __future__ import annotations

import asyncio
import datetime
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import edit

from shapestore import (
    CorruptStoreError,
    CreateFailedError,
    InvalidCreatorError,
    InvalidShapeError,
    Shape,
    ShapeStore,
    StoreClosedError,
)
from shapestore.storage.reader import FETCH_BYTES

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")


@pytest.mark.parametrize("count", [0, 1, 10, 5_000])
async def test_rows_are_created_once_and_then_fetched(path: str, count: int) -> None:
    rows = [{"n": n, "text": "größer", "none": None} for n in range(count)]
    calls = 0

    async def create(shape: Shape) -> list[dict[str, Any]]:
        nonlocal calls
        calls += 1
        return rows

    async with ShapeStore(path, create=create) as store:
        assert await asyncio.gather(*[store.fetch(TRACK) for _ in range(20)]) == [rows] * 20
        assert await store.fetch(TRACK) == rows
        assert json.loads(await store.fetch_json(TRACK)) == rows
        stored = await store.get_or_create(TRACK)
        assert b"".join([piece async for piece in store.stream_json(stored)]) == await store.fetch_json(TRACK)
        lines = b"".join([piece async for piece in store.stream_json(stored, lines=True)])
        assert [json.loads(line) for line in lines.splitlines()] == rows
        assert lines.count(b"\n") == count
        assert calls == 1
        assert store.stats.hits >= 3


@pytest.mark.parametrize("lost", ["position = 7", "position = 10", "true"])
async def test_rows_that_somebody_removed_are_not_left_out(path: str, lost: str) -> None:
    async with ShapeStore(path, create=lambda _: [{"n": n} for n in range(10)]) as store:
        await store.get_or_create(TRACK)
        edit(path, f"DELETE FROM shape_rows WHERE {lost}")
        for fetch in (store.fetch, store.fetch_json):
            with pytest.raises(CorruptStoreError, match=r"rows of the shape .* are missing"):
                await fetch(TRACK)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=6))
async def test_whatever_json_holds_comes_back_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    async with ShapeStore(tmp_path_factory.mktemp("any") / "shapes.db", create=lambda _: rows) as store:
        created = await store.fetch(TRACK)
        assert created == rows
        assert json.loads(await store.fetch_json(TRACK)) == rows
        assert [row async for row in store.rows(await store.get_or_create(TRACK))] == rows


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_small_and_large_shapes_are_fetched_alike(path: str, more: int) -> None:
    """At the very size at which a shape is read in batches instead of at once."""
    rows = [{"text": "x" * (FETCH_BYTES - 12 + more)}]
    async with ShapeStore(path, create=lambda _: rows) as store:
        assert await store.fetch(TRACK) == rows == await store.fetch(TRACK)


async def test_dates_come_back_as_text(path: str) -> None:
    async with ShapeStore(path, create=lambda _: [{"day": datetime.date(2024, 5, 1)}]) as store:
        assert await store.fetch(TRACK) == [{"day": "2024-05-01"}]


async def test_errors_are_those_of_get_or_create(path: str) -> None:
    async with ShapeStore(path) as store:
        for call in (store.fetch, store.fetch_json):
            with pytest.raises(InvalidCreatorError):
                await call(TRACK)
            with pytest.raises(InvalidShapeError):
                await call("Track")  # type: ignore[arg-type]
            with pytest.raises(CreateFailedError, match="KeyError"):
                await call(TRACK, lambda _: dict[str, Any]()["x"])
    with pytest.raises(StoreClosedError):
        await store.fetch(TRACK)


async def test_a_row_that_was_damaged_in_the_file_is_said_to_be(path: str) -> None:
    async with ShapeStore(path, create=lambda _: [{"n": 1}]) as store:
        stored = await store.get_or_create(TRACK)
    edit(path, "UPDATE shape_rows SET value = '{'")
    async with ShapeStore(path) as store:
        with pytest.raises(CorruptStoreError):
            await store.fetch(TRACK)
        with pytest.raises(CorruptStoreError):
            [row async for row in store.rows(stored)]
    edit(path, "DELETE FROM shape_rows")
    async with ShapeStore(path) as store:
        with pytest.raises(CorruptStoreError, match="1 rows of the shape"):
            [row async for row in store.rows(stored)]
