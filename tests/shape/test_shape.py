"""Shapes: what makes two of them one, what they refuse, and that their canonical text is all they are."""

from __future__ import annotations

import copy
import enum
import json
import math
import pickle
import subprocess
import sys
from collections import UserDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapestore.errors import InvalidShapeError
from shapestore.shape.comparable import MAX_COMPARABLE_LENGTH, MAX_NAME_LENGTH, namespace_of
from shapestore.shape.shape import Shape

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)  # fmt: skip


def album(**changes: Any) -> Shape:
    given_: dict[str, Any] = {"where": "AlbumId = :album", "params": {"album": 1}, "columns": ["TrackId", "Name"]}
    return Shape("Track", **(given_ | changes))


def test_a_shape_says_what_it_is() -> None:
    shape = album()
    assert shape.table == "Track"
    assert shape.where == '"AlbumId" = :album'
    assert shape.where_as_written == "AlbumId = :album"
    assert shape.params == {"album": 1}
    assert shape.columns == ("TrackId", "Name")
    assert shape.comparable == (
        r'{"v":1,"table":"Track","where":"\"AlbumId\" = :album","params":{"album":1},"columns":["TrackId","Name"]}'
    )
    assert eval(repr(shape)) == shape


def test_a_bare_table_is_a_shape() -> None:
    assert Shape("Track").comparable == '{"v":1,"table":"Track","where":null,"params":{},"columns":null}'
    assert Shape("Track", params={}) == Shape("Track")
    assert repr(Shape("Track")) == "Shape('Track')"


def test_equal_shapes_are_one_key() -> None:
    other = Shape(
        "Track", where="( albumId==:album )".replace("a", "A", 1), params={"album": 1}, columns=("TrackId", "Name")
    )
    assert album() == other
    assert hash(album()) == hash(other)
    assert {album(): "found"}[other] == "found"


def test_params_are_in_the_order_of_their_names_whatever_order_they_come_in() -> None:
    one = Shape("t", where="a = :a AND b = :b", params={"b": 2, "a": 1})
    other = Shape("t", where="b = :b AND a = :a", params=UserDict(a=1, b=2))
    assert one == other
    assert list(one.params) == ["a", "b"]


@pytest.mark.parametrize(
    "changes",
    [
        {"where": "AlbumId <> :album"},
        {"where": "AlbumId = :other", "params": {"other": 1}},
        {"where": "AlbumId = 1", "params": None},
        {"where": None, "params": None},
        {"columns": None},
        {"columns": ["Name", "TrackId"]},
        {"columns": ["TrackId", "name"]},
        *({"params": {"album": value}} for value in (1.0, True, "1", None, 2, 0.0, -0.0, "", "null", "true")),
    ],
)
def test_shapes_that_could_differ_are_different(changes: dict[str, Any]) -> None:
    assert album(**changes) != album()
    assert Shape("track", where="AlbumId = :album", params={"album": 1}) != Shape(
        "Track", where="AlbumId = :album", params={"album": 1}
    )


def test_parameters_that_are_equal_in_python_are_still_different() -> None:
    comparables = {album(params={"album": value}).comparable for value in (1, 1.0, True, "1", 0, 0.0, -0.0, False)}
    assert len(comparables) == 8


def test_a_shape_does_not_equal_its_text() -> None:
    assert album() != album().comparable
    assert album() != ("Track",)


class Number(enum.IntEnum):
    ONE = 1


