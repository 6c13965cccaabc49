"""What the application's own ``authorize`` and ``shape`` may do: read the body, refuse in their own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from served_shapes import Api, app_of, changes_of, client_of, served
from starlette.exceptions import HTTPException
from starlette.requests import Request

from shapestore import Shape, ShapeStore, keyed

SUBSET = b'{"subset": {"where": "\\"TrackId\\" = 2"}}'


@pytest.mark.parametrize("by", ["authorize", "shape"])
async def test_they_may_read_the_body_too(tmp_path: Path, by: str) -> None:
    bodies: list[bytes] = []

    async def read(request: Request, *_: Shape) -> Shape:
        bodies.append(await request.body())
        return Shape("Track")

    functions: dict[str, Any] = {by: read}
    async with served(tmp_path, **functions) as api:
        answer = await api.client.post("/v1/shape", params={"table": "Track", "offset": "now"}, content=SUBSET)
        assert [row["value"]["TrackId"] for row in answer.json()["data"]] == ["2"]
        assert changes_of(await api.get())
    assert bodies == [SUBSET, b""]


async def test_headers_of_a_refusal_are_sent_once_and_its_body_is_json(tmp_path: Path) -> None:
    def refuse(_: Request, __: Shape) -> Shape:
        headers = {"Cache-Control": "private", "Content-Type": "text/plain", "WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "who are you?", headers)

    async with served(tmp_path, authorize=refuse) as api:
        answer = await api.get()
    assert (answer.status_code, answer.json()) == (401, {"message": "who are you?"})
    told = {name: answer.headers.get_list(name) for name in ("cache-control", "content-type", "www-authenticate")}
    assert told == {"cache-control": ["private"], "content-type": ["application/json"], "www-authenticate": ["Bearer"]}


async def test_a_client_that_asks_only_for_columns_that_it_may_not_see_is_told_that_there_are_none(
    tmp_path: Path,
) -> None:
    def may_see(_: Request, shape: Shape) -> Shape:
        return Shape(shape.table, columns=["Name"])

    async with served(tmp_path, authorize=may_see) as api:
        answer = await api.get(columns="TrackId")
        assert answer.status_code == 400
        assert answer.json()["errors"] == {"columns": ["The following columns are not found on the table: TrackId"]}
        assert changes_of(await api.get(columns="TrackId,Name"))[0]["value"] == {"Name": "track 1"}


@pytest.mark.parametrize("by", ["authorize", "shape"])
async def test_a_shape_that_they_make_wrongly_is_an_error_of_the_application(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, by: str
) -> None:
    """Clients were told that the server cannot read its store, and the log did not say where the mistake is."""

    def mistaken(*_: Request | Shape) -> Shape:
        return Shape("Track", where="TrackId = :id")

    functions: dict[str, Any] = {by: mistaken}
    async with served(tmp_path, **functions) as api:
        answer = await api.get()
    assert (answer.status_code, "retry-after" in answer.headers) == (500, False)
    assert answer.json() == {"message": "internal error; see the log of the server"}
    [record] = caplog.records
    assert "mistaken" in caplog.text
    assert record.levelname == "ERROR"


async def test_what_shape_returns_has_to_be_a_shape(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a return it was the client's mistake: its table was blank."""

    def forgetful(_: Request) -> Any:
        Shape("Track")

    async with served(tmp_path, shape=forgetful) as api:
        assert (await api.get()).status_code == 500
    assert "shape returns a Shape, or raises HTTPException. It returned None" in caplog.text


async def test_a_shape_of_the_application_may_select_by_columns_that_it_leaves_out(tmp_path: Path) -> None:
    def cheap(*_: Request | Shape) -> Shape:
        return Shape("Track", where="Price < 1", columns=["TrackId"])

    async with served(tmp_path, shape=cheap, authorize=cheap) as api:
        assert [change["value"] for change in changes_of(await api.get())] == [{"TrackId": "1"}]
        assert (await api.get("now", subset__where='"Price" > 0')).status_code == 400


@pytest.mark.parametrize("how", [{}, {"live_sse": "true"}])
async def test_a_live_client_of_an_undescribed_shape_needs_no_row_to_know_the_columns(
    tmp_path: Path, how: dict[str, str]
) -> None:
    """Where there was none, the client took the JSON of each value for the value."""
    rows: list[dict[str, Any]] = []
    report = Shape("report")
    store = ShapeStore(tmp_path / "shapes.db", create=keyed(lambda _: list(rows), "id"))
    async with store, client_of(app_of(store, shape=lambda _: report)) as client:
        api = Api(store, "", client)
        empty = await api.up_to_date()
        assert (await api.after(empty, live="true", **how)).status_code == 200
        rows.append({"id": 1, "name": "one"})
        await store.refresh(report)
        assert '"value":{"id":1,"name":"one"}' in (await api.after(empty, live="true", **how)).text
        rows.clear()
        await store.refresh(report)
        emptied = await api.up_to_date()
        rows.append({"id": 2, "name": "two"})
        await store.refresh(report)
        assert '"value":{"id":2,"name":"two"}' in (await api.after(emptied, live="true", **how)).text
