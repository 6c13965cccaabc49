"""The tracks of an album over HTTP, read from a slow database once, however many ask, in however many processes.

Run it by ``uvicorn fastapi_app:app --workers 3``.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from shapestore import InvalidShapeError, Shape, ShapeStore, ShapeStoreError, SQLSource


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, ShapeStore]]:
    async with ShapeStore("shapes.db", create=SQLSource("sqlite:///chinook.db")) as store:
        yield {"store": store}


def open_store(request: Request) -> ShapeStore:
    store: ShapeStore = request.state.store
    return store


app = FastAPI(lifespan=lifespan)


@app.get("/albums/{album}/tracks")
async def tracks(album: int, store: Annotated[ShapeStore, Depends(open_store)]) -> list[dict[str, Any]]:
    stored = await store.get_or_create(Shape("Track", where="AlbumId = :album", params={"album": album}))
    return [row async for row in store.rows(stored.handle)]


@app.exception_handler(InvalidShapeError)
async def not_understood(request: Request, error: InvalidShapeError) -> JSONResponse:
    """There is no such shape, an album's number beyond 64 bits say: asking again is of no use."""
    return JSONResponse({"error": str(error)}, 422)


@app.exception_handler(ShapeStoreError)
async def unavailable(request: Request, error: ShapeStoreError) -> JSONResponse:
    """The database is down or too slow: say so, and when it is worth while to ask again."""
    retry_after = math.ceil(getattr(error, "retry_after", 1.0))
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": str(retry_after)})
