"""The text of a key keeps the exact types of its values: two keys are one only if they are one to every database."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapestore.errors import InvalidRowError
from shapestore.storage.log.keys import decode_key, encode_key, json_string, plain_key

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts | st.binary() | st.booleans()
keys = st.lists(values, min_size=1, max_size=4).map(tuple)


def exact(key: tuple[Any, ...]) -> list[tuple[type, str]]:
    """What tells one key from another: types too, but not the sign of nought."""
    return [(type(value), repr(value + 0.0 if isinstance(value, float) else value)) for value in key]


@given(keys)
def test_a_key_comes_back_with_its_exact_types(key: tuple[Any, ...]) -> None:
    assert exact(decode_key(encode_key(key))) == exact(key)


@given(keys, keys)
def test_two_keys_have_one_text_only_if_they_are_the_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (encode_key(one) == encode_key(other)) == (exact(one) == exact(other))


def test_values_that_look_alike_are_different_keys() -> None:
    alike = [1, 1.0, "1", b"1", True, "true", "1.0", "31", 0.0, 0, "", b"", "inf", float("inf"), -float("inf")]
    assert len({encode_key((value,)) for value in alike}) == len(alike)
    assert len({encode_key(key) for key in [(1,), (1, 1), ("1,1",), ("[1]",), (1, "1")]}) == 5


@pytest.mark.parametrize("buffer", [bytearray(b"ab"), memoryview(b"ab")])
def test_bytes_are_the_same_key_in_whatever_a_driver_gives_them(buffer: Any) -> None:
    assert encode_key((buffer,)) == encode_key((b"ab",)) == '[{"bytes":"6162"}]'


def test_what_databases_give_beside_plain_values_is_told_as_text() -> None:
    some = (decimal.Decimal("1.10"), uuid.UUID(int=7), datetime.date(2024, 5, 1))
    assert encode_key(some) == '["1.10","00000000-0000-0000-0000-000000000007","2024-05-01"]'


class Name(str):
    """As numpy.str_ is: a row stores it, whatever it says of itself."""

    def __str__(self) -> str:
        return "another"

    def __gt__(self, other: object) -> bool:
        return True


class Count(int):
    pass


class Size(float):
    pass


class Raw(bytes):
    pass


@pytest.mark.parametrize("kind", [Name, Count, Size, Raw])
def test_a_value_of_a_subclass_is_the_same_key_as_a_plain_one(kind: Any) -> None:
    plain = kind.__mro__[1](7)
    assert type(plain_key((kind(7),))[0]) is type(plain)
    assert encode_key((kind(7),)) == encode_key((plain,))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "NaN is equal to nothing"),
        (None, "NoneType"),
        (2**64, "more than 64 bits"),
        (-(2**63) - 1, "more than 64 bits"),
        (object(), "object"),
        ("\ud800", "surrogates"),
        ({"bytes": "31"}, "dict"),
        ([1], "list"),
        ((1,), "tuple"),
        ({1}, "set"),
    ],
)
def test_what_cannot_be_the_value_of_a_key_is_refused(value: Any, why: str) -> None:
    """An object or an array might look like the text of another value."""
    with pytest.raises(InvalidRowError, match=rf"a key cannot hold .*({why})"):
        encode_key((1, value))


@given(texts)
def test_a_quoted_text_is_json(text: str) -> None:
    assert decode_key(f"[{json_string(text)}]") == (text,)
