"""Hostile values: what is stored is what was given, or the row is refused, and the error names row and column."""

from __future__ import annotations

import datetime
import enum
import json
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapestore.errors import InvalidRowError
from shapestore.storage.row_codec import encode_row


def refused(value: Any) -> str:
    """Why a row with this value is refused."""
    with pytest.raises(InvalidRowError) as error:
        encode_row({"good": 1, "bad": [value]}, 7)
    assert str(error.value).startswith("row 7, 'bad'")
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()
    return str(error.value)


def stored(value: Any) -> Any:
    return json.loads(encode_row({"good": 1, "v": value}, 7))["v"]


# --- what libraries make of dates


class NaTType(datetime.datetime):
    """As pandas has it: a datetime by class, of no moment at all."""

    year = month = day = hour = property(lambda self: math.nan)

    def __new__(cls) -> NaTType:
        return super().__new__(cls, 1, 1, 1)

    def utcoffset(self) -> Any:
        raise ValueError("NaTType does not support utcoffset")

    date = time = timetz = utcoffset

    def isoformat(self, *_: Any, **__: Any) -> str:
        return "NaT"

    __repr__ = __str__ = isoformat

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = datetime.datetime.__hash__


class Timestamp(datetime.datetime):
    """As pandas has it: with nanoseconds, which a datetime does not hold."""

    nanosecond = 0

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self.nanosecond == getattr(other, "nanosecond", 0)

    __hash__ = datetime.datetime.__hash__


def test_not_a_time_is_refused() -> None:
    assert "row 7, 'bad'[0] cannot be read: " in refused(NaTType())


def test_a_timestamp_is_stored_if_a_datetime_holds_all_of_it() -> None:
    moment = Timestamp(2026, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    assert stored(moment) == "2026-02-03T04:05:06Z"
    moment.nanosecond = 1
    assert (
        "is of type Timestamp and does not equal what JSON would hold for it, datetime.datetime(2026, 2, 3"
        in refused(moment)
    )


class Zone(datetime.tzinfo):
    """Whose offset is whatever its function says."""

    def __init__(self, offset: Callable[[], Any]) -> None:
        self.offset = offset

    def utcoffset(self, _: datetime.datetime | None) -> Any:
        return self.offset()

    def tzname(self, _: datetime.datetime | None) -> str:
        raise LookupError("no name")

    dst = None  # type: ignore[assignment]


def failing() -> Any:
    raise LookupError("no such zone")


@pytest.mark.parametrize(
    ("offset", "why"),
    [
        (failing, "cannot be read: LookupError: no such zone"),
        (lambda: 5, "cannot be read: TypeError"),
        (lambda: datetime.timedelta(days=2), "cannot be read: ValueError"),
        (lambda: datetime.timedelta(seconds=1), "is not a whole number of minutes from UTC"),
    ],
)
def test_a_broken_time_zone_is_refused(offset: Callable[[], Any], why: str) -> None:
    zone = Zone(offset)
    assert why in refused(datetime.datetime(2026, 1, 1, tzinfo=zone))
    assert why in refused(Timestamp(2026, 1, 1, tzinfo=zone))
    assert why in refused(datetime.time(1, tzinfo=zone))


def test_a_time_zone_is_asked_once() -> None:
    """One that answers differently each time gives one text all the same."""
    answers = iter([datetime.timedelta(hours=1)])
    assert stored(datetime.datetime(2026, 1, 1, tzinfo=Zone(lambda: next(answers)))) == "2026-01-01T00:00:00+01:00"
    assert stored(datetime.datetime(2026, 1, 1, tzinfo=Zone(lambda: None))) == "2026-01-01T00:00:00"


@pytest.mark.parametrize("fold", [0, 1])
def test_the_hour_that_comes_twice_keeps_its_offset(fold: int) -> None:
    moment = datetime.datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    assert stored(moment) == f"2025-10-26T02:30:00+0{2 - fold}:00"
    assert stored(Timestamp(2025, 10, 26, 2, 30, tzinfo=moment.tzinfo, fold=fold)) == stored(moment)


class Span(datetime.timedelta):
    nanoseconds = 5

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = datetime.timedelta.__hash__


class Day(datetime.date):
    pass


def test_other_forms_of_dates_and_spans() -> None:
    assert stored(Day(2026, 2, 3)) == "2026-02-03"
    assert "does not equal what JSON would hold for it, datetime.timedelta(seconds=1)" in refused(Span(seconds=1))
    for extreme in (datetime.timedelta.max, datetime.timedelta.min, datetime.datetime.max, datetime.date.min):
        assert isinstance(stored(extreme), str)


# --- subclasses that say something else of themselves


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"

    __repr__ = __format__ = __str__  # type: ignore[assignment]


class Whole(int):
    def __int__(self) -> int:
        return 0

    __index__ = __int__


class Real(float):
    def __float__(self) -> float:
        return 0.0


class Bytes(bytes):
    def __bytes__(self) -> bytes:
        return b""

    def __iter__(self) -> Iterator[int]:
        return iter(())


class Array(bytearray):
    def __bytes__(self) -> bytes:
        return b""


class Money(Decimal):
    def __str__(self) -> str:
        return "0"


class Id(UUID):
    def __str__(self) -> str:
        return "0"


class Items(list[Any]):
    pass


class Point(NamedTuple):
    x: int
    y: int


class Colour(str, enum.Enum):  # noqa: UP042 - its str() is 'Colour.RED', that of a StrEnum is not
    RED = "red"


class Letter(bytes, enum.Enum):
    """Whose value is not what it holds, as in the documentation of enum."""

    A = 1

    def __new__(cls, value: int) -> Letter:
        letter = bytes.__new__(cls, [value])
        letter._value_ = value
        return letter


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (Text("a"), "a"),
        (Whole(7), 7),
        (Real(1.5), 1.5),
        (Bytes(b"ab"), "YWI="),
        (Array(b"ab"), "YWI="),
        (Money("1.10"), "1.10"),
        (Id(int=1), "00000000-0000-0000-0000-000000000001"),
        (Point(1, 2), [1, 2]),
        (Items([1, 2]), [1, 2]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(int, a=1), {"a": 1}),
        (Colour.RED, "red"),
        (Letter.A, "AQ=="),
        ({Text("a"): 1}, {"a": 1}),
        (memoryview(b"abcd")[::2], "YWM="),
    ],
)
def test_the_content_is_stored_whatever_a_value_says_of_itself(value: Any, content: Any) -> None:
    assert stored(value) == content
    assert stored([value]) == [content]