class Real(float):
    __slots__ = ()


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("table", "given_", "why"),
    [
        ("", {}, "table: "),
        (1, {}, "1 (int)"),
        (None, {}, "None"),
        (Text("t"), {}, "Text"),
        (b"t", {}, "bytes"),
        ("t\0", {}, "NUL"),
        ("t" * (MAX_NAME_LENGTH + 1), {}, str(MAX_NAME_LENGTH)),
        ("t\ud800", {}, "surrogate"),
        ("t", {"columns": "ab"}, "got 'ab'"),
        ("t", {"columns": b"ab"}, "bytes"),
        ("t", {"columns": {"a"}}, "set"),
        ("t", {"columns": iter(["a"])}, "columns must be a list"),
        ("t", {"columns": []}, "empty"),
        ("t", {"columns": ["a", "b", "a"]}, "more than once: 'a'"),
        ("t", {"columns": ["a"] * 100_000}, "more than once: 'a'"),
        ("t", {"columns": ["a", 1]}, "1 (int)"),
        ("t", {"columns": [""]}, "columns: "),
        ("t", {"columns": [["a"]]}, "list"),
        ("t", {"columns": ["a\0"]}, "NUL"),
        ("t", {"columns": ["\udfff"]}, "surrogate"),
        ("t", {"where": 1}, "1 (int)"),
        ("t", {"where": b"a"}, "bytes"),
        ("t", {"where": Text("a")}, "Text"),
        ("t", {"where": ""}, "at character 1"),
        ("t", {"where": "a = "}, "at character 5"),
        ("t", {"params": {"x": 1}}, "without a where"),
        ("t", {"params": [1]}, "got [1]"),
        ("t", {"where": "a", "params": "x"}, "got 'x'"),
        ("t", {"where": "a = :x"}, "does not give: 'x'"),
        ("t", {"where": "a = :x", "params": {"y": 1}}, "does not give: 'x'"),
        ("t", {"where": "a = :x", "params": {"x": 1, "y": 1}}, "does not use: 'y'"),
        ("t", {"where": "a = :x", "params": {"x": 1, None: 1}}, "does not use: None"),
        ("t", {"where": "a = :x", "params": {"x": 2**63}}, "params['x']"),
        ("t", {"where": "a = :x", "params": {"x": -(2**63) - 1}}, "params['x']"),
        ("t", {"where": "a = :x", "params": {"x": 10**5_000}}, "params['x']"),
        ("t", {"where": "a = :x", "params": {"x": math.nan}}, "nan"),
        ("t", {"where": "a = :x", "params": {"x": math.inf}}, "inf"),
        ("t", {"where": "a = :x", "params": {"x": -math.inf}}, "inf"),
        ("t", {"where": "a = :x", "params": {"x": Number.ONE}}, "Number"),
        ("t", {"where": "a = :x", "params": {"x": Real(1)}}, "Real"),
        ("t", {"where": "a = :x", "params": {"x": Text("a")}}, "Text"),
        ("t", {"where": "a = :x", "params": {"x": b"a"}}, "bytes"),
        ("t", {"where": "a = :x", "params": {"x": [1]}}, "list"),
        ("t", {"where": "a = :x", "params": {"x": 1j}}, "complex"),
        ("t", {"where": "a = :x", "params": {"x": "a\ud800"}}, "surrogate"),
        ("t", {"where": "a = :x", "params": {"x": "a" * MAX_COMPARABLE_LENGTH}}, "too large"),
    ],
)
def test_what_is_refused_is_named(table: Any, given_: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidShapeError) as refused:
        Shape(table, **given_)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 500


def test_the_extremes_of_what_is_accepted() -> None:
    for value in (2**63 - 1, -(2**63), 1.7976931348623157e308, 5e-324, "", "\0", "\U0010ffff"):
        shape = album(params={"album": value})
        assert Shape.from_comparable(shape.comparable).params == {"album": value}
    assert Shape("t" * MAX_NAME_LENGTH, columns=range_of_names(2_000)).columns is not None


def range_of_names(count: int) -> list[str]:
    return [f"column {number}" for number in range(count)]


def test_a_shape_does_not_change() -> None:
    shape, params, columns = album(), {"album": 1}, ["TrackId", "Name"]
    other = album(params=params, columns=columns)
    params["album"], columns[0] = 2, "else"
    assert other == shape
    assert other.params == {"album": 1}
    with pytest.raises(AttributeError, match="immutable"):
        shape.table = "other"
    with pytest.raises(AttributeError, match="immutable"):
        del shape.table
    with pytest.raises(AttributeError):
        shape.more = 1
    with pytest.raises(TypeError):
        shape.params["album"] = 2  # type: ignore[index]


@pytest.mark.parametrize("shape", [album(), Shape("t"), Shape("t", where="a", columns=["a"])])
def test_a_shape_survives_copying_and_pickling(shape: Shape) -> None:
    for other in (copy.copy(shape), copy.deepcopy(shape), pickle.loads(pickle.dumps(shape))):
        assert other == shape
        assert (other.table, other.where, other.params, other.columns) == (
            shape.table,
            shape.where,
            shape.params,
            shape.columns,
        )
        assert other.where_as_written == shape.where_as_written
        assert isinstance(other.params, MappingProxyType)


