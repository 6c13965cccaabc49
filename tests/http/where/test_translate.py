"""The wheres of clients that speak PostgreSQL, as wheres of shapes; and what is refused, and where."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shapestore import Shape
from shapestore.http.where.arrays import items_of
from shapestore.http.where.names import Columns, Name, names_in
from shapestore.http.where.refusal import RefusedError
from shapestore.http.where.translate import Predicate, translate
from shapestore.shape.column_description import ColumnDescription, Description

ISSUE: Description = {
    "id": ColumnDescription("int8", pk_index=0, not_null=True),
    "title": ColumnDescription("text"),
    "priority": ColumnDescription("int4"),
    "projectId": ColumnDescription("uuid"),
    "price": ColumnDescription("numeric"),
    "rating": ColumnDescription("float8"),
    "active": ColumnDescription("bool"),
    "createdAt": ColumnDescription("timestamp"),
    "data": ColumnDescription("bytea"),
    "tags": ColumnDescription("text", dims=1),
    "computed": ColumnDescription("unknown"),
    "secret": ColumnDescription("text"),
}
COLUMNS = Columns("Issue", ISSUE, [name for name in ISSUE if name != "secret"])


def translated(text: str, *values: str | None) -> Predicate:
    predicate = translate(text, dict(enumerate(values, 1)), COLUMNS)
    Shape("Issue", where=predicate.where, params=predicate.params)  # it is one that a shape takes
    return predicate


# What the published clients send: those of Electric's own tests, and what TanStack DB compiles.
SENT: list[tuple[str, list[str | None], str, dict[str, Any]]] = [
    ("true = true", [], "TRUE = TRUE", {}),
    ("1=1", [], "1 = 1", {}),
    ("title LIKE 'foo%'", [], "title LIKE 'foo%'", {}),
    ("title = 'bar'", [], "title = 'bar'", {}),
    ("title = $1 OR title = $2", ["a", "b"], "title = :p1 OR title = :p2", {"p1": "a", "p2": "b"}),
    ("id = $1", ["9223372036854775802"], "id = :p1", {"p1": 9223372036854775802}),
    ("priority=$1 and title=$2", ["1", "x"], "priority = :p1 AND title = :p2", {"p1": 1, "p2": "x"}),
    ('"title" = $1', ["John"], "title = :p1", {"p1": "John"}),
    ('"title" = $1', [""], "title = :p1", {"p1": ""}),
    ('"priority" = $1', ["25"], "priority = :p1", {"p1": 25}),
    ('"priority" > $1', ["18"], "priority > :p1", {"p1": 18}),
    ('"price" < $1', ["100"], "price < :p1", {"p1": 100.0}),
    ('"priority" >= $1', ["10"], "priority >= :p1", {"p1": 10}),
    ('"rating" <= $1', ["4.5"], "rating <= :p1", {"p1": 4.5}),
    ('"active" = $1', ["true"], "active = :p1", {"p1": True}),
    ('"createdAt" > $1', ["2024-01-01"], '"createdAt" > :p1', {"p1": "2024-01-01"}),
    ('"projectId" = $1 AND "title" = $2', ["u", ""], '"projectId" = :p1 AND title = :p2', {"p1": "u", "p2": ""}),
    ('("id" = $1) AND ("priority" = $2) AND ("title" = $3)', ["1", "2", "3"],
     "id = :p1 AND priority = :p2 AND title = :p3",
     {"p1": 1, "p2": 2, "p3": "3"}),
    ('"title" LIKE $1', ["a%"], "title LIKE :p1", {"p1": "a%"}),
    ('"title" ILIKE $1', ["%john%"], "lower(title) LIKE lower(:p1)", {"p1": "%john%"}),
    ('"title" IS NULL', [], "title IS NULL", {}),
    ('"title" IS NOT NULL', [], "title IS NOT NULL", {}),
    ('NOT ("title" = $1)', ["x"], "NOT title = :p1", {"p1": "x"}),
    ("NOT (\"id\" = ANY($1))", ["{1,2}"], "NOT id IN (:p1_1, :p1_2)", {"p1_1": 1, "p1_2": 2}),
    ('"id" = ANY($1)', ["{2,1,2}"], "id IN (:p1_1, :p1_2)", {"p1_1": 1, "p1_2": 2}),
    ('"title" = ANY($1)', ['{"b","a, \\"b\\"",NULL}'], "title IN (:p1_1, :p1_2, NULL)",
     {"p1_1": 'a, "b"', "p1_2": "b"}),
    ('"id" = ANY($1)', ["{}"], "FALSE", {}),
    ('"title" = ANY($1)', ['{""}'], "title IN (:p1_1)", {"p1_1": ""}),
    ('UPPER("title") = $1', ["A"], "upper(title) = :p1", {"p1": "A"}),
    ('LENGTH("title") > $1', ["5"], "length(title) > :p1", {"p1": 5}),
    ('COALESCE("title",$1) = $2', ["a", "b"], "coalesce(title, :p1) = :p2", {"p1": "a", "p2": "b"}),
    ('CONCAT("title",$1) = $2', ["a", "b"], "coalesce(title, '') || :p1 = :p2", {"p1": "a", "p2": "b"}),
    ('"priority" + $1 > $2', ["1", "5"], "priority + :p1 > :p2", {"p1": 1, "p2": 5}),
    ("false", [], "FALSE", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "values", "where", "params"), SENT, ids=[text for text, *_ in SENT])
def test_what_clients_send_is_the_shape_that_python_makes(
    text: str, values: list[str | None], where: str, params: dict[str, Any]
) -> None:
    found = translate(text, dict(enumerate(values, 1)), COLUMNS)
    assert Shape("Issue", where=found.where, params=found.params) == Shape("Issue", where=where, params=params)
    assert [(name, type(value)) for name, value in sorted(found.params.items())] == [
        (name, type(value)) for name, value in sorted(params.items())
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        # operators
        ("title ~~ 'a%'", "title LIKE 'a%'"),
        ("title !~~ 'a%'", "title NOT LIKE 'a%'"),
        ("title ~~* 'a%'", "lower(title) LIKE lower('a%')"),
        ("title !~~* 'a%'", "lower(title) NOT LIKE lower('a%')"),
        ("title NOT ILIKE 'a%'", "lower(title) NOT LIKE lower('a%')"),
        ("title LIKE 'a\\%'", "title LIKE 'a\\%' ESCAPE '\\'"),
        ("title LIKE 'a\\\\'", "title LIKE 'a\\\\' ESCAPE '\\'"),
        ("title LIKE 'a\\' ESCAPE ''", "title LIKE 'a\\'"),
        ("title LIKE 'a#%' ESCAPE '#'", "title LIKE 'a#%' ESCAPE '#'"),
        ("title LIKE title", "title LIKE title ESCAPE '\\'"),
        ("title IS DISTINCT FROM 'x'", "title IS NOT 'x'"),
        ("title IS NOT DISTINCT FROM NULL", "title IS NULL"),
        ("active IS TRUE", "active IS TRUE"),
        ("active IS NOT UNKNOWN", "active IS NOT NULL"),
        ("title ISNULL OR title NOTNULL", "title IS NULL OR title IS NOT NULL"),
        ("id != 1", "id <> 1"),
        ("id <> ALL('{1,2}')", "id NOT IN (1, 2)"),
        ("id != ALL('{}')", "TRUE"),
        ("id = ANY(ARRAY[1, 2])", "id IN (1, 2)"),
        ("id = ANY(ARRAY['1', '2'])", "id IN (1, 2)"),
        ("id = ANY(ARRAY['1', '2']::int[])", "id IN (1, 2)"),
        ("'1' = ANY('{1}'::int[])", "1 IN (1)"),
        ("id = SOME('{1,NULL}')", "id IN (1, NULL)"),
        ("id IN ('1', 2)", "id IN (1, 2)"),
        ("id NOT BETWEEN '1' AND 2", "id NOT BETWEEN 1 AND 2"),
        ("title || '' = 'x'", "title || '' = 'x'"),
        ("id - 1 - 2 * 3 % 4 = +5", "id - 1 - 2 * 3 % 4 = 5"),
        ("-id = -5", "-id = -5"),
        # precedence, where it is PostgreSQL's own
        ("title = 'a' IS NULL", "(title = 'a') IS NULL"),
        ("title = 'a' IS TRUE", "(title = 'a') IS TRUE"),
        ("NOT title = 'a' AND active", "(NOT title = 'a') AND active"),
        ("active = id IN (1)", "active = (id IN (1))"),
        ("title || 'a' || title = 'x'", "title || 'a' || title = 'x'"),
        ("id BETWEEN 1 AND 2 AND active", "(id BETWEEN 1 AND 2) AND active"),
        ("active OR active AND NOT active", "active OR (active AND NOT active)"),
        ("-id::int8 = 1", "-id = 1"),
        # types
        ("active = 'yes'", "active = TRUE"),
        ("active = 'f' OR 'on'", "active = FALSE OR TRUE"),
        ("active = 1", "active = 1"),
        ("id = '-5'", "id = -5"),
        ("id > '2.5'", "id > 2.5"),
        ("price = '9.50'", "price = 9.5"),
        ("price = '1e3'", "price = 1000.0"),
        ("price = '9007199254740993'", "price = 9007199254740993"),
        ("price = ' 0.1 '", "price = 0.1"),
        ("length(title) + '1' > '5'", "length(title) + 1 > 5"),
        ("'5' = id", "5 = id"),
        ("title = '5'", "title = '5'"),
        ("'a' = 'b'", "'a' = 'b'"),
        ("computed = 5", "computed = 5"),
        ("computed = '5'", "computed = '5'"),
        ("computed::int = '5'", "computed = 5"),
        ("id::text = '5'", "id || '' = '5'"),
        ("\"createdAt\"::text = 'x'", "\"createdAt\" = 'x'"),
        ("id::float8 / 2 > 1", "id * 1.0 / 2 > 1"),
        ("id::bigint = '5'::smallint", "id = 5"),
        ("CAST('5' AS integer) = id", "5 = id"),
        ("id = '5'::double precision", "id = 5.0"),
        ("title = 'x'::character varying", "title = 'x'"),
        ("\"createdAt\" > '2024-01-01'::timestamp without time zone", "\"createdAt\" > '2024-01-01'"),
        ("\"createdAt\" > date '2024-01-01'", "\"createdAt\" > '2024-01-01'"),
        ("NULL::int IS NULL", "NULL IS NULL"),
        # names
        ("TITLE = 'x'", "title = 'x'"),
        ("projectid = 'x'", "\"projectId\" = 'x'"),
        ("issue.title = 'x'", "title = 'x'"),
        ('"Issue"."title" = \'x\'', "title = 'x'"),
        ("public.issue.title = 'x'", "title = 'x'"),
        # functions
        ("Lower(title) = 'x'", "lower(title) = 'x'"),
        ("btrim(title) = 'x'", "trim(title) = 'x'"),
        ("char_length(title) = 1", "length(title) = 1"),
        ("concat(title, NULL, 'a', id) = ''", "coalesce(title, '') || '' || 'a' || coalesce(id || '', '') = ''"),
        ("concat(title) = ''", "coalesce(title, '') = ''"),
        ("substr(title, 2) = 'x'", "substr(title, 2) = 'x'"),
        ("substring(title, -1, 3) = 'x'", "substr(title, 1, 1) = 'x'"),
        ("substr(title, 0, 1) = 'x'", "substr(title, 1, 0) = 'x'"),
        ("nullif(title, '') IS NULL", "nullif(title, '') IS NULL"),
        ("coalesce(id, '5') = 5", "coalesce(id, 5) = 5"),
        ("greatest(id) = 5", "id = 5"),
        (
            "greatest(id, priority, '7') = 7",
            "CASE WHEN (id >= priority OR priority IS NULL) AND (id >= 7 OR 7 IS NULL) THEN id"
            " WHEN priority >= 7 OR 7 IS NULL THEN priority ELSE 7 END = 7",
        ),
        ("least(title, 'b') = 'a'", "CASE WHEN title <= 'b' OR 'b' IS NULL THEN title ELSE 'b' END = 'a'"),
        # CASE
        ("CASE WHEN active THEN id ELSE '5' END = 5", "CASE WHEN active THEN id ELSE 5 END = 5"),
        (
            "CASE id WHEN '1' THEN 'a' WHEN 2 THEN title END = 'a'",
            "CASE WHEN id = 1 THEN 'a' WHEN id = 2 THEN title END = 'a'",
        ),
        ("round(rating, 1) = 2.5", "round(rating, 1) = 2.5"),
        ("abs(priority) = '5'", "abs(priority) = 5"),
    ],
)
def test_what_postgresql_says_in_its_own_way(text: str, where: str) -> None:
    found = translate(text, {}, COLUMNS)
    assert Shape("Issue", where=found.where, params=found.params) == Shape("Issue", where=where)


@pytest.mark.parametrize(
    ("text", "values", "params"),
    [
        ("$1 IS NULL OR id = $1", ["5"], {"p1": 5}),
        ("$1 IS NULL OR id = $1", [None], {"p1": None}),
        ("$1 IS NULL", [None], {"p1": None}),
        ("id = $1 OR rating = $1", ["5"], {"p1": 5}),
        ("rating = $1 OR id = $1", ["5"], {"p1": 5}),
        ("$1 OR active", ["t"], {"p1": True}),
        ("$1 = $2", ["1", "1"], {"p1": "1", "p2": "1"}),
        ("$1 = ANY($2)", ["1", "{1}"], {"p1": "1", "p2_1": "1"}),
        ("$1::int = 5", ["5"], {"p1": 5}),
        ("id = $1", [" 5 "], {"p1": 5}),
        ("id = ANY($1) OR priority = ANY($1)", ["{2}"], {"p1_1": 2}),
        ("id = ANY($1)", [None], {}),
        ("id = $1", ["5", "not used", None], {"p1": 5}),
        ("title LIKE $1 ESCAPE $2", ["a#%", "#"], {"p1": "a#%"}),
        ("substr(title, $1, $2) = 'x'", ["1", "2"], {}),
        # a Date of JavaScript's, beside moments that are held as texts with a blank
        ('"createdAt" > $1', ["2024-01-01T10:00:00.120Z"], {"p1_": "2024-01-01 10:00:00.120000"}),
        ('"createdAt" >= $1', ["2024-01-01T10:00:00.000Z"], {"p1_": "2024-01-01 10:00:00"}),
        ('"createdAt" <= $1', ["2024-01-01T10:00:00.000Z"], {"p1__": "2024-01-01 10:00:00.000000"}),
        (
            '"createdAt" = $1',
            ["2024-01-01T10:00:00.000Z"],
            {"p1_": "2024-01-01 10:00:00", "p1__": "2024-01-01 10:00:00.000000"},
        ),
        ('"createdAt" = $1', ["2024-01-01 10:00:00.000000"], {"p1": "2024-01-01 10:00:00.000000"}),
        (
            'title = $1 OR "createdAt" < $1',
            ["2024-01-01T10:00:00.000Z"],
            {"p1": "2024-01-01T10:00:00.000Z", "p1_": "2024-01-01 10:00:00"},
        ),
    ],
)
def test_a_parameter_takes_its_type_from_any_of_its_places(
    text: str, values: list[str | None], params: dict[str, Any]
) -> None:
    found = translated(text, *values)[1]
    assert found == params
    assert list(map(type, found.values())) == list(map(type, params.values()))


def test_operands_stand_in_the_order_written() -> None:
    assert translated("id = 2 OR id = 1 OR 10 / id > 2")[0] == '("id" = 2) OR ("id" = 1) OR ((10 / "id") > 2)'


REFUSED: list[tuple[str, str]] = [
    # what is no expression, in the words and at the place of PostgreSQL
    ("1 x 1", 'At location 17: syntax error at or near "x"'),
    ("id = ", "At location 20: syntax error at end of input"),
    ("(id = 1", "At location 22: syntax error at end of input"),
    ("id = 1)", 'At location 21: syntax error at or near ")"'),
    ("id = 1 = 1", 'At location 22: syntax error at or near "="'),
    ("id == 1", 'At location 19: syntax error at or near "="'),
    ("id NOT NULL", 'At location 22: syntax error at or near "NULL"'),
    ("id IS 5", 'At location 21: syntax error at or near "5"'),
    ("AND", 'At location 15: syntax error at or near "AND"'),
    ("id = 1; DROP TABLE x", 'At location 21: syntax error at or near ";"'),
    ("title = 'x' ORDER BY id", 'At location 27: syntax error at or near "ORDER"'),
    # what is not supported
    ("id = 1 -- x", "At location 7: comments are not supported"),
    ("id = 1 /* x */", "At location 7: comments are not supported"),
    ("id IN (SELECT id FROM t)", "At location 7: subqueries are not supported"),
    ("EXISTS (SELECT 1)", "At location 0: subqueries are not supported"),
    ("\"createdAt\" < CURRENT_DATE", "At location 14: a value that changes is not supported"),
    ("\"createdAt\" < now()", "At location 14: there is no function now() here; there are "),
    ("pg_sleep(10) IS NULL", "At location 0: there is no function pg_sleep() here"),
    ("load_extension('x')", "At location 0: there is no function load_extension() here"),
    ("title ~ 'a'", "At location 6: the operator ~ is not supported"),
    ("data->'x' = 'y'", "At location 4: the operator -> is not supported"),
    ("title SIMILAR TO 'x'", 'At location 21: syntax error at or near "SIMILAR"'),
    ("title COLLATE \"C\" = 'x'", 'At location 21: syntax error at or near "COLLATE"'),
    ("tags[1] = 'x'", "At location 4: subscripts are not supported"),
    ("id > ANY('{1}')", "At location 3: > ANY is not supported; there are = ANY and <> ALL"),
    ("id = ALL('{1}')", "At location 3: = ALL is not supported"),
    ("ARRAY[1] = tags", "At location 0: ARRAY[...] is supported in = ANY(...) and <> ALL(...) only"),
    ("id = ANY(tags)", "At location 9: ANY and ALL take an array: a parameter, '{a,b}', or ARRAY['a','b']"),
    ("title = E'x'", "At location 8: a string is written 'text'; E'...' is not supported"),
    ("title = U&'x'", "At location 9: the operator & is not supported"),
    ("title = $$x$$", "At location 8: a parameter is written $1, $2, ..."),
    ("id = 0x1F", 'At location 20: syntax error at or near "0"'),
    # names that are not there, or not allowed
    ("nope = 1", "At location 0: unknown reference nope"),
    ("secret = 'x'", "At location 0: unknown reference secret"),
    ("secrets = 'x'", "At location 0: unknown reference secrets"),
    ("titel = 'x'", 'At location 0: unknown reference titel - did you mean "title"?'),
    ('"Title" = \'x\'', 'At location 0: unknown reference Title - did you mean "title"?'),
    ("rowid = 1", "At location 0: unknown reference rowid"),
    ("other.title = 'x'", 'At location 0: missing FROM-clause entry for table "other"'),
    ("x.issue.title = 'x'", 'At location 0: missing FROM-clause entry for table "issue"'),
    ("issue.secret = 'x'", "At location 0: unknown reference secret"),
    ("\"title = 'x'", "At location 0: unterminated quoted identifier"),
    ("title = 'x", "At location 8: unterminated quoted string"),
    # types
    ("title = 5", "At location 6: integer and text stand side by side; convert one of them, as in value::text"),
    ("title = active", "At location 6: boolean and text stand side by side"),
    ("rating = active", "boolean and numeric stand side by side"),
    ("id = 'x'", 'At location 5: invalid input syntax for type integer: "x"'),
    ("id = ''", 'At location 5: invalid input syntax for type integer: ""'),
    ("id = '9223372036854775808'", 'value "9223372036854775808" is out of range for type bigint'),
    ("rating = 'NaN'", 'invalid input syntax for type numeric: "NaN"'),
    ("rating = '1e999'", '"1e999" is out of range for type double precision'),
    ("price = '0.12345678901234567891'", '"0.12345678901234567891" has more digits than a number has here'),
    ("price = '12345678901234567891'", 'value "12345678901234567891" is out of range for type bigint'),
    ("price = '1e-400'", '"1e-400" has more digits than a number has here'),
    ("active = 'maybe'", 'At location 9: invalid input syntax for type boolean: "maybe"'),
    ("id IN (1, 'x')", 'At location 10: invalid input syntax for type integer: "x"'),
    ("data = 'x'", "values of type bytea are not supported here"),
    ("tags = 'x'", "arrays are not supported"),
    ("title", "At location 0: a condition must be of type boolean, not of type text"),
    ("rating AND active", "At location 0: a condition must be of type boolean, not of type numeric"),
    ("NOT title", "At location 4: a condition must be of type boolean, not of type text"),
    ("id LIKE '1'", "At location 0: LIKE takes text, not integer; convert it, as in value::text"),
    ("lower(id) = '1'", "At location 6: lower takes text, not integer; convert it, as in value::text"),
    ("rating || 'x' = 'x'", "At location 0: || takes text, not numeric"),
    ("id || id = '11'", "At location 3: || takes text"),
    ("title + 1 = 1", "integer and text stand side by side"),
    ("title + title = 'x'", "At location 6: + takes numbers, not text"),
    ("-title = 'x'", "At location 0: - takes a number"),
    ("abs(title) = 1", "At location 4: abs takes a number"),
    ("title::int = 1", "At location 7: cannot cast type text to int4 here"),
    ("\"createdAt\"::date = '2024-01-01'", "At location 13: cannot cast type timestamp to date here"),
    ("rating::int = 1", "At location 8: cannot cast type float8 to int4 here"),
    ("id::intt = 1", 'At location 4: type "intt" does not exist'),
    ("id::numeric(5, 2) = 1", "At location 11: a type with a length or precision is not supported in a cast"),
    ("id = ANY('{1,x}')", 'At location 9: array: invalid input syntax for type integer: "x"'),
    ("id = ANY('1,2')", "At location 9: array: malformed array literal"),
    ("id = ANY('{1,2')", "At location 9: array: malformed array literal"),
    ("id = ANY('{{1},{2}}')", "At location 9: array: arrays of arrays are not supported"),
    ("id = ANY('{1}x')", "At location 9: array: malformed array literal"),
    # the rest
    ("title LIKE 'a\\'", "At location 11: LIKE pattern must not end with escape character"),
    ("title LIKE 'a' ESCAPE 'ab'", "At location 11: ESCAPE takes one character, or an empty string"),
    ("title LIKE 'a' ESCAPE title", "At location 11: ESCAPE takes one character, or an empty string"),
    ("title ILIKE 'a' ESCAPE 'X'", "At location 12: the ESCAPE of ILIKE is not a letter"),
    ("substr(title, id) = 'x'", "At location 14: substr takes a whole number here, as a literal or a parameter"),
    ("substr(title, 1, -1) = 'x'", "At location 17: negative substring length not allowed"),
    ("abs(id, 1) = 1", "At location 0: abs takes 1 argument(s), not 2"),
    ("round(id, 99999999999999999999) = 1", "At location 10: value \"99999999999999999999\" is out of range for type "),
    ("id::int[] = 1", "At location 4: only a parameter or a string is cast to an array"),
    ("id::5 = 1", "At location 19: syntax error at or near \"5\""),
    ("coalesce() = 1", "coalesce takes 1 to 100 argument(s), not 0"),
    ("greatest() = 5", "greatest takes 1 to 10 argument(s), not 0"),
    ("least(1,1,1,1,1,1,1,1,1,1,1) = 5", "least takes 1 to 10 argument(s), not 11"),
    ("greatest(id, title) = 5", "integer and text stand side by side"),
    ("CASE WHEN title THEN 1 END = 1", "At location 10: a condition must be of type boolean, not of type text"),
    ("CASE WHEN active THEN id ELSE title END = 1", "integer and text stand side by side"),
    ("CASE active END", 'At location 27: syntax error at or near "END"'),
    ("CASE WHEN active THEN 1", "At location 38: syntax error at end of input"),
    ("concat() = ''", "concat takes 1 to 100 argument(s), not 0"),
    ("(" * 40 + "id = 1" + ")" * 40, "nested more than 32 deep"),
    ("NOT " * 40 + "active", "nested more than 32 deep"),
    ("title = 'a\0'", "neither NUL nor half a surrogate pair is accepted"),
    ("title = '\ud800'", "neither NUL nor half a surrogate pair is accepted"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[ascii(text[:40]) for text, _ in REFUSED])
def test_what_is_not_understood_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(RefusedError) as caught:
        translated(text)
    assert message in str(caught.value)
    if not message.startswith("At location"):
        assert str(caught.value).startswith("At location ")
    assert "secret" not in str(caught.value).replace(text, "").replace("reference secret", "")


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("id = $2", ["1"], "At location 5: parameter $2 was not given"),
        (
            "$1 IS NULL",
            ["1"],
            "At location 0: could not determine the type of parameter $1; write $1::text, or another",
        ),
        ("computed = $1", ["1"], "At location 11: could not determine the type of parameter $1"),
        ("computed = ANY($1)", ["{1}"], "At location 0: the type of the array's items cannot be told"),
        ("id = $1", ["x"], 'At location 5: parameter $1: invalid input syntax for type integer: "x"'),
        ("id = $1 OR title = $1", ["1"], "inconsistent types deduced for parameter $1: integer and text"),
        ("id = $1 OR id = ANY($1)", ["1"], "inconsistent types deduced for parameter $1: integer and array"),
        ("id = ANY($1) OR title = ANY($1)", ["{1}"], "inconsistent types deduced for parameter $1: integer and text"),
        ("id = ANY($1)", ["{" + "1," * 10_000 + "1}"], "an array has at most 10000 items"),
        ("title LIKE $1", ["\\"], "LIKE pattern must not end with escape character"),
    ],
)
def test_a_parameter_that_is_not_accepted(text: str, values: list[str], message: str) -> None:
    with pytest.raises(RefusedError) as caught:
        translated(text, *values)
    assert message in str(caught.value)


@pytest.mark.parametrize("qualifier", ["issue", "sales.issue", "public.sales.issue", "main.Sales.Issue"])
def test_a_column_may_be_qualified_by_its_table_and_schema(qualifier: str) -> None:
    assert translate(f"{qualifier}.id = 1", {}, Columns("sales.Issue", ISSUE, None)).where == '"id" = 1'


@pytest.mark.parametrize(
    "qualifier", ["public.issue", "main.issue", "sales", "sales.sales.issue", "public.main.sales.issue"]
)
def test_a_column_of_a_table_of_another_schema_is_not_there(qualifier: str) -> None:
    with pytest.raises(RefusedError, match="missing FROM-clause entry for table"):
        translate(f"{qualifier}.id = 1", {}, Columns("sales.Issue", ISSUE, None))


def test_a_where_that_is_sent_again_is_read_anew_where_the_columns_are_others() -> None:
    assert translated("id = $1", "5") == translated("id = $1", "5") == ('"id" = :p1', {"p1": 5})
    assert translated("id = $1", "6")[1] == {"p1": 6}
    texts = Columns("Issue", {"id": ColumnDescription("text")}, None)
    assert translate("id = $1", {1: "5"}, texts).params == {"p1": "5"}
    with pytest.raises(RefusedError):
        translate("id = $1", {1: "5"}, Columns("Issue", ISSUE, ["title"]))


def test_no_text_at_all_selects_everything() -> None:
    assert translate(None, {}, COLUMNS) == translate(" \n", {1: "x"}, COLUMNS) == Predicate(None, {})


MOMENTS = ["2024-01-01 09:59:59", "2024-01-01 10:00:00", "2024-01-01 10:00:00.000000", "2024-01-01 10:00:00.000001"]


AT = "2024-01-01T10:00:00.000Z"
LATER = "2024-01-02T00:00:00.000Z"
BEFORE, SAME, AFTER = (MOMENTS[:1], MOMENTS[1:3], MOMENTS[3:])


@pytest.mark.parametrize("form", ["$1", f"'{AT}'", "$1::timestamp", f"timestamptz '{AT}'"])
@pytest.mark.parametrize(
    ("test", "found"),
    [
        ('"createdAt" = {}', SAME),
        ('"createdAt" <> {}', BEFORE + AFTER),
        ('"createdAt" < {}', BEFORE),
        ('"createdAt" <= {}', BEFORE + SAME),
        ('"createdAt" > {}', AFTER),
        ('"createdAt" >= {}', SAME + AFTER),
        ('{} = "createdAt"', SAME),
        ('{} <> "createdAt"', BEFORE + AFTER),
        ('{} < "createdAt"', AFTER),
        ('{} <= "createdAt"', SAME + AFTER),
        ('{} > "createdAt"', BEFORE),
        ('{} >= "createdAt"', BEFORE + SAME),
        ('"createdAt" BETWEEN {} AND $2', SAME + AFTER),
        ('"createdAt" NOT BETWEEN {0} AND {0}', BEFORE + AFTER),
        ('{} BETWEEN "createdAt" AND "createdAt"', SAME),
        ('"createdAt" IN (NULL, {})', SAME),
        ('"createdAt" NOT IN ({}, $2)', BEFORE + AFTER),
        ('"createdAt" = ANY(ARRAY[{}])', SAME),
        ('"createdAt" = ANY($3)', SAME),
        ('"createdAt" <> ALL($3)', BEFORE + AFTER),
        (f"""\"createdAt\" = ANY('{{{{{AT},x}}}}')""", SAME),
        ('"createdAt" IS NOT DISTINCT FROM {}', SAME),
        ('{} IS DISTINCT FROM "createdAt"', [*BEFORE, *AFTER, None]),
        ('CASE "createdAt" WHEN {} THEN true END', SAME),
    ],
)
def test_a_date_is_compared_as_a_moment_however_whole_seconds_are_held(
    test: str, form: str, found: list[str | None]
) -> None:
    made = translate(
        test.format(form), {1: AT, 2: LATER, 3: f'{{"{AT}",NULL}}' if " = " in test else f"{{{AT}}}"}, COLUMNS
    )
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute('CREATE TABLE "Issue" ("createdAt" TIMESTAMP)')
        database.executemany('INSERT INTO "Issue" VALUES (?)', [(moment,) for moment in [*MOMENTS, None]])
        rows = database.execute(f'SELECT "createdAt" FROM "Issue" WHERE {made.where}', made.params).fetchall()
    assert [text for (text,) in rows] == found


