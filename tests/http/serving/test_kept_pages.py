"""Pages of snapshots that are kept: no more than there is room for, each made once, and each for whom it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from served_shapes import Api, changes_of, controls_of, served
from starlette.requests import Request

from shapestore import Shape, maintenance
from shapestore.http.messages.messages import Messages
from shapestore.http.serving.kept_pages import ENTRY_BYTES, KeptPages
from shapestore.storage.log import chunks, pages
from shapestore.storage.log.pages import RowLines, SnapshotRange
from shapestore.storage.reader import Reader


def part(number: int) -> SnapshotRange:
    return SnapshotRange("h1", 0, number, number + 1, None)


def test_those_that_were_asked_for_last_are_kept_in_so_many_bytes() -> None:
    kept = KeptPages(10 + 2 * ENTRY_BYTES)
    for number in range(3):
        kept.put(part(number), b"four")
    assert [kept.get(part(number)) for number in range(3)] == [None, b"four", b"four"]
    assert kept.get(part(1)) == b"four"
    kept.put(part(3), b"four")
    assert [kept.get(part(number)) is not None for number in range(4)] == [False, True, False, True]
    kept.put(part(4), b"." * (10 + ENTRY_BYTES))
    assert [kept.get(part(number)) is not None for number in range(5)] == [False, False, False, False, True]


def test_what_has_no_room_is_not_kept_and_nothing_is_forgotten_for_it() -> None:
    kept = KeptPages(3 + ENTRY_BYTES)
    kept.put(part(0), b"one")
    kept.put(part(1), b"four")
    assert (kept.get(part(0)), kept.get(part(1))) == (b"one", None)


def test_small_ones_are_not_kept_without_number() -> None:
    """For each there is more in memory than its bytes."""
    kept = KeptPages(10_000)
    for number in range(1_000):
        kept.put(part(number), b"[]")
    assert sum(kept.get(part(number)) is not None for number in range(1_000)) == 10_000 // (ENTRY_BYTES + 2) == 24


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows that were put into messages, and before that read."""
    counts: list[int] = []
    of_rows, read = Messages.of_rows, pages._rows

    def counted(messages: Messages, lines: RowLines) -> Any:
        counts.append(lines.row_count)
        return of_rows(messages, lines)

    def counted_reading(*arguments: Any) -> RowLines:
        lines = read(*arguments)
        counts.append(lines.row_count)
        return lines

    monkeypatch.setattr(Messages, "of_rows", counted)
    monkeypatch.setattr(pages, "_rows", counted_reading)
    return counts


async def snapshot(api: Api, **more: Any) -> list[bytes]:
    answers = [await api.get(**more)]
    while "electric-up-to-date" not in answers[-1].headers:
        answers.append(await api.after(answers[-1], **more))
    return [answer.content for answer in answers]


async def test_the_rows_of_a_snapshot_are_read_and_made_messages_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[int]
) -> None:
    monkeypatch.setattr(chunks, "PART_BYTES", 300)
    async with served(tmp_path, chunk_bytes=1) as api:
        first = await snapshot(api)
        assert made == [2, 2, 2, 2, 1, 1]
        assert await snapshot(api) == first
        assert await snapshot(api, replica="full") == first
        await api.change("UPDATE Track SET Price = 9 WHERE TrackId = 1")
        assert (await snapshot(api))[:-1] == first[:-1]
        assert made == [2, 2, 2, 2, 1, 1]


async def test_what_is_kept_and_where_it_ends_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask another thread for it would take ten times as long."""

    async def run(_: Reader, work: object) -> Any:
        raise AssertionError("this has to be read")

    monkeypatch.setattr(maintenance, "TICK_SECONDS", 600)  # it reads too
    async with served(tmp_path) as api:
        first = await snapshot(api)
        await api.change("UPDATE Track SET Price = 9 WHERE TrackId = 1")
        changes = await api.after(await api.after(await api.get()))
        monkeypatch.setattr(Reader, "run", run)
        assert (await api.get()).content == first[0]
        assert controls_of(await api.after(changes)) == controls_of(await api.get("now")) == ["up-to-date"]
        monkeypatch.undo()


async def test_the_pages_of_a_shape_that_was_dropped_are_given_to_nobody(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        first = await api.get()
        await api.store.invalidate("Track")
        api.write("DELETE FROM Track WHERE TrackId > 1")
        assert [change["value"]["TrackId"] for change in changes_of(await api.get())] == ["1"]
        assert (await api.get("0_inf", first.headers["electric-handle"])).status_code == 409


async def test_those_who_may_see_other_rows_are_given_other_pages(tmp_path: Path) -> None:
    def may_see(request: Request, shape: Shape) -> Shape:
        return Shape(shape.table, where="TrackId = :id", params={"id": int(request.query_params["user"])})

    async with served(tmp_path, authorize=may_see) as api:
        for user in (1, 2, 1, 2):
            answer = await api.get(user=user)
            assert [change["value"]["TrackId"] for change in changes_of(answer)] == [str(user)]
            of_other = await api.get("0_inf", answer.headers["electric-handle"], user=3 - user)
            assert of_other.status_code == 409


async def test_none_are_kept_where_there_is_no_room_for_any(tmp_path: Path, made: list[int]) -> None:
    async with served(tmp_path, kept_bytes=0) as api:
        assert await snapshot(api) == await snapshot(api)
        assert made == [5, 5, 5, 5]
