"""What every request passes and every answer carries: routes, methods, errors, caching, CORS, secrets, rights."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served_shapes import TRACKS, Api, app_of, changes_of, client_of, controls_of, make_source, served
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount

from shapestore import Shape, ShapeStore, SQLSource, keyed, sync
from shapestore.http import ShapeApp

PRIVATE = "private, no-cache"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with served(tmp_path) as api:
        yield api


# --- routes and methods


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/shape/", "/v1/shapes", "/v2/shape"])
async def test_no_other_route_is_there(api: Api, path: str) -> None:
    answer = await api.client.get(path)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not found"})


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_no_other_method_is_allowed(api: Api, method: str) -> None:
    answer = await api.client.request(method, "/v1/shape")
    assert (answer.status_code, answer.json()) == (405, {"message": "Method not allowed"})
    assert answer.headers["allow"] == answer.headers["access-control-allow-methods"] == "GET, POST, HEAD, OPTIONS"


async def test_it_may_be_mounted_in_another_application(tmp_path: Path) -> None:
    async with ShapeStore(tmp_path / "shapes.db", create=SQLSource(make_source(tmp_path / "source.db"))) as store:
        outer = Starlette(routes=[Mount("/sync", app_of(store))])
        async with client_of(outer) as client:
            answer = await client.get("/sync/v1/shape", params={"table": "Track", "offset": "-1"})
            assert answer.status_code == 200
            assert (await client.get("/sync/v1/health")).json() == {"status": "active"}


async def test_a_head_is_a_get_without_the_body(api: Api) -> None:
    get = await api.get()
    head = await api.client.head("/v1/shape", params={"table": "Track", "offset": "-1"})
    assert head.headers == get.headers


async def test_health_is_told_before_the_store_is_open_and_after(tmp_path: Path) -> None:
    store = ShapeStore(tmp_path / "shapes.db", create=SQLSource(make_source(tmp_path / "source.db")))
    async with client_of(app_of(store)) as client:
        answer = await client.get("/v1/health")
        assert (answer.status_code, answer.json()) == (202, {"status": "starting"})
        early = await client.get("/v1/shape", params={"table": "Track", "offset": "-1"})
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
        async with store:
            answer = await client.get("/v1/health")
            assert (answer.status_code, answer.json()) == (200, {"status": "active"})


async def test_a_shape_may_be_deleted_only_where_that_is_allowed(tmp_path: Path, api: Api) -> None:
    await api.get()
    definition = {"table": "Track"}
    answer = await api.client.delete("/v1/shape", params=definition)
    assert (answer.status_code, answer.json()) == (405, {"message": "DELETE not allowed"})
    async with client_of(app_of(api.store, allow_delete=True)) as client:
        for params, status in [
            (definition | {"where": "true"}, 404),
            (definition | {"handle": "another"}, 404),
            (definition, 202),
            (definition, 404),
        ]:
            assert (await client.delete("/v1/shape", params=params)).status_code == status
        handle = (await api.get()).headers["electric-handle"]
        assert (await client.delete("/v1/shape", params=definition | {"handle": handle})).status_code == 202
        handle = (await api.get()).headers["electric-handle"]
        for params, status in [({"handle": "another"}, 404), ({}, 400), ({"handle": handle}, 202)]:
            assert (await client.delete("/v1/shape", params=params)).status_code == status
    assert await api.store.count() == 0


async def test_a_handle_alone_deletes_nothing_of_other_tables_and_nothing_where_rows_are_not_for_all(
    tmp_path: Path, api: Api
) -> None:
    handle = (await api.get()).headers["electric-handle"]
    for refusing, status in [
        (ShapeApp(api.store, tables={"Album": None}, allow_delete=True), 404),
        (app_of(api.store, authorize=lambda request, shape: shape, allow_delete=True), 400),
    ]:
        async with client_of(refusing) as client:
            assert (await client.delete("/v1/shape", params={"handle": handle})).status_code == status
    assert await api.store.count() == 1


# --- requests that are refused


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "offset"),
        ({"offset": "-1"}, "table"),
        ({"offset": "-1", "table": "Secret"}, "table"),
        ({"offset": "-1", "table": "sqlite_master"}, "table"),
        ({"offset": "-1", "table": "Track", "where": "nonsense ="}, "where"),
        ({"offset": "-1", "table": "Track", "live": "true"}, "live"),
        ({"offset": "0_0", "table": "Track"}, "handle"),
        ({"offset": "5", "table": "Track", "handle": "h"}, "offset"),
    ],
)
async def test_a_request_that_is_not_understood_is_answered_by_what_is_wrong_with_it(
    api: Api, params: dict[str, str], field: str
) -> None:
    answer = await api.client.get("/v1/shape", params=params)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["message"], list(body["errors"])) == ("Invalid request", [field])
    assert "sesame" not in answer.text
    assert await api.store.count() == 0


async def test_a_table_that_is_not_in_the_source_is_refused_without_a_list_of_those_that_are(tmp_path: Path) -> None:
    async with served(tmp_path, tables={"Missing": None}) as api:
        answer = await api.get(table="Missing")
        assert (answer.status_code, answer.json()["errors"]) == (400, {"table": ['Table "Missing" does not exist']})


OVERFLOWS = "INSERT INTO Track VALUES (-9223372036854775808, 'dear', 1000)"
"""A row of which abs() raises an error in SQLite."""


async def test_an_error_of_the_source_is_told_by_one_text_that_says_nothing_of_its_rows(api: Api) -> None:
    api.write(OVERFLOWS)
    answer = await api.get(where='abs("TrackId") > 1')
    assert (answer.status_code, answer.json()) == (503, {"message": "the rows of this shape could not be read"})
    assert int(answer.headers["retry-after"]) >= 1
    subset = await api.get("now", subset__where='abs("TrackId") > 1')
    assert (subset.status_code, subset.json()) == (503, {"message": "the rows of this shape could not be read"})


async def test_an_error_that_nobody_expected_is_logged_and_not_told(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Request) -> Shape:
        raise KeyError("sesame")

    async with client_of(app_of(api.store, shape=broken)) as client:
        answer = await client.get("/v1/shape", params={"offset": "-1"})
    assert (answer.status_code, answer.json()) == (500, {"message": "internal error; see the log of the server"})
    assert answer.headers["content-type"] == "application/json"
    assert "sesame" in caplog.text


async def test_clients_cannot_have_more_shapes_created_than_is_allowed(tmp_path: Path) -> None:
    async with served(tmp_path, max_shapes=2) as api:
        for number in (1, 2):
            assert (await api.get(where=f'"TrackId" = {number}')).status_code == 200
        refused = await api.get()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        assert (await api.get(where='"TrackId" = 1')).status_code == 200


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "either tables"),
        ({"tables": {}, "shape": lambda _: Shape("Track")}, "either tables"),
        ({"tables": ["Track"]}, "a mapping of names"),
        ({"shape": Shape("Track")}, "shape is a function, not Shape"),
        ({"tables": {"Track": None}, "authorize": "me"}, "authorize is a function, not 'me'"),
        ({"tables": {"Track": "Name"}}, "a list of columns"),
        ({"tables": {"Track": None}, "max_live": 0}, "max_live is an int"),
        ({"tables": {"Track": None}, "long_poll": -1}, "long_poll is a finite number"),
        ({"tables": {"Track": None}, "keep_alive": 0}, "keep_alive is the number of seconds"),
        ({"tables": {"Track": None}, "secret": ""}, "secret is empty"),
        ({"tables": {"Track": None}, "secret": 5}, "secret is a str, not int"),
        ({"tables": {"Track": None}, "vary": "cookie"}, r"vary is a list, as in \['cookie'\]"),
        ({"tables": {"Track": None}, "vary": ["a b"]}, "vary takes names of headers"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(tmp_path: Path, options: dict[str, Any], error: str) -> None:
    store = ShapeStore(tmp_path / "shapes.db", create=SQLSource(make_source(tmp_path / "source.db")))
    with pytest.raises((TypeError, ValueError), match=error):
        ShapeApp(store, **options)


def test_the_synchronous_store_is_refused(tmp_path: Path) -> None:
    with sync.ShapeStore(tmp_path / "shapes.db") as store, pytest.raises(TypeError, match=r"not <shapestore\.sync"):
        ShapeApp(store, shape=lambda _: Shape("Track"))  # type: ignore[arg-type]


async def test_a_store_that_nobody_has_opened_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ShapeStore(tmp_path / "shapes.db", create=SQLSource(make_source(tmp_path / "source.db")))
    async with client_of(app_of(store)) as client:
        for _ in range(3):
            answer = await client.get("/v1/shape", params={"table": "Track", "offset": "-1"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    [message] = caplog.messages
    assert message.startswith("clients are answered 503: the store is not open: use `async with ShapeStore(...)`")


def test_tables_need_a_creator_that_describes_them(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="describes its tables"):
        ShapeApp(ShapeStore(tmp_path / "shapes.db", create=lambda _: []), tables={"Track": None})


# --- caching


@pytest.mark.parametrize(
    ("offset", "more", "expected"),
    [
        ("-1", {}, "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"),
        ("now", {}, "public, max-age=60, stale-while-revalidate=300"),
        ("0_0", {}, "public, max-age=60, stale-while-revalidate=300"),
        ("0_0", {"live": "true"}, "public, max-age=5, stale-while-revalidate=5"),
        ("0_0", {"live": "true", "live_sse": "true"}, "public, max-age=59"),
        ("0_9", {}, "public, max-age=60, must-revalidate"),
        ("0_x", {}, "no-store"),
        ("now", {"subset__limit": "1", "subset__order_by": "TrackId"}, "no-cache"),
    ],
)
async def test_how_long_an_answer_may_be_kept(tmp_path: Path, offset: str, more: dict[str, str], expected: str) -> None:
    async def everything(_: Request, shape: Shape) -> Shape:
        return shape

    async with served(tmp_path, sse_length=60) as api:
        handle = (await api.get()).headers["electric-handle"]
        asked = asyncio.create_task(api.get(offset, handle, **more))
        if "live_sse" in more:
            while not api.store._live().waits:
                await asyncio.sleep(0.01)
            api.client._transport.app.stop()  # type: ignore[attr-defined]
        answer = await asked
        assert answer.headers["cache-control"] == expected
        assert ("surrogate-control" in answer.headers) == (expected == "no-store")
        async with client_of(app_of(api.store, authorize=everything, vary=["authorization"])) as client:
            private = Api(api.store, api.source, client)
            answer = await private.get(offset, handle, **more)
            assert answer.headers["cache-control"] == (expected if expected.startswith("no-") else PRIVATE)
            assert answer.headers["vary"] == "authorization"


async def test_what_a_cache_has_is_confirmed(api: Api) -> None:
    first = await api.get()
    handle = first.headers["electric-handle"]
    assert first.headers["etag"] == f'"{handle}:-1:0_0"'
    for given in (first.headers["etag"], f'"x", W/{first.headers["etag"]}'):
        again = await api.client.get(
            "/v1/shape", params={"table": "Track", "offset": "-1"}, headers={"if-none-match": given}
        )
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = await api.client.get(
        "/v1/shape", params={"table": "Track", "offset": "-1"}, headers={"if-none-match": '"another"'}
    )
    assert other.status_code == 200


@pytest.mark.parametrize(("offset", "live"), [("now", None), ("0_0", "true")])
async def test_that_nothing_has_changed_until_now_is_never_confirmed_later(
    api: Api, offset: str, live: str | None
) -> None:
    handle = (await api.get()).headers["electric-handle"]
    tags = {(await api.get(offset, handle, live=live)).headers["etag"] for _ in range(2)}
    assert len(tags) == 2


async def test_a_table_that_is_not_in_the_source_any_more_is_logged_once_until_it_is_there_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "shapestore")
    async with served(tmp_path) as api:
        for _ in range(2):
            caplog.clear()
            api.write("ALTER TABLE Track RENAME TO Tracks")
            api._app._descriptions._known.clear()  # as after a while
            for _ in range(3):
                assert (await api.get()).status_code == 400
            [message] = caplog.messages
            assert message.startswith("the table 'Track' is served and asked for, but the source has no table")
            assert 'did you mean "Tracks"?' in message
            api.write("ALTER TABLE Tracks RENAME TO Track")
            assert (await api.get()).status_code == 200


async def test_what_is_wrong_with_a_served_table_without_a_key_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients get 400 and no name of a hidden column: to try again does not help."""
    async with served(tmp_path, tables={"Track": ["Name"], "long": None}) as api:
        api.write("CREATE VIEW long AS SELECT * FROM Track")
        for table, told, what_to_do in (
            ("Track", 'Table "Track" is not served with its primary key', "leave out TrackId of its primary key"),
            ("long", 'Table "long" has no primary key', "by shape= in place of tables="),
        ):
            caplog.clear()
            for _ in range(3):
                answer = await api.client.get("/v1/shape", params={"table": table, "offset": "-1"})
                assert (answer.status_code, answer.json()["errors"]) == (400, {"table": [told]})
                api._app._descriptions._known.clear()  # as after a while
            [record] = caplog.records
            assert (record.levelname, what_to_do in record.message) == ("WARNING", True)


