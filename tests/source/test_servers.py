"""SQLSource on PostgreSQL and MariaDB alike: names, schemas, keys, options of the Engine, and one moment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from shapestore import InvalidSourceError, Shape, SQLSource, UnknownTableError

WORDS = ["returning", "nothing", "lateral", "collation", "portion", "window", "rank", "a:b", "50%", "c.d", "C", "c"]


@pytest.fixture(params=["postgresql", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue({"postgresql": "postgres_url", "mariadb": "mariadb_url"}[request.param])
    return url


@pytest.fixture
def schemas(url: str) -> Iterator[str]:
    """The URL of a server with two more schemas, and the table ``t`` in each."""
    names = ["tenant", "tenant.b"]
    execute(
        url, *(statement for name in names for statement in (drop_schema(url, name), f"CREATE SCHEMA {q(url, name)}"))
    )
    execute(url, "DROP TABLE IF EXISTS t", "CREATE TABLE t (a varchar(20))", "INSERT INTO t VALUES ('default')")
    for name in names:
        place = f"{q(url, name)}.{q(url, 't')}"
        execute(url, f"CREATE TABLE {place} (a varchar(20))", f"INSERT INTO {place} VALUES ('{name}')")
    yield url
    execute(url, *(drop_schema(url, name) for name in names))


def drop_schema(url: str, name: str) -> str:
    return f"DROP SCHEMA IF EXISTS {q(url, name)}" + (" CASCADE" if "postgresql" in url else "")


def q(url: str, name: str) -> str:
    return f"`{name}`" if "mariadb" in url else f'"{name}"'


@cache
def engine_for(url: str) -> Engine:
    """One for each server: an engine asks a server many questions before its first statement."""
    return create_engine(url, poolclass=NullPool)


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements over a connection of their own; the rows of the last."""
    with engine_for(url).begin() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        return list(result) if result.returns_rows else []


def read(source: str | Engine, table: str, **rest: Any) -> list[dict[str, Any]]:
    engine = source if isinstance(source, Engine) else engine_for(source)
    return list(SQLSource(engine)(Shape(table, **rest)))


def numbers(url: str) -> None:
    execute(url, "DROP TABLE IF EXISTS number", "CREATE TABLE number (n int PRIMARY KEY)")
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
    tables = ", ".join(f"({digits}) AS {name}" for name in "abcd")
    execute(url, f"INSERT INTO number SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d FROM {tables}")


# --- names


@pytest.mark.parametrize("word", WORDS)
def test_a_name_may_be_any_word(url: str, word: str) -> None:
    name = q(url, word)
    execute(url, f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} ({name} int PRIMARY KEY, other int)")
    execute(url, f"INSERT INTO {name} VALUES (1, 2), (3, 4)")
    shape = Shape(word, columns=["other"], where=f'"{word}" = :p', params={"p": 3})
    assert read(url, word, columns=["other"], where=f'"{word}" = 3') == [{"other": 4}]
    assert list(SQLSource(engine_for(url)).keyed_rows(shape)) == [((3,), {"other": 4})]
    execute(url, f"DROP TABLE {name}")


@pytest.mark.parametrize(("table", "expected"), [("t", "default"), ("tenant.t", "tenant"), ("tenant.b.t", "tenant.b")])
def test_schemas_may_hold_dots(schemas: str, table: str, expected: str) -> None:
    assert read(schemas, table) == [{"a": expected}]
    with pytest.raises(UnknownTableError, match=r'no table or view "tenant\.b\.T"; did you mean .*"tenant\.b\.t"'):
        read(schemas, "tenant.b.T")


@pytest.mark.parametrize(
    ("translated", "table", "expected"),
    [
        ({None: "tenant"}, "t", "tenant"),
        ({None: "tenant.b"}, "t", "tenant.b"),
        ({"x": "tenant"}, "x.t", "tenant"),
        ({"x": "tenant", "tenant": "tenant.b"}, "x.t", "tenant"),
        ({"x": None}, "x.t", "default"),
    ],
)
def test_a_schema_translate_map_is_honoured(schemas: str, translated: Any, table: str, expected: str) -> None:
    engine = create_engine(schemas, poolclass=NullPool, execution_options={"schema_translate_map": translated})
    assert read(engine, table) == [{"a": expected}]
    assert SQLSource(engine).key_columns(Shape(table)) is None


