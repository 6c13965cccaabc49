"""What goes to ``logging.getLogger("shapestore")``: nothing while all is well, and what nobody else would be told."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from shapestore import CreateFailedError, Shape, ShapeStore
from shapestore.events import Event


def no_rows(_: Shape) -> list[dict[str, Any]]:
    return []


def fail(_: Shape) -> list[dict[str, Any]]:
    raise ValueError("no such album")


async def test_a_happy_herd_logs_nothing(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shapes = [Shape(f"table {number}") for number in range(10)]
    async with (
        ShapeStore(path, create=no_rows, max_shapes=5) as one,
        ShapeStore(path, create=no_rows, max_shapes=5) as other,
    ):
        await asyncio.gather(*(store.get_or_create(shape) for store in (one, other) for shape in shapes * 10))
        await asyncio.gather(*(store.refresh(shapes[0]) for store in (one, other)))
        await one.invalidate("table 0")
        caller = asyncio.create_task(other.get_or_create(shapes[0], timeout=0.01))
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
    assert caplog.records == []


async def test_a_creators_failure_is_its_callers_to_log(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with ShapeStore(path, create=fail) as store:
        with pytest.raises(CreateFailedError):
            await store.get_or_create(Shape("Track"))
    assert caplog.records == []


async def test_a_listener_that_raises_is_logged_and_the_store_goes_on(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    def listener(event: Event) -> None:
        raise RuntimeError(f"no ear for {type(event).__name__}")

    async with ShapeStore(path, create=no_rows, on_event=listener) as store:
        assert (await store.get_or_create(Shape("Track"))).row_count == 0
    assert {(record.name, record.levelname) for record in caplog.records} == {("shapestore", "ERROR")}
    assert "no ear for Created" in caplog.text