@pytest.mark.parametrize(
    ("test", "found"),
    [
        ("due = $1", ["2024-01-01"]),
        ("due >= $1", ["2024-01-01", "2024-01-02"]),
        ("$1 < due", ["2024-01-02"]),
        ("due <> $1", ["2023-12-31", "2024-01-02"]),
        ("due BETWEEN $1 AND $2", ["2024-01-01", "2024-01-02"]),
        ("due IN ($1)", ["2024-01-01"]),
        ("due = ANY($3)", ["2024-01-01", "2024-01-02"]),
        ("due > $1 OR 'x' = $1", ["2024-01-02"]),
    ],
)
def test_beside_a_column_of_days_a_date_is_its_day(test: str, found: list[str]) -> None:
    columns = Columns("Issue", {"due": ColumnDescription("date")}, None)
    made = translate(test, {1: AT, 2: LATER, 3: f"{{{AT},{LATER}}}"}, columns)
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE issue (due DATE)")
        database.executemany("INSERT INTO issue VALUES (?)", [("2023-12-31",), ("2024-01-01",), ("2024-01-02",)])
        rows = database.execute(f"SELECT due FROM issue WHERE {made.where}", made.params).fetchall()
    assert [text for (text,) in rows] == found


def test_a_parameter_may_stand_beside_moments_days_and_texts() -> None:
    columns = Columns("Issue", {**ISSUE, "due": ColumnDescription("date")}, None)
    one = translate('"createdAt" = $1 OR due = $1 OR title = $1', {1: AT}, columns)
    seconds = ["2024-01-01 10:00:00", "2024-01-01 10:00:00.000000"]
    assert one.params == {"p1": AT, "p1_": seconds[0], "p1__": seconds[1], "p1_day": "2024-01-01"}
    some = translate('"createdAt" = ANY($1) OR due = ANY($1) OR title = ANY($1)', {1: f"{{{AT}}}"}, columns)
    assert sorted(map(str, some.params.values())) == ["2024-01-01", *seconds, AT]


