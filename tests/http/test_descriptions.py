"""What is known of a table's columns, while the source cannot be asked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from inspections import eventually
from served_shapes import Api, app_of, changes_of, client_of, make_source

from shapestore import Shape, ShapeStore, SQLSource
from shapestore.http import descriptions
from shapestore.shape.column_description import ColumnDescription


class FailingSource(SQLSource):
    """A source that can be out of reach."""

    is_gone = False

    def describe(self, shape: Shape) -> dict[str, ColumnDescription]:
        if self.is_gone:
            raise OSError("the password of the database is wrong")
        return super().describe(shape)


async def test_what_is_stored_is_served_while_the_source_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
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


async def test_where_nothing_is_known_yet_the_client_is_told_to_try_again(tmp_path: Path) -> None:
    source = FailingSource(url := make_source(tmp_path / "source.db"))
    store = ShapeStore(tmp_path / "shapes.db", create=source)
    async with store, client_of(app_of(store)) as client:
        api = Api(store, url, client)
        source.is_gone = True
        answer = await api.get()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {"message": "the rows of this table could not be read"}
        source.is_gone = False
        assert changes_of(await api.get())