async def test_a_column_that_is_named_but_not_there_is_logged_once_and_the_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path, tables={"Track": ["TrackId", "Nmae"]}) as api:
        for _ in range(3):
            assert changes_of(await api.get())[0]["value"] == {"TrackId": "1"}
            api._app._descriptions._known.clear()  # as after a while
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert record.message.startswith("the table 'Track' has no Nmae, which tables= names among its columns: ")
        assert "It has TrackId, Name, " in record.message
        api.write("ALTER TABLE Track ADD COLUMN Nmae TEXT DEFAULT 'so what'")
        assert changes_of(await api.get())[0]["value"] == {"TrackId": "1", "Nmae": "so what"}
        assert len(caplog.records) == 1


async def test_a_view_is_served_by_a_function_of_the_application(tmp_path: Path) -> None:
    """Its rows have no key, so that clients begin again where they differ."""
    async with served(tmp_path, shape=lambda request: Shape("long")) as api:
        api.write("CREATE VIEW long AS SELECT * FROM Track")
        before = await api.up_to_date()
        api.write("DELETE FROM Track WHERE TrackId = 2")
        await api.store.refresh(Shape("long"))
        assert (await api.after(before)).status_code == 409
        assert len(changes_of(await api.get())) == len(TRACKS) - 1


