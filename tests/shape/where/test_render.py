"""A where as SQL: in the order written, with every name in quotes, and as a dialect wants it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing

import pytest
from where_texts import Plain

from shapestore.shape.quoting import quoted
from shapestore.shape.where.render import WIDEST_JUNCTION
from shapestore.shape.where.where import parse_where


class Dialect(Plain):
    """Has no ||, and no IS for values."""

    def concatenation(self, operands: Sequence[str]) -> str:
        return f"concat({', '.join(operands)})"

    def identity(self, left: str, right: str, negated: bool) -> str:
        if right == "NULL":
            return super().identity(left, right, negated)
        same = f"{left} <=> {right}"
        return f"NOT ({same})" if negated else same


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("b = 0 or a / b > 2", '("b" = 0) OR (("a" / "b") > 2)'),
        ("z and a and z", '"z" AND "a" AND "z"'),
        ("a in (3, :x, 1, 3)", '"a" IN (3, :x, 1, 3)'),
        ("[order] == 'it''s'", "\"order\" = 'it''s'"),
        ("lateral isnull or nothing_ notnull", '("lateral" IS NULL) OR ("nothing_" IS NOT NULL)'),
        ("not a is null", 'NOT ("a" IS NULL)'),
        ("a not between -1 and - b", '"a" NOT BETWEEN (-1) AND (-"b")'),
        ("a not like 'x!%' escape '!'", "\"a\" NOT LIKE 'x!%' ESCAPE '!'"),
        ("a - -1 * 2 - (3 - c) <> 1e1", '("a" - ((-1) * 2) - (3 - "c")) <> 1e1'),
        ("LOWER(a || b) = true", 'lower("a" || "b") = TRUE'),
    ],
)
def test_a_where_is_rendered_in_the_order_written(text: str, rendered: str) -> None:
    assert Plain().where(text) == rendered


def test_a_dialect_spells_its_own_way() -> None:
    text = "a || 'x' || c = b and a is not null and not (b is :p) and c is not b"
    assert Dialect().where(text) == (
        '((concat("a", \'x\', "c")) = "b") AND ("a" IS NOT NULL) AND (NOT ("b" <=> :p)) AND (NOT ("c" <=> "b"))'
    )


def test_a_where_is_rendered_with_the_spelling_of_its_names_and_values() -> None:
    text = "lower(\"a b\") = 'it''s :p \"x\"' and -b not in (:p, 2)"
    rendered = Plain("`{}`".format, "<{}>".format, "%({})s".format).where(text)
    assert rendered == '(lower(`a b`) = <it\'s :p "x">) AND ((-`b`) NOT IN (%(p)s, 2))'


def test_a_guard_guards() -> None:
    """Sorted, the term that overflows comes first."""
    text = "coalesce(i, 0) > -9223372036854775808 AND abs(i) >= 5"
    where = parse_where(text)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (i INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", [(-(2**63),), (-7,), (3,), (None,)])
        found = connection.execute(f"SELECT i FROM t WHERE {Plain().render(where.tree)}").fetchall()
        assert found == [(-7,)]
        with pytest.raises(sqlite3.OperationalError, match="integer overflow"):
            connection.execute(f"SELECT i FROM t WHERE {where.canonical}").fetchall()


@pytest.mark.parametrize("length", [2, WIDEST_JUNCTION, WIDEST_JUNCTION + 1, 1_000, 2_500])
@pytest.mark.parametrize("word", ["AND", "OR"])
def test_a_long_chain_is_grouped_and_keeps_its_order(length: int, word: str) -> None:
    names = [f"c{number}" for number in range(length)]
    rendered = Plain().where(f" {word} ".join(names))
    assert rendered.replace("(", "").replace(")", "") == f" {word} ".join(map(quoted, names))
    assert ("(" in rendered) == (length > WIDEST_JUNCTION)
