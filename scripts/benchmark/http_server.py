"""A server that is measured: ``python -m benchmark.http_server WHAT FOLDER``. It says its port.

``shapestore`` serves a shape of a source that it follows. ``bare`` is a Starlette application without a store: it
streams the file ``body``, and its long poll waits for one event. Told "change", a server makes a change.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from benchmark.files import plain
from benchmark.rows import SHAPESTORE
from shapestore import ShapeStore, SQLSource
from shapestore.http import ShapeApp

PIECE = 64 * 1024
# Where the shape is served whose pages are not kept: each is made as for the first client.
KEEPS_NOTHING = "/keeps_nothing"


async def serve_shapes(folder: Path) -> None:
    source = folder / "source.db"
    with closing(plain(str(source))) as database:
        create = SQLSource(f"sqlite:///{source}", follow=True)
        async with ShapeStore(folder / "shapes.db", create=create, create_timeout=600, wait_timeout=600) as store:

            async def change() -> None:
                database.execute("UPDATE Track SET seconds = seconds + 1 WHERE id = 1")

            usual = ShapeApp(store, tables={"Track": None}, max_live=10_000)
            keeps_nothing = ShapeApp(store, tables={"Track": None}, kept_bytes=0)
            app = Starlette(routes=[Mount(KEEPS_NOTHING, keeps_nothing), Mount("/", usual)])
            await _serve(app, change)


async def serve_bare(folder: Path) -> None:
    body = (folder / "body").read_bytes()
    changed = asyncio.Event()

    async def change() -> None:
        nonlocal changed
        before, changed = changed, asyncio.Event()
        before.set()

    async def shape(request: Request) -> Response:
        if "live" not in request.query_params:
            return StreamingResponse(_pieces(body), media_type="application/json")
        await changed.wait()
        return Response(b"[]", media_type="application/json")

    await _serve(Starlette(routes=[Route("/v1/shape", shape)]), change)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), PIECE):
        yield body[begin : begin + PIECE]


async def _serve(app: Starlette, change: Callable[[], Awaitable[None]]) -> None:
    # Not its errors: of each client that still waits at the end it would print a traceback.
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", backlog=10_000))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        await change()
        print("changed", flush=True)
    server.should_exit = server.force_exit = True  # live clients may be waiting still
    await serving


SERVERS = {SHAPESTORE: serve_shapes, "bare Starlette": serve_bare}

if __name__ == "__main__":
    asyncio.run(SERVERS[sys.argv[1]](Path(sys.argv[2])))
