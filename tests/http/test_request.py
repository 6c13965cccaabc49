"""What a client asks for: each parameter, in each of its forms, and what is not accepted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from shapestore import Shape
from shapestore.http.request import Query, ShapeRequest, Subset, parse
from shapestore.http.response import Refusal
from shapestore.http.tables import Tables
from shapestore.shape.column_description import ColumnDescription, Description
from shapestore.shape.order import Order
from shapestore.storage.log.pages import BEGINNING, LAST, End, Part, Place
from shapestore.storage.log.positions import pack

TRACK: Description = {
    "id": ColumnDescription("int8", pk_index=0, not_null=True),
    "Title": ColumnDescription("text"),
    "album": ColumnDescription("int8"),
    "has,comma": ColumnDescription("text"),
    "secret": ColumnDescription("text"),
}
COLUMNS = ["id", "Title", "album", "has,comma"]
TABLES = {"Track": COLUMNS, "track": None, "shop.Item": None, "all": None, 'odd "name"': None, "a.b": None}


def ask(body: object = None, **query: str) -> ShapeRequest:
    return asked({"offset": "-1", "table": "Track"} | query, body)


def asked(query: Mapping[str, str], body: object = None, shape: Shape | None = None) -> ShapeRequest:
    sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    return read(list(query.items()), sent, TABLES, TRACK, shape)


def read(
    query: Query, body: bytes | None, tables: Tables, description: Description, shape: Shape | None = None
) -> ShapeRequest:
    async def describe(_: str) -> Description:
        return description

    return asyncio.run(parse(query, body, tables, describe, shape))


def told(refusal: Refusal) -> Any:
    return json.loads(refusal.body)["errors"]


def errors(body: object = None, **query: str) -> Any:
    with pytest.raises(Refusal) as caught:
        ask(body, **query)
    return told(caught.value)


# --- the table and its columns


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("Track", "Track"),
        ("track", "track"),
        ('"Track"', "Track"),
        ("ALL", "all"),
        ("public.all", "all"),
        ('"public"."all"', "all"),
        ("main.All", "all"),
        ("shop.Item", "shop.Item"),
        ("SHOP.item", "shop.Item"),
        ('shop."Item"', "shop.Item"),
        ('Shop."Item"', "shop.Item"),
        ('"odd ""name"""', 'odd "name"'),
        ('public."odd ""name"""', 'odd "name"'),
        ("a.b", "a.b"),
    ],
)
def test_a_table_is_the_one_that_is_spelled_so_else_the_one_that_differs_in_case(name: str, table: str) -> None:
    assert ask(table=name).shape.table == table


@pytest.mark.parametrize(
    "name",
    [
        "TRACK",
        "other",
        '"ALL"',
        "shop.all",
        "other.all",
        '"shop.Item',
        "shop..Item",
        "Item",
        "all; DROP TABLE all",
        '"all"" "',
        "sqlite_master",
        "all --",
        "all/**/",
        "\uff41ll",  # a wide a
        "all\0",
        'public"all"',
        '"public"_"all"',
        '"public" all',
    ],
)
def test_no_other_table_is_reached(name: str) -> None:
    [message] = errors(table=name)["table"]
    assert message in (f'Table "{name}" does not exist, or is not served here', "has invalid format")


def test_the_columns_are_those_that_are_allowed() -> None:
    assert ask().shape == Shape("Track", columns=COLUMNS)
    assert ask(table="track").shape == Shape("track")


@pytest.mark.parametrize("text", ["title,ID", '"Title","id"', ' id , "Title"', "Title,id,id"])
def test_columns_are_named_in_any_order_and_stand_in_that_of_the_table(text: str) -> None:
    assert ask(columns=text).shape == Shape("Track", columns=["id", "Title"])


def test_a_quoted_column_may_hold_a_comma() -> None:
    assert ask(columns='id,"has,comma"').shape.columns == ("id", "has,comma")


