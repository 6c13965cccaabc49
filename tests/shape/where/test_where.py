"""Wheres by example: what is folded, what is kept apart, what is refused and where."""

from __future__ import annotations

import pytest

from shapestore.errors import InvalidShapeError
from shapestore.shape.where.parser import MAX_DEPTH
from shapestore.shape.where.where import MAX_LENGTH, parse_where, where_columns


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("a==1", '"a" = 1'),
        ("a != 'It''s'", "\"a\" <> 'It''s'"),
        ("`a` <= [b c]", '"a" <= "b c"'),
        ('"q""q" = `q``q`', '"q""q" = "q`q"'),
        ("b = 2 and a = 1 AND ((c = 3))", '"a" = 1 AND "b" = 2 AND "c" = 3'),
        ("(a or b) and (a or c)", '("a" OR "b") AND ("a" OR "c")'),
        ("a and b or c", '"a" AND "b" OR "c"'),
        ("a = 1 and a == 1", '"a" = 1'),
        ("a and a", '"a" AND "a"'),
        ("not a = 1", 'NOT "a" = 1'),
        ("(not a) = 1", '(NOT "a") = 1'),
        ("(a = 1) <> (b = 1)", '("a" = 1) <> ("b" = 1)'),
        ("a = \u0131s", '"a" = "\u0131s"'),  # its capitals are IS, and yet it is a name
        ("not (a and b)", 'NOT ("a" AND "b")'),
        ("not a is null", '"a" IS NOT NULL'),
        ("not not a is null", '"a" IS NULL'),
        ("a notnull", '"a" IS NOT NULL'),
        ("a isnull", '"a" IS NULL'),
        ("a is not :p", '"a" IS NOT :p'),
        ("a is (not :p)", '"a" IS (NOT :p)'),
        ("a in (3, 1, 2, 1)", '"a" IN (1, 2, 3)'),
        ("not a in (:x, null, 1)", '"a" NOT IN (1, :x, NULL)'),
        ("a between 1 and 2 and b", '"a" BETWEEN 1 AND 2 AND "b"'),
        ("a not like 'x!%' escape '!'", "\"a\" NOT LIKE 'x!%' ESCAPE '!'"),
        ("a - (b - c) = (a - b) - c", '"a" - ("b" - "c") = "a" - "b" - "c"'),
        ("a + (b + c) = a * (b + c)", '"a" + ("b" + "c") = "a" * ("b" + "c")'),
        ("a || (b || c) = (a || b) || c", '"a" || ("b" || "c") = "a" || "b" || "c"'),
        ("a + (b || c) = (a + b) || c", '"a" + ("b" || "c") = ("a" + "b") || "c"'),
        ("- 1 = -(-a)", '-1 = -(-"a")'),
        ("a - -1 = 0", '"a" - -1 = 0'),
        ("Lower ( a ) = SUBSTR(b, 1, 2)", 'lower("a") = substr("b", 1, 2)'),
        ("coalesce(a = 1, FALSE)", 'coalesce("a" = 1, FALSE)'),
        ("date = TRUE or état = 1.50e1", '"date" = TRUE OR "état" = 1.50e1'),
        ("a = ' AND :x -- no; comment '", "\"a\" = ' AND :x -- no; comment '"),
        ('"select" = 1', '"select" = 1'),
    ],
)
def test_the_canonical_text_of(text: str, canonical: str) -> None:
    assert parse_where(text).canonical == canonical
    assert parse_where(canonical).canonical == canonical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a = 1", "a = 1.0"),
        ("a = 1", "a = '1'"),
        ("a = 1", "1 = a"),
        ("a = 1", "A = 1"),
        ("a = 1", "a IS 1"),
        ("a = 'x'", "a = 'X'"),
        ("a = 'x'", 'a = "x"'),
        ("a = ':x'", "a = :x"),
        ("a = 1e1", "a = 1E1"),
        ("1 + a = 3", "a = 2"),
        ("a + b + c = 0", "a + (b + c) = 0"),
        ("a + b = 0", "b + a = 0"),
        ("NOT a = 1", "(NOT a) = 1"),
        ("NOT NOT a", "a"),
        ("a IS NOT b", "a IS (NOT b)"),
        ("a IN (1)", "a = 1"),
        ("a OR b AND c", "(a OR b) AND c"),
        ("(a AND a) = 2", "a = 2"),
        ("a LIKE b", "a LIKE b ESCAPE '!'"),
        ("a = 0e999", "a = 0"),
    ],
)
def test_what_could_select_different_rows_is_kept_apart(one: str, other: str) -> None:
    assert parse_where(one).canonical != parse_where(other).canonical


