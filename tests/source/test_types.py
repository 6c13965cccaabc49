"""Every type that the drivers of SQLite, PostgreSQL and MariaDB give by default has a form in JSON. By real servers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shapestore import InvalidRowError, Shape, ShapeStore, SQLSource

POSTGRES: list[tuple[str, str, Any]] = [  # type, literal, what a store serves
    ("smallint", "-7", -7),
    ("bigint", "9223372036854775807", 2**63 - 1),
    ("numeric", "1e30", "1000000000000000000000000000000"),
    ("numeric(10, 2)", "9.50", "9.50"),
    ("real", "0.5", 0.5),
    ("double precision", "0.1", 0.1),
    ("money", "1.5", "$1.50"),
    ("text", "it's", "it's"),
    ("varchar(3)", "abc", "abc"),
    ("char(5)", "abc", "abc  "),
    ("name", "abc", "abc"),
    ("bytea", r"\x00ff", "AP8="),
    ("boolean", "true", True),
    ("date", "2024-01-02", "2024-01-02"),
    ("time", "03:04:05.5", "03:04:05.500000"),
    ("timetz", "03:04:05+01:30", "03:04:05+01:30"),
    ("timestamp", "2024-01-02 03:04:05", "2024-01-02T03:04:05"),
    ("timestamptz", "2024-01-02 03:04:05+02", "2024-01-02T01:04:05Z"),
    ("timestamptz", "1900-01-01 00:00:00+00:19:32", "1899-12-31T23:40:28Z"),
    ("interval", "1 month 2 days 03:00:00", "P32DT10800S"),
    ("interval", "-1 hour", "-PT3600S"),
    ("uuid", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"),
    ("inet", "10.0.0.1", "10.0.0.1"),
    ("inet", "10.0.0.1/8", "10.0.0.1/8"),
    ("cidr", "2001:db8::/32", "2001:db8::/32"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03"),
    ("json", '{"a": [1, null, 0.5]}', {"a": [1, None, 0.5]}),
    ("jsonb", '"text"', "text"),
    ("xml", "<a>b</a>", "<a>b</a>"),
    ("bit(3)", "101", "101"),
    ("varbit", "1", "1"),
    ("int[]", "{1,NULL,3}", [1, None, 3]),
    ("int[]", "{{1,2},{3,4}}", [[1, 2], [3, 4]]),
    ("inet[]", "{10.0.0.1}", ["10.0.0.1"]),
    ("numeric[]", "{1.10}", ["1.10"]),
    ("int4range", "[1,5]", "[1,6)"),
    ("int4range", "empty", "empty"),
    ("int8range", "(,5)", "(,5)"),
    ("numrange", "(1.5,2]", "(1.5,2]"),
    ("daterange", "[2024-01-01,2024-02-01)", "[2024-01-01,2024-02-01)"),
    ("tstzrange", "[2024-01-01 00:00+01,)", "[2023-12-31T23:00:00+00:00,)"),
    ("int4multirange", "{[1,2),[4,6)}", "{[1,2),[4,6)}"),
    ("int4range[]", '{"[1,2)"}', ["[1,2)"]),
    ("mood", "calm", "calm"),
    ("pair", "(1,x)", "(1,x)"),
    ("year", "2024", 2024),
    ("point", "(1,2)", "(1,2)"),
    ("box", "(1,2),(0,0)", "(1,2),(0,0)"),
    ("tsvector", "a b", "'a' 'b'"),
    ("tsquery", "a & b", "'a' & 'b'"),
    ("oid", "7", 7),
    ("pg_lsn", "16/B374D848", "16/B374D848"),
    ("jsonpath", "$.a", '$."a"'),
]
MARIADB: list[tuple[str, str, Any]] = [
    ("tinyint", "-7", -7),
    ("boolean", "1", 1),
    ("bigint unsigned", "18446744073709551615", 2**64 - 1),
    ("int zerofill", "7", 7),
    ("decimal(65, 30)", "1.5", "1.500000000000000000000000000000"),
    ("float", "0.5", 0.5),
    ("double", "0.1", 0.1),
    ("bit(3)", "5", "BQ=="),
    ("varchar(9)", "it's", "it's"),
    ("char(9)", "abc", "abc"),
    ("longtext", "漢😀", "漢😀"),
    ("blob", "a\0b", "YQBi"),
    ("varbinary(9)", "ab", "YWI="),
    ("date", "2024-01-02", "2024-01-02"),
    ("time", "03:04:05", "03:04:05"),
    ("time(6)", "-26:00:00.5", "-26:00:00.500000"),
    ("datetime(3)", "2024-01-02 03:04:05.5", "2024-01-02T03:04:05.500000"),
    ("timestamp", "2024-01-02 03:04:05", "2024-01-02T03:04:05"),
    ("year", "2024", 2024),
    ("enum('calm', 'loud')", "calm", "calm"),
    ("set('a', 'b', 'c')", "a,c", "a,c"),
    ("json", '{"a": [1, null]}', '{"a": [1, null]}'),
    ("uuid", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"),
    ("inet6", "2001:db8::1", "2001:db8::1"),
]


async def served(url: str, path: str, table: str, **options: Any) -> list[dict[str, Any]]:
    async with ShapeStore(path, create=SQLSource(url, **options)) as store:
        stored = await store.get_or_create(Shape(table))
        return [row async for row in store.rows(stored.handle)]


def execute(url: str, *statements: str, values: list[Any] | None = None) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        if values is not None:
            marks = ", ".join(["%s"] * len(values))
            connection.exec_driver_sql(
                f"INSERT INTO types VALUES (1, {marks}), (2{', NULL' * len(values)})", tuple(values)
            )


async def check(url: str, path: str, types: list[tuple[str, str, Any]], values: list[Any]) -> None:
    columns = "".join(f", c{place} {kind} NULL" for place, (kind, _, _) in enumerate(types))
    execute(url, "DROP TABLE IF EXISTS types", f"CREATE TABLE types (id int PRIMARY KEY{columns})", values=values)
    full, empty = await served(url, path, "types")
    for place, (kind, literal, expected) in enumerate(types):
        value = full[f"c{place}"]
        assert (kind, literal, type(value), value) == (kind, literal, type(expected), expected)
        assert empty[f"c{place}"] is None


async def test_every_type_of_postgresql_has_a_form_in_json(postgres_url: str, path: str) -> None:
    execute(
        postgres_url,
        "DROP TABLE IF EXISTS types",
        "DROP TYPE IF EXISTS mood, pair, year",
        "CREATE TYPE mood AS ENUM ('calm', 'loud')",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE DOMAIN year AS int CHECK (VALUE > 1900)",
    )
    await check(postgres_url, path, POSTGRES, [literal for _, literal, _ in POSTGRES])


async def test_every_type_of_mariadb_has_a_form_in_json(mariadb_url: str, path: str) -> None:
    await check(mariadb_url, path, MARIADB, [int(text) if kind == "bit(3)" else text for kind, text, _ in MARIADB])


async def test_a_zero_date_of_mariadb_is_what_its_driver_gives(mariadb_url: str, path: str) -> None:
    execute(
        mariadb_url,
        "SET sql_mode = ''",
        "CREATE OR REPLACE TABLE zero (d date, t timestamp NULL)",
        "INSERT INTO zero VALUES ('0000-00-00', '0000-00-00 00:00:00')",
    )
    assert await served(mariadb_url, path, "zero") == [{"d": "0000-00-00", "t": "0000-00-00 00:00:00"}]


@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
async def test_a_column_of_another_type_is_compared_with_a_string_that_spells_it(
    database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue({"postgresql": "postgres_url", "mariadb": "mariadb_url"}[database])
    execute(
        url,
        "DROP TABLE IF EXISTS others",
        "CREATE TABLE others (id int PRIMARY KEY, d date, e date, t time, u uuid)",
        "INSERT INTO others VALUES (1, '2024-01-02', '2024-01-03', '03:04:05', '00000000-0000-0000-0000-000000000001')",
        "INSERT INTO others VALUES (2, NULL, '2023-01-03', '13:04:05', '00000000-0000-0000-0000-000000000002')",
    )

    def ids(where: str, **params: Any) -> list[int]:
        return [row["id"] for row in SQLSource(url)(Shape("others", where=where, params=params or None))]

    assert ids("d = '2024-01-02'") == [1]
    assert ids("d < e AND e >= :day", day="2024-01-03") == [1]
    assert ids("u IN (:one, :two) AND t > '12:00'", one=str(UUID(int=1)), two=str(UUID(int=2))) == [2]
    assert ids("d IS NULL") == [2]
    assert ids("coalesce(d, '2020-01-01') = '2020-01-01'") == [2]
    assert ids("nullif(d, e) = d") == [1]
    for where, message in [
        ("d = 20240102", "a value of type date is compared with its own type, or with a string or parameter"),
        ("d > u", "the types date and uuid are not compared alike everywhere"),
        ("d || 'x' = 'x'", "text or an integer is needed here, not of another type"),
        ("d", "a condition is a truth value or a number, not of another type"),
    ]:
        with pytest.raises(ValueError, match=message):
            ids(where)


# --- NaN


@pytest.mark.parametrize("literal", ["'NaN'", "'Infinity'", "'-Infinity'"])
@pytest.mark.parametrize("kind", ["double precision", "numeric", "real[]"])
def test_what_is_not_finite_is_refused_or_null(postgres_url: str, kind: str, literal: str) -> None:
    value = f"ARRAY[{literal}::real]" if kind == "real[]" else literal
    execute(postgres_url, "DROP TABLE IF EXISTS nan", f"CREATE TABLE nan AS SELECT 1 AS id, {value}::{kind} AS x")
    with pytest.raises(
        InvalidRowError, match=r'row 1, column "x" is .*; SQLSource\(\.\.\., nan="null"\) makes it null'
    ):
        list(SQLSource(postgres_url)(Shape("nan")))
    [row] = SQLSource(postgres_url, nan="null")(Shape("nan"))
    assert row["x"] == ([None] if kind == "real[]" else None)


async def test_infinity_of_sqlite_is_refused_or_null(tmp_path: Path, path: str) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.executescript("CREATE TABLE t (x REAL); INSERT INTO t VALUES (1), (9e999)")
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with pytest.raises(InvalidRowError, match=r'row 2, column "x" is inf'):
        list(SQLSource(url)(Shape("t")))
    assert await served(url, path, "t", nan="null") == [{"x": 1.0}, {"x": None}]


# --- keys


def test_keys_of_other_types_are_their_text(postgres_url: str) -> None:
    execute(
        postgres_url,
        "DROP TABLE IF EXISTS keys",
        "CREATE TABLE keys (a timestamptz, b numeric(5, 1), c bytea, d boolean, e int, PRIMARY KEY (d, c, b, a))",
        "INSERT INTO keys VALUES ('2024-01-02 00:00+00', 1, 'x', true, 7)",
    )
    rows = SQLSource(postgres_url).keyed_rows(Shape("keys", columns=["e"]))
    assert rows.key_columns == ("d", "c", "b", "a")
    assert list(rows) == [((1, b"x", "1.0", "2024-01-02T00:00:00Z"), {"e": 7})]
