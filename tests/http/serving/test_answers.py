"""Each answer to a request for a log: its status, its headers, its messages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from inspections import eventually
from served_shapes import Api, app_of, changes_of, client_of, controls_of, events_of, served

from shapestore import Shape
from shapestore.storage.log import chunks

UP_TO_DATE = "electric-up-to-date"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with served(tmp_path) as api:
        yield api


# --- the snapshot


async def test_the_first_answer_is_the_first_part_of_the_snapshot_and_never_the_end(api: Api) -> None:
    answer = await api.get()
    assert answer.status_code == 200
    assert [change["value"] for change in changes_of(answer)] == [
        {"TrackId": str(n), "Name": f"track {n}", "Price": str(n / 2).removesuffix(".0")} for n in range(1, 6)
    ]
    assert controls_of(answer) == ["snapshot-end"]
    assert answer.headers["electric-offset"] == "0_0"
    assert re.fullmatch(r"[0-9a-f]+~0", answer.headers["electric-handle"])
    assert answer.headers["electric-schema"] == (
        '{"TrackId":{"type":"int4","pk_index":0,"not_null":true},"Name":{"type":"text","not_null":true},'
        '"Price":{"type":"float8"}}'
    )
    assert UP_TO_DATE not in answer.headers
    assert "electric-cursor" not in answer.headers


async def test_the_end_of_the_log_is_up_to_date(api: Api) -> None:
    first = await api.get()
    answer = await api.after(first)
    assert answer.json() == [{"headers": {"control": "up-to-date", "global_last_seen_lsn": "1"}}]
    assert answer.headers[UP_TO_DATE] == ""
    assert answer.headers["electric-offset"] == "0_0"
    assert answer.headers["electric-handle"] == first.headers["electric-handle"]
    assert "electric-schema" in answer.headers


async def test_a_snapshot_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PART_BYTES", 300)
    async with served(tmp_path, chunk_bytes=1) as api:
        answers = [await api.get()]
        while UP_TO_DATE not in answers[-1].headers:
            answers.append(await api.after(answers[-1]))
        assert [answer.headers["electric-offset"] for answer in answers] == ["0_0", "0_1", "0_2", "0_2"]
        assert [control for answer in answers for control in controls_of(answer)] == ["snapshot-end", "up-to-date"]
        keys = [change["key"] for answer in answers for change in changes_of(answer)]
        assert keys == [f'"public"."Track"/"{n}"' for n in range(1, 6)]


async def test_an_empty_shape_has_one_part_without_rows(api: Api) -> None:
    first = await api.get(where="\"Name\" = 'none'")
    assert (controls_of(first), first.headers["electric-offset"]) == (["snapshot-end"], "0_0")
    assert controls_of(await api.after(first, where="\"Name\" = 'none'")) == ["up-to-date"]


async def test_a_client_that_wants_changes_only_is_given_no_rows(api: Api) -> None:
    first = await api.get(log="changes_only")
    assert (changes_of(first), controls_of(first)) == ([], ["snapshot-end"])
    assert first.headers["electric-offset"] == "0_0"
    assert UP_TO_DATE not in first.headers
    await api.change("DELETE FROM Track WHERE TrackId = 2")
    assert [change["key"] for change in changes_of(await api.after(first, log="changes_only"))] == [
        '"public"."Track"/"2"'
    ]


async def test_from_now_on_means_the_end_of_the_log(api: Api) -> None:
    answer = await api.get("now")
    assert (controls_of(answer), answer.headers["electric-offset"]) == (["up-to-date"], "0_0")
    await api.change("DELETE FROM Track WHERE TrackId = 2")
    now = await api.get("now")
    assert changes_of(now) == []
    assert now.headers["electric-offset"] == (await api.up_to_date()).headers["electric-offset"]
    assert controls_of(await api.after(now)) == ["up-to-date"]


# --- changes


async def test_changes_come_with_their_place_in_the_log(api: Api) -> None:
    before = await api.up_to_date()
    await api.change(
        "UPDATE Track SET Name = 'new' WHERE TrackId = 1",
        "DELETE FROM Track WHERE TrackId = 2",
        "INSERT INTO Track VALUES (9, 'nine', NULL)",
    )
    answer = await api.after(before)
    round_, position = answer.headers["electric-offset"].split("_")
    told = changes_of(answer)
    assert [(change["headers"]["operation"], change["value"]) for change in told] == [
        ("update", {"TrackId": "1", "Name": "new"}),
        ("delete", {"TrackId": "2"}),
        ("insert", {"TrackId": "9", "Name": "nine", "Price": None}),
    ]
    assert {change["headers"]["lsn"] for change in told} == {round_}
    assert [change["headers"]["op_position"] for change in told] == [6, 7, 8]
    assert position == "8"
    assert [change["headers"].get("last") for change in told] == [None, None, True]
    assert answer.json()[-1] == {"headers": {"control": "up-to-date", "global_last_seen_lsn": round_}}
    assert UP_TO_DATE in answer.headers


async def test_a_client_may_want_whole_rows_and_the_old_values(api: Api) -> None:
    before = await api.up_to_date()
    await api.change("UPDATE Track SET Name = 'new' WHERE TrackId = 1", "DELETE FROM Track WHERE TrackId = 2")
    update, delete = changes_of(await api.after(before, replica="full"))
    assert update["value"] == {"TrackId": "1", "Name": "new", "Price": "0.5"}
    assert update["old_value"] == {"Name": "track 1"}
    assert delete["value"] == {"TrackId": "2", "Name": "track 2", "Price": "1"}


@pytest.mark.parametrize("offset", ["0_0", "0_inf"])
async def test_the_last_part_of_the_snapshot_has_two_names(api: Api, offset: str) -> None:
    handle = (await api.get()).headers["electric-handle"]
    await api.change("DELETE FROM Track WHERE TrackId = 2")
    assert len(changes_of(await api.get(offset, handle))) == 1


@pytest.mark.parametrize("position", ["0", "inf"])
async def test_a_round_stands_for_all_that_was_logged_up_to_it(api: Api, position: str) -> None:
    before = await api.up_to_date()
    await api.change("DELETE FROM Track WHERE TrackId = 2")
    answer = await api.after(before)
    seen = answer.json()[-1]["headers"]["global_last_seen_lsn"]
    handle = answer.headers["electric-handle"]
    assert controls_of(await api.get(f"{seen}_{position}", handle)) == ["up-to-date"]
    await api.change("DELETE FROM Track WHERE TrackId = 3")
    assert len(changes_of(await api.get(f"{seen}_{position}", handle))) == 1


# --- begin again


@pytest.mark.parametrize("offset", ["0_1", "0_99999999999", "7_1", "1_6", "99999999999_0", "7_inf", "1_999999999999"])
async def test_an_offset_that_was_not_given_out_is_answered_by_another_handle_of_the_same_shape(
    api: Api, offset: str
) -> None:
    handle = (await api.get()).headers["electric-handle"]
    answer = await api.get(offset, handle)
    assert answer.status_code == 409
    assert answer.json() == [{"headers": {"control": "must-refetch"}}]
    new = answer.headers["electric-handle"]
    assert new != handle
    assert new.partition("~")[0] == handle.partition("~")[0]
    again = await api.get(handle=new, expired_handle=handle)
    assert again.status_code == 200
    assert again.headers["electric-handle"] != handle
    assert controls_of(await api.after(again)) == ["up-to-date"]


async def test_a_handle_of_nothing_is_answered_by_the_shapes_own(api: Api) -> None:
    known = (await api.get()).headers["electric-handle"]
    for handle in ("nothing", "nothing~0", f"x{known}", "~", "\x7f"):
        answer = await api.get("0_0", handle)
        assert (answer.status_code, answer.headers["electric-handle"]) == (409, known)


async def test_a_handle_of_another_definition_is_answered_by_the_shapes_own(api: Api) -> None:
    other = (await api.get(where='"TrackId" = 1')).headers["electric-handle"]
    answer = await api.get("0_0", other)
    assert answer.status_code == 409
    assert answer.headers["electric-handle"] == (await api.get()).headers["electric-handle"] != other


@pytest.mark.parametrize("live", [{}, {"live": "true"}, {"live": "true", "live_sse": "true"}])
async def test_a_shape_that_was_dropped_begins_again_under_a_new_handle(api: Api, live: dict[str, str]) -> None:
    before = await api.up_to_date()
    await api.store.invalidate("Track")
    answer = await api.after(before, **live)
    assert answer.status_code == 409
    assert answer.headers["electric-handle"].partition("~")[0] != before.headers["electric-handle"].partition("~")[0]


async def test_no_answer_bears_a_handle_that_has_expired(api: Api) -> None:
    handle = (await api.get()).headers["electric-handle"]
    others = [
        await api.get(expired_handle=handle),
        await api.get("now", expired_handle=handle),
        await api.get("0_0", handle, expired_handle=handle),
        await api.get("0_9", handle, expired_handle=handle),
    ]
    for answer in others:
        assert answer.headers["electric-handle"] != handle
    assert (await api.after(others[0])).status_code == 200


# --- live


async def test_a_long_poll_without_a_change_says_that_the_client_is_up_to_date(api: Api) -> None:
    before = await api.up_to_date()
    answer = await api.after(before, live="true")
    assert (answer.status_code, controls_of(answer)) == (200, ["up-to-date"])
    assert answer.headers["electric-offset"] == before.headers["electric-offset"]
    assert "electric-schema" not in answer.headers
    assert int(answer.headers["electric-cursor"]) > 0
    again = await api.after(before, live="true", cursor=answer.headers["electric-cursor"])
    assert int(again.headers["electric-cursor"]) > int(answer.headers["electric-cursor"])


async def test_a_long_poll_is_answered_as_soon_as_there_is_a_change(tmp_path: Path) -> None:
    async with served(tmp_path, long_poll=60) as api:
        before = await api.up_to_date()
        polls = [asyncio.create_task(api.after(before, live="true")) for _ in range(10)]
        while not api.store._live().waits:
            await asyncio.sleep(0.01)
        await api.change("DELETE FROM Track WHERE TrackId = 2")
        answers = await asyncio.gather(*polls)
        assert [len(changes_of(answer)) for answer in answers] == [1] * 10
        assert len({answer.content for answer in answers}) == 1


async def test_changes_of_other_shapes_end_no_long_poll(tmp_path: Path) -> None:
    async with served(tmp_path, long_poll=60) as api:
        before = await api.up_to_date()
        poll = asyncio.create_task(api.after(before, live="true"))
        while not api.store._live().waits:
            await asyncio.sleep(0.01)
        other = Shape("Track", where='"TrackId" = 1')
        await api.store.get_or_create(other)
        await api.change("UPDATE Track SET Name = 'x' WHERE TrackId = 1", shape=other)
        assert not poll.done()
        api.stop()
        assert controls_of(await poll) == ["up-to-date"]
        async with client_of(app_of(api.store, long_poll=0.1)) as client:
            answer = await Api(api.store, api.source, client).after(before, live="true")
        assert controls_of(answer) == ["up-to-date"]
        # What it was told last is as new as the file, though nothing has changed for it.
        assert int(answer.json()[0]["headers"]["global_last_seen_lsn"]) > 1


async def test_a_stream_of_events_tells_what_has_changed_and_then_that_this_is_all(tmp_path: Path) -> None:
    async with served(tmp_path, sse_length=60) as api:
        before = await api.up_to_date()
        await api.change("DELETE FROM Track WHERE TrackId = 2")
        body = api.hear()
        stream = asyncio.create_task(api.after(before, live="true", live_sse="true"))
        await eventually(lambda: b"up-to-date" in body)
        await api.change("DELETE FROM Track WHERE TrackId = 3")
        await eventually(lambda: body.count(b"up-to-date") == 2 and b": keep-alive\n\n" in body)
        api.stop()
        answer = await stream
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["electric-offset"] == before.headers["electric-offset"]
        assert "electric-cursor" in answer.headers
        told = list(events_of(answer.text))
        assert [event.get("key") for event in told] == ['"public"."Track"/"2"', None, '"public"."Track"/"3"', None]
        assert told[1]["headers"]["control"] == told[3]["headers"]["control"] == "up-to-date"
        # The client's next offset is the round that it was told last.
        seen = told[3]["headers"]["global_last_seen_lsn"]
        assert controls_of(await api.get(f"{seen}_0", answer.headers["electric-handle"])) == ["up-to-date"]


async def test_a_stream_of_events_may_be_asked_for_by_its_older_name(api: Api) -> None:
    before = await api.up_to_date()
    answer = await api.after(before, live="true", experimental_live_sse="true")
    assert answer.headers["content-type"] == "text/event-stream"
    assert list(events_of(answer.text)) == []


async def test_a_stream_of_events_ends_when_its_shape_does(tmp_path: Path) -> None:
    async with served(tmp_path, sse_length=60) as api:
        before = await api.up_to_date()
        stream = asyncio.create_task(api.after(before, live="true", live_sse="true"))
        while not api.store._live().waits:
            await asyncio.sleep(0.01)
        await api.store.invalidate("Track")
        assert list(events_of((await stream).text)) == []


@pytest.mark.parametrize("sse", [{}, {"live_sse": "true"}])
async def test_live_clients_are_bounded(tmp_path: Path, sse: dict[str, str]) -> None:
    async with served(tmp_path, long_poll=60, sse_length=60, max_live=1) as api:
        before = await api.up_to_date()
        first = asyncio.create_task(api.after(before, live="true"))
        while not api.store._live().waits:
            await asyncio.sleep(0.01)
        refused = await api.after(before, live="true", **sse)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        await api.change("DELETE FROM Track WHERE TrackId = 2")
        await first
        assert len(changes_of(await api.after(before, live="true"))) == 1


async def test_live_answers_end_when_the_store_closes(tmp_path: Path) -> None:
    async with served(tmp_path, long_poll=60, sse_length=60, keep_alive=60) as api:
        before = await api.up_to_date()
        poll, stream = (
            asyncio.create_task(api.after(before, live="true", **sse)) for sse in ({}, {"live_sse": "true"})
        )
        while api.waiting() < 2:
            await asyncio.sleep(0.01)
        await api.store.close()
        assert ((await poll).status_code, (await stream).status_code, (await stream).text) == (503, 200, "")


async def test_live_answers_end_when_the_application_stops(tmp_path: Path) -> None:
    async with served(tmp_path, long_poll=60, sse_length=60) as api:
        before = await api.up_to_date()
        app = api.client._transport.app  # type: ignore[attr-defined]
        live = [asyncio.create_task(api.after(before, live="true", **sse)) for sse in ({}, {"live_sse": "true"}) * 5]
        while api.waiting() < 10:
            await asyncio.sleep(0.01)
        app.stop()
        for answer in await asyncio.gather(*live):
            assert answer.status_code == 200
        assert controls_of(await api.after(before, live="true")) == ["up-to-date"]