@pytest.mark.parametrize(
    ("text", "character", "why"),
    [
        ("", 1, "found the end"),
        (" \n ", 4, "found the end"),
        ("a = ", 5, "found the end"),
        ("a = 1; DROP TABLE t", 6, "not a statement"),
        ("a = 1 -- or not", 7, "comments"),
        ("a = 1 /* or not */", 7, "comments"),
        ("a --1 = 2", 3, "comments"),
        ("t.a = 1", 2, "qualified"),
        ("a = ?", 5, ":name"),
        ("a = ?1", 5, ":name"),
        ("a = @x", 5, ":name"),
        ("a = $x", 5, ":name"),
        ("a = :1", 5, ":name"),
        ("a = : x", 5, ":name"),
        ("a::int = 1", 2, ":name"),
        ("a = 'open", 5, "not closed"),
        ('"" = 1', 1, "empty"),
        ("[a = 1", 1, "not closed"),
        ("a = 0x10", 5, "number"),
        ("a = 1_000", 5, "number"),
        ("a = 1b", 5, "number"),
        ("a = 1e999", 5, "number"),
        ("a = 1e-999", 5, "number"),
        ("a = 1" + "0" * 400, 5, "number"),
        ("a = x'00'", 6, "found '00'"),
        ("a = 'x' 'y'", 9, "found 'y'"),
        ("a b", 3, "found 'b'"),
        ("+a = 1", 1, "found '+'"),
        ("- -a = 1", 3, "found '-'"),
        ("~a = 1", 1, "'~'"),
        ("a & 1", 3, "'&'"),
        ("a -> 'x'", 4, "found '>'"),
        ("a = 1\xa0", 6, "'\\xa0'"),
        ("a = b = c", 7, "parentheses"),
        ("a < b = c", 7, "parentheses"),
        ("a IN (1) IS NULL", 10, "parentheses"),
        ("a || b + c", 8, "parentheses"),
        ("a * b || c", 7, "parentheses"),
        ("a = NOT b", 5, "found 'NOT'"),
        ("a NOT = b", 7, "after NOT"),
        ("a NOT b", 7, "after NOT"),
        ("a IN ()", 7, "found ')'"),
        ("a IN :a", 6, "expected a list with a :parameter for each of its values, as in (:a, :b), found ':a'"),
        ("a :b", 3, "expected an operator or the end, found ':b'"),
        ("a IN (1,)", 9, "found ')'"),
        ("a IN 1", 6, "'('"),
        ("a IN b", 6, "'('"),
        ("a IN (SELECT 1)", 7, "SELECT"),
        ("EXISTS (SELECT 1)", 1, "EXISTS"),
        ("(SELECT 1)", 2, "SELECT"),
        ("a = 1 UNION SELECT 1", 7, "UNION"),
        ("a BETWEEN 1", 12, "'AND'"),
        ("a BETWEEN 1 OR 2", 13, "'AND'"),
        ("(a, b) = (1, 2)", 3, "')'"),
        ("(a = 1", 7, "')'"),
        ("a = 1)", 6, "found ')'"),
        ("*", 1, "found '*'"),
        ("a = 1 ORDER BY a", 7, "no ORDER BY; rows come in the order of the source's primary key (a column of"),
        (
            "a = 1 limit 5",
            7,
            'no LIMIT; it holds every row for which its where is true (a column of this name is written "limit")',
        ),
        ("a = 1 GROUP BY a", 7, "no GROUP BY"),
        ("a GLOB 'x'", 3, "GLOB"),
        ("a LIKE b ESCAPE '!!'", 17, "one character"),
        ("a LIKE b ESCAPE ''", 17, "one character"),
        ("a LIKE b ESCAPE c", 17, "one character"),
        ("a LIKE b ESCAPE '!' || ''", 17, "one character"),
        ("a LIKE b ESCAPE NULL", 17, "one character"),
        ("a COLLATE NOCASE = 'x'", 3, "COLLATE"),
        ("CAST(a AS int) = 1", 1, "CAST"),
        ("CASE a WHEN b THEN c END", 6, "expected 'WHEN', found 'a'"),
        ("CASE ELSE a END", 6, "expected 'WHEN', found 'ELSE'"),
        ("CASE WHEN a END", 13, "expected 'THEN', found 'END'"),
        ("CASE WHEN a THEN b ELSE c WHEN d THEN e END", 27, "expected 'END', found 'WHEN'"),
        ("CASE WHEN a THEN b", 19, "expected 'END', found the end"),
        ("CASE WHEN " * 3_000, 10 * MAX_DEPTH + 6, "deep"),
        ("a IS DISTINCT FROM b", 6, "DISTINCT"),
        ("a > CURRENT_TIMESTAMP", 5, "CURRENT_TIMESTAMP"),
        ("load_extension('x')", 1, "no function 'load_extension'"),
        ("count(*) > 1", 1, "no function 'count'"),
        ('"lower"(a) = 1', 8, "found '('"),
        ("nullif(a) = 1", 1, "2 argument(s), not 1"),
        ("lower(a, b) = 1", 1, "1 argument(s), not 2"),
        ("lower() = 1", 7, "found ')'"),
        ("a = 'x\0y'", 7, "NUL"),
        ("a = '\ud800'", 6, "surrogate"),
        ("(" * 50_000, 50_000, "too long"),
        ("(" * 5_000, MAX_DEPTH + 2, "deep"),
        ("NOT " * 5_000 + "a", 4 * MAX_DEPTH + 5, "deep"),
        ("lower(" * 5_000, 6 * MAX_DEPTH + 7, "deep"),
        ("a IN (" * 5_000, 6 * MAX_DEPTH + 7, "deep"),
    ],
)
def test_what_is_refused_is_named_with_its_place(text: str, character: int, why: str) -> None:
    with pytest.raises(InvalidShapeError) as refused:
        parse_where(text)
    assert why in str(refused.value)
    assert f"at character {character}:" in str(refused.value) or why == "too long"
    assert len(str(refused.value)) < 400


