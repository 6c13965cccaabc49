"""Rows that were read last are kept in memory, and no caller can tell, except by the time that it takes."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from processes import edit

from shapestore import CorruptStoreError, Shape, ShapeStore, keyed
from shapestore.reading import recent_texts

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK = Shape("Track")
SMALL, LARGE = 10, 20_000


class Source:
    """Rows of which one is different after each ``change``."""

    def __init__(self, count: int) -> None:
        self.rows: list[dict[str, Any]] = [{"n": n, "version": 0, "text": "größer"} for n in range(count)]

    def change(self) -> None:
        version = self.rows[3]["version"] + 1
        self.rows = [row | {"version": version} if row["n"] == 3 else row for row in self.rows]

    def __call__(self, shape: Shape) -> list[dict[str, Any]]:
        return self.rows


async def fetched(store: ShapeStore, **how: Any) -> list[dict[str, Any]]:
    """The rows, which both ways of asking for them give."""
    rows = await store.fetch(TRACK, **how)
    assert json.loads(await store.fetch_json(TRACK, **how)) == rows
    return rows


@pytest.mark.parametrize("how", [{}, {"max_age": math.inf}], ids=["of any age", "aged"])
@pytest.mark.parametrize("has_key", [True, False], ids=["with a key", "without"])
@pytest.mark.parametrize("count", [SMALL, LARGE])
async def test_what_another_store_has_written_is_seen_at_once(
    path: str, count: int, has_key: bool, how: dict[str, Any]
) -> None:
    source = Source(count)
    create = keyed(source, "n") if has_key else source
    async with ShapeStore(path, create=create) as store, ShapeStore(path, create=create) as other:
        for _ in range(3):
            assert await fetched(store, **how) == await fetched(store, **how) == source.rows
            source.change()
            await other.refresh(TRACK)
            assert await fetched(store, **how) == source.rows
        await other.invalidate("Track")
        source.change()
        assert await fetched(store, **how) == source.rows


@pytest.mark.parametrize("count", [0, 1, SMALL, LARGE])
async def test_rows_are_read_from_the_file_once(path: str, count: int) -> None:
    rows = [{"n": n, "text": "x" * 40} for n in range(count)]
    async with ShapeStore(path, create=lambda _: rows) as store, ShapeStore(path) as other:
        for _ in range(2):
            assert await fetched(store) == rows
        if count:
            edit(path, "DELETE FROM shape_rows")
            with pytest.raises(CorruptStoreError, match="are missing"):
                await other.fetch(TRACK)
        for how in ({}, {"max_age": 3600}):
            assert await fetched(store, **how) == rows


async def test_the_caller_may_change_the_rows_that_it_was_given(path: str) -> None:
    async with ShapeStore(path, create=Source(SMALL)) as store:
        for _ in range(3):
            rows = await store.fetch(TRACK)
            assert rows == Source(SMALL).rows
            rows[0]["n"] = "changed"
            rows.clear()


async def test_a_shape_that_grows_or_shrinks_is_still_itself(path: str) -> None:
    source = Source(SMALL)
    async with ShapeStore(path, create=keyed(source, "n")) as store:
        for count in (SMALL, LARGE, 0, LARGE, SMALL):
            source.rows = Source(count).rows
            await store.refresh(TRACK)
            for _ in range(2):
                assert await fetched(store) == source.rows


async def test_what_counts_as_stale_is_read_again_though_it_is_kept(path: str) -> None:
    source = Source(SMALL)
    async with ShapeStore(path, create=source) as store:
        assert await fetched(store) == source.rows
        source.change()
        await store.touched("Track")
        assert await fetched(store) == source.rows
        source.change()
        assert await fetched(store, max_age=0) == source.rows


async def test_stores_of_two_namespaces_do_not_share_texts(path: str) -> None:
    one, two = ([{"store": number}] for number in (1, 2))
    async with (
        ShapeStore(path, create=lambda _: one) as first,
        ShapeStore(path, create=lambda _: two, namespace="second") as second,
    ):
        for _ in range(2):
            assert await fetched(first) == one
            assert await fetched(second) == two


async def test_other_tasks_have_their_turns_between_the_pieces_of_a_large_shape(path: str) -> None:
    async with ShapeStore(path, create=Source(LARGE)) as store:
        await store.fetch(TRACK)
        fetching = asyncio.create_task(store.fetch(TRACK))
        turns = 0
        while not fetching.done():
            await asyncio.sleep(0)
            turns += 1
        assert len(await fetching) == LARGE
        assert turns > 2


async def test_memory_is_limited(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_texts, "MOST_BYTES", 10_000)
    monkeypatch.setattr(recent_texts, "MOST_BYTES_OF_ONE", 4_000)
    async with ShapeStore(path, create=lambda shape: [{"text": "x" * int(shape.table)}]) as store:
        texts = store._lifecycle.live.recent_texts
        for size in (*range(20), *range(2_000, 2_020), 5_000, 200_000, *range(20)):
            [row] = await store.fetch(Shape(str(size)))
            assert row == {"text": "x" * size} == (await store.fetch(Shape(str(size))))[0]
            assert texts._bytes == sum(text.size for text in texts._texts.values()) <= 10_000
            assert all(len(piece) < 4_000 for text in texts._texts.values() for piece in text.pieces)
            assert (Shape(str(size)).comparable in texts._texts) == (size < 4_000)
        for digit in "0123456789":
            await store.fetch(Shape("1", where="text = :text", params={"text": digit * 3_000}))
            assert sum(map(len, texts._texts)) <= 10_000, "keys may be long too"


async def test_a_copy_that_was_put_back_holds_what_it_says(path: str) -> None:
    """What is stored after it goes on from the positions of before, with other rows."""
    source = Source(SMALL)
    async with ShapeStore(path, create=keyed(source, "n")) as store:
        with closing(sqlite3.connect(":memory:")) as copy, closing(sqlite3.connect(path)) as file:
            old = await fetched(store)
            file.backup(copy)
            for _ in range(3):
                for _ in range(2):
                    source.change()
                    await store.refresh(TRACK)
                    assert await fetched(store) == source.rows
                copy.backup(file)
                assert await fetched(store) == old
