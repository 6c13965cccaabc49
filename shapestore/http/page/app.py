"""The application that ``shapestore serve`` runs: the API, and the page that looks at a store through it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from shapestore.http import ShapeApp
from shapestore.http.access import has_secret
from shapestore.http.page.guard import HostGuard
from shapestore.http.page.live_requests import LiveRequests
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.store import ShapeStore

_FOLDER = Path(__file__).parent
_FILES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js", "/follow.js": "follow.js"}
_MOST_SHAPES = 1_000
_NO_STORE = {"cache-control": "no-store"}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def page_app(
    store: ShapeStore,
    tables: Sequence[str],
    *,
    title: str,
    hosts: Collection[str] | None,
    secret: str | None = None,
    origins: Sequence[str] | None = (),
) -> ASGIApp:
    """The API for ``tables`` of a store, and the page. The store is opened and closed with the application.

    ``title`` names the store on the page. ``hosts``: the names under which it may be asked for, None for any.
    ``secret``: what requests must bear, None if nothing. ``origins``: the sites whose pages may read the API, None for
    all; none may read what the page alone asks for.
    """
    served = _Served(store, tables, title, secret)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with store:
            yield

    by_handle = ShapeApp(store, shape=served.shape_by_handle, origins=(), secret=secret, kept_bytes=0)
    api = ShapeApp(store, tables=dict.fromkeys(tables), origins=origins, secret=secret)
    routes = [
        *[Route(path, _static(file), methods=["GET"]) for path, file in _FILES.items()],
        Route("/overview", served.overview, methods=["GET"]),
        Mount("/stored/{stored}", by_handle),
        Mount("/", api),
    ]
    served.waiting = LiveRequests(Starlette(routes=routes, lifespan=lifespan))
    return served.waiting if hosts is None else HostGuard(served.waiting, hosts)


def _static(file: str) -> Any:
    async def answer(_: Request) -> Response:
        return FileResponse(_FOLDER / file, headers=_HEADERS)

    return answer


class _Served:
    """What the page asks for beside the API."""

    waiting: LiveRequests

    def __init__(self, store: ShapeStore, tables: Sequence[str], title: str, secret: str | None) -> None:
        self._store = store
        self._tables = tables
        self._title = title
        self._secret = secret

    async def overview(self, request: Request) -> JSONResponse:
        """The tables that are served, the stored shapes of them, and who waits for these."""
        if not has_secret(request, self._secret):
            return JSONResponse({"message": "the secret is missing or wrong"}, 401, _NO_STORE)
        shapes = [self._told(stored) for table in self._tables for stored in await self._some_of(table)]
        shapes.sort(key=lambda shape: -len(shape["clients"]))
        return JSONResponse(
            {"store": self._title, "tables": list(self._tables), "shapes": shapes[:_MOST_SHAPES]}, 200, _NO_STORE
        )

    async def _some_of(self, table: str) -> list[StoredShape]:
        found: list[StoredShape] = []
        async for stored in self._store.shapes(table=table):
            found.append(stored)
            if len(found) == _MOST_SHAPES:
                break
        return found

    def _told(self, stored: StoredShape) -> dict[str, Any]:
        shape = stored.shape
        return {
            "handle": stored.handle,
            "table": shape.table,
            "where": shape.where_as_written,
            "params": dict(shape.params),
            "columns": shape.columns,
            "whole": shape.table if shape == Shape(shape.table) else None,
            "rows": stored.row_count,
            "live": stored.live,
            "refreshed_seconds_ago": max(0.0, (datetime.now(UTC) - stored.refreshed_at).total_seconds()),
            "clients": [client.told() for client in self.waiting.of(stored.handle)],
        }

    async def shape_by_handle(self, request: Request) -> Shape:
        """The shape that is stored under the handle in the path, if its table is served."""
        stored = await self._store.get_by_handle(request.path_params["stored"])
        if stored is None or stored.shape.table not in self._tables:
            raise HTTPException(404, "no shape of a table that is served here has this handle")
        return stored.shape
