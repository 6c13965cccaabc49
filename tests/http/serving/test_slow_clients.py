"""Clients that take nothing of their answers, or go away, hold nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from inspections import eventually
from served_shapes import Api, app_of, served
from starlette.types import Message

from shapestore.http.serving import live, slow_clients
from shapestore.http.serving.slow_clients import GoneError, in_pieces


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with served(tmp_path) as api:
        yield api


def scope(**params: str) -> dict[str, Any]:
    query = urlencode({"table": "Track"} | params).encode()
    return {"type": "http", "method": "GET", "path": "/v1/shape", "query_string": query, "headers": []}


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_large_body_is_sent_in_pieces_and_a_small_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "PIECE_BYTES", 4)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    for body, more in [(b"0123456789", False), (b"01234567", True), (b"012", False), (b"", True)]:
        sent.clear()
        await in_pieces(send)({"type": "http.response.body", "body": body, "more_body": more})
        assert b"".join(message["body"] for message in sent) == body
        assert all(len(message["body"]) <= 4 for message in sent)
        assert [message["more_body"] for message in sent] == [True] * (len(sent) - 1) + [more]


async def test_a_client_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "PIECE_BYTES", 4)
    monkeypatch.setattr(slow_clients, "PATIENCE", 0.05)

    async def send(_: Message) -> None:
        await never()

    with pytest.raises(GoneError):
        await in_pieces(send)({"type": "http.response.body", "body": b"0123456789"})


async def test_its_answer_ends_without_an_error(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "PIECE_BYTES", 4)
    monkeypatch.setattr(slow_clients, "PATIENCE", 0.05)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await never()

    await app_of(api.store)(scope(offset="-1"), never, send)


async def test_a_stream_of_events_that_is_not_taken_ends(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.05)
    handle = (await api.get()).headers["electric-handle"]

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await never()

    app = app_of(api.store, sse_length=0.05, keep_alive=0.01)
    await app(scope(offset="0_0", handle=handle, live="true", live_sse="true"), never, send)


@pytest.mark.parametrize("sse", [{}, {"live_sse": "true"}])
async def test_a_client_that_goes_away_is_not_waited_for(api: Api, sse: dict[str, str]) -> None:
    handle = (await api.get()).headers["electric-handle"]
    gone = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        pass

    app = app_of(api.store, long_poll=600, sse_length=600, keep_alive=600)
    serving = asyncio.create_task(app(scope(offset="0_0", handle=handle, live="true", **sse), receive, send))
    waits = api.store._live().waits
    while not waits:
        await asyncio.sleep(0.01)
    gone.set()
    await serving
    while waits:
        await asyncio.sleep(0.01)


async def test_a_server_that_cancels_a_live_answer_leaves_nothing(api: Api) -> None:
    handle = (await api.get()).headers["electric-handle"]
    app = app_of(api.store, long_poll=600)

    async def send(_: Message) -> None:
        pass

    before = asyncio.all_tasks()
    serving = asyncio.create_task(app(scope(offset="0_0", handle=handle, live="true"), never, send))
    waits = api.store._live().waits
    while not waits:
        await asyncio.sleep(0.01)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    while waits or asyncio.all_tasks() - before:
        await asyncio.sleep(0.01)


async def test_a_stream_that_is_idle_holds_nothing_of_what_it_has_sent(api: Api) -> None:
    before = await api.up_to_date()
    await api.change("UPDATE Track SET Name = 'new' WHERE TrackId = 1")
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        if message.get("body"):
            sent.append(message["body"])

    handle, offset = before.headers["electric-handle"], before.headers["electric-offset"]
    asked = scope(offset=offset, handle=handle, live="true", live_sse="true")
    serving = asyncio.create_task(app_of(api.store, sse_length=600, keep_alive=600)(asked, never, send))
    while not api.store._live().waits:
        await asyncio.sleep(0.01)
    holders = sys.getrefcount(sent[0]) - 2  # beside the list and the call itself
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert holders <= 0


async def test_clients_who_are_sent_the_same_events_hold_them_once(api: Api) -> None:
    before = await api.up_to_date()
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        if message.get("body"):
            sent.append(message["body"])

    handle, offset = before.headers["electric-handle"], before.headers["electric-offset"]
    asked = scope(offset=offset, handle=handle, live="true", live_sse="true")
    app = app_of(api.store, sse_length=600, keep_alive=600)
    streams = [asyncio.create_task(app(asked, never, send)) for _ in range(5)]
    await eventually(lambda: sum(len(page._waiters) for page in app._answers._next._awaited.values()) == 5)
    await api.change("UPDATE Track SET Name = 'new' WHERE TrackId = 1")
    await eventually(lambda: len(sent) == 5)
    for stream in streams:
        stream.cancel()
    await asyncio.wait(streams)
    assert b'"new"' in sent[0]
    assert all(events is sent[0] for events in sent)
