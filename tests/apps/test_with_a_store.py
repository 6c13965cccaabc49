"""Tests of a program that uses shapestore: a real store in ``tmp_path``, over a source that counts its calls."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shapestore import CreateFailedError, Shape, ShapeStore


class FakeSource:
    """Returns the rows that a test has put there, and counts its calls."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []
        self.error: Exception | None = None
        self.calls = 0

    async def __call__(self, shape: Shape) -> list[dict[str, object]]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return self.rows


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
async def store(tmp_path: Path, source: FakeSource) -> AsyncIterator[ShapeStore]:
    async with ShapeStore(tmp_path / "shapes.db", create=source, failure_grace=0) as store:
        yield store


async def test_the_source_is_asked_once(store: ShapeStore, source: FakeSource) -> None:
    source.rows = [{"TrackId": 1, "Name": "Balls to the Wall"}]
    for _ in range(3):
        stored = await store.get_or_create(Shape("Track"))
    assert [row async for row in store.rows(stored.handle)] == source.rows
    assert source.calls == 1


async def test_after_a_failure_it_is_asked_again(store: ShapeStore, source: FakeSource) -> None:
    source.error = ConnectionError("the database is down")
    with pytest.raises(CreateFailedError, match="the database is down"):
        await store.get_or_create(Shape("Track"))
    source.error = None
    await store.get_or_create(Shape("Track"))
    assert source.calls == 2