# --- other origins


async def test_every_page_may_read_answers_but_without_credentials(api: Api) -> None:
    for answer in (await api.get(), await api.get("x"), await api.client.get("/nothing")):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"electric-handle", "electric-offset", "electric-schema", "electric-cursor", "retry-after"} <= {*exposed}


async def test_pages_may_send_whatever_headers_they_ask_for(api: Api) -> None:
    answer = await api.client.options(
        "/v1/shape", headers={"origin": "https://a.example", "access-control-request-headers": "authorization, x-my"}
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-headers"] == "authorization, x-my"
    assert answer.headers["access-control-allow-methods"] == "GET, POST, HEAD, OPTIONS"
    assert answer.headers["access-control-max-age"] == "86400"


async def test_delete_is_among_the_methods_where_it_is_allowed(tmp_path: Path) -> None:
    async with served(tmp_path, allow_delete=True) as api:
        answer = await api.client.options("/v1/shape")
        assert answer.headers["access-control-allow-methods"] == "GET, POST, HEAD, DELETE, OPTIONS"


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example",
        "http://localhost:5173",
        "http://127.0.0.1",
        "https://[::1]:8443",
        "tauri://localhost",
        "chrome-extension://abcdefgh",
    ],
)
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    ShapeApp(ShapeStore("never-opened.db"), shape=lambda _: Shape("t"), origins=[origin])


