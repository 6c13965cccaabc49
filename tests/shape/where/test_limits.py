"""What a where may cost: within the limits it runs on SQLite, and computes no more than was counted."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from where_texts import Plain

from shapestore.errors import InvalidShapeError
from shapestore.shape.quoting import quoted
from shapestore.shape.shape import Shape
from shapestore.shape.where.limits import MAX_BYTES, MAX_LEVELS, MAX_PATTERN_BYTES, MAX_TIMES, SHORT, Meter
from shapestore.shape.where.nodes import Comparison
from shapestore.shape.where.where import MAX_LENGTH, parse_where

chances = st.integers(0, 2**32).map(random.Random)


@pytest.fixture(scope="module")
def table() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a, b, c, d)")
    connection.executemany(
        "INSERT INTO t VALUES (?, ?, ?, ?)",
        [(1, "x", None, 2.5), (0, "", "abcabc", -1), (None, "aaaa", "ä%_", 7), (5, "5", "a", 0)],
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)  # this build may have more
    yield connection
    connection.close()


def run(table: sqlite3.Connection, shape: Shape) -> list[Any]:
    """Run a where as a source does, every string and parameter bound, within the largest statement there is for one."""
    values: list[object] = []

    def bound(value: object) -> str:
        values.append(value)
        return "?"

    assert shape.where_as_written is not None
    renderer = Plain(lambda name: f'"q".{quoted(name)}', bound, lambda name: bound(shape.params[name]))
    where = renderer.where(shape.where_as_written)
    guarded = f"SELECT a, b FROM t AS q WHERE ({where}) AND CASE WHEN ({where}) THEN ({where}) END ORDER BY a, b"
    if len(values) * 3 > 32_766:
        guarded = f"SELECT a, b FROM t AS q WHERE {where} ORDER BY a, b"
    else:
        values *= 3
    return table.execute(guarded, values).fetchall()


# --- depth

WRAPPINGS = [
    *("a AND {}", "{} OR c", "a OR {} OR c", "NOT {}", "{} = b", "b <> {}", "{} IS NOT c", "c IS {}", "{} ISNULL"),
    *("b IN (1, {})", "{} NOT IN (a, 2)", "{} BETWEEN a AND b", "a NOT BETWEEN {} AND b", "1 BETWEEN a AND {}"),
    *("{} LIKE c", "b NOT LIKE {}", "b LIKE {} ESCAPE '!'", "-{}", "a + {}", "{} - d", "a * {}", "{} / d", "a % {}"),
    *("b || {}", "{} || c", "lower({})", "coalesce(a, {})", "coalesce({}, a, b)", "substr(b, 1, {})", "nullif({}, 1)"),
    *("CASE WHEN {} THEN b END", "CASE WHEN a THEN {} ELSE b END", "CASE WHEN a THEN b ELSE {} END"),
    *("CASE WHEN a THEN b WHEN {} THEN c END", "CASE WHEN a THEN b WHEN c THEN {} END"),
]  # fmt: skip


def deepest(wrappings: list[str], chance: random.Random) -> Shape:
    """The deepest where that is accepted."""
    shape = Shape("t", where="a")
    try:
        while True:
            shape = Shape("t", where=chance.choice(wrappings).format(f"({shape.where_as_written})"))
    except InvalidShapeError as refused:
        assert "deep" in str(refused)
    return shape


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_an_operator_as_often_inside_itself_as_is_accepted_runs_on_sqlite(
    table: sqlite3.Connection, wrapping: str
) -> None:
    run(table, deepest([wrapping], random.Random(0)))


@given(chances, st.sets(st.sampled_from(WRAPPINGS), min_size=2, max_size=5))
def test_the_deepest_where_that_is_accepted_runs_on_sqlite(
    table: sqlite3.Connection, chance: random.Random, wrappings: set[str]
) -> None:
    run(table, deepest(sorted(wrappings), chance))


@pytest.mark.parametrize(
    ("joint", "operand", "length"),
    [
        (" AND ", "a", 4_000),
        (" OR ", "a", 4_000),
        (" OR ", "NOT a=1", 2_000),
        (" + ", "a", MAX_LEVELS),
        (" * ", "a", MAX_LEVELS),
        (" || ", "a", MAX_TIMES),
    ],
)
def test_a_long_chain_runs_on_sqlite(table: sqlite3.Connection, joint: str, operand: str, length: int) -> None:
    run(table, Shape("t", where=joint.join([operand] * length)))


def test_the_1200_ors_run(table: sqlite3.Connection) -> None:
    text = " OR ".join(f"a = {number}" for number in range(1, 1_201))
    assert run(table, Shape("t", where=text)) == [(1, "x"), (5, "5")]


@pytest.mark.parametrize(("joint", "length"), [(" + ", MAX_LEVELS + 1), (" / ", 1_000), (" || ", MAX_TIMES + 1)])
def test_a_chain_that_cannot_be_grouped_has_a_limit(joint: str, length: int) -> None:
    with pytest.raises(InvalidShapeError, match="the limit is"):
        Shape("t", where=joint.join(["a"] * length))


# --- number


def test_the_longest_lists_run_on_sqlite(table: sqlite3.Connection) -> None:
    """No text of the greatest length holds more values than SQLite or PostgreSQL let a statement bind."""
    strings = "b IN (" + ",".join(["'x'", *["''"] * ((MAX_LENGTH - 20) // 4)]) + ")"
    assert strings.count("'") // 2 > 8_000
    assert run(table, Shape("t", where=strings)) == [(0, ""), (1, "x")]
    names = [f"p{number}" for number in range(4_000)]
    text = "a IN (" + ",".join(f":{name}" for name in names) + ")"
    params = dict.fromkeys(names, 1)
    assert run(table, Shape("t", where=text, params=params)) == [(1, "x")]
    columns = "1 IN (" + ", ".join(["a"] * 6_000) + ")"
    assert run(table, Shape("t", where=columns)) == [(1, "x")]


def test_a_value_takes_two_characters_at_least_so_that_no_where_binds_too_many() -> None:
    assert MAX_LENGTH // len("''") < min(32_766, 65_535)


# --- size


def nested_replace(depth: int, replacement: str) -> str:
    text = "a"
    for level in range(depth):
        text = f"replace({text}, '{'ab'[level % 2]}', '{replacement}')"
    return f"{text} = 'x'"


@pytest.mark.parametrize(
    ("text", "params", "why"),
    [
        (nested_replace(12, "x" * 100), {}, "times as long"),
        (nested_replace(7, "ab"), {}, "128 times as long"),
        (nested_replace(1, "x" * 101), {}, "101 times as long"),
        ("replace(a, 'x', :to) = 'x'", {"to": "x" * 101}, "101 times as long"),
        ("replace(a, :of, :to) = 'x'", {"of": "x", "to": "x" * 101}, "101 times as long"),
        ("replace(a, :of, :to) = 'x'", {"of": 5, "to": "x" * 101}, "101 times as long"),
        ("replace(a, :of, :to) = 'x'", {"of": True, "to": "x" * 101}, "101 times as long"),
        ("replace(a, :of, 'ab') || 'x' = 'x'", {"of": "x" * 2_000, "to": ""}, "does not use"),
        ("replace(a, b, 'x') || replace(a, b, :to)  = 'x'", {"to": "x" * 100}, "101 times as long"),
        ("replace(a, 'x', b) = 'x'", {}, "column in its third argument"),
        ("replace(:p, 'x', lower(b)) = 'x'", {"p": "x"}, "column in its third argument"),
        ("replace(:p, 'x', :p) = 'x'", {"p": "x" * 5_000}, f"more than {MAX_BYTES} bytes"),
        ("replace(replace(:p, 'x', :p), 'x', :p) = 'x'", {"p": "x" * 200}, f"more than {MAX_BYTES} bytes"),
        (" OR ".join(["lower(:p) = a"] * 1_500), {"p": "x" * 3_000}, f"more than {MAX_BYTES} bytes"),
        (" OR ".join([":p = a"] * 2_000), {"p": "x" * 3_000}, f"more than {MAX_BYTES} bytes"),
        ("a IN (" + " || ".join([":p"] * 100) + ")", {"p": "x" * 50_000}, f"more than {MAX_BYTES} bytes"),
        ("a LIKE :p", {"p": "x" * 8_193}, "pattern of LIKE is too long: 8193 bytes"),
        ("a LIKE :p || :p", {"p": "x" * 4_097}, "pattern of LIKE is too long: 8194 bytes"),
        ("a LIKE :p", {"p": "ä" * 4_097}, "pattern of LIKE is too long: 8194 bytes"),
        ("a LIKE '" + "x" * 8_193 + "'", {}, "pattern of LIKE is too long"),
        ("a LIKE b ESCAPE :e", {"e": ""}, "params['e'] must be a str of one"),
        ("a LIKE b ESCAPE :e", {"e": "ab"}, "params['e'] must be a str of one"),
        ("a LIKE b ESCAPE :e", {"e": None}, "params['e'] must be a str of one"),
        ("a LIKE b ESCAPE :e", {"e": 1}, "params['e'] must be a str of one"),
    ],
)
def test_what_may_compute_too_much_is_refused_when_the_shape_is_made(
    text: str, params: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidShapeError) as refused:
        Shape("t", where=text, params=params)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("replace(replace(replace(b, ' ', ''), '-', ''), '+', '00') = :phone", {"phone": "00495551234"}),
        (
            "replace(replace(replace(lower(b), 'ä', 'ae'), 'ö', 'oe'), 'ü', 'ue') LIKE '%' || lower(:p) || '%'",
            {"p": "x"},
        ),
        ("replace(b, :of, :to) = c", {"of": "&", "to": "&amp;"}),
        ("replace(b, '', :to) = c", {"to": "x" * MAX_TIMES}),
        ("replace(b, :of, :to) = c", {"of": "x" * 2_000, "to": "y" * 2_000 * MAX_TIMES}),
        ("replace(b, c, '') = a", {}),
        ("b || ' ' || c || ' ' || a LIKE :p", {"p": "%x%"}),
        ("b LIKE c || '%'", {}),
        ("b LIKE :p", {"p": "x" * MAX_PATTERN_BYTES}),
        ("b LIKE :p ESCAPE :e", {"p": "5%%", "e": "%"}),
        ("b = :p", {"p": "x" * 200_000}),
        (" OR ".join(["lower(b) = 'x'"] * 1_500), {}),
    ],
)
def test_what_people_write_is_accepted_and_runs(table: sqlite3.Connection, text: str, params: dict[str, Any]) -> None:
    run(table, Shape("t", where=text, params=params))


def test_short_and_long_values_are_both_counted() -> None:
    """Short ones are counted once, when the text is read: the same text with a long one is looked at again."""
    text = "a LIKE " + " || ".join([":p"] * 9)
    for _ in range(2):
        Shape("t", where=text, params={"p": "x" * (MAX_PATTERN_BYTES // 9)})
        with pytest.raises(InvalidShapeError, match="pattern of LIKE"):
            Shape("t", where=text, params={"p": "x" * SHORT})
    text = "a LIKE :p || :p"
    for _ in range(2):
        Shape("t", where=text, params={"p": "x" * SHORT})
        with pytest.raises(InvalidShapeError, match="pattern of LIKE"):
            Shape("t", where=text, params={"p": "x" * 5_000})


texts: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(["b", "c", ":p", ":q", "'x'", "''", "'ab'", "d"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["'a'", ":p", "c", "''"]), inner).map(
            "replace({0[0]}, {0[1]}, {0[2]})".format
        ),
        st.tuples(inner, inner).map("({0[0]} || {0[1]})".format),
        st.tuples(inner, inner).map("coalesce({0[0]}, {0[1]})".format),
        st.tuples(inner, inner).map("nullif({0[0]}, {0[1]})".format),
        st.tuples(st.sampled_from(["lower", "upper", "trim", "length", "abs"]), inner).map("{0[0]}({0[1]})".format),
        inner.map("substr({}, 2)".format),
        st.tuples(inner, inner, inner).map("CASE WHEN {0[0]} THEN {0[1]} ELSE {0[2]} END".format),
        inner.map("-({})".format),
    ),
    max_leaves=12,
)


@given(texts, st.sampled_from(["", "a", "aa", "ä" * 50]), st.sampled_from(["", "c", "xyz" * 20]))
def test_no_value_is_longer_than_was_counted(table: sqlite3.Connection, text: str, p: str, q: str) -> None:
    params = {"p": p, "q": q}
    try:
        tree = parse_where(f"{text} = 'x'").tree
    except InvalidShapeError:
        return
    assert isinstance(tree, Comparison)
    meter = Meter(params)
    size = meter.cost(tree.left)
    if meter.excess:
        return
    longest = "max(length(b), coalesce(length(CAST(c AS BLOB)), 0), length(CAST(d AS BLOB)))"
    found = table.execute(f"SELECT length(CAST({text} AS BLOB)), {longest} FROM t", params)
    for length, column in found:
        assert (length or 0) <= size.times * column + size.plus