def test_all_columns_of_a_table_by_name_are_the_same_shape_as_none() -> None:
    assert ask(table="track", columns='secret,"has,comma",id,album,Title').shape == Shape("track")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,nope", "The following columns are not found on the table: nope"),
        ("id,secret", "The following columns are not found on the table: secret"),
        ('id,"title"', "The following columns are not found on the table: title"),
        ("Title", "The list must include all columns of the primary key, missing: id"),
        ("", "has invalid format"),
        ("id,,Title", "has invalid format"),
        ('id,"Title', "has invalid format"),
        ("id" * 20_000, "too long: 40000 characters; the limit is 32768"),
    ],
)
def test_columns_that_are_not_accepted(text: str, message: str) -> None:
    assert errors(columns=text) == {"columns": [message]}


def test_a_table_without_a_key_is_refused() -> None:
    with pytest.raises(Refusal, match="has no primary key"):
        read([("offset", "-1"), ("table", "all")], None, TABLES, {"n": ColumnDescription("int8")})


def test_a_table_whose_key_is_hidden_is_refused_by_a_message_that_hides_it_too() -> None:
    with pytest.raises(Refusal, match=r"Table \"Track\" is not served with its primary key'"):
        read([("offset", "-1"), ("table", "Track")], None, {"Track": ["Title"]}, TRACK)


# --- the where


def test_a_where_and_its_params_make_the_shape_that_python_makes() -> None:
    wanted = Shape("Track", where="album = :p1 AND Title = :p2", params={"p1": 7, "p2": "7"}, columns=COLUMNS)
    sent = {"where": "album = $1 AND title = $2"}
    assert ask(**sent, **{"params[1]": "7", "params[2]": "7"}).shape == wanted
    assert ask(**sent, params='{"1": "7", "2": 7}').shape == wanted
    assert ask(**sent, params='{"1": "7"}', **{"params[2]": "7"}).shape == wanted
    assert ask(where="album = 7").shape == Shape("Track", where="album = 7", columns=COLUMNS)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_where_is_none(text: str) -> None:
    assert ask(where=text).shape.where is None


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("1 x 1", 'At location 17: syntax error at or near "x"'),
        ("secret = 'x'", "At location 0: unknown reference secret"),
        ("album = 1 OR secrets = 'x'", "At location 13: unknown reference secrets"),
        ("album = $1", "At location 8: parameter $1 was not given"),
        ("x" * 40_000, "too long: 40000 characters; the limit is 32768"),
    ],
)
def test_a_where_that_is_not_accepted(where: str, message: str) -> None:
    assert errors(where=where) == {"where": [message]}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"params[x]": "1"}, '"x" is not the number of a parameter: they are 1, 2, ...'),
        ({"params[0]": "1"}, '"0" is not the number of a parameter: they are 1, 2, ...'),
        ({"params": "[1]"}, "must be a JSON object"),
        ({"params": "{"}, "must be valid JSON"),
        ({"params": r'{"1":"\ud800"}'}, "must be valid JSON"),
        ({"params": '{"1":' * 30_000}, "must be valid JSON"),
        ({"params": '{"1": [1]}'}, 'the value of "1" must be a string or a number; an array is written {a,b}'),
        ({"params[1]": "a\0"}, 'the value of "1" holds a NUL character, which no text of a database does'),
        ({"params[1]": "x" * 300_000}, "too long: the limit is 262144 characters for all values together"),
    ],
)
def test_params_that_are_not_accepted(query: dict[str, str], message: str) -> None:
    assert errors(**query) == {"params": [message]}


def test_no_digit_of_a_number_is_lost() -> None:
    body = b'{"where": "id = $1 OR id = $2", "params": {"1": 9223372036854775802, "2": true}}'
    with pytest.raises(Refusal) as caught:
        ask(body)
    assert told(caught.value) == {
        "subset__where": ['At location 16: parameter $2: invalid input syntax for type integer: "true"']
    }
    request = ask(body.replace(b"true", b"-9223372036854775808"))
    assert request.subset is not None
    assert request.subset.params == {"p1": 9223372036854775802, "p2": -(2**63)}


