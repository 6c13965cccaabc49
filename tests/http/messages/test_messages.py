"""The messages that clients are sent, in Electric's forms; and that the quick way says what the exact one does."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapestore.http.messages.messages import Messages, messages_of, relation_of, schema, snapshot_end, up_to_date
from shapestore.http.response import joined
from shapestore.storage.log.keys import encode_key
from shapestore.storage.log.pages import LoggedChange, Page, RowLines, ServedLog
from shapestore.storage.log.positions import Standing
from shapestore.storage.row_codec import encode_row

COLUMNS: dict[str, dict[str, Any]] = {
    "id": {"type": "int8", "pk_index": 0, "not_null": True},
    "name": {"type": "text"},
    "price": {"type": "float8"},
    "active": {"type": "bool"},
    "made": {"type": "timestamp"},
    "data": {"type": "jsonb"},
    "facts": {"type": "json", "not_null": True},
}


def of_rows(messages: Messages, rows: list[dict[str, Any]], keys: list[tuple[Any, ...]] | None = None) -> list[Any]:
    found: list[Any] = json.loads(joined(messages.of_rows(lines(rows, keys))))
    return found


def lines(rows: list[dict[str, Any]], keys: list[tuple[Any, ...]] | None = None) -> RowLines:
    texts = None if keys is None else "\n".join(map(encode_key, keys)).encode()
    return RowLines(len(rows), 0, "\n".join(encode_row(row, 1) for row in rows).encode(), texts)


def change(operation: str, old: dict[str, Any] | None, new: dict[str, Any] | None, **facts: Any) -> LoggedChange:
    row, before = (None if each is None else encode_row(each, 1) for each in (new, old))
    key = encode_key(((new or old or {})["id"],))
    return LoggedChange(facts.pop("position", 4), facts.pop("round", 7), operation, key, row, before, **facts)


def of_changes(messages: Messages, *changes: LoggedChange, replica: Any = "default", seqs: Any = None) -> list[Any]:
    standing = Standing(1, 0, 0, 0, 0, 0, 0, 0, 0, None, 0)
    page = Page(ServedLog(standing, "", (0,), 1, None, None), 0, is_end=True, changes=changes, seqs=seqs or {})
    return [json.loads(message) for message in messages.of_changes(page, replica)]


@pytest.fixture
def items() -> Messages:
    return Messages("items", COLUMNS, ["id"])


# --- rows


def test_a_row_of_the_snapshot_is_an_insert_without_a_place_in_the_log(items: Messages) -> None:
    assert of_rows(items, [{"id": 1, "name": "one"}], [(1,)]) == [
        {
            "key": '"public"."items"/"1"',
            "value": {"id": "1", "name": "one"},
            "headers": {"operation": "insert", "relation": ["public", "items"]},
        }
    ]


def test_no_rows_are_no_messages(items: Messages) -> None:
    assert items.of_rows(RowLines(0, 0, b"", b"")) == []


@pytest.mark.parametrize(
    ("table", "relation", "key"),
    [
        ("items", ("public", "items"), '"public"."items"/"1"'),
        ("shop.items", ("shop", "items"), '"shop"."items"/"1"'),
        (".items", ("public", ".items"), '"public"."..items"/"1"'),
        ('a/"b"', ("public", 'a/"b"'), '"public"."a//"b""/"1"'),
    ],
)
def test_the_relation_is_schema_and_table(table: str, relation: tuple[str, str], key: str) -> None:
    assert relation_of(table) == relation
    [message] = of_rows(Messages(table, COLUMNS, ["id"]), [{"id": 1}], [(1,)])
    assert (message["headers"]["relation"], message["key"]) == (list(relation), key)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ((1,), '"1"'),
        ((-5,), '"-5"'),
        ((1, 2), '"1"/"2"'),
        (("a/b",), '"a//b"'),
        (("",), '""'),
        (('say "hi"\n', 3), '"say "hi"\n"/"3"'),
        ((1.0,), '"1"'),
        ((1.5,), '"1.5"'),
        ((True,), '"t"'),
        ((b"1",), r'"\x31"'),
        (("é\\",), '"é\\"'),
    ],
)
def test_a_key_names_the_row_by_its_values(key: tuple[Any, ...], text: str) -> None:
    items = Messages("items", COLUMNS, ["id", "name"][: len(key)])
    for keys in ([key], [key, (7, 7)[: len(key)]], [("x", "x")[: len(key)], key]):
        found = of_rows(items, [{"id": 0}] * len(keys), keys)
        assert found[keys.index(key)]["key"] == f'"public"."items"/{text}'


@pytest.mark.parametrize("columns", [{"id": {"type": "unknown"}}, {"id": {"type": "bytea"}}, None])
def test_keys_that_differ_in_their_type_alone_name_different_rows(columns: Any) -> None:
    keys = [(1,), ("1",), ("'1'",), ("''1''",), (b"1",), (r"\x31",), (True,), ("t",), (1e300,), ("1e300",)]
    keys += [(float("inf"),), ("inf",), ("'",), ("a",), ("",), ("3%",)]
    found = of_rows(Messages("t", columns, ["id"]), [{"id": 0}] * len(keys), keys)
    assert len({message["key"] for message in found}) == len(keys)
    assert [message["key"].removeprefix('"public"."t"/') for message in found[-3:]] == ['"a"', '""', '"3%"']


def test_rows_without_a_key_are_named_by_their_numbers() -> None:
    messages = Messages("items", {"n": {"type": "int8"}}, None)
    found = messages.of_rows(RowLines(2, 10, b'{"n":1}\n{"n":1}', None))
    assert [message["key"] for message in json.loads(joined(found))] == [
        '"public"."items"/"11"',
        '"public"."items"/"12"',
    ]


# --- values


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ({"type": "int8"}, 2**62, str(2**62)),
        ({"type": "int4"}, None, None),
        ({"type": "float8"}, 1.0, "1"),
        ({"type": "float8"}, -0.25, "-0.25"),
        ({"type": "float8"}, 1e300, "1e300"),
        ({"type": "numeric"}, "0.10", "0.10"),
        ({"type": "numeric"}, 12, "12"),
        ({"type": "text"}, "null", "null"),
        ({"type": "text"}, "1.0", "1.0"),
        ({"type": "text"}, 'a"b\\c\n\u0001é', 'a"b\\c\n\u0001é'),
        ({"type": "text"}, 5, "5"),
        ({"type": "bool"}, True, "t"),
        ({"type": "bool"}, False, "f"),
        ({"type": "bool"}, 1, "t"),
        ({"type": "bool"}, 0, "f"),
        ({"type": "bool"}, 2, "t"),
        ({"type": "bool"}, 0.0, "f"),
        ({"type": "bool"}, "TRUE", "t"),
        ({"type": "bool"}, "Yes", "t"),
        ({"type": "bool"}, "off", "f"),
        ({"type": "bool"}, "perhaps", "perhaps"),
        ({"type": "int8"}, 2**70, str(2**70)),
        ({"type": "int8"}, -5.0, "-5"),
        ({"type": "int8"}, 1e19, "10000000000000000000"),
        ({"type": "int8"}, "12", "12"),
        ({"type": "int8"}, True, "1"),
        ({"type": "int8"}, 1.5, None),
        ({"type": "int8"}, "", None),
        ({"type": "int8"}, "0x10", None),
        ({"type": "int8"}, "many", None),
        ({"type": "int4"}, 1.5, "1.5"),
        ({"type": "int4"}, "many", "many"),
        ({"type": "int4"}, "", "NaN"),
        ({"type": "float8"}, " ", "NaN"),
        ({"type": "bool"}, None, None),
        ({"type": "timestamp"}, "2024-01-02T03:04:05.678", "2024-01-02 03:04:05.678"),
        ({"type": "timestamptz"}, "2024-01-02T03:04:05Z", "2024-01-02 03:04:05Z"),
        ({"type": "timestamp"}, "2024-01-02 03:04", "2024-01-02 03:04"),
        ({"type": "timestamp"}, "2024-01-02", "2024-01-02"),
        ({"type": "timestamp"}, "Tuesday T1", "Tuesday T1"),
        ({"type": "timestamp"}, 1704164645, "1704164645"),
        ({"type": "timestamp"}, None, None),
        ({"type": "date"}, "2024-01-02", "2024-01-02"),
        ({"type": "text"}, "2024-01-02T03:04", "2024-01-02T03:04"),
        ({"type": "jsonb"}, '{"a":1}', '{"a":1}'),
        ({"type": "json"}, {"a": [1, "x"]}, '{"a":[1,"x"]}'),
        ({"type": "json"}, True, "true"),
        ({"type": "json"}, "null", "null"),
        ({"type": "json"}, "[1e400]", "[1e400]"),
        ({"type": "json"}, "", '""'),
        ({"type": "jsonb"}, "it's", '"it\'s"'),
        ({"type": "jsonb"}, "{'a': 1}", "\"{'a': 1}\""),
        ({"type": "jsonb"}, "[" * 10_000, f'"{"[" * 10_000}"'),
        ({"type": "bytea"}, b"\x00\xff1", r"\x00ff31"),
        ({"type": "bytea"}, None, None),
        ({"type": "int4", "dims": 1}, [1, None, 3], "{1,NULL,3}"),
        ({"type": "text", "dims": 1}, ["a", 'say "hi"', "b\\c", "NULL"], r'{"a","say \"hi\"","b\\c","NULL"}'),
        ({"type": "bool", "dims": 2}, [[True], [False]], "{{t},{f}}"),
        ({"type": "float8", "dims": 1}, [1.0, -0.25], "{1,-0.25}"),
        ({"type": "timestamp", "dims": 1}, ["2024-01-02T03:04:05", None], '{"2024-01-02 03:04:05",NULL}'),
        ({"type": "bytea", "dims": 2}, [[b"\x00\xff"], [b""]], r'{{"\\x00ff"},{"\\x"}}'),
        ({"type": "jsonb", "dims": 1}, [{"a": 1}, "x", True, 2], r'{"{\"a\":1}","\"x\"",true,2}'),
        ({"type": "int8", "dims": 1}, [1, 1.5, 2.0, "x"], "{1,NULL,2,NULL}"),
        ({"type": "int8", "dims": 1}, "{1,2,NULL,x}", '{"1","2",NULL,NULL}'),
        ({"type": "int8", "dims": 1}, "[1,[2]]", "{1,{2}}"),
        ({"type": "int8", "dims": 2}, "{{1, 2},{NULL,x}}", '{{"1","2"},{NULL,NULL}}'),
        ({"type": "int8", "dims": 1}, "[0:1]={1,2}", '{"1","2"}'),
        ({"type": "int8", "dims": 1}, "{7" + ",7" * 20_000 + "}", '{"7"' + ',"7"' * 20_000 + "}"),
        ({"type": "int8", "dims": 1}, "{" * 2_000 + "}" * 2_000, "{NULL}"),
        ({"type": "int8", "dims": 1}, "{1}}", "{NULL}"),
        ({"type": "json", "dims": 2}, r'{{"{\"a\": \"\\\\\"}"},{x}}', r'{{"{\"a\": \"\\\\\"}"},{"\"x\""}}'),
        ({"type": "int4", "dims": 1}, "{1,2}", "{1,2}"),
        ({"type": "int4", "dims": 1}, "[1,2]", "{1,2}"),
        ({"type": "int4", "dims": 1}, 3, "{3}"),
        ({"type": "text", "dims": 1}, "a, b", '{"a, b"}'),
        ({"type": "text", "dims": 1}, "[a", '{"[a"}'),
        ({"type": "text", "dims": 1}, "[" * 900 + "]" * 900, f'{{"{"[" * 900 + "]" * 900}"}}'),
        ({"type": "text", "dims": 1}, None, None),
        ({"type": "json", "dims": 1}, '{"{\\"a\\":1}",x}', r'{"{\"a\":1}","\"x\""}'),
        ({"type": "json", "dims": 1}, '{"a":1}', r'{"{\"a\":1}"}'),
        ({"type": "unknown"}, 3, "3"),
        ({"type": "unknown"}, {"a": 1}, '{"a":1}'),
    ],
)
def test_values_are_the_text_that_postgresql_has_for_them(column: dict[str, Any], value: Any, text: str | None) -> None:
    """Alone, and between rows and columns that make the quick way possible."""
    alone = Messages("t", {"v": column}, ["id"])
    assert of_rows(alone, [{"v": value}], [(1,)])[0]["value"] == {"v": text}
    among = Messages("t", {"id": {"type": "int8"}, "v": column, "w": {"type": "text"}}, ["id"])
    found = of_rows(among, [{"id": 1, "v": value, "w": "x"}, {"id": 2, "v": None, "w": None}], [(1,), (2,)])
    assert [message["value"] for message in found] == [
        {"id": "1", "v": text, "w": "x"},
        {"id": "2", "v": None, "w": None},
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_null_in_a_column_that_holds_none_is_that_of_json(count: int) -> None:
    """A client throws at any other, and reads no more of the table."""
    messages = Messages("t", {"v": {"type": "jsonb", "not_null": True}}, None)
    rows: list[dict[str, Any]] = [{"v": None}, {"v": "[null]"}]
    rows = rows[:count]
    assert [message["value"]["v"] for message in of_rows(messages, rows)] == ["null", "[null]"][:count]
    nullable = Messages("t", {"v": {"type": "jsonb"}}, None)
    assert [message["value"]["v"] for message in of_rows(nullable, rows)] == [None, "[null]"][:count]


def test_a_text_where_bytes_are_declared_is_given_as_its_bytes() -> None:
    [message] = of_rows(Messages("t", {"v": {"type": "bytea"}}, None), [{"v": "no base64!"}])
    assert message["value"] == {"v": "\\x" + b"no base64!".hex()}
    assert base64.b64encode(b"x") == b"eA=="


@pytest.mark.parametrize("columns", [None, {}, {"id": {"type": "unknown"}}])
@pytest.mark.parametrize("value", ["x", 1, 1.0, -2.5, 1e300, None, True, False, {"f": [1]}, ["a"], "", '"'])
def test_values_of_columns_of_which_nothing_is_known_are_sent_as_they_are(columns: Any, value: Any) -> None:
    rows = [{"a": value, "b": 1.0}, {"a": None, "b": 2}]
    found = of_rows(Messages("t", columns, ["id"]), rows, [(1,), (2,)])
    assert [message["value"] for message in found] == rows
    assert [repr(message["value"]) for message in found] == [repr(row) for row in rows]
    assert schema(None) == "{}"


def test_the_schema_is_in_ascii_since_it_is_a_header() -> None:
    assert schema('{"a":{"type":"text","not_null":true}}') == '{"a":{"type":"text","not_null":true}}'
    assert schema('{"größe":{"type":"text"}}').isascii()
    assert json.loads(schema('{"größe":{"type":"text"}}')) == {"größe": {"type": "text"}}


def test_no_client_is_told_that_a_column_holds_no_null_in_which_one_may_be_sent() -> None:
    columns = {"a": {"type": "int8", "not_null": True}, "b": {"type": "int4", "dims": 1, "not_null": True}}
    assert json.loads(schema(json.dumps(columns))) == {"a": {"type": "int8"}, "b": {"type": "int4", "dims": 1}}


TEXTS = st.text(max_size=12) | st.sampled_from(["null", "1", "{", '{"id":1}', "},{", "%s", "\x01", "2024-01-01T10:00"])
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
NESTED = st.lists(SCALARS, max_size=2) | st.dictionaries(TEXTS, SCALARS, max_size=2)
USUAL: dict[str, Any] = {
    "id": st.integers(0, 9),
    "name": TEXTS | st.none(),
    "price": NUMBERS | st.none(),
    "active": st.sampled_from([True, False, 0, 1, None]),
    "made": st.sampled_from(["2024-01-01T10:00:00", "2024-01-01 10:00", "2024-01-01", None]),
    "data": NESTED.map(json.dumps) | st.none(),
    "facts": NESTED.map(json.dumps),
}
ROWS = st.lists(st.tuples(*USUAL.values()).map(lambda row: dict(zip(USUAL, row, strict=True))), min_size=1, max_size=5)
ODD_ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(USUAL, SCALARS | NESTED)), min_size=1, max_size=5)


@given(rows=ROWS | ODD_ROWS | st.lists(st.dictionaries(TEXTS, SCALARS | NESTED, max_size=4), min_size=1, max_size=4))
def test_the_quick_way_says_what_the_exact_one_does(rows: list[dict[str, Any]]) -> None:
    quick, exact = (Messages("items", COLUMNS, ["id", "name"]) for _ in range(2))
    exact._has_pattern = False
    given_ = lines(rows, [(number, "a/b") for number in range(len(rows))])
    assert quick.of_rows(given_) == exact.of_rows(given_)


@given(rows=ROWS)
def test_usual_rows_go_the_quick_way(rows: list[dict[str, Any]]) -> None:
    messages = Messages("items", COLUMNS, ["id"])
    given_ = lines(rows, [(1,)] * len(rows))
    assert messages._pattern_of(given_.values).messages([b"1"] * len(rows), given_.values) is not None


def read_as_clients_do(text: str | None, column: dict[str, Any]) -> Any:
    """What the client makes of a value; an exception is one of its own, after which it reads no more of the table."""
    if text is None:
        assert not column.get("not_null")
        return None
    if column["type"] == "int8":
        assert re.fullmatch(r"\s*|\s*-?[0-9]+\s*", text)
        return int(text)
    return json.loads(text)


@given(value=SCALARS | NESTED, type_=st.sampled_from(["int8", "json", "jsonb"]), is_array=st.booleans())
def test_there_is_no_value_at_which_a_client_gives_up(value: Any, type_: str, is_array: bool) -> None:
    column = {"type": type_, "not_null": True, **({"dims": 1} if is_array else {})}
    [message] = of_rows(Messages("t", {"v": column}, None), [{"v": value}])
    text, told = message["value"]["v"], json.loads(schema(json.dumps({"v": column})))["v"]
    if text is None or not is_array:
        read_as_clients_do(text, told)
        return
    assert (text[0], text[-1]) == ("{", "}")
    for item in leaves_of(text):
        read_as_clients_do(item, told)


def leaves_of(text: str) -> list[str | None]:
    """The items of an array and of those within it, as the text of each; None for NULL."""
    items = re.findall(r'"((?:[^"\\]|\\.)*)"|([^{},"]+)', text, re.DOTALL)
    return [
        None if bare == "NULL" else bare or re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) for quoted, bare in items
    ]


# --- changes

ONE = {"id": 1, "name": "one", "price": 1.5}
TWO = {"id": 1, "name": "two", "price": 1.5}


def test_an_insert_bears_the_whole_row_and_where_it_was_logged(items: Messages) -> None:
    [message] = of_changes(items, change("insert", None, ONE, is_last=True), seqs={7: [70, 61]})
    assert message == {
        "key": '"public"."items"/"1"',
        "value": {"id": "1", "name": "one", "price": "1.5"},
        "headers": {
            "operation": "insert",
            "relation": ["public", "items"],
            "txids": [70, 61],
            "lsn": "7",
            "op_position": 4,
            "last": True,
        },
    }


@pytest.mark.parametrize(
    ("operation", "old", "new", "replica", "parts"),
    [
        ("update", ONE, TWO, "default", {"value": {"id": "1", "name": "two"}}),
        (
            "update",
            ONE,
            TWO,
            "full",
            {"value": {"id": "1", "name": "two", "price": "1.5"}, "old_value": {"name": "one"}},
        ),
        ("update", ONE, ONE | {"price": None}, "default", {"value": {"id": "1", "price": None}}),
        (
            "update",
            ONE,
            ONE | {"price": 1},
            "full",
            {"value": {**ONE, "id": "1", "price": "1"}, "old_value": {"price": "1.5"}},
        ),
        ("update", {"id": 1}, ONE, "full", {"value": {"id": "1", "name": "one", "price": "1.5"}, "old_value": {}}),
        ("delete", ONE, None, "default", {"value": {"id": "1"}}),
        ("delete", ONE, None, "full", {"value": {"id": "1", "name": "one", "price": "1.5"}}),
        ("insert", None, ONE, "full", {"value": {"id": "1", "name": "one", "price": "1.5"}}),
    ],
)
def test_how_much_of_a_row_a_change_bears(
    items: Messages, operation: str, old: Any, new: Any, replica: str, parts: dict[str, Any]
) -> None:
    [message] = of_changes(items, change(operation, old, new), replica=replica)
    assert {name: part for name, part in message.items() if name not in {"key", "headers"}} == parts
    assert message["headers"] == {
        "operation": operation,
        "relation": ["public", "items"],
        "lsn": "7",
        "op_position": 4,
    }


def test_a_key_that_the_row_leaves_out_is_in_the_key_alone() -> None:
    messages = Messages("items", COLUMNS, ["hidden"])
    logged = LoggedChange(4, 7, "delete", "[9]", None, '{"name":"x"}')
    assert of_changes(messages, logged)[0]["value"] == {}
    assert of_changes(messages, logged)[0]["key"] == '"public"."items"/"9"'


def test_the_rows_of_a_subset_bear_its_mark(items: Messages) -> None:
    found = items.of_subset([b'{"id":1,"active":1}'], [b"[1]"], 77)
    assert json.loads(found) == {
        "key": '"public"."items"/"1"',
        "value": {"id": "1", "active": "t"},
        "headers": {"operation": "insert", "relation": ["public", "items"], "snapshot_mark": 77},
    }


def test_what_a_client_is_told_of_where_it_stands() -> None:
    assert json.loads(up_to_date(2**40)) == {"headers": {"control": "up-to-date", "global_last_seen_lsn": str(2**40)}}
    assert json.loads(snapshot_end(41)) == {
        "headers": {"control": "snapshot-end", "xmin": "42", "xmax": "42", "xip_list": []}
    }
    assert json.loads(snapshot_end(None))["headers"]["xmax"] == "1"


def test_messages_of_a_shape_are_made_from_what_is_stored() -> None:
    made = messages_of("t", msgspec.json.encode(COLUMNS).decode(), '["id"]')
    assert made is messages_of("t", msgspec.json.encode(COLUMNS).decode(), '["id"]')
    assert of_rows(made, [{"id": 1, "active": 1}], [(1,)])[0]["value"] == {"id": "1", "active": "t"}
