"""A shape that is narrowed: fewer rows of it, and no word about the others."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from where_texts import PARAMETERS, Plain, Speller, Tree, database, trees

from shapestore import Shape
from shapestore.errors import InvalidShapeError
from shapestore.shape.narrowed import narrowed
from shapestore.shape.where.where import parse_where

VALUES: dict[str, Any] = dict(PARAMETERS)

chances = st.integers(0, 2**32).map(random.Random)


def test_the_condition_is_guarded_by_that_of_the_shape() -> None:
    shape = Shape("t", where="tenant = :t", params={"t": 7}, columns=["id", "n"])
    assert narrowed(shape, "n > :least", {"least": 5}) == Shape(
        "t",
        where="(tenant = :t) AND CASE WHEN (tenant = :t) THEN (n > :least) END",
        params={"t": 7, "least": 5},
        columns=["id", "n"],
    )


def test_nothing_is_to_be_guarded_where_a_shape_has_all_rows() -> None:
    assert narrowed(Shape("t", columns=["n"]), "n = :n", {"n": 1}) == Shape(
        "t", where="n = :n", params={"n": 1}, columns=["n"]
    )


def test_without_a_condition_the_shape_stays_as_it_is() -> None:
    shape = Shape("t", where="n = 1")
    assert narrowed(shape, None) is shape


def test_parameters_with_the_same_names_keep_their_own_values() -> None:
    shape = Shape("t", where="a = :p AND b = :p_", params={"p": 1, "p_": 2})
    found = narrowed(shape, "a > :p OR ':p' = :p__ OR b = :q", {"p": 3, "p__": 4, "q": 5})
    assert found.where_as_written is not None
    assert found.where_as_written.endswith("(a > :p___ OR ':p' = :p__ OR b = :q) END")
    assert found.params == {"p": 1, "p_": 2, "p___": 3, "p__": 4, "q": 5}


@pytest.mark.parametrize("where", ["n = 1) OR (1 = 1", "n = 1 -- ", "n = 1; DROP TABLE t", "n =", "'", "n = 1 /* "])
def test_no_text_gets_out_of_its_parentheses(where: str) -> None:
    with pytest.raises(InvalidShapeError):
        narrowed(Shape("t", where="tenant = 7"), where)


# --- on SQLite


@pytest.fixture(scope="module")
def table() -> Iterator[sqlite3.Connection]:
    """A table in which some rows make ``abs`` fail, and one that has the others alone."""
    connection = database()
    connection.execute("UPDATE t SET anything = -9223372036854775808, number = 10 WHERE id % 3 = 0")
    connection.execute("CREATE INDEX by_anything ON t (anything)")
    [(schema,)] = connection.execute("SELECT sql FROM sqlite_master WHERE name = 't'")
    connection.execute(schema.replace("TABLE t", "TABLE own"))
    connection.execute("INSERT INTO own SELECT * FROM t WHERE number IS NOT 10")
    yield connection
    connection.close()


OWN = Shape("t", where="number IS NOT 10")


def outcome(connection: sqlite3.Connection, table: str, where: str | None) -> object:
    assert where is not None
    try:
        return sorted(connection.execute(f"SELECT id FROM {table} WHERE {where}", PARAMETERS))
    except sqlite3.OperationalError as error:
        return str(error)


def test_an_and_is_no_guard_where_an_index_says_so(table: sqlite3.Connection) -> None:
    """Why narrowing takes more than an AND: the error tells about a row that is not of the shape."""
    condition = "anything < -5 AND abs(anything) > 0"
    assert outcome(table, "t", f"({OWN.where_as_written}) AND ({condition})") == "integer overflow"
    assert outcome(table, "t", narrowed(OWN, condition).where_as_written) == []


@given(trees, chances)
def test_a_narrowed_shape_is_what_the_condition_makes_of_its_rows_alone_errors_included(
    table: sqlite3.Connection, tree: Tree, chance: random.Random
) -> None:
    condition = Speller(chance).spell(tree)
    try:
        shape = narrowed(OWN, condition, {name: VALUES[name] for name in parse_where(condition).params})
    except InvalidShapeError:  # nested too deep
        return
    assert shape.where_as_written is not None
    rendered = Plain().where(shape.where_as_written)
    assert outcome(table, "t", rendered) == outcome(table, "own", Plain().where(condition))
