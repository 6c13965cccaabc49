"""Some of a shape's rows as they are now, and what a client needs to go on from them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from served_shapes import Api, app_of, changes_of, client_of, make_source, served

from shapestore import ShapeStore, SQLSource
from shapestore.http.serving import subsets
from shapestore.source.sqlite_feed.installation import install


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with served(tmp_path) as api:
        yield api


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["value"]["TrackId"] for row in answer.json()["data"]]


async def test_a_subset_is_rows_and_what_they_have_seen(api: Api) -> None:
    answer = await api.get("now", subset__where='"TrackId" = $1', subset__params='{"1":"2"}')
    body = answer.json()
    mark = body["metadata"].pop("snapshot_mark")
    assert body["metadata"] == {"database_lsn": "1", "xmin": "1", "xmax": "1", "xip_list": []}
    assert body["data"] == [
        {
            "key": '"public"."Track"/"2"',
            "value": {"TrackId": "2", "Name": "track 2", "Price": "1"},
            "headers": {"operation": "insert", "relation": ["public", "Track"], "snapshot_mark": mark},
        }
    ]
    assert answer.headers["electric-offset"] == "0_0"
    assert answer.headers["electric-snapshot"] == "true"
    assert "electric-handle" in answer.headers
    assert list(json.loads(answer.headers["electric-schema"])) == ["TrackId", "Name", "Price"]
    assert "electric-up-to-date" not in answer.headers


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ({"order_by": '"TrackId" DESC', "limit": "2"}, ["5", "4"]),
        ({"order_by": '"TrackId"', "limit": "2", "offset": "3"}, ["4", "5"]),
        ({"order_by": '"Name" DESC, "TrackId"', "limit": "1"}, ["5"]),
        ({"where": '"Price" > 1.2'}, ["3", "4", "5"]),
        ({"where": "false"}, []),
    ],
)
async def test_which_rows_and_in_which_order(api: Api, subset: dict[str, str], expected: list[str]) -> None:
    given = {f"subset__{name}": text for name, text in subset.items()}
    assert ids(await api.get("now", **given)) == expected
    assert ids(await api.client.post("/v1/shape", params={"table": "Track", "offset": "now"}, json=subset)) == expected


async def test_a_subset_is_of_the_rows_of_the_shape_alone(api: Api) -> None:
    assert ids(await api.get("now", where='"TrackId" < 3', subset__where='"TrackId" > 1 OR true')) == ["1", "2"]


@pytest.mark.parametrize("live", [{"live": "true"}, {"live": "true", "live_sse": "true"}])
async def test_a_subset_is_never_live(api: Api, live: dict[str, str]) -> None:
    before = await api.up_to_date()
    answer = await api.after(before, subset__where='"TrackId" = 2', **live)
    assert ids(answer) == ["2"]
    assert answer.headers["content-type"] == "application/json"
    assert "electric-schema" in answer.headers
    assert "electric-cursor" not in answer.headers


async def test_a_client_goes_on_from_where_it_was_or_from_before_the_rows_were_read(api: Api) -> None:
    before = await api.up_to_date()
    await api.change("DELETE FROM Track WHERE TrackId = 1")
    subset = await api.after(before, subset__where='"TrackId" < 3')
    assert (ids(subset), subset.headers["electric-offset"]) == (["2"], before.headers["electric-offset"])
    assert len(changes_of(await api.after(subset))) == 1
    first = await api.get("now", subset__where='"TrackId" < 3')
    assert changes_of(await api.after(first)) == []


async def test_rows_are_read_from_the_source_and_not_from_the_store(api: Api) -> None:
    await api.get()
    api.write("DELETE FROM Track WHERE TrackId = 1")
    assert ids(await api.get("now", subset__where='"TrackId" < 3')) == ["2"]


@pytest.mark.parametrize("limit", [{}, {"subset__limit": "9", "subset__order_by": '"TrackId"'}])
async def test_subsets_are_bounded(tmp_path: Path, limit: dict[str, str]) -> None:
    async with served(tmp_path, max_subset_rows=3) as api:
        answer = await api.get("now", subset__where="true", **limit)
        assert answer.status_code == 400
        assert "more than 3 rows" in answer.json()["message"]
        assert ids(await api.get("now", subset__where='"TrackId" < 4')) == ["1", "2", "3"]


async def test_no_more_clients_wait_for_subsets_than_is_allowed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "AT_ONCE", 0)
    monkeypatch.setattr(subsets, "MOST_WAITING", 0)
    answer = await api.get("now", subset__where="true")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_client_of_a_shape_that_is_gone_begins_again_before_it_is_given_rows(api: Api) -> None:
    before = await api.up_to_date()
    await api.store.invalidate("Track")
    assert (await api.after(before, subset__where="true")).status_code == 409


# --- a source that is followed


def follow(api: Api, followed_seq: int, round_: int) -> None:
    """As if a follower had been so far, and the file had seen as many rounds."""
    path = api.source.removeprefix("sqlite:///").replace("source.db", "shapes.db")
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as file, file:
        file.execute("INSERT OR REPLACE INTO sources (number, name, followed_seq) VALUES (1, 'x', ?)", (followed_seq,))
        file.execute("UPDATE shapes SET live = 1, source = 1, source_seq = NULL")
        file.execute("UPDATE log_state SET round = ?", (round_,))


async def test_a_subset_is_answered_once_the_shape_has_been_followed_to_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subsets, "FOLLOWED_SECONDS", 60)
    install(api.source.removeprefix("sqlite:///"), "Track")
    await api.get()
    api.write("UPDATE Track SET Price = 7 WHERE TrackId = 2")
    follow(api, 0, 5)
    asked = asyncio.create_task(api.get("now", subset__where='"TrackId" = 2'))
    while not api.store._live().waits:
        await asyncio.sleep(0.001)
    with contextlib.closing(sqlite3.connect(api.source.removeprefix("sqlite:///"))) as connection:
        [(seq,)] = connection.execute("SELECT max(seq) FROM shapestore_changes")
    follow(api, seq, 9)
    metadata = (await asked).json()["metadata"]
    assert (metadata["xmin"], metadata["xmax"], metadata["database_lsn"]) == (str(seq + 1), str(seq + 1), "9")


async def test_a_follower_that_does_not_come_up_does_not_hold_an_answer_for_ever(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subsets, "FOLLOWED_SECONDS", 0.05)
    install(api.source.removeprefix("sqlite:///"), "Track")
    await api.get()
    follow(api, 0, 5)
    assert ids(await api.get("now", subset__where='"TrackId" = 2')) == ["2"]


def test_an_application_that_another_event_loop_served_before_reads_subsets_as_ever(tmp_path: Path) -> None:
    store = ShapeStore(tmp_path / "shapes.db", create=SQLSource(make_source(tmp_path / "source.db")))
    app = app_of(store)

    async def many() -> None:
        async with store, client_of(app) as client:
            api = Api(store, "", client)
            answers = [api.get("now", subset__where=f'"TrackId" = {n}') for n in range(subsets.AT_ONCE * 3)]
            assert {answer.status_code for answer in await asyncio.gather(*answers)} == {200}

    asyncio.run(many())
    asyncio.run(many())