def test_the_search_path_of_a_session_is_honoured(postgres_url: str) -> None:
    execute(postgres_url, "DROP SCHEMA IF EXISTS other CASCADE", "CREATE SCHEMA other", "DROP TABLE IF EXISTS u")
    execute(postgres_url, "CREATE TABLE u AS SELECT 1 AS a", "CREATE TABLE other.u AS SELECT 2 AS a")
    assert read(postgres_url, "u") == [{"a": 1}]
    assert read(f"{postgres_url}&options=-csearch_path%3Dother", "u") == [{"a": 2}]
    assert read(f"{postgres_url}&options=-csearch_path%3Dother,public", "public.u") == [{"a": 1}]


# --- keys


def test_the_key_is_the_primary_key_in_its_own_order(url: str) -> None:
    execute(url, "DROP VIEW IF EXISTS v", "DROP TABLE IF EXISTS p, w", "CREATE TABLE w (a int)")
    execute(url, "CREATE TABLE p (a int, b int, c varchar(9), PRIMARY KEY (c, a))", "CREATE VIEW v AS SELECT * FROM p")
    execute(url, "INSERT INTO p VALUES (2, 1, 'x'), (1, 2, 'x'), (9, 3, 'a')")
    source = SQLSource(engine_for(url))
    assert source.key_columns(Shape("p", columns=["b"])) == ("c", "a")
    assert [source.key_columns(Shape(name)) for name in ("v", "w")] == [None, None]
    rows = source.keyed_rows(Shape("p", columns=["b", "a"]))
    assert rows.key_columns == ("c", "a")
    assert list(rows) == [
        (("a", 9), {"b": 3, "a": 9}),
        (("x", 1), {"b": 2, "a": 1}),
        (("x", 2), {"b": 1, "a": 2}),
    ]
    without_key = source.keyed_rows(Shape("v", columns=["b"], where="a = 9"))
    assert (without_key.key_columns, list(without_key)) == (None, [(None, {"b": 3})])


def test_the_key_of_a_partitioned_table_and_of_one_that_includes_columns_is_told(postgres_url: str) -> None:
    execute(postgres_url, "DROP TABLE IF EXISTS parts, included")
    execute(postgres_url, "CREATE TABLE parts (a int, b int, PRIMARY KEY (b, a)) PARTITION BY RANGE (a)")
    execute(
        postgres_url,
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (9)",
        "INSERT INTO parts VALUES (1, 2)",
    )
    execute(postgres_url, "CREATE TABLE included (a int, b int, PRIMARY KEY (b) INCLUDE (a))")
    source = SQLSource(engine_for(postgres_url))
    assert [source.key_columns(Shape(name)) for name in ("parts", "included")] == [("b", "a"), ("b",)]
    assert read(postgres_url, "parts") == [{"a": 1, "b": 2}]


# --- one moment


def test_rows_are_of_one_moment_and_not_all_in_memory(url: str) -> None:
    numbers(url)
    rows = SQLSource(engine_for(url), batch_size=100)(Shape("number", where="n >= 0"))
    first = next(rows)
    execute(url, "DELETE FROM number WHERE n > 5")
    assert [first, *rows] == [{"n": n} for n in range(10_000)]
    assert len(read(url, "number")) == 6