def test_the_where_as_written_is_kept_and_is_no_part_of_the_identity() -> None:
    written = " b = 0  or a / b > 2 "
    shape = Shape("t", where=written)
    assert shape.where_as_written == written
    assert shape.where == '"a" / "b" > 2 OR "b" = 0'
    other = Shape("t", where="a / b > 2 OR b = 0")
    assert (shape == other, hash(shape) == hash(other)) == (True, True)
    assert repr(shape) == "Shape('t', where=' b = 0  or a / b > 2 ')"
    assert Shape("t").where_as_written is None


def test_a_shape_from_its_comparable_executes_the_text_that_comes_with_it_or_else_the_canonical_one() -> None:
    shape = Shape("t", where="b OR a")
    assert Shape.from_comparable(shape.comparable, "b OR a").where_as_written == "b OR a"
    assert Shape.from_comparable(shape.comparable).where_as_written == shape.where == '"a" OR "b"'
    assert Shape.from_comparable(Shape("t").comparable, "a").where_as_written is None


# --- namespaces


def test_a_namespace_is_a_part_of_the_key_and_none_leaves_it_as_it_is() -> None:
    assert album().comparable_in("") == album().comparable
    inside = r'{"v":1,"namespace":"of \"x\"",'
    assert album().comparable_in('of "x"') == album().comparable.replace('{"v":1,', inside, 1)


@given(names, names, names)
def test_keys_are_equal_only_for_one_shape_in_one_namespace(table: str, one: str, other: str) -> None:
    shape = Shape(table)
    keys = [shape.comparable, shape.comparable_in(one), shape.comparable_in(other)]
    assert len(set(keys)) == len({"", one, other})
    for key, namespace in zip(keys, ["", one, other], strict=True):
        assert namespace_of(key) == namespace
        assert Shape.from_comparable(key).comparable == shape.comparable
        assert json.loads(key)["table"] == table


@pytest.mark.parametrize(
    ("namespace", "why"),
    [
        (None, "None"),
        (0, "0 (int)"),
        (b"", "bytes"),
        (["a"], "list"),
        (Text("a"), "Text"),
        (Text(""), "Text"),
        ("a\0", "NUL"),
        ("\ud800", "surrogate"),
        ("a" * (MAX_NAME_LENGTH + 1), str(MAX_NAME_LENGTH)),
    ],
)
def test_what_cannot_be_a_namespace_is_refused(namespace: Any, why: str) -> None:
    with pytest.raises(InvalidShapeError, match="namespace must be a str") as refused:
        album().comparable_in(namespace)
    assert why in str(refused.value)


@given(names, scalars, st.none() | st.lists(names, min_size=1, unique=True, max_size=5))
def test_a_shape_comes_back_whole_from_its_comparable(table: str, value: Any, columns: list[str] | None) -> None:
    shape = Shape(table, where="a = :value", params={"value": value}, columns=columns)
    back = Shape.from_comparable(shape.comparable)
    assert back == shape
    assert (back.table, back.where, back.columns) == (shape.table, shape.where, shape.columns)
    assert repr(back.params["value"]) == repr(value)
    assert json.loads(shape.comparable) == {
        "v": 1, "table": table, "where": '"a" = :value', "params": {"value": value}, "columns": columns,
    }  # fmt: skip


@given(scalars, scalars)
def test_two_values_share_a_comparable_only_if_they_are_the_same(one: Any, other: Any) -> None:
    same = type(one) is type(other) and repr(one) == repr(other)
    assert (album(params={"album": one}) == album(params={"album": other})) == same


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "Track",
        '{"v":1,"table":"t"}',
        '{"v":1,"table":"t","where":null,"params":{},"columns":null,"more":1}',
        '{"v":1,"table":1,"where":null,"params":{},"columns":null}',
        '{"v":1,"table":"t","where":null,"params":{"x":[]},"columns":null}',
        '{"v":1,"table":"\ud800","where":null,"params":{},"columns":null}',
        b"\xff",
        None,
    ],
)
def test_what_is_not_a_comparable_is_refused(text: Any) -> None:
    with pytest.raises(InvalidShapeError, match="not the comparable of a shape"):
        Shape.from_comparable(text)


def test_a_comparable_of_another_version_is_refused() -> None:
    with pytest.raises(InvalidShapeError, match="version 2"):
        Shape.from_comparable(Shape("t").comparable.replace('"v":1', '"v":2'))


def test_making_shapes_imports_no_sql_library() -> None:
    code = (
        "import sys; from shapestore.shape.shape import Shape; Shape('t', where='a = 1');"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'sqlglot', 'sqlalchemy', 'alembic'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
