"""What is known of a table's columns, while the source cannot be asked."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from inspections import eventually
from served_shapes import Api, app_of, changes_of, client_of, make_source

from shapestore import Shape, ShapeStore, SQLSource
from shapestore.http import descriptions
from shapestore.shape.column_description import ColumnDescription


class FailingSource(SQLSource):
    """A source that can be out of reach, or not answer."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_gone = False
        self.answers = threading.Event()
        self.answers.set()

    def describe(self, shape: Shape) -> dict[str, ColumnDescription]:
        self.answers.wait()
        if self.is_gone:
            raise OSError("the password of the database is wrong")
        return super().describe(shape)


async def test_what_is_stored_is_served_while_the_source_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(descriptions, "KNOWN_SECONDS", 1_000.0)
    monkeypatch.setattr(descriptions, "ASK_SECONDS", 60.0)
    source = FailingSource(url := make_source(tmp_path / "source.db"))
    store = ShapeStore(tmp_path / "shapes.db", create=source)
    async with store, client_of(app_of(store, long_poll=60)) as client:
        api = Api(store, url, client)
        before = await api.up_to_date()
        passed = 0.0
        now = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: now() + passed)
        source.is_gone, passed = True, 2 * descriptions.KNOWN_SECONDS
        assert changes_of(await api.get())
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "could not be asked for the columns of 'Track'" in caplog.text
        live = asyncio.create_task(api.after(before, live="true"))
        await eventually(api.waiting)
        source.is_gone = False
        await api.change("DELETE FROM Track WHERE TrackId = 2")
        assert len(changes_of(await live)) == 1
        assert len(caplog.records) == 1


async def test_where_nothing_is_known_yet_the_client_is_told_to_try_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each client is, and the log once."""
    source = FailingSource(url := make_source(tmp_path / "source.db"))
    store = ShapeStore(tmp_path / "shapes.db", create=source)
    async with store, client_of(app_of(store)) as client:
        api = Api(store, url, client)
        source.is_gone = True
        answer = await api.get()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {"message": "the rows of this table could not be read"}
        assert {(await api.get()).status_code for _ in range(5)} == {503}
        assert len(caplog.records) == 1
        source.is_gone = False
        assert changes_of(await api.get())


async def test_a_source_that_does_not_answer_does_not_keep_clients_from_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(descriptions, "KNOWN_SECONDS", 1_000.0)
    monkeypatch.setattr(descriptions, "ASK_SECONDS", 0.01)
    source = FailingSource(url := make_source(tmp_path / "source.db"))
    store = ShapeStore(tmp_path / "shapes.db", create=source)
    async with store, client_of(app_of(store)) as client:
        api = Api(store, url, client)
        assert changes_of(await api.get())
        source.answers.clear()
        passed, now = 2 * descriptions.KNOWN_SECONDS, time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: now() + passed)
        try:
            answers = await asyncio.gather(*(api.get() for _ in range(10)))
        finally:
            source.answers.set()
        assert all(changes_of(answer) for answer in answers)
        assert len(caplog.records) == 1
        await eventually(lambda: not api._app._descriptions._asked)


async def test_a_source_that_does_not_answer_at_first_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(descriptions, "FIRST_ASK_SECONDS", 0.01)
    source = FailingSource(url := make_source(tmp_path / "source.db"))
    source.answers.clear()
    store = ShapeStore(tmp_path / "shapes.db", create=source)
    async with store, client_of(app_of(store)) as client:
        api = Api(store, url, client)
        try:
            assert {answer.status_code for answer in await asyncio.gather(*(api.get() for _ in range(5)))} == {503}
        finally:
            source.answers.set()
        assert len(caplog.records) == 1
        await eventually(lambda: not api._app._descriptions._asked)
        assert changes_of(await api.get())


def test_what_one_loop_is_told_late_leaves_alone_what_another_one_asks_for(tmp_path: Path) -> None:
    source = FailingSource(make_source(tmp_path / "source.db"))
    source.answers.clear()
    store = ShapeStore(tmp_path / "shapes.db", create=source)
    known = descriptions.Descriptions(store, {})

    async def ask() -> asyncio.Task[None]:
        async with store:
            asking = asyncio.create_task(known._learn("Track"))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            return known._asked["Track"]

    with asyncio.Runner() as first, asyncio.Runner() as second:
        of_first, of_second = first.run(ask()), second.run(ask())
        source.answers.set()
        first.run(asyncio.wait_for(of_first, 60))
        assert known._asked == {"Track": of_second}
        second.run(asyncio.wait_for(of_second, 60))
        assert not known._asked
