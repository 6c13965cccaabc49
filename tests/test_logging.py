"""What goes to ``logging.getLogger("shapestore")``: nothing while all is well; each failure of a creator once."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inspections import eventually

from shapestore import CreateFailedError, InvalidSourceError, Shape, ShapeStore, SQLSource, StoreClosedError
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


class Full(logging.Handler):
    """As one that writes to a disk that is full, and does not catch its own errors."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        raise OSError("no space left for the log")


async def test_a_handler_of_the_applications_that_raises_keeps_nobody_from_an_answer(
    empty_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those who waited were never answered, and the store could not be closed."""
    handler = Full()
    logging.getLogger("shapestore").addHandler(handler)
    try:
        async with ShapeStore(empty_path, create=fail) as store:
            with pytest.raises(CreateFailedError, match="no such album"):
                await store.get_or_create(Shape("Track"))
            assert (await store.get_or_create(Shape("Album"), no_rows)).row_count == 0
    finally:
        logging.getLogger("shapestore").removeHandler(handler)
    [record] = handler.records
    assert record.module == "failure", "the place that logs is told, and not the way from there"
    assert "no space left for the log" in capsys.readouterr().err


async def test_a_creators_failure_is_logged_once_an_attempt_with_its_traceback(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with ShapeStore(path, create=fail, failure_grace=3600) as store, ShapeStore(path, create=fail) as other:
        asked = [each.get_or_create(Shape("Track")) for each in [store] * 10 + [other] * 10]
        assert {type(answer) for answer in await asyncio.gather(*asked, return_exceptions=True)} == {CreateFailedError}
        with pytest.raises(CreateFailedError):
            await store.get_or_create(Shape("Track"))
        [record] = caplog.records
        assert (record.name, record.levelname) == ("shapestore", "WARNING")
        assert record.getMessage() == (
            'creating {"v":1,"table":"Track","where":null,"params":{},"columns":null} failed: '
            "ValueError: no such album; callers get this error for 3600 s"
        )
        assert record.exc_text is not None
        assert "in fail\n" in record.exc_text
        assert record.exc_text.endswith("ValueError: no such album")
        await store.release_lock(Shape("Track"))
        with pytest.raises(CreateFailedError):
            await store.get_or_create(Shape("Track"))
    assert len(caplog.records) == 2
    assert caplog.records[1].exc_info is None, "it was logged just now"


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        (Shape("trakc"), "UnknownTableError: "),
        (Shape("track", columns=["titel"]), "UnknownColumnError: "),
        (Shape("track", where="titel = 1"), "UnknownColumnError: "),
    ],
)
async def test_what_is_wrong_with_a_shape_is_logged_in_a_line(
    path: str, tmp_path: Path, shape: Shape, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(tmp_path / "source.db")) as connection:
        connection.execute("CREATE TABLE track (id INTEGER PRIMARY KEY, title TEXT)")
    async with ShapeStore(path, create=SQLSource(f"sqlite:///{tmp_path / 'source.db'}")) as store:
        with pytest.raises(CreateFailedError):
            await store.get_or_create(shape)
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert f" failed: {error}" in record.getMessage()


@pytest.mark.parametrize(
    ("error", "given"),
    [("InvalidRowError", [{"rows": {1, 2}}]), ("InvalidSourceError", InvalidSourceError("turn on WAL mode"))],
)
async def test_what_the_message_tells_whole_is_logged_in_a_line(
    path: str, error: str, given: object, caplog: pytest.LogCaptureFixture
) -> None:
    def create(shape: Shape) -> Any:
        if isinstance(given, Exception):
            raise given
        return given

    async with ShapeStore(path, create=create) as store:
        with pytest.raises(CreateFailedError, match=error):
            await store.get_or_create(Shape("track"))
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)


async def test_a_creators_time_out_is_logged_too(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async def hang(shape: Shape) -> list[dict[str, Any]]:
        await asyncio.Event().wait()
        return []

    async with ShapeStore(path, create=hang, create_timeout=0.01) as store:
        with pytest.raises(CreateFailedError):
            await store.get_or_create(Shape("Track"))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.exc_text == "TimeoutError: the creator did not finish within 0.01 s"


async def test_what_is_given_up_or_superseded_is_not_logged(path: str, caplog: pytest.LogCaptureFixture) -> None:
    begun: list[Shape] = []

    async def hang(shape: Shape) -> list[dict[str, Any]]:
        begun.append(shape)
        await asyncio.Event().wait()
        return []

    async with ShapeStore(path, create=hang) as store:
        asked = asyncio.create_task(store.get_or_create(Shape("Track")))
        await eventually(lambda: len(begun) == 1)
        await store.invalidate("Track")
        await eventually(lambda: len(begun) == 2)
    with pytest.raises(StoreClosedError):
        await asked
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
