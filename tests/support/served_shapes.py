"""A store served over HTTP inside of this process, and what clients ask it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx

from shapestore import Shape, ShapeStore, SQLSource
from shapestore.http import ShapeApp

TRACKS = [(number, f"track {number}", number / 2) for number in range(1, 6)]


def make_source(path: Path) -> str:
    """A database with the table Track; its URL."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE Track (TrackId INTEGER PRIMARY KEY, Name TEXT NOT NULL, Price REAL)")
        connection.execute("CREATE TABLE Secret (Id INTEGER PRIMARY KEY, Word TEXT)")
        connection.execute("INSERT INTO Secret VALUES (1, 'open sesame')")
        connection.executemany("INSERT INTO Track VALUES (?, ?, ?)", TRACKS)
    return f"sqlite:///{path}"


class Api:
    """What a client can ask, in few words."""

    def __init__(self, store: ShapeStore, source: str, client: httpx.AsyncClient) -> None:
        self.store = store
        self.source = source
        self.client = client
        self._app = client._transport.app  # type: ignore[attr-defined]

    async def get(self, offset: str = "-1", handle: str | None = None, **more: Any) -> httpx.Response:
        given = {"table": "Track", "offset": offset, "handle": handle, **more}
        return await self.client.get(
            "/v1/shape", params={name: value for name, value in given.items() if value is not None}
        )

    async def after(self, answer: httpx.Response, **more: Any) -> httpx.Response:
        """What comes behind an answer."""
        return await self.get(answer.headers["electric-offset"], answer.headers["electric-handle"], **more)

    async def up_to_date(self) -> httpx.Response:
        """The answer that says so."""
        answer = await self.get()
        while "electric-up-to-date" not in answer.headers:
            answer = await self.after(answer)
        return answer

    def write(self, *statements: str) -> None:
        """Write to the source, in one transaction."""
        with (
            contextlib.closing(sqlite3.connect(self.source.removeprefix("sqlite:///"), timeout=60)) as connection,
            connection,
        ):
            for statement in statements:
                connection.execute(statement)

    async def change(self, *statements: str, shape: Shape | None = None) -> None:
        """Write to the source, and have the shape be as its source is: the whole table Track, unless given."""
        self.write(*statements)
        await self.store.refresh(Shape("Track") if shape is None else shape)

    def hear(self) -> bytearray:
        """The bodies of what is answered from now on, as far as they have been sent."""
        transport: Any = self.client._transport
        app, body = transport.app, bytearray()

        async def heard(scope: Any, receive: Any, send: Any) -> None:
            async def send_and_tell(message: Any) -> None:
                body.extend(message.get("body", b""))
                await send(message)

            await app(scope, receive, send_and_tell)

        transport.app = heard
        return body

    def waiting(self) -> int:
        """How many live clients wait."""
        return sum(len(page._waiters) for page in self._app._answers._next._awaited.values())

    def stop(self) -> None:
        """Stop the application: live answers end."""
        self._app.stop()


@contextlib.asynccontextmanager
async def served(folder: Path, *, follow: bool = False, **options: Any) -> AsyncIterator[Api]:
    """A store in ``folder``, served with these options of ShapeApp; by default the table Track, quickly."""
    source = make_source(folder / "source.db")
    store = ShapeStore(folder / "shapes.db", create=SQLSource(source, follow=follow))
    async with store, client_of(app_of(store, **options)) as client:
        yield Api(store, source, client)


def app_of(store: ShapeStore, **options: Any) -> ShapeApp:
    allowed = {} if "shape" in options else {"tables": {"Track": None}}
    return ShapeApp(store, **{"long_poll": 0.2, "sse_length": 0.3, "keep_alive": 0.1} | allowed | options)


@contextlib.asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://store") as client:
        yield client


def changes_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The messages of an answer that are of rows."""
    return [message for message in answer.json() if "key" in message]


def controls_of(answer: httpx.Response) -> list[str]:
    return [message["headers"]["control"] for message in answer.json() if "control" in message["headers"]]


def events_of(text: str) -> Iterator[Any]:
    """The messages of a stream of events."""
    for event in text.split("\n\n"):
        if event.startswith("data: "):
            yield json.loads(event.removeprefix("data: "))