@pytest.mark.parametrize(
    "level", ["AUTOCOMMIT", "READ COMMITTED", "READ UNCOMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
)
def test_a_weaker_level_of_isolation_is_raised_and_a_stronger_one_is_kept(url: str, level: str) -> None:
    execute(url, "DROP TABLE IF EXISTS t", "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
    engine = create_engine(url, isolation_level=level, poolclass=QueuePool, pool_size=1, max_overflow=0)
    levels: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _(connection: Any, _cursor: object, statement: str, *_rest: object) -> None:
        if "shape_row" in statement:
            levels.append(connection.get_isolation_level())

    assert read(engine, "t") == [{"a": 1}]
    assert levels == ["SERIALIZABLE" if level == "SERIALIZABLE" else "REPEATABLE READ"]
    with engine.connect() as connection:  # the pool's connection is as it was
        driver: Any = connection.connection.driver_connection
        is_autocommit = driver.autocommit if "postgresql" in url else driver.get_autocommit()
        assert is_autocommit == (level == "AUTOCOMMIT")
        assert is_autocommit or connection.get_isolation_level() == level
    engine.dispose()


def test_closing_half_way_gives_the_connection_back(url: str) -> None:
    numbers(url)
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0)
    for _ in range(3):
        rows = SQLSource(engine, batch_size=10).keyed_rows(Shape("number"))
        assert next(rows) == ((0,), {"n": 0})
        rows.close()
    assert len(read(engine, "number")) == 10_000
    engine.dispose()


def test_a_static_pool_s_connection_is_left_alone(url: str) -> None:
    execute(url, "DROP TABLE IF EXISTS t", "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
    engine = create_engine(url, poolclass=StaticPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (2)")
        assert read(engine, "t") == [{"a": 1}]
    assert read(engine, "t", where="a = 2") == [{"a": 2}]
    engine.dispose()


# --- MariaDB's modes


@pytest.mark.parametrize(
    "mode",
    [
        "",
        "ANSI",
        "ANSI_QUOTES,PIPES_AS_CONCAT",
        "HIGH_NOT_PRECEDENCE",
        "NO_BACKSLASH_ESCAPES",
        "IGNORE_SPACE",
        "TRADITIONAL",
    ],
)
def test_a_where_means_the_same_in_every_sql_mode(mariadb_url: str, mode: str) -> None:
    execute(
        mariadb_url,
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (a int unsigned, s varchar(9), f bit(1), z int(5) zerofill)",
    )
    execute(mariadb_url, r"INSERT INTO t VALUES (1, 'a\\b', 1, 7), (0, 'x', 0, 12), (2, NULL, NULL, NULL)")
    engine = create_engine(mariadb_url)
    event.listen(engine, "connect", lambda connection, _: connection.cursor().execute(f"SET sql_mode = '{mode}'"))
    for where, expected in [
        ("s || '!' = :s", [1]),
        ("s LIKE 'a\\_'", [1]),
        ("s LIKE '%\\b'", [1]),
        ("s = 'a\\b'", [1]),
        ("NOT a = 1", [0, 2]),
        ("NOT a BETWEEN 1 AND 5", [0]),
        ("a - 2 < 0", [1, 0]),
        ("a / 0 IS NULL AND a % 0 IS NULL", [1, 0, 2]),
        ("f", [1]),
        ("f = 0", [0]),
        ("z || '' = '7'", [1]),
        ("coalesce(z, 0) - 10 < 0 AND length(z) = 1", [1]),
    ]:
        params = {"s": "a\\b!"} if ":s" in where else None
        assert [row["a"] for row in read(engine, "t", where=where, params=params, columns=["a"])] == expected, where
    engine.dispose()


@pytest.mark.parametrize("mode", ["ORACLE", "EMPTY_STRING_IS_NULL"])
def test_a_mode_in_which_the_empty_string_is_null_is_refused(mariadb_url: str, mode: str) -> None:
    execute(mariadb_url, "DROP TABLE IF EXISTS t", "CREATE TABLE t (s varchar(9))", "INSERT INTO t VALUES ('')")
    engine = create_engine(mariadb_url, poolclass=NullPool)
    event.listen(engine, "connect", lambda connection, _: connection.cursor().execute(f"SET sql_mode = '{mode}'"))
    assert read(engine, "t") == [{"s": ""}]
    with pytest.raises(InvalidSourceError, match=f"sql_mode has .*{mode}, in which an empty string is NULL"):
        read(engine, "t", where="s = ''")


def test_the_collation_of_a_column_decides(mariadb_url: str) -> None:
    execute(mariadb_url, "DROP TABLE IF EXISTS t", "CREATE TABLE t (s varchar(9)) COLLATE utf8mb4_general_ci")
    execute(mariadb_url, "INSERT INTO t VALUES ('Ä ')")
    found = [{"s": "Ä "}]
    assert read(mariadb_url, "t", where="s = 'a'") == found
    assert read(mariadb_url, "t", where="s LIKE 'ä_'") == found
    assert read(mariadb_url, "t", where="lower(s) || 'x' = 'A X'") == found
    assert read(mariadb_url, "t", where="'a' = 'A' OR 'a' = 'a '") == []  # no column decides: bytes do


def test_a_guard_in_the_order_written_works_on_plain_postgresql_and_here(postgres_url: str) -> None:
    execute(
        postgres_url,
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (a int, b int)",
        "INSERT INTO t VALUES (9, 3), (1, 0), (1, 1)",
    )
    assert read(postgres_url, "t", where="b = 0 OR a / b > 2") == [{"a": 9, "b": 3}, {"a": 1, "b": 0}]


@pytest.mark.parametrize("where", ["a + 1 > 0", "a * a > 0", "a * 1e300 * 1e300 > 0", "-(-a - 1) > 0"])
def test_an_overflow_is_an_error_and_never_another_number(url: str, where: str) -> None:
    execute(url, "DROP TABLE IF EXISTS t", "CREATE TABLE t (a bigint)", f"INSERT INTO t VALUES ({2**63 - 1})")
    engine = create_engine(url, poolclass=NullPool)
    with pytest.raises(engine.dialect.loaded_dbapi.Error, match=r"(?i)out of range|overflow"):
        read(engine, "t", where=where)
