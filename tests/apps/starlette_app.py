"""The tracks of an album over HTTP, read from a slow database once for all requests, in all processes.

Run it with ``uvicorn starlette_app:app --workers 3``.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from shapestore import InvalidShapeError, Shape, ShapeStore, ShapeStoreError, SQLSource


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, ShapeStore]]:
    async with ShapeStore("shapes.db", create=SQLSource("sqlite:///music.db")) as store:
        yield {"store": store}


async def tracks(request: Request) -> Response:
    store: ShapeStore = request.state.store
    album = request.path_params["album"]
    stored = await store.get_or_create(Shape("track", where="album = :album", params={"album": album}))
    headers = {"ETag": f'"{stored.etag}"'}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return StreamingResponse(store.stream_json(stored), media_type="application/json", headers=headers)


async def not_understood(request: Request, error: Exception) -> JSONResponse:
    """There is no such shape, say for an album's number beyond 64 bits: asking again does not help."""
    return JSONResponse({"error": str(error)}, 422)


async def unavailable(request: Request, error: Exception) -> JSONResponse:
    """The database is down or too slow: say so, and when to ask again."""
    retry_after = math.ceil(getattr(error, "retry_after", 1.0))
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": str(retry_after)})


app = Starlette(
    routes=[Route("/albums/{album:int}/tracks", tracks)],
    exception_handlers={InvalidShapeError: not_understood, ShapeStoreError: unavailable},
    lifespan=lifespan,
)
