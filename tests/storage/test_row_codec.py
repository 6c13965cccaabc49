from __future__ import annotations

import datetime
import enum
import functools
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapestore import Shape, ShapeStore
from shapestore.errors import InvalidRowError
from shapestore.storage.log.chunks import CHUNK_BYTES, CHUNK_ROWS, Chunk, Encoder
from shapestore.storage.row_codec import MAX_ROW_BYTES, encode_row

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
rows = st.dictionaries(texts, values, max_size=6)


def round_trip(row: Mapping[str, Any]) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(encode_row(row, 1))
    return decoded


def same(one: Any, another: Any) -> bool:
    """Equal, and of the same types all the way down: 1 is not 1.0, nor -0.0 the same as 0.0."""
    if type(one) is not type(another):
        return False
    if isinstance(one, dict):
        return list(one) == list(another) and all(same(one[key], another[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(another) and all(map(same, one, another))
    if isinstance(one, float):
        return one == another and math.copysign(1, one) == math.copysign(1, another)
    return bool(one == another)


# --- what comes back as it went in


@given(rows)
def test_what_json_holds_comes_back_as_it_went_in(row: dict[str, Any]) -> None:
    assert same(round_trip(row), row)


def repeated(row: dict[str, Any], count: int, _: Shape) -> list[dict[str, Any]]:
    return [row] * count


async def test_rows_come_back_out_of_a_file_as_they_went_in(path: str) -> None:
    """Few rows and many go different ways into the file, and SQLite reads the text of the many."""
    row = {
        "text": 'quote " backslash \\ NUL \0 tab \t line \u2028 emoji 🦆 combining e\u0301 \x7f \uffff',
        "numbers": [0, -1, 2**63, 2**64, -(2**70), 10**30, 1e308, 5e-324, -0.0, 0.1, 1e22, 123456789.125],
        "nested": {"": [], "a b": {"$": [None, True, False, {}]}, "[0]": [[[]]]},
        "key with \0 and \" and '": "",
    }
    async with ShapeStore(path) as store:
        for table, count in (("few", 2), ("many", CHUNK_ROWS + 100)):
            stored = await store.get_or_create(Shape(table), functools.partial(repeated, row, count))
            back = [found async for found in store.rows(stored.handle)]
            assert len(back) == count
            assert all(same(found, row) for found in back)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.datetime(2026, 2, 3, 4, 5, 6, 789), "2026-02-03T04:05:06.000789"),
        (datetime.datetime(2026, 2, 3, 4, 5, 6, tzinfo=datetime.UTC), "2026-02-03T04:05:06Z"),
        (
            datetime.datetime(2026, 2, 3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=-5, minutes=-30))),
            "2026-02-03T04:05:00-05:30",
        ),
        (datetime.date(1, 1, 1), "0001-01-01"),
        (datetime.time(23, 59, 59, 999_999), "23:59:59.999999"),
        (datetime.timedelta(days=1, seconds=3), "P1DT3S"),
        (Decimal("1.10"), "1.10"),
        (Decimal("1E+5"), "1E+5"),
        (Decimal("NaN"), "NaN"),
        (Decimal("-Infinity"), "-Infinity"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\0\xff", "AP8="),
    ],
)
def test_what_json_has_no_form_for_becomes_the_text_that_stands_for_it(value: Any, text: str) -> None:
    assert round_trip({"top": value, "nested": [{"deep": value}]}) == {"top": text, "nested": [{"deep": text}]}


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_a_time_is_the_same_moment_in_its_text_or_is_refused(moment: datetime.datetime) -> None:
    """Before 1900 places had local times of their own, which differ from UTC by some seconds too."""
    offset = moment.utcoffset()
    if offset and offset % datetime.timedelta(minutes=1):
        with pytest.raises(InvalidRowError, match="row 1, 'at' is not a whole number of minutes from UTC"):
            round_trip({"at": moment})
    else:
        back = datetime.datetime.fromisoformat(round_trip({"at": moment})["at"])
        assert back.replace(tzinfo=None) == moment.replace(tzinfo=None)
        assert back.utcoffset() == offset


