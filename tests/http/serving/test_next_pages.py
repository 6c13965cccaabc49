"""The page that live clients wait for is waited for once, by as many as there are, and by nobody once they are gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from inspections import eventually
from served_shapes import Api, app_of, changes_of, client_of, events_of, make_source, served

from shapestore import ShapeStore, SQLSource
from shapestore.http.serving.next_pages import NextPage, NextPages

LIVE: tuple[dict[str, str], ...] = ({}, {"live_sse": "true"})


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with served(tmp_path, long_poll=60, sse_length=60, keep_alive=60) as api:
        yield api


def next_pages(api: Api) -> NextPages:
    pages: NextPages = api._app._answers._next
    return pages


async def test_many_clients_wait_as_one_and_all_are_told(api: Api) -> None:
    before = await api.up_to_date()
    polls = [asyncio.create_task(api.after(before, live="true")) for _ in range(20)]
    await eventually(lambda: api.waiting() == 20)
    await eventually(lambda: (len(next_pages(api)._awaited), len(api.store._live().waits)) == (1, 1))
    await api.change("DELETE FROM Track WHERE TrackId = 2")
    answers = await asyncio.gather(*polls)
    assert len({answer.content for answer in answers}) == 1
    assert [change["value"] for change in changes_of(answers[0])] == [{"TrackId": "2"}]
    await eventually(lambda: not next_pages(api)._awaited and not len(api.store._live().waits))


async def test_clients_that_want_other_messages_are_told_theirs(api: Api) -> None:
    before = await api.up_to_date()
    polls = [asyncio.create_task(api.after(before, live="true", replica=each)) for each in ("default", "full")]
    await eventually(lambda: api.waiting() == 2)
    await api.change("UPDATE Track SET Name = 'new' WHERE TrackId = 2")
    by_default, full = [changes_of(await poll)[0]["value"] for poll in polls]
    assert (by_default, full) == ({"TrackId": "2", "Name": "new"}, {"TrackId": "2", "Name": "new", "Price": "1"})


async def test_a_client_that_goes_leaves_the_others_and_the_last_one_nothing(api: Api) -> None:
    before = await api.up_to_date()
    polls = [asyncio.create_task(api.after(before, live="true")) for _ in range(3)]
    await eventually(lambda: api.waiting() == 3)
    polls.pop().cancel()
    await eventually(lambda: api.waiting() == 2)
    await eventually(lambda: len(api.store._live().waits) == 1)
    for poll in polls:
        poll.cancel()
    await eventually(lambda: not next_pages(api)._awaited and not len(api.store._live().waits))
    again = asyncio.create_task(api.after(before, live="true"))
    await eventually(lambda: api.waiting() == 1)
    await api.change("DELETE FROM Track WHERE TrackId = 2")
    assert len(changes_of(await again)) == 1


async def test_a_page_that_is_cancelled_by_other_code_is_waited_for_once_more(api: Api) -> None:
    """As where a library cancels all tasks but the one that called it."""
    before = await api.up_to_date()
    polls = [asyncio.create_task(api.after(before, live="true")) for _ in range(3)]
    await eventually(lambda: api.waiting() == 3)
    [page] = next_pages(api)._awaited.values()
    assert page._task is not None
    page._task.cancel()
    await eventually(lambda: page not in next_pages(api)._awaited.values() and api.waiting() == 3)
    await api.change("DELETE FROM Track WHERE TrackId = 2")
    for poll in polls:
        assert len(changes_of(await poll)) == 1


@pytest.mark.parametrize("sse", LIVE)
async def test_a_shape_that_is_dropped_ends_the_wait_of_all(api: Api, sse: dict[str, str]) -> None:
    before = await api.up_to_date()
    live = [asyncio.create_task(api.after(before, live="true", **sse)) for _ in range(3)]
    await eventually(lambda: api.waiting() == 3)
    assert await api.store.delete(before.headers["electric-handle"].partition("~")[0])
    for answer in await asyncio.gather(*live):
        assert (answer.status_code, list(events_of(answer.text))) == (200 if sse else 409, [])
    await eventually(lambda: not next_pages(api)._awaited)


async def test_a_time_that_is_up_at_once_leaves_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, long_poll=0, sse_length=0) as api:
        before = await api.up_to_date()
        for sse in LIVE:
            assert (await api.after(before, live="true", **sse)).status_code == 200
        assert not next_pages(api)._awaited


def test_a_wait_that_its_loop_has_left_behind_keeps_no_client_waiting(tmp_path: Path) -> None:
    store = ShapeStore(tmp_path / "shapes.db", create=SQLSource(url := make_source(tmp_path / "source.db")))
    app = app_of(store, long_poll=60)
    page: list[NextPage] = []

    async def begin() -> httpx.Response:
        async with store, client_of(app) as client:
            api = Api(store, url, client)
            before = await api.up_to_date()
            poll = asyncio.create_task(api.after(before, live="true"))
            await eventually(lambda: api.waiting() == 1)
            page.extend(next_pages(api)._awaited.values())
            poll.cancel()
            await asyncio.wait([poll])
            next_pages(api)._awaited[page[0]._key] = page[0]  # as if the loop had ended before the wait
            return before

    async def go_on(before: httpx.Response) -> httpx.Response:
        async with store, client_of(app) as client:
            api = Api(store, url, client)
            poll = asyncio.create_task(api.after(before, live="true"))
            await eventually(lambda: len(store._live().waits) == 1)
            await api.change("DELETE FROM Track WHERE TrackId = 2")
            return await poll

    assert len(changes_of(asyncio.run(go_on(asyncio.run(begin()))))) == 1
