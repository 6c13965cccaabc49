"""A program that serves tables of a SQLite source to real clients: ``python -m synced_app FD STORE SOURCE TABLE...``.

FD is a socket that listens already, so that several of these can share it. ``POST /writes`` takes what TanStack DB
calls mutations, in one transaction, and answers with its txid.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from shapestore import ShapeStore, SQLSource
from shapestore.http import ShapeApp, txid

OPTIONS = "SHAPE_APP_OPTIONS"
"""The variable of the environment that may hold options of ShapeApp, as JSON."""


def synced_app(path: str, source: str, tables: list[str]) -> Starlette:
    store = ShapeStore(path, create=SQLSource(f"sqlite:///{source}", follow=True))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with store:
            yield

    async def writes(request: Request) -> JSONResponse:
        with closing(sqlite3.connect(source, timeout=60)) as connection, connection:
            for mutation in await request.json():
                write(connection, **mutation)
            return JSONResponse({"txid": txid(connection)})

    options = json.loads(os.environ.get(OPTIONS, "{}"))
    shapes = ShapeApp(store, tables=dict.fromkeys(tables), **options)
    return Starlette(routes=[Route("/writes", writes, methods=["POST"]), Mount("/", shapes)], lifespan=lifespan)


def write(connection: sqlite3.Connection, type: str, key: int, row: dict[str, Any]) -> None:  # noqa: A002 - its name there
    if type == "delete":
        connection.execute("DELETE FROM todo WHERE id = ?", (key,))
        return
    statement = "INSERT INTO todo (id, title, done) VALUES (:id, :title, :done)"
    if type == "update":
        statement = "UPDATE todo SET title = :title, done = :done WHERE id = :id"
    connection.execute(statement, {"title": "", "done": 0} | row)


if __name__ == "__main__":
    descriptor, path, source, *tables = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    with socket.socket(fileno=int(descriptor)) as listening:
        config = uvicorn.Config(synced_app(path, source, tables), log_level="warning", timeout_graceful_shutdown=30)
        uvicorn.Server(config).run(sockets=[listening])