@pytest.mark.parametrize(
    ("origin", "meant"),
    [
        ("https://A.example/", "https://a.example"),
        ("http://a.example/app", "http://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("https://a.example:443/", "https://a.example"),
        (" http://a.example", "http://a.example"),
        ("http://a.example:443/", "http://a.example:443"),
        ("a.example", None),
        ("*", None),
        ("null", None),
        ("", None),
        ("http://", None),
        ("http://*.a.example", None),
        ("http://a.example, http://b.example", None),
        ("http://user@a.example", None),
        ("http://a.example:x", None),
        ("http://a.example\n", "http://a.example"),
        ("http://ä.example", None),
    ],
)
def test_what_no_browser_sends_as_an_origin_is_an_error_that_says_what_was_meant(
    origin: str, meant: str | None
) -> None:
    with pytest.raises(ValueError, match="origins takes the scheme, host and port of a page") as refused:
        ShapeApp(ShapeStore("never-opened.db"), shape=lambda _: Shape("t"), origins=[origin])
    assert str(refused.value).partition("; did you mean ")[2] == (f"{meant}?" if meant else "")


def test_a_single_text_in_place_of_origins_is_an_error() -> None:
    with pytest.raises(TypeError, match="origins is a list"):
        ShapeApp(ShapeStore("never-opened.db"), shape=lambda _: Shape("t"), origins="https://a.example")


async def test_only_pages_of_the_origins_that_are_listed_may_read_answers(tmp_path: Path) -> None:
    async with served(tmp_path, origins=["https://a.example"]) as api:
        for origin, allowed in [("https://a.example", True), ("https://b.example", False), (None, False)]:
            headers = {} if origin is None else {"origin": origin}
            answer = await api.client.get("/v1/shape", params={"table": "Track", "offset": "-1"}, headers=headers)
            assert answer.headers["vary"] == "origin"
            assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
            assert answer.headers.get("access-control-allow-credentials") == ("true" if allowed else None)


# --- who may see what


@pytest.mark.parametrize("name", ["secret", "api_secret"])
async def test_without_the_secret_nothing_is_answered(tmp_path: Path, name: str) -> None:
    async with served(tmp_path, secret="sesame", allow_delete=True) as api:
        for wrong in ({}, {name: "other"}, {name: ""}):
            assert (await api.get(**wrong)).status_code == 401
            assert (await api.client.delete("/v1/shape", params={"table": "Track", **wrong})).status_code == 401
        assert (await api.get(**{name: "sesame"})).status_code == 200


@pytest.mark.parametrize("status", [401, 403])
async def test_who_is_not_authorized_is_told_so_at_each_request(tmp_path: Path, status: int) -> None:
    asked: list[str] = []
    allowed = True

    async def authorize(request: Request, shape: Shape) -> Shape:
        asked.append(request.query_params["offset"])
        if not allowed:
            raise HTTPException(status, "no", {"www-authenticate": "x"})
        return shape

    async with served(tmp_path, authorize=authorize) as api:
        before = await api.up_to_date()
        await api.after(before, live="true")
        allowed = False
        for more in ({}, {"live": "true"}, {"live": "true", "live_sse": "true"}):
            answer = await api.after(before, **more)
            assert (answer.status_code, answer.json()) == (status, {"message": "no"})
            assert answer.headers["www-authenticate"] == "x"
            assert answer.headers["cache-control"] == "no-store"
        assert asked == ["-1", "0_0", "0_0", *["0_0"] * 3]


def cheap(_: Request, shape: Shape) -> Shape:
    """May see tracks that cost less than 2; not what they cost."""
    return Shape("Track", where="Price < :most", params={"most": 2}, columns=["TrackId", "Name"])


async def test_what_a_client_asks_for_only_narrows_what_it_may_see(tmp_path: Path) -> None:
    async with served(tmp_path, authorize=cheap) as api:

        async def ids(**asked: str) -> list[str]:
            return [change["value"]["TrackId"] for change in changes_of(await api.get(**asked))]

        assert await ids() == ["1", "2", "3"]
        assert await ids(where="true") == ["1", "2", "3"]
        assert await ids(where='"TrackId" > $1 OR true', **{"params[1]": "2"}) == ["1", "2", "3"]
        assert await ids(where='"TrackId" > $1', **{"params[1]": "2"}) == ["3"]
        [row] = changes_of(await api.get(where='"TrackId" = 1'))
        assert row["value"] == {"TrackId": "1", "Name": "track 1"}
        [row] = changes_of(await api.get(where='"TrackId" = 1', columns="TrackId,Price"))
        assert row["value"] == {"TrackId": "1"}


async def test_what_a_client_asks_for_is_not_too_large_together_with_what_it_may_see(tmp_path: Path) -> None:
    def long(_: Request, __: Shape) -> Shape:
        return Shape("Track", where=f"Name <> '{'x' * 20_000}'")

    async with served(tmp_path, authorize=long) as api:
        answer = await api.get(where='"TrackId" > 1')
        assert (answer.status_code, answer.json()["errors"]) == (400, {"where": ["is too large"]})


@pytest.mark.parametrize(
    "asked",
    [
        {"where": '"Price" > 1'},
        {"subset__where": '"Price" > 1'},
        {"subset__order_by": '"Price"', "subset__limit": "1"},
    ],
)
async def test_no_condition_is_accepted_on_a_column_that_may_not_be_seen(tmp_path: Path, asked: dict[str, str]) -> None:
    async with served(tmp_path, authorize=cheap) as api:
        answer = await api.get(**asked)
        assert answer.status_code == 400
        assert list(answer.json()["errors"].values()) == [['column "Price" does not exist']]


@pytest.mark.parametrize("asked", [{"subset__where": '"Price" > 1'}, {"subset__order_by": '"Price"'}])
async def test_nor_where_a_client_asks_for_just_what_it_may_see(tmp_path: Path, asked: dict[str, str]) -> None:
    def names(_: Request, __: Shape) -> Shape:
        return Shape("Track", columns=["TrackId", "Name"])

    async with served(tmp_path, authorize=names) as api:
        answer = await api.get(columns="TrackId,Name", **asked)
        assert list(answer.json()["errors"].values()) == [['column "Price" does not exist']]
    (tmp_path / "other").mkdir()
    async with served(tmp_path / "other", authorize=lambda _, shape: shape) as api:
        assert (await api.get("now", columns="TrackId,Name", **asked)).status_code == 200


async def test_a_condition_is_run_as_the_application_wrote_it(tmp_path: Path) -> None:
    guarded = Shape("Track", where="TrackId <> -9223372036854775808 AND abs(TrackId) > 1")

    async with served(tmp_path, authorize=lambda _, __: guarded) as api:
        api.write(OVERFLOWS)
        await api.get(where='abs("TrackId") > 1 AND "TrackId" <> -9223372036854775808')
        [stored] = [stored async for stored in api.store.shapes()]
        assert stored.shape.where_as_written == guarded.where_as_written


async def test_an_error_in_a_condition_tells_nothing_about_rows_that_may_not_be_seen(tmp_path: Path) -> None:
    async with served(tmp_path, authorize=cheap) as api:
        api.write(OVERFLOWS)
        answer = await api.get(where='abs("TrackId") > 1')
        assert [change["value"]["TrackId"] for change in changes_of(answer)] == ["2", "3"]
        subset = await api.get("now", subset__where='abs("TrackId") > 1')
        assert [row["value"]["TrackId"] for row in subset.json()["data"]] == ["2", "3"]


async def test_what_authorize_returns_has_to_be_of_the_same_table(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    for wrong in (Shape("Secret"), True, None):
        async with client_of(app_of(api.store, authorize=lambda _, __, wrong=wrong: wrong)) as client:
            answer = await client.get("/v1/shape", params={"table": "Track", "offset": "-1"})
            assert answer.status_code == 500
    assert "authorize returns a Shape of the table" in caplog.text


async def test_only_the_columns_that_are_allowed_are_given(tmp_path: Path) -> None:
    async with served(tmp_path, tables={"Track": ["TrackId", "Name"]}) as api:
        answer = await api.get()
        assert changes_of(answer)[0]["value"] == {"TrackId": "1", "Name": "track 1"}
        assert list(json.loads(answer.headers["electric-schema"])) == ["TrackId", "Name"]
        assert (await api.get(where='"Price" > 1')).status_code == 400


@pytest.mark.parametrize("columns", [None, "TrackId,Name,Price"])
async def test_a_column_that_is_added_later_is_not_given_where_all_others_are_allowed_by_name(
    tmp_path: Path, columns: str | None
) -> None:
    asked = {} if columns is None else {"columns": columns}
    async with served(tmp_path, tables={"Track": ["TrackId", "Name", "Price"]}) as api:
        assert "Price" in (await api.get(**asked)).text
        with contextlib.closing(sqlite3.connect(tmp_path / "source.db")) as source, source:
            source.execute("ALTER TABLE Track ADD COLUMN Hidden TEXT DEFAULT 'hidden'")
        await api.store.invalidate("Track")
        answer = await api.get(**asked)
        assert "Price" in answer.text
        assert "hidden" not in answer.text


# --- shapes that the application makes of requests


async def test_the_application_may_map_requests_to_shapes(tmp_path: Path) -> None:
    async def shape_of(request: Request) -> Shape:
        return Shape("Track", where="TrackId <= :most", params={"most": int(request.headers["x-most"])})

    async with served(tmp_path, shape=shape_of) as api:

        async def ask(most: int, **params: str) -> httpx.Response:
            return await api.client.get("/v1/shape", params=params, headers={"x-most": str(most)})

        for most in (1, 3):
            answer = await ask(most, offset="-1", table="Secret", where="nonsense")
            assert len(changes_of(answer)) == most
            assert answer.headers["cache-control"] == PRIVATE
            end = await ask(most, offset=answer.headers["electric-offset"], handle=answer.headers["electric-handle"])
            assert controls_of(end) == ["up-to-date"]


async def test_values_of_a_creator_that_describes_nothing_are_sent_as_they_are(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": 1, "tags": ["a"], "n": 1.5}, {"id": 2, "tags": None, "n": 2}]

    def report(_: Shape) -> list[dict[str, Any]]:
        return rows

    store = ShapeStore(tmp_path / "shapes.db", create=keyed(report, "id"))
    async with store, client_of(app_of(store, shape=lambda _: Shape("report"))) as client:
        answer = await client.get("/v1/shape", params={"offset": "-1"})
        assert answer.headers["electric-schema"] == "{}"  # to clients, values without a type are what they are
        assert [change["key"] for change in changes_of(answer)] == ['"public"."report"/"1"', '"public"."report"/"2"']
        assert [change["value"] for change in changes_of(answer)] == rows


# --- bodies


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b'{"limit": 2, "order_by": "TrackId"}', 200),
        (b'{"subset": {"limit": 2, "order_by": "TrackId"}}', 200),
        (b"[]", 400),
        (b"{", 400),
        (b'{"limit": 2}', 400),
        (b'{"where": "' + b"x" * 2_000_000 + b'"}', 413),
    ],
)
async def test_a_subset_may_be_asked_for_by_a_body(api: Api, body: bytes, status: int) -> None:
    answer = await api.client.post("/v1/shape", params={"table": "Track", "offset": "now"}, content=body)
    assert answer.status_code == status
    assert answer.headers["cache-control"] == ("no-cache" if status == 200 else "no-store")
    if status == 200 and body:
        assert [row["value"]["TrackId"] for row in answer.json()["data"]] == ["1", "2"]


