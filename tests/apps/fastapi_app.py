"""The tracks of an album over HTTP, read from a slow database once for all requests, in all processes.

Run it with ``uvicorn fastapi_app:app --workers 3``.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from shapestore import InvalidShapeError, Shape, ShapeStore, ShapeStoreError, SQLSource


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, ShapeStore]]:
    async with ShapeStore("shapes.db", create=SQLSource("sqlite:///music.db")) as store:
        yield {"store": store}


app = FastAPI(lifespan=lifespan)


@app.get("/albums/{album}/tracks")
async def tracks(album: int, request: Request) -> Response:
    store: ShapeStore = request.state.store
    stored = await store.get_or_create(Shape("track", where="album = :album", params={"album": album}))
    headers = {"ETag": f'"{stored.etag}"'}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return StreamingResponse(store.stream_json(stored), media_type="application/json", headers=headers)


@app.exception_handler(InvalidShapeError)
async def not_understood(request: Request, error: InvalidShapeError) -> JSONResponse:
    """There is no such shape, say for an album's number beyond 64 bits: asking again does not help."""
    return JSONResponse({"error": str(error)}, 422)


@app.exception_handler(ShapeStoreError)
async def unavailable(request: Request, error: ShapeStoreError) -> JSONResponse:
    """The database is down or too slow: say so, and when to ask again."""
    retry_after = math.ceil(getattr(error, "retry_after", 1.0))
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": str(retry_after)})