def test_nesting_is_accepted_up_to_its_limit() -> None:
    deepest = "a || (a * (a = (NOT (" * 6 + "a = 1" + "))))" * 6
    assert parse_where(parse_where(deepest).canonical).canonical == parse_where(deepest).canonical
    assert parse_where("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH).canonical == '"a"'
    assert parse_where("NOT " * MAX_DEPTH + "a").canonical == "NOT " * MAX_DEPTH + '"a"'


@pytest.mark.parametrize(("joint", "length"), [(" AND ", 1_000), (" OR ", 1_000), (" + ", 500), (" || ", 100)])
def test_a_chain_is_nested_no_deeper_than_its_operands(joint: str, length: int) -> None:
    text = joint.join(f"c{number:03}" for number in range(length))
    where = parse_where(text)
    assert len(where_columns(text)) == length
    assert parse_where(where.canonical).canonical == where.canonical


def test_a_text_whose_canonical_text_would_be_too_long_is_refused() -> None:
    text = "a IN (" + ", ".join(f"a{number}" for number in range(4_500)) + ")"
    assert len(text) < MAX_LENGTH
    with pytest.raises(InvalidShapeError, match=f"too long: .* the limit is {MAX_LENGTH}"):
        parse_where(text)


def test_a_where_knows_its_parameters_and_columns() -> None:
    text = "lower(name) = :n AND \"full name\" LIKE :n OR id IN (:id, ':not')"
    assert parse_where(text).params == {"n", "id"}
    assert where_columns(text) == {"name", "full name", "id"} == where_columns(parse_where(text).canonical)


def test_a_text_read_again_is_remembered() -> None:
    assert parse_where("remembered = 1") is parse_where("remembered = 1")
