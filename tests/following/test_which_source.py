"""Which files are followed: those of all creators, and the file that is at a source's path now."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from followed_store import followed, looked_up, make_source, write
from inspections import eventually
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shapestore import Shape, ShapeStore, SQLSource

ALL = Shape("t")
OF_X = Shape("t", where="a = 'x'")


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = str(tmp_path / "app.db")
    make_source(path)
    return path


async def first_n(store: ShapeStore, shape: Shape, create: SQLSource | None = None) -> int:
    return int((await store.fetch(shape, create))[0]["n"])


async def shows(path: str, n: int) -> None:
    """Wait until a stored row has this value."""
    await eventually(lambda: looked_up(path, f"SELECT 1 FROM shape_rows WHERE value LIKE '%\"n\":{n}}}'"))


@pytest.mark.parametrize("method", ["fetch", "get_or_create"])
async def test_a_creator_that_is_given_with_a_call_follows_what_is_stored_already(
    empty_path: str, source: str, method: str
) -> None:
    """As after each start of an application whose store has no creator of its own: nothing else would tell it."""
    async with ShapeStore(empty_path) as store:
        await store.get_or_create(ALL, SQLSource(f"sqlite:///{source}", follow=True))
    async with ShapeStore(empty_path) as store:
        await getattr(store, method)(ALL, SQLSource(f"sqlite:///{source}", follow=True))
        write(source, "UPDATE t SET n = 100 WHERE id = 1")
        await followed(empty_path, source)
        assert await first_n(store, ALL) == 100


async def test_sources_of_one_url_are_followed_by_one_follower(empty_path: str, source: str) -> None:
    async with ShapeStore(empty_path) as store:
        for _ in range(3):
            await store.get_or_create(ALL, SQLSource(f"sqlite:///{source}", follow=True))
        assert len(store._live().followers._followers) == 1


async def test_engines_whose_url_names_no_file_are_followed_each(empty_path: str, tmp_path: Path) -> None:
    creators = []
    for name in ("a.db", "b.db"):
        make_source(str(tmp_path / name))
        engine = create_engine(
            "sqlite://", creator=lambda name=name: sqlite3.connect(tmp_path / name), poolclass=NullPool
        )
        creators.append(SQLSource(engine, follow=True))
    async with ShapeStore(empty_path, create=creators[0]) as store:
        await store.get_or_create(ALL)
        await store.get_or_create(OF_X, creators[1])
        write(str(tmp_path / "b.db"), "UPDATE t SET n = 100 WHERE id = 1")
        await shows(empty_path, 100)
        assert (await first_n(store, ALL), await first_n(store, OF_X, creators[1])) == (1, 100)
