"""The wheres of clients select on SQLite and on PostgreSQL what PostgreSQL itself selects by them, params as texts."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from shapestore import InvalidShapeError, Shape, SQLSource
from shapestore.http.where.names import Columns
from shapestore.http.where.refusal import RefusedError
from shapestore.http.where.translate import translate

psycopg = pytest.importorskip("psycopg")

SCHEMA = """
    CREATE TABLE item (id INT8 PRIMARY KEY, n INT4, m INT8, r FLOAT8, p NUMERIC(10, 2), s TEXT {0}, t VARCHAR(20) {0},
        flag BOOLEAN, u UUID, day DATE)
"""
U1, U2 = "0190f1a0-0000-7000-8000-000000000001", "0190f1a0-0000-7000-8000-000000000002"
ROWS: list[tuple[Any, ...]] = [
    (1, 7, 3, 2.5, 9.5, "a", "abc", True, U1, "2024-01-01"),
    (2, None, -1, None, 12, "ab", "", False, U2, "2024-02-29"),
    (3, 0, 0, -0.5, 0.25, "", "a%c", None, None, None),
    (4, -7, 2**40, 0.1, None, None, "a_c", True, U1, "2024-01-02"),
    (5, 100, 5, 1e10, -3, "b\\c", "a\\c", False, U2, "1999-12-31"),
    (6, 5, 5, 5.0, 5, "5", "5", True, U2, "2024-01-01"),
    (7, 1, None, 1.5, 1.5, "it's", 'say "hi"', False, U1, "2024-01-01"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[Any]:
    plain = re.sub(r"\+\w+", "", postgres_url)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(SCHEMA.format('COLLATE "C"'))
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO item VALUES ({', '.join(['%s'] * 10)})", ROWS)
        yield connection


@pytest.fixture(scope="module")
def sources(server: Any, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> list[SQLSource]:
    path: Path = tmp_path_factory.mktemp("clients") / "app.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(SCHEMA.format(""))
        database.executemany(f"INSERT INTO item VALUES ({', '.join(['?'] * 10)})", ROWS)
        database.commit()
    return [SQLSource(f"sqlite:///{path}"), SQLSource(postgres_url)]


def check(server: Any, sources: Sequence[SQLSource], where: str, values: Sequence[str | None]) -> None:
    """What PostgreSQL selects by the text that a client sends, both sources select by the shape that is made of it."""
    params = {f"p{number}": value for number, value in enumerate(values, 1)}
    statement = re.sub(r"\$(\d+)", r"%(p\1)s", where.replace("%", "%%"))
    try:
        rows = server.execute(f"SELECT id FROM item WHERE {statement} ORDER BY id", params).fetchall()
    except (psycopg.errors.DivisionByZero, psycopg.errors.NumericValueOutOfRange):
        assume(False)
    for source in sources:
        columns = Columns("item", source.describe(Shape("item")), None)
        try:
            found = translate(where, dict(enumerate(values, 1)), columns)
            shape = Shape("item", where=found.where, params=found.params, columns=["id"])
        except (RefusedError, InvalidShapeError) as error:
            assume(not any(word in str(error) for word in ("nest", "limit", "fewer")))
            raise
        assert [row["id"] for row in source(shape)] == [id_ for (id_,) in rows], (source, found)


@pytest.mark.parametrize(
    ("where", "values"),
    [
        ("n = $1", ["7"]),
        ("n > $1", ["-7"]),
        ("r = $1 OR p = $2", ["0.1", "9.50"]),
        ("flag = $1", ["t"]),
        ("s = $1 OR t = $1", ["5"]),
        ("s = $1", [""]),
        ("u = $1", [U1]),
        ("day > $1", ["2024-01-01"]),
        ("day = date '2024-02-29' OR day < '2000-01-01'", []),
        ("length(s) > $1", ["1"]),
        ("n + $1 > m * $2", ["1", "2"]),
        ("n = ANY($1)", ["{7,5,NULL}"]),
        ("NOT n = ANY($1)", ["{7,NULL}"]),
        ("n <> ALL($1)", ["{}"]),
        ("n = ANY($1)", ["{}"]),
        ("NOT (n = ANY($1))", ["{}"]),
        ("t = ANY($1)", ['{abc,"say \\"hi\\"","a\\\\c",""}']),
        ("u = ANY($1)", [f"{{{U1}}}"]),
        ("s IS DISTINCT FROM $1", ["a"]),
        ("n IS NOT DISTINCT FROM NULL", []),
        ("flag IS NOT TRUE", []),
        ("flag IS UNKNOWN", []),
        ("(n > 0) IS TRUE", []),
        ("n > 0 IS NOT FALSE", []),
        ("NOT flag", []),
        ("t LIKE $1", ["a\\%c"]),
        ("t LIKE $1", ["a_c"]),
        ("t LIKE $1", ["a\\\\c"]),
        ("t NOT LIKE 'a\\_c'", []),
        ("t LIKE 'a#%c' ESCAPE '#'", []),
        ("t LIKE 'a\\c' ESCAPE ''", []),
        ("t ILIKE $1", ["A%C"]),
        ("t ILIKE $1", ["A\\%C"]),
        ("s ~~ 'a%' OR t !~~* 'A%'", []),
        ("concat(s, t, n) = $1", ["ab"]),
        ("concat(s, '-', n, NULL) = $1", ["5-5"]),
        ("coalesce(s, $1) = t OR coalesce(n, $2) = 0", ["a_c", "0"]),
        ("substr(t, $1, 3) = 'a'", ["-1"]),
        ("substr(t, 0, 2) = 'a' AND substring(t, 2) = 'bc'", []),
        ("nullif(n, $1) IS NULL", ["7"]),
        ("n::text = $1 OR m::text || s = '5b\\c'", ["7"]),
        ("m::float8 / 2 > 2.4", []),
        ("greatest(n, m, $1) = 5", ["5"]),
        ("least(n, m) = 0 OR greatest(n, NULL) = 7 OR greatest(n, m) IS NULL", []),
        ("greatest(s, t, $1) = 'abc'", ["aa"]),
        ("CASE WHEN flag THEN n ELSE $1 END = 7", ["7"]),
        ("CASE n WHEN $1 THEN 'a' WHEN 0 THEN s END = 'a'", ["7"]),
        ("CASE WHEN flag THEN n > 0 END", []),
        ("n / 2 = 3", []),
        ("n % 4 = -3", []),
        ("round(p) = 10 OR abs(n) = $1", ["7"]),
        ("n BETWEEN $1 AND '7'", ["1"]),
        ("n NOT BETWEEN 1 AND 7", []),
        ("n IS NULL IS NOT NULL", []),
        ("true = true", []),
        ("$1", ["yes"]),
        ("$1::int > 5 AND n > $1", ["6"]),
        ("$1 = s", ["a"]),
        ("$1 = $2", ["1", "1"]),
        ("item.n = 7 AND public.item.s = 'a'", []),
        ("N = 7", []),
        ("n = -7", []),
        ("n = '-7'", []),
        ("n IN ('7', 5)", []),
        ("n NOT IN (7, NULL)", []),
        ("-n = 7", []),
        ("- n::int8 = 7", []),
        ("s = 'it''s'", []),
        ("NOT n = 7 AND m = 5", []),
        ("flag = (n > 6)", []),
        ("flag OR n > 6 AND m < 0", []),
        ("upper(s) = 'AB' AND lower('AB') = s", []),
        ("btrim(s) = s AND char_length(t) = 3", []),
        ("replace(s, 'a', $1) = 'xb'", ["x"]),
    ],
)
def test_the_wheres_of_clients(server: Any, sources: list[SQLSource], where: str, values: list[str | None]) -> None:
    check(server, sources, where, values)


# --- at random, of well-typed parts; each $ is a parameter

integers: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["n", "m", "id", '"n"', "item.n", "0", "7", "(-1)", "n::int8", "CAST(m AS bigint)"]),
        st.builds("({} {} {})".format, integers, st.sampled_from("+-*%"), st.sampled_from(["2", "$", "n"])),
        st.builds("abs({})".format, integers),
        st.builds("length({})".format, texts),
        st.builds("coalesce({}, {})".format, integers, integers),
        st.builds("nullif({}, $)".format, integers),
        st.builds("{}({}, {}, $)".format, st.sampled_from(["greatest", "least"]), integers, integers),
        st.builds("CASE WHEN {} THEN {} ELSE $ END".format, st.sampled_from(["flag", "n > $", "s IS NULL"]), integers),
    )
)
numbers: st.SearchStrategy[str] = st.one_of(integers, st.sampled_from(["r", "p", "0.5", "2.50", "n::float8"]))
texts: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["s", "t", "''", "'a'", "'it''s'", "n::text", "s::varchar"]),
        st.builds("({} || {})".format, texts, texts),
        st.builds("{}({})".format, st.sampled_from(["lower", "trim", "btrim"]), texts),
        st.builds("substr({}, {}, {})".format, texts, st.integers(-3, 4), st.integers(0, 4)),
        st.builds("concat({}, {}, $::text)".format, texts, integers),
        st.builds("coalesce({}, $)".format, texts),
    )
)
signs = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
nots = st.sampled_from(["", "NOT "])
truths: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["flag", "flag = $", "TRUE", "flag IS NOT TRUE", "u = $", "day >= $"]),
        st.builds("{} {} $".format, integers | texts, signs),
        st.builds("{} {} {}".format, numbers, signs, numbers),
        st.builds("{} {} {}".format, texts, signs, texts),
        st.builds("{} = ANY($)".format, integers | texts),
        st.builds("{} <> ALL($)".format, integers | texts),
        st.builds("{} {}IN ({}, $)".format, integers, nots, integers),
        st.builds("{} {}BETWEEN {} AND $".format, integers, nots, integers),
        st.builds("{} {}{} $".format, texts, nots, st.sampled_from(["LIKE", "ILIKE"])),
        st.builds("{} IS {}NULL".format, integers | texts, nots),
        st.builds("({}) {} ({})".format, truths, st.sampled_from(["AND", "OR", "="]), truths),
        st.builds("NOT {}".format, truths.map("({})".format)),
    )
)
VALUES = {
    "integer": ["7", "0", "-7", " 5 ", "100"],
    "text": ["a", "", "5", "a%", "a\\%c", "%c", "it's", "a_c", "_"],
    "array of integers": ["{}", "{7,5}", "{NULL,0}"],
    "array of texts": ["{}", '{a,"a\\\\c"}', '{"",NULL}'],
    "boolean": ["t", "false", "on"],
    "uuid": [U1],
    "date": ["2024-01-01", "2000-02-01"],
}


@given(where=truths.map("({})".format), data=st.data())  # a new text, that is shown as it is
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_random_wheres_of_clients(server: Any, sources: list[SQLSource], where: str, data: st.DataObject) -> None:
    """The type of each parameter is the one with which PostgreSQL takes the statement."""
    count = where.count("$")
    assume(count <= 6)
    for number in range(1, count + 1):
        where = re.sub(r"\$(?!\d)", f"${number}", where, count=1)
    values = [data.draw(st.sampled_from(VALUES[kind])) for kind in kinds(server, where, count)]
    check(server, sources, where, values)


def kinds(server: Any, where: str, count: int) -> list[str]:
    """The types that PostgreSQL deduces for the parameters."""
    server.execute(f"PREPARE asked AS SELECT 1 FROM item WHERE {where}")
    [(names,)] = server.execute("SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'asked'")
    server.execute("DEALLOCATE asked")
    found = {
        "bigint": "integer",
        "character varying": "text",
        "integer[]": "array of integers",
        "bigint[]": "array of integers",
        "text[]": "array of texts",
        "character varying[]": "array of texts",
    }
    return [found.get(name, name) for name in names[:count]]
