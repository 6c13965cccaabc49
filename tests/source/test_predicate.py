"""The parts of a predicate that need no database: patterns, substr, values, and the wheres of other databases."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from shapestore import InvalidShapeError, Shape
from shapestore.shape.column_description import ColumnDescription, key_of
from shapestore.shape.where.where import parse_where
from shapestore.source.catalogue.catalogue import Place, SourceColumn
from shapestore.source.catalogue.other import OtherCatalogue
from shapestore.source.column_type import UNTYPED
from shapestore.source.predicate.bindings import Bindings
from shapestore.source.predicate.operand import number, number_in
from shapestore.source.predicate.pattern import rewritten
from shapestore.source.predicate.standard import Standard
from shapestore.source.predicate.substr import substr
from shapestore.source.query import shape_query
from shapestore.source.table import Table


@pytest.mark.parametrize(
    ("pattern", "escape", "expected"),
    [
        ("a%_b", None, "a%_b"),
        ("a!%", None, "a!!%"),
        ("a\\%", None, "a\\%"),
        ("a\\%", "\\", "a!%"),
        ("a!%", "!", "a!%"),
        ("a!!", "!", "a!!"),
        ("axbxx", "x", "abx"),
        ("%%__", "%", "!%__"),
        ("__%", "_", "!_%"),
        ("a!", "!", None),
        ("", "!", ""),
    ],
)
def test_patterns_are_rewritten_for_one_escape(pattern: str, escape: str | None, expected: str | None) -> None:
    assert rewritten(pattern, escape) == expected


def test_substr_gives_what_sqlite_gives_for_every_start_and_length() -> None:
    """SQLite is given RIGHT, LEFT and GREATEST here, as PostgreSQL and MariaDB have them."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.create_function("the_right", 2, lambda text, count: text[max(len(text) - count, 0) :])
        database.create_function("the_left", 2, lambda text, count: text[:count])
        database.create_function("greatest", 2, max)
        database.create_function("char_length", 1, len)
        for text, start, length in product(["''", "'a'", "'abcd'"], range(-6, 7), [None, *range(-6, 7)]):
            asked = f"substr({text}, {start}, {length})" if length is not None else f"substr({text}, {start})"
            sql = substr(text, start, length)
            if sql is None:
                assert start < 0
                assert length is not None
                assert length < 0
            else:
                sql = sql.replace("RIGHT(", "the_right(").replace("LEFT(", "the_left(")
                assert database.execute(f"SELECT {sql} = {asked}").fetchone() == (1,), (asked, sql)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5), (" -5 ", -5), ("+5", 5), ("5.", 5.0), (".5", 0.5), ("1e2", 100.0), ("9" * 30, 1e30), ("1e999", None)]
    + [("0" * 5_000 + "7", 7), ("-" + "0" * 5_000, 0), ("9" * 5_000, None), ("9223372036854775808", float(2**63))]
    + [(text, None) for text in ("", "x", "5x", "0x5", "1_0", "٣", "--5", "5 5", "inf", "nan", ".")],
)
def test_a_text_that_spells_a_number_is_known(text: str, expected: Any) -> None:
    assert (number_in(text), type(number_in(text))) == (expected, type(expected))


def test_the_lowest_integer_is_an_integer() -> None:
    assert number("-9223372036854775808") == -(2**63)
    assert type(number("9223372036854775808")) is float


def standard(where: str, **params: Any) -> tuple[str, dict[str, Any]]:
    bindings = Bindings()
    sql = Standard('t."{}"'.format, params, bindings).render(parse_where(where).tree)
    return sql, bindings.values


def test_a_database_that_is_not_known_gets_standard_sql() -> None:
    assert standard("b = :p OR NOT (a IN ('x', :p) AND c + 1 BETWEEN 1 AND 2) OR upper(d) IS NOT NULL", p=7) == (
        '(t."b" = :value_0) OR (NOT ((t."a" IN (:value_1, :value_0)) AND ((t."c" + 1) BETWEEN 1 AND 2)))'
        ' OR (upper(t."d") IS NOT NULL)',
        {"value_0": 7, "value_1": "x"},
    )


@pytest.mark.parametrize("where", ["a || b = 'x'", "a / 2 = 1", "a % 2 = 1", "a IS 7", "a LIKE 'x'", "length(a) = 1"])
def test_what_is_not_standard_is_refused_there(where: str) -> None:
    with pytest.raises(InvalidShapeError, match=r"is not known to mean the same in this database; use comparisons"):
        standard(where)


def test_the_catalogue_of_a_database_that_is_not_known_is_sqlalchemys() -> None:
    with create_engine("sqlite://", poolclass=NullPool).connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a INT, b INT, PRIMARY KEY (b, a))")
        connection.exec_driver_sql("CREATE VIEW v AS SELECT 1 AS one")
        catalogue = OtherCatalogue(connection)
        place = catalogue.find("t", None)
        assert place == Place(None, "t")
        columns = {name: column.description for name, column in catalogue.columns(place).items()}
        assert (list(columns), key_of(columns)) == (["a", "b"], ("b", "a"))
        assert (catalogue.find("u", None), catalogue.tables(None), catalogue.schemas()) == (None, ["t", "v"], ["main"])


def test_names_are_spelled_by_sqlalchemy_for_a_database_that_is_not_known() -> None:
    columns = {name: SourceColumn(UNTYPED, ColumnDescription("text")) for name in ("id", "Size%: x", "order")}
    connection: Any = SimpleNamespace(dialect=make_url("oracle://").get_dialect()())
    query = shape_query(connection, Table("s.t", Place("s", "t"), columns), Shape("s.t"), with_key=True)
    assert query.statement.text == (
        r'SELECT shape_row.id AS c0, shape_row."Size%\: x" AS c1, shape_row."order" AS c2 FROM s.t shape_row'
    )