@given(st.decimals(allow_nan=False))
def test_a_decimal_keeps_its_digits(number: Decimal) -> None:
    assert str(Decimal(round_trip({"n": number})["n"])) == str(number)


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Bytes(bytes):
    pass


class Money(Decimal):
    pass


class Moment(datetime.datetime):
    pass


class Colour(enum.IntEnum):
    RED = 1


class Plain(enum.Enum):
    ONE = 1


class Token(enum.StrEnum):
    YES = "yes"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Text("a"), "a"),
        (Whole(7), 7),
        (Real(1.5), 1.5),
        (Bytes(b"\0"), "AA=="),
        (Money("1.10"), "1.10"),
        (Moment(2026, 2, 3, tzinfo=datetime.UTC), "2026-02-03T00:00:00Z"),
        (Colour.RED, 1),
        (Token.YES, "yes"),
        (True, True),
        ((1, (2, 3)), [1, [2, 3]]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (MappingProxyType({"a": MappingProxyType({})}), {"a": {}}),
        ({Text("key"): 1}, {"key": 1}),
        ({Token.YES: 1}, {"yes": 1}),
    ],
    ids=repr,
)
def test_a_special_form_of_what_json_holds_comes_back_plain(value: Any, plain: Any) -> None:
    assert same(round_trip({"v": value, "nested": [value]}), {"v": plain, "nested": [plain]})


class Row(Mapping[str, Any]):
    """A row of a library's own kind."""

    def __getitem__(self, key: str) -> Any:
        return {"id": 1, "name": "one"}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["id", "name"])

    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize(
    "row", [Row(), OrderedDict(id=1, name="one"), MappingProxyType({"id": 1, "name": "one"})], ids=type
)
def test_any_mapping_is_a_row(row: Mapping[str, Any]) -> None:
    assert list(round_trip(row).items()) == [("id", 1), ("name", "one")]


# --- what is refused


