"""SQLSource on PostgreSQL, over a server that these tests start. Skipped where there is none to start."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shapestore import CreateFailedError, Shape, ShapeStore, SQLSource
from shapestore.errors import UnknownColumnError, UnknownTableError

psycopg = pytest.importorskip("psycopg")

SCHEMA = r"""
    CREATE SCHEMA sales;
    CREATE TYPE mood AS ENUM ('calm', 'loud');
    CREATE TABLE sales."Album" (
        id uuid PRIMARY KEY, title text NOT NULL, price numeric(10, 2), cover bytea, released date, sold_at timestamptz,
        plays bigint, live boolean, tags text[], extra jsonb, mood mood, "50% :x" int
    );
    INSERT INTO sales."Album" VALUES
        ('00000000-0000-0000-0000-000000000002', 'it''s :one', 12, NULL, NULL,
         NULL, NULL, false, NULL, NULL, 'calm', 5),
        ('00000000-0000-0000-0000-000000000001', 'Ten: 50% \ "live"', 9.5, '\x00ff', '1991-08-27',
         '2024-01-02 03:04:05+00', 7, true, '{rock,grunge}', '{"a": [1]}', 'loud', 6);
    CREATE TABLE number AS SELECT n FROM generate_series(1, 100000) AS n;
    CREATE VIEW half AS SELECT n, 1 / (n - 50000) AS c FROM number;
    CREATE MATERIALIZED VIEW few AS SELECT n FROM number WHERE n <= 3;
"""


@pytest.fixture(scope="module")
def server_url(postgres_url: str) -> str:
    execute(postgres_url, SCHEMA)
    return postgres_url


@pytest.fixture
def source(server_url: str) -> SQLSource:
    return SQLSource(server_url, batch_size=100)


def execute(url: str, script: str) -> list[Any]:
    """Run statements over a connection of their own; the rows of the last."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.exec_driver_sql(script, execution_options={"no_parameters": True})
        return list(result) if result.returns_rows else []


def titles(source: SQLSource, where: str, **params: Any) -> list[str]:
    shape = Shape("sales.Album", where=where, params=params or None, columns=["title"])
    return [row["title"][:3] for row in source(shape)]


def test_values_come_as_python_has_them_and_in_the_order_of_the_key(source: SQLSource) -> None:
    first, second = source(Shape("sales.Album"))
    assert first == {
        "id": UUID(int=1),
        "title": 'Ten: 50% \\ "live"',
        "price": Decimal("9.50"),
        "cover": b"\0\xff",
        "released": datetime.date(1991, 8, 27),
        "sold_at": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "plays": 7,
        "live": True,
        "tags": ["rock", "grunge"],
        "extra": {"a": [1]},
        "mood": "loud",
        "50% :x": 6,
    }
    assert second["id"] == UUID(int=2)


@pytest.mark.parametrize(
    ("where", "params", "expected"),
    [
        ("title = 'it''s :one'", {}, ["it'"]),
        ("title = :title", {"title": "it's :one"}, ["it'"]),
        ("title LIKE '%: 50#% \\ \"%' ESCAPE '#'", {}, ["Ten"]),
        ("released = :day", {"day": "1991-08-27"}, ["Ten"]),
        ("released > '1990-01-01'", {}, ["Ten"]),
        ("sold_at BETWEEN :from AND :to", {"from": "2024-01-01T00:00Z", "to": "2025-01-01T00:00Z"}, ["Ten"]),
        ("price = 9.5", {}, ["Ten"]),
        ("price > :least", {"least": 9.75}, ["it'"]),
        ("id = :id", {"id": "00000000-0000-0000-0000-000000000002"}, ["it'"]),
        ("plays IN (:a, :b)", {"a": 7, "b": 2**40}, ["Ten"]),
        ("plays % 2 = 1", {}, ["Ten"]),
        ('"50% :x" = :five', {"five": 5}, ["it'"]),
        ("live = TRUE OR mood = 'calm'", {}, ["Ten", "it'"]),
        ("live = :live", {"live": False}, ["it'"]),
        ("cover IS NULL", {}, ["it'"]),
        ("lower(substr(title, 1, :n)) || '!' = 'ten!'", {"n": 3}, ["Ten"]),
        ("coalesce(plays, 0) = 0", {}, ["it'"]),
    ],
)
def test_a_where_selects_rows(source: SQLSource, where: str, params: dict[str, Any], expected: list[str]) -> None:
    assert titles(source, where, **params) == expected


@pytest.mark.parametrize("table", ["few", "public.few"])
def test_a_materialized_view_is_read_as_a_table_is(source: SQLSource, table: str) -> None:
    assert list(source(Shape(table))) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_unknown_names_are_said_with_those_that_are_there(source: SQLSource) -> None:
    with pytest.raises(UnknownTableError, match=r'no table or view "sales\.album"; did you mean "sales\.Album"\?'):
        list(source(Shape("sales.album")))
    with pytest.raises(UnknownColumnError, match=r'has no column "N"; did you mean "n"\? It has "n"$'):
        list(source(Shape("number", where="N = 1")))


def test_rows_are_streamed_by_a_cursor_of_the_server(source: SQLSource, server_url: str) -> None:
    rows = source(Shape("number"))
    next(rows)
    [(statement,)] = execute(server_url, "SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'")
    assert statement.startswith("FETCH FORWARD")
    rows.close()  # type: ignore[attr-defined]
    assert execute(server_url, "SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction'") == []


def test_a_shape_is_read_as_of_one_moment_whatever_the_engine_is_set_to(server_url: str) -> None:
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    execute(server_url, "CREATE TABLE changing AS SELECT n FROM generate_series(1, 5000) AS n")
    rows = SQLSource(engine, batch_size=10)(Shape("changing"))
    next(rows)
    execute(server_url, "DELETE FROM changing")
    assert len(list(rows)) == 4999
    engine.dispose()


def test_a_source_that_fails_half_way_is_the_drivers_error(source: SQLSource) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero, match=r"^division by zero$"):
        list(source(Shape("half")))


def test_a_source_that_goes_away_half_way_is_the_drivers_error(source: SQLSource, server_url: str) -> None:
    rows = source(Shape("number"))
    next(rows)
    execute(server_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'")
    with pytest.raises(psycopg.OperationalError, match=r"^terminating connection due to administrator command"):
        list(rows)


def test_a_server_that_is_not_there_is_the_drivers_error(server_url: str) -> None:
    source = SQLSource(server_url.replace("pg-", "none-"))
    with pytest.raises(psycopg.OperationalError, match="No such file or directory") as caught:
        list(source(Shape("number")))
    assert "sqlalche.me" not in str(caught.value)


async def test_a_store_serves_what_the_server_has(source: SQLSource, tmp_path: Any) -> None:
    async with ShapeStore(tmp_path / "shapes.db", create=source) as store:
        stored = await store.get_or_create(Shape("number", where="n <= :n", params={"n": 30_000}))
        album = await store.get_or_create(Shape("sales.Album", columns=["id", "price", "cover", "released"]))
        with pytest.raises(CreateFailedError, match="DivisionByZero: division by zero"):
            await store.get_or_create(Shape("half"))
        assert stored.row_count == 30_000
        assert await anext(store.rows(album.handle)) == {
            "id": "00000000-0000-0000-0000-000000000001",
            "price": "9.50",
            "cover": "AP8=",
            "released": "1991-08-27",
        }