# --- the place in the log, and the mode


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("-1", BEGINNING),
        ("now", End.NOW),
        ("0_0", Part(0, pack(7, 3))),
        ("0_inf", Part(LAST, pack(7, 3))),
        ("12_7", pack(12, 7)),
        ("12_inf", pack(12, 0)),
    ],
)
def test_an_offset_names_a_place_in_a_log(text: str, place: Place) -> None:
    request = ask(offset=text, handle="h~7_3")
    assert (request.offset, request.place) == (text, place)


def test_no_page_begins_where_a_handle_names_no_floor_or_a_position_is_too_large() -> None:
    nowhere = Part(0, -1)
    assert ask(offset="0_1", handle="h").place == nowhere
    assert ask(offset=f"12_{2**28}", handle="h~0").place == nowhere
    assert ask(offset=f"12_{2**28 - 1}", handle="h~0").place == pack(12, 2**28 - 1)


@pytest.mark.parametrize(
    "text", ["", "x", "-2", "1", "1_", "_1", "1_-1", "inf_1", "1_1_1", "1_1 ", "\u0661_\u0661", "9" * 30 + "_1"]
)
def test_an_offset_of_another_form_is_refused(text: str) -> None:
    assert errors(offset=text, handle="h") == {"offset": ["has invalid format" if text else "can't be blank"]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {"offset": ["can't be blank"]}),
        ({"offset": "-1"}, {"table": ["can't be blank"]}),
        ({"offset": "0_0"}, {"handle": ["can't be blank when offset != -1"]}),
        ({"offset": "0_0", "handle": ""}, {"handle": ["can't be blank when offset != -1"]}),
        ({"offset": "0_0", "handle": "h" * 300}, {"handle": ["too long: the limit is 256 characters"]}),
        ({"offset": "-1", "live": "true"}, {"live": ["can't be true when offset == -1"]}),
        ({"offset": "now", "live": ""}, {"live": ["can't be true when offset == now"]}),
        ({"offset": "-1", "live_sse": "true"}, {"live_sse": ["can't be true unless live is also true"]}),
        ({"offset": "-1", "table": "all", "replica": "half"}, {"replica": ["is invalid: it is default or full"]}),
        ({"offset": "-1", "table": "all", "log": "half"}, {"log": ["is invalid: it is full or changes_only"]}),
    ],
)
def test_what_is_missing_or_does_not_go_together(query: dict[str, str], expected: dict[str, list[str]]) -> None:
    with pytest.raises(Refusal) as caught:
        asked(query)
    assert told(caught.value) == expected


def test_what_else_may_be_sent() -> None:
    request = ask(
        offset="3_1",
        handle="h~1",
        live="true",
        experimental_live_sse="true",
        cursor="",
        replica="full",
        log="changes_only",
        expired_handle="e",
        unknown="x",
        **{"cache-buster": "1"},
    )
    assert (request.handle, request.live, request.sse, request.cursor) == ("h~1", True, True, None)
    assert (request.replica, request.log, request.expired_handle) == ("full", "changes_only", "e")
    plain = ask(handle="h", live="false", live_sse="false", cursor="12")
    assert (plain.handle, plain.live, plain.sse, plain.cursor) == (None, False, False, "12")
    assert (plain.replica, plain.log, plain.expired_handle, plain.subset) == ("default", "full", None, None)


# --- subsets

SUBSET = Subset('"Title" = :p1', {"p1": "x"}, (Order("Title", True, True), Order("id")), 10, 5)


def test_a_subset_in_the_query_or_in_the_body() -> None:
    fields: dict[str, Any] = {"where": "title = $1", "order_by": "title DESC, id ASC", "limit": 10, "offset": 5}
    query = {f"subset__{name}": str(value) for name, value in fields.items()}
    assert ask(**query, subset__params='{"1":"x"}').subset == SUBSET
    body = fields | {"params": {"1": "x"}}
    assert ask(body).subset == SUBSET
    assert ask({"subset": body}).subset == SUBSET
    assert ask({}).subset is None