def test_the_examples_of_the_readme_are_understood_and_its_functions_are_those_there_are() -> None:
    readme = (Path(__file__).parents[3] / "shapestore/http/where/README.md").read_text()
    [examples] = re.findall(r"```sql\n(.*?)```", readme, re.DOTALL)
    for example in examples.splitlines():
        sent = {1: "{1,2}" if "ANY" in example else "5", 2: "5"}
        assert translate(example.partition(" --")[0], sent, COLUMNS).where
    [named] = re.findall(r"Functions: (.*?)\. There", readme, re.DOTALL)
    with pytest.raises(RefusedError) as caught:
        translate("no_such_function()", {}, COLUMNS)
    there = str(caught.value).rpartition("there are ")[2].split(", ")
    assert re.findall(r"`(\w+)`", named) == [name for name in there if name != "character_length"]


@pytest.mark.parametrize(
    "text",
    [
        "greatest(id, " * 30 + "1" + ")" * 30 + " = 1",
        "greatest(" * 30 + "1" + ", id)" * 30 + " = 1",
        "id" + " IS NULL" * 3_000,
        "active" + " IS TRUE" * 3_000,
        "id IS NOT DISTINCT FROM " * 1_000 + "1",
    ],
    ids=["doubled behind", "doubled before", "IS NULL", "IS TRUE", "DISTINCT"],
)
def test_what_would_become_much_larger_than_it_was_sent_is_refused(text: str) -> None:
    """One of 200 characters would have kept the server busy for ever."""
    with pytest.raises(RefusedError, match="too large: write it in fewer steps"):
        translated(text)


@pytest.mark.parametrize("separator", [",", "."])
def test_names_with_many_spaces_are_read_once_and_not_for_each_space(separator: str) -> None:
    """Else this would take half an hour."""
    assert names_in("x" + " " * 500_000 + "|", separator) == [Name("x" + " " * 500_000 + "|", False, 0)]
    assert names_in("x" + " " * 500_000 + '"', separator) == []


def test_an_array_with_many_spaces_is_read_once_and_not_for_each_space() -> None:
    assert items_of("{x" + " " * 1_000_000 + "}") == ["x"]
    with pytest.raises(ValueError, match="malformed"):
        items_of("{x" + " " * 1_000_000 + '"')
