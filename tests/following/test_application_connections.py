"""What only the application's own connections have: a table that needs it holds up no shape of another one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from followed_store import followed
from inspections import eventually
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from shapestore import CreateFailedError, Shape, ShapeStore, SQLSource
from shapestore.following import rounds

PLAIN = Shape("plain")
COLLATED = Shape("collated")


def connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.create_collation(
        "folded", lambda one, other: (one.lower() > other.lower()) - (one.lower() < other.lower())
    )
    connection.create_function("LOWER", 1, str.lower, deterministic=True)
    connection.create_function("like", 2, lambda pattern, text: text.lower() == pattern.lower().rstrip("%"))
    connection.create_function("doubled", 1, lambda value: 2 * value, deterministic=True)
    return connection


@pytest.fixture
def source(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "app.db")
    with contextlib.closing(connect(path)) as application:
        application.execute("PRAGMA journal_mode = WAL")
        for table, more in (("plain", ""), ("collated", "COLLATE folded"), ("computed", ", d AS (doubled(n))")):
            columns = f"n INTEGER, a TEXT {more}"
            application.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {columns})")
            application.execute(f"INSERT INTO {table} (id, n, a) VALUES (1, 1, 'x')")
        yield path


def engine_of(path: str) -> Engine:
    return create_engine(f"sqlite:///{path}", creator=lambda: connect(path), poolclass=NullPool)


def write_all(path: str) -> None:
    with contextlib.closing(connect(path)) as application:
        for table in ("plain", "collated", "computed"):
            application.execute(f"UPDATE {table} SET n = 2")


async def n_of(store: ShapeStore, shape: Shape) -> int:
    [row] = await store.fetch(shape)
    return int(row["n"])


async def test_a_column_with_a_collation_of_the_application_is_followed(empty_path: str, source: str) -> None:
    async with ShapeStore(empty_path, create=SQLSource(engine_of(source), follow=True)) as store:
        for shape in (PLAIN, COLLATED):
            await store.get_or_create(shape)
        write_all(source)
        await followed(empty_path, source)
        assert [await n_of(store, shape) for shape in (PLAIN, COLLATED)] == [2, 2]


@pytest.mark.parametrize(
    "shape",
    [
        Shape("collated", where="a = 'X'"),
        Shape("plain", where="lower(a) = 'x' OR n > 5"),
        Shape("plain", where="a LIKE 'X%'"),
    ],
    ids=["collation", "function", "LIKE"],
)
async def test_a_where_that_means_something_else_to_the_application_is_not_followed(
    empty_path: str, source: str, caplog: pytest.LogCaptureFixture, shape: Shape
) -> None:
    async with ShapeStore(empty_path, create=SQLSource(engine_of(source), follow=True)) as store:
        await store.get_or_create(PLAIN)
        stored = await store.get_or_create(shape)
        await eventually(lambda: "1 shapes are stored, but not followed" in caplog.text)
        write_all(source)
        await followed(empty_path, source)
        assert (await n_of(store, PLAIN), await n_of(store, shape)) == (2, 1)
        left = await store.get_by_handle(stored)
        assert left is not None
        assert not left.live


async def test_a_column_by_a_function_of_the_application_ends_the_shapes_of_its_table_alone(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "REFUSED_MS", 600_000)
    async with ShapeStore(empty_path, create=SQLSource(engine_of(source), follow=True)) as store:
        whole, some = Shape("computed"), Shape("computed", columns=["id", "n"])
        for shape in (PLAIN, whole, some):
            await store.get_or_create(shape)
        write_all(source)
        await followed(empty_path, source)
        assert (await n_of(store, PLAIN), await n_of(store, some)) == (2, 2)
        with pytest.raises(CreateFailedError, match=r"the rows of the table cannot be read: .*doubled"):
            await store.get_or_create(whole)