def test_a_subset_in_its_structured_form() -> None:
    where = {
        "type": "func",
        "name": "eq",
        "args": [{"type": "ref", "column": "Title"}, {"type": "val", "paramIndex": 1}],
    }
    order_by = [{"column": "Title", "direction": "desc"}, {"column": "id", "nulls": "last"}]
    body = {"where_expr": where, "order_by_expr": order_by, "params": {"1": "x"}, "limit": 10, "offset": 5}
    assert ask(body).subset == SUBSET
    query = {f"subset__{name}": value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
    assert ask(**query).subset == SUBSET
    assert ask(body | {"where": "id = 1"}).subset != SUBSET  # the text comes first


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", {"body": ["must be a JSON object"]}),
        (b"{", {"body": ["must be valid JSON"]}),
        (b"\xff", {"body": ["must be valid JSON"]}),
        (rb'{"where":"title = \ud800"}', {"body": ["must be valid JSON"]}),
        (b'{"\xed\xa0\x80":1}', {"body": ["must be valid JSON"]}),
        (b"[" * 100_000, {"body": ["must be valid JSON"]}),
        ({"subset": 1}, {"subset": ["must be a JSON object"]}),
        ({"where": [1]}, {"subset__where": ["must be a string"]}),
        ({"where": "secret = 1"}, {"subset__where": ["At location 0: unknown reference secret"]}),
        ({"params": 1}, {"subset__params": ["must be a JSON object"]}),
        ({"limit": 1}, {"subset__order_by": ["order_by is required when limit or offset is present"]}),
        ({"order_by": "id", "limit": 0}, {"subset__limit": ["must be a whole number, 1 or greater"]}),
        ({"order_by": "id", "limit": 1.5}, {"subset__limit": ["must be a whole number, 1 or greater"]}),
        ({"order_by": "id", "limit": True}, {"subset__limit": ["must be a whole number, 1 or greater"]}),
        ({"order_by": "id", "offset": -1}, {"subset__offset": ["must be a whole number, 0 or greater"]}),
        ({"order_by": "secret"}, {"subset__order_by": ["At location 0: unknown reference secret"]}),
        ({"order_by": "id, (SELECT 1)"}, {"subset__order_by": ['At location 19: syntax error at or near "("']}),
        ({"order_by": "id DESC NULLS"}, {"subset__order_by": ["At location 28: syntax error at end of input"]}),
        ({"order_by": "id," * 2_000}, {"subset__order_by": ["too long: 6000 characters; the limit is 4096"]}),
        ({"order_by": "id id"}, {"subset__order_by": ['At location 18: syntax error at or near "id"']}),
        ({"where_expr": {"type": "val"}}, {"subset__where": ["not an expression: {'type': 'val'}"]}),
        ({"order_by_expr": {}}, {"subset__order_by": ["must be a list of columns, each with its direction"]}),
        (
            {"order_by_expr": [{"column": "id", "direction": "; DROP"}]},
            {"subset__order_by": ["not a column with its direction: {'column': 'id', 'direction': '; DROP'}"]},
        ),
        (
            {"order_by_expr": [{"column": "id", "direction": ["asc"]}]},
            {"subset__order_by": ["not a column with its direction: {'column': 'id', 'direction': ['asc']}"]},
        ),
        (
            {"order_by_expr": [{"column": "id", "nulls": {"last": True}}]},
            {"subset__order_by": ["not a column with its direction: {'column': 'id', 'nulls': {'last': True}}"]},
        ),
    ],
)
def test_a_subset_that_is_not_accepted(body: object, expected: dict[str, list[str]]) -> None:
    assert errors(body) == expected


# --- a shape of the application's own


def test_a_shape_of_the_application_takes_the_place_of_what_a_client_names() -> None:
    shape = Shape("Track", where="album = 7", columns=["id", "Title"])
    query = {"offset": "-1", "table": "all", "where": "nonsense", "columns": "secret"}
    request = asked(query, {"where": "title = $1", "params": {"1": "x"}}, shape)
    assert request.shape is shape
    assert request.subset == Subset('"Title" = :p1', {"p1": "x"}, (), None, 0)
    with pytest.raises(Refusal, match="unknown reference album"):
        asked(query, {"where": "album = 7"}, shape)