@pytest.mark.parametrize("key", ["NULL", '\'["Name","TrackId"]\''])
async def test_a_subset_has_the_key_that_its_table_has_now(tmp_path: Path, key: str) -> None:
    """The stored rows may have been read when there was none yet, or another one; or by a version that stored none."""
    async with served(tmp_path) as api:
        await api.up_to_date()
        with contextlib.closing(sqlite3.connect(tmp_path / "shapes.db")) as connection, connection:
            connection.execute(f"UPDATE shapes SET key_columns = {key}")
        rows = (await api.get(subset__limit="2", subset__order_by="TrackId")).json()["data"]
        assert [row["key"] for row in rows] == ['"public"."Track"/"1"', '"public"."Track"/"2"']


# As browsers send them: a page's own requests, its images and its links say no origin, its fetches of others do.
FROM_OTHER_PAGES = {
    "an image of another site": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    "a link of another site": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    "an image of another port": {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    "a fetch of another site": {"sec-fetch-site": "cross-site", "origin": "https://b.example"},
    "a page without an origin": {"sec-fetch-site": "cross-site", "origin": "null"},
}
FROM_ALLOWED_PAGES: dict[str, dict[str, str]] = {
    "its own page": {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
    "its own page, by POST": {"sec-fetch-site": "same-origin", "origin": "http://test"},
    "an allowed page": {"sec-fetch-site": "cross-site", "origin": "https://a.example"},
    "an allowed page of the same host": {"sec-fetch-site": "same-site", "origin": "https://a.example"},
    "the address bar": {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    "no browser": {},
}


@pytest.mark.parametrize("headers", FROM_OTHER_PAGES.values(), ids=FROM_OTHER_PAGES)
async def test_a_page_that_may_read_no_answer_cannot_have_shapes_created_or_dropped(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with served(tmp_path, origins=["https://a.example"], allow_delete=True) as api:
        asked = {"table": "Track", "offset": "-1", "where": "TrackId = 1"}
        for method in ("GET", "HEAD", "POST", "DELETE"):
            refused = await api.client.request(method, "/v1/shape", params=asked, headers=headers)
            assert (refused.status_code, refused.headers["cache-control"]) == (403, "no-store")
        assert await api.store.count() == 0


@pytest.mark.parametrize("headers", FROM_OTHER_PAGES.values(), ids=FROM_OTHER_PAGES)
async def test_where_all_pages_may_read_answers_all_may_ask(api: Api, headers: dict[str, str]) -> None:
    asked = {"table": "Track", "offset": "-1"}
    assert (await api.client.get("/v1/shape", params=asked, headers=headers)).status_code == 200


@pytest.mark.parametrize("headers", FROM_ALLOWED_PAGES.values(), ids=FROM_ALLOWED_PAGES)
async def test_a_page_that_may_read_answers_may_ask(tmp_path: Path, headers: dict[str, str]) -> None:
    async with served(tmp_path, origins=["https://a.example"]) as api:
        asked = {"table": "Track", "offset": "-1"}
        for method in ("GET", "POST"):
            answer = await api.client.request(method, "/v1/shape", params=asked, headers=headers)
            assert answer.status_code == 200, answer.text
