"""The structured forms of a where and an order: each is the text that says the same."""

from __future__ import annotations

from typing import Any

import pytest

from shapestore.http.structured import order_text, where_text
from shapestore.http.where.refusal import RefusedError

ID, TITLE = {"type": "ref", "column": "id"}, {"type": "ref", "column": 'a "title"'}
FIRST, SECOND = {"type": "val", "paramIndex": "1"}, {"type": "val", "paramIndex": "2"}


def call(name: str, *operands: Any) -> Any:
    return {"type": "func", "name": name, "args": list(operands)}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (ID, '"id"'),
        (call("eq", TITLE, FIRST), '("a ""title""" = $1)'),
        (call("gte", call("add", ID, FIRST), SECOND), '(("id" + $1) >= $2)'),
        (call("ilike", TITLE, FIRST), '("a ""title""" ILIKE $1)'),
        (call("in", ID, FIRST), '("id" = ANY($1))'),
        (call("isUndefined", ID), '("id" IS NULL)'),
        (call("not", call("isNull", ID)), '(NOT ("id" IS NULL))'),
        (call("and", call("lt", ID, FIRST), call("or", FIRST, SECOND)), '(("id" < $1) AND ($1 OR $2))'),
        (call("concat", TITLE, FIRST, SECOND), 'concat("a ""title""", $1, $2)'),
    ],
)
def test_an_expression(expression: Any, text: str) -> None:
    assert where_text(expression) == text


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        (call("pg_sleep", FIRST), r'unknown function "pg_sleep" of 1 argument\(s\)'),
        (call("not", ID, ID), r'unknown function "not" of 2 argument\(s\)'),
        (call("and"), r'unknown function "and" of 0 argument\(s\)'),
        (call("and", *[ID] * 10_000), "nested more than 32 deep, or made of more than 10000 expressions"),
        ({"type": "ref", "column": 1}, "not an expression: {'type': 'ref', 'column': 1}"),
    ],
)
def test_what_is_not_an_expression(expression: Any, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        where_text(expression)


def test_the_depth_of_an_expression_has_a_limit() -> None:
    expression: Any = ID
    for _ in range(32):
        expression = call("not", expression)
    assert where_text(expression).count("NOT") == 32
    with pytest.raises(RefusedError, match="nested more than 32 deep"):
        where_text(call("not", expression))


def test_an_order() -> None:
    clauses = [{"column": "id"}, {"column": 'a "title"', "direction": "desc", "nulls": "last"}]
    assert order_text(clauses) == '"id" asc, "a ""title""" desc nulls last'
