"""Many clients at once cost the source what one does."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from served_shapes import app_of, client_of, make_source

from shapestore import Shape, ShapeStore, SQLSource, maintenance
from shapestore.reading.log_pages import LogPages
from shapestore.source.keyed import KeyedRows
from shapestore.storage.reader import Reader


class SlowSource(SQLSource):
    """Counts its queries, which take a while."""

    queries = 0

    def keyed_rows(self, shape: Shape) -> KeyedRows:
        self.queries += 1
        time.sleep(0.1)
        return super().keyed_rows(shape)


async def test_a_thousand_first_requests_for_one_shape_are_one_query(tmp_path: Path) -> None:
    source = SlowSource(make_source(tmp_path / "source.db"))
    store = ShapeStore(tmp_path / "shapes.db", create=source)
    async with store, client_of(app_of(store)) as client:
        asked = {"table": "Track", "offset": "-1"}
        answers = await asyncio.gather(*(client.get("/v1/shape", params=asked) for _ in range(1_000)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert source.queries == 1


async def nothing(_: maintenance.Maintenance) -> bool:
    return False


async def test_a_page_that_many_ask_for_at_a_time_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    all_ask = asyncio.Event()
    asked, read = 0, 0

    async def run(reader: Reader, work: Any) -> Any:
        nonlocal read
        read += 1
        await all_ask.wait()
        return await run_on_the_thread(reader, work)

    async def page(pages: LogPages, *arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 50:
            all_ask.set()
        return await read_page(pages, *arguments)

    monkeypatch.setattr(maintenance.Maintenance, "_take_turn", nothing)  # it reads too, and may be late with its first
    store = ShapeStore(tmp_path / "shapes.db", create=SQLSource(make_source(tmp_path / "source.db")))
    async with store, client_of(app_of(store, kept_bytes=0)) as client:
        params = {"table": "Track", "offset": "-1"}
        first = await client.get("/v1/shape", params=params)
        run_on_the_thread, read_page = Reader.run, LogPages.read
        monkeypatch.setattr(Reader, "run", run)
        monkeypatch.setattr(LogPages, "read", page)
        answers = await asyncio.gather(*(client.get("/v1/shape", params=params) for _ in range(50)))
        assert {answer.content for answer in answers} == {first.content}
        assert read == 1