class Few(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Pair(tuple[Any, ...]):
    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return iter((1, 3))


class Decrypting(dict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return "open"


class Lazy(dict[str, Any]):
    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    __getitem__ = Decrypting.__getitem__


@pytest.mark.parametrize("value", [Few([1, 2]), Pair((1, 2)), Decrypting(a="secret"), Lazy()])
def test_a_container_that_shows_other_items_than_it_holds_is_refused(value: Any) -> None:
    assert f"is of type {type(value).__name__}, which shows other items than it holds" in refused(value)


def test_a_number_that_is_not_finite_is_found_in_a_subclass_that_hides_it() -> None:
    assert "is nan" in refused(Real("nan"))


class Proxy:
    """An object that says that it is a str."""

    __class__ = property(lambda self: str)


class Alike(str):
    """Two of these are different keys of a dict, and one text."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("\x1b[31m")


class Shouting:
    def __repr__(self) -> str:
        return "\x1b[31m" + "a" * 10_000


def test_what_cannot_be_stored_is_refused_by_name() -> None:
    assert "cannot be read: TypeError" in refused(Proxy())
    assert "has two keys that are the same text" in refused({Alike("a"): 1, Alike("a"): 2})
    assert "has the key" in refused({Unshowable(): 1})
    assert "has the key '\\x1b[31maa" in refused({Shouting(): 1}).replace("key \\x1b", "key '\\x1b")
    assert "is of type Unshowable" in refused(Unshowable())
    assert "cannot be read: ValueError" in refused(released())
    assert "cannot be held as JSON" in encode_error({"good": 1, "bad": 10**5_000})
    assert "cannot be held as JSON" in encode_error({"good": 1, "bad": UUID.__new__(UUID)})


def encode_error(row: Any) -> str:
    with pytest.raises(InvalidRowError, match=r"^row 7, 'bad' ") as error:
        encode_row(row, 7)
    return str(error.value)


def released() -> memoryview:
    view = memoryview(b"ab")
    view.release()
    return view


# --- rows


class Broken(Mapping[str, Any]):
    """A mapping that fails where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def _fail(self, where: str) -> None:
        if where == self.where:
            raise RuntimeError(f"in {where}")

    def __iter__(self) -> Iterator[str]:
        self._fail("iter")
        return iter(["id"])

    def __getitem__(self, key: str) -> Any:
        self._fail("item")
        return 1

    def __len__(self) -> int:
        self._fail("len")
        return 1

    def __repr__(self) -> str:
        raise RuntimeError("in repr")


class Shapeless:
    """Whose class cannot be told, nor anything else."""

    def _fail(self) -> Any:
        raise RuntimeError("in class")

    __class__ = property(_fail)

    def __repr__(self) -> str:
        raise RuntimeError("in repr")


def test_a_row_that_cannot_be_read_is_refused() -> None:
    for where in ("iter", "item"):
        with pytest.raises(InvalidRowError, match=rf"^row 7 cannot be read: RuntimeError: in {where}$"):
            encode_row(Broken(where), 7)
        assert f"cannot be read: RuntimeError: in {where}" in refused(Broken(where))
    assert encode_row(Broken("len"), 7) == '{"id":1}'
    with pytest.raises(InvalidRowError, match=r"^row 7 cannot be read: RuntimeError: in class$"):
        encode_row(Shapeless(), 7)
    assert "cannot be read: RuntimeError: in class" in refused(Shapeless())
    with pytest.raises(InvalidRowError, match=r"^row 7 must be a mapping of str to values; got <Unshowable"):
        encode_row(Unshowable(), 7)


# --- at random

BASES: dict[type, tuple[Any, Any]] = {
    str: ("a", "a"),
    int: (5, 5),
    float: (1.5, 1.5),
    bytes: (b"ab", "YWI="),
    Decimal: (Decimal("1.5"), "1.5"),
    list: ([1], [1]),
    dict: ({"a": 1}, {"a": 1}),
    datetime.datetime: ((2026, 2, 3), "2026-02-03T00:00:00"),
    datetime.date: ((2026, 2, 3), "2026-02-03"),
    datetime.time: ((1, 2, 3), "01:02:03"),
    datetime.timedelta: ((1,), "P1D"),
    object: ((), None),
}
METHODS = [
    *("__str__", "__repr__", "__format__", "__int__", "__index__", "__float__", "__bytes__", "__bool__", "__len__"),
    *("__iter__", "__getitem__", "__contains__", "__hash__", "__eq__", "__ne__", "__mod__", "__reduce__", "__sizeof__"),
    *("keys", "items", "values", "isoformat", "utcoffset", "date", "timetz", "replace"),
]
ATTRIBUTES = [
    *("__class__", "__dict__", "year", "month", "hour", "tzinfo", "fold", "days", "seconds", "int", "hex"),
]


def raising(_: Any) -> Any:
    raise RuntimeError("hostile")


ACTS: list[Callable[[Any], Any]] = [
    *(raising, lambda _: None, lambda _: 7, lambda _: "other", lambda _: math.nan, lambda self: self),
    *(lambda _: iter([]), lambda _: {}, lambda _: True, lambda _: str),
]
overriding = st.dictionaries(st.sampled_from(METHODS + ATTRIBUTES), st.sampled_from(ACTS), max_size=4)


def hostile(base: type, overridden: dict[str, Callable[[Any], Any]]) -> Any:
    """An object of a subclass that does, for each name, what is said."""
    namespace: dict[str, Any] = {
        name: property(act) if name in ATTRIBUTES else lambda self, *_, act=act: act(self)
        for name, act in overridden.items()
    }
    made = type("Hostile", (base,), namespace)
    content = BASES[base][0]
    value: Any = base.__new__(made, *(content if isinstance(content, tuple) else (content,)))
    if base is list:
        list.extend(value, content)
    if base is dict:
        dict.update(value, content)
    return value


@given(st.sampled_from(sorted(BASES, key=repr)), overriding)
def test_an_object_that_lies_and_fails_at_random_is_stored_as_what_it_is_or_refused(
    base: type, overridden: dict[str, Callable[[Any], Any]]
) -> None:
    value = hostile(base, overridden)
    try:
        text = encode_row({"good": 1, "bad": value}, 7)
    except InvalidRowError as error:
        assert str(error).startswith("row 7, 'bad'")
        return
    assert base is not object
    if "__eq__" not in overridden:  # else a date may lie about all of itself
        assert json.loads(text) == {"good": 1, "bad": BASES[base][1]}


@given(overriding, st.booleans())
def test_a_row_that_lies_and_fails_at_random_is_stored_as_what_it_is_or_refused(
    overridden: dict[str, Callable[[Any], Any]], empty: bool
) -> None:
    row = hostile(dict, overridden)
    if empty:
        dict.clear(row)
    try:
        text = encode_row(row, 7)
    except InvalidRowError as error:
        assert str(error).startswith("row 7 ")
        return
    assert json.loads(text) == ({} if empty else {"a": 1})