@pytest.mark.parametrize("row", [None, 1, "row", b"row", [], [("id", 1)], ("id", 1), {"id"}, object], ids=repr)
def test_what_is_not_a_mapping_is_not_a_row(row: Any) -> None:
    with pytest.raises(InvalidRowError, match=r"row 7 must be a mapping of str to values; got .* \(\w+\)"):
        encode_row(row, 7)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"a": math.nan}, "row 7, 'a' is nan"),
        ({"a": [1, {"b": -math.inf}]}, r"row 7, 'a'\[1\], 'b' is -inf"),
        ({"a": Real("nan")}, "row 7, 'a' is nan"),
        ({1: "a"}, r"row 7 has the key 1 \(int\)"),
        ({"a": 1, b"b": 1}, r"row 7 has the key b'b' \(bytes\)"),
        ({None: 1}, "row 7 has the key None"),
        ({"a": {1: 2}}, r"row 7, 'a' has the key 1 \(int\)"),
        ({"a": {True: 2}}, r"row 7, 'a' has the key True \(bool\)"),
        ({"a": {1, 2}}, "row 7, 'a' is of type set"),
        ({"a": [frozenset()]}, r"row 7, 'a'\[0\] is of type frozenset"),
        ({"a": 1j}, "row 7, 'a' is of type complex"),
        ({"a": object()}, "row 7, 'a' is of type object"),
        ({"a": iter([1])}, "row 7, 'a' is of type list_iterator"),
        ({"a": Plain.ONE}, "row 7, 'a' is of type Plain"),
        ({"b": 1, "a": "\ud800"}, "row 7, 'a' cannot be held as JSON"),
        ({"\ud800": 1}, r"row 7, '\\ud800' cannot be held as JSON"),
        ({"a": ["\udfff"]}, "row 7, 'a' cannot be held as JSON"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name(row: Any, what: str) -> None:
    with pytest.raises(InvalidRowError, match=what):
        encode_row(row, 7)


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def test_a_hundred_levels_may_be_nested_and_no_more() -> None:
    assert round_trip({"a": nested(100)}) == {"a": nested(100)}
    for depth in (102, 100_000):
        with pytest.raises(InvalidRowError, match="nested deeper than 100 levels"):
            encode_row({"a": nested(depth)}, 1)


def test_a_value_that_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(InvalidRowError, match="nested deeper than 100 levels"):
        encode_row({"a": ring}, 1)


def test_a_row_has_a_greatest_size() -> None:
    fits = "x" * (MAX_ROW_BYTES - len('{"a":""}'))
    assert len(encode_row({"a": fits}, 1)) == MAX_ROW_BYTES
    with pytest.raises(InvalidRowError, match=r"row 3 takes \d+ bytes of JSON, most of them in 'a'; the limit is"):
        encode_row({"b": 1, "a": fits + "x"}, 3)


# --- chunks


def chunks_of(rows: list[dict[str, Any]]) -> list[Chunk]:
    encoder = Encoder("h1")
    full = [chunk for row in rows if (chunk := encoder.add(row)) is not None]
    assert encoder.row_count == len(rows)
    return [*full, encoder.rest()]


def assert_all_there(chunks: list[Chunk], rows: list[dict[str, Any]]) -> None:
    position = 1
    for chunk in chunks:
        assert chunk.handle == "h1"
        assert chunk.first == position
        assert chunk.size == sum(len(text.encode()) for text in chunk.rows)
        position += len(chunk.rows)
    assert [json.loads(text) for chunk in chunks for text in chunk.rows] == rows


@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS])
def test_many_small_rows_are_cut_by_their_number(count: int) -> None:
    rows = [{"n": number} for number in range(count)]
    chunks = chunks_of(rows)
    assert_all_there(chunks, rows)
    assert [len(chunk.rows) for chunk in chunks] == [CHUNK_ROWS] * (count // CHUNK_ROWS) + [count % CHUNK_ROWS]


@given(st.lists(st.integers(0, 2 * CHUNK_BYTES // 3), max_size=12))
def test_large_rows_are_cut_by_their_size(lengths: list[int]) -> None:
    rows = [{"text": "x" * length} for length in lengths]
    *full, rest = chunks_of(rows)
    assert_all_there([*full, rest], rows)
    assert rest.size < CHUNK_BYTES
    for chunk in full:
        assert chunk.size - len(chunk.rows[-1]) < CHUNK_BYTES <= chunk.size


def test_a_row_larger_than_a_chunk_is_a_chunk_of_its_own() -> None:
    rows: list[dict[str, Any]] = [{"text": "x" * (3 * CHUNK_BYTES)}, {"n": 1}]
    chunks = chunks_of(rows)
    assert_all_there(chunks, rows)
    assert [len(chunk.rows) for chunk in chunks] == [1, 1]


def test_a_refused_row_is_not_counted() -> None:
    encoder = Encoder("h1")
    encoder.add({"n": 1})
    with pytest.raises(InvalidRowError, match="row 2"):
        encoder.add({"n": object()})
    assert encoder.row_count == 1
    assert encoder.rest().rows == ['{"n":1}']


@given(st.lists(rows, max_size=5))
def test_a_chunk_as_json_holds_the_very_texts_of_its_rows(some: list[dict[str, Any]]) -> None:
    (chunk,) = chunks_of(some)
    assert chunk.as_json() == "[" + ",".join(chunk.rows) + "]"


@pytest.mark.parametrize("wrapping", [bytes, bytearray, memoryview])
def test_bytes_come_back_as_base64_however_a_driver_gives_them(wrapping: Callable[[bytes], object]) -> None:
    assert json.loads(encode_row({"a": wrapping(b"ab")}, 1)) == {"a": "YWI="}
