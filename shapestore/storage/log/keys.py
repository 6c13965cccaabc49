"""Keys of rows as text: a JSON array of the key's values, which keeps their exact types.

1, 1.0, '1' and x'31' are four different keys. What JSON lacks stands in an object: bytes as hex, infinities by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring
from typing import Any

import msgspec

from shapestore.errors import InvalidRowError
from shapestore.shape.listing import shown
from shapestore.shape.row_values import PLAIN, UnfitError, plain_value

_NOT_SCALARS = (list, tuple, dict, set, frozenset)

_encode = msgspec.json.Encoder(decimal_format="string").encode

json_string: Callable[[str], str] = encode_basestring
"""A text as a JSON string, in half the time that msgspec takes with its bytes. Each key of a snapshot is quoted."""


def plain_key(values: Iterable[Any]) -> tuple[Any, ...]:
    """The values of a key as plain as those of a row are stored. Raises InvalidRowError for one that cannot be plain.

    What the values say of themselves, as when they are compared, is trusted only after this.
    """
    values = tuple(values)
    if _is_usual(values):
        return values
    return tuple(value if type(value) in PLAIN else _plain(value) for value in values)


def encode_key(values: Iterable[Any]) -> str:
    """The text of a key. Raises InvalidRowError for a value that cannot be one.

    >>> encode_key((1, "a")), encode_key((1.0,)), encode_key((b"1",))
    ('[1,"a"]', '[1.0]', '[{"bytes":"31"}]')
    """
    return encode_plain_key(plain_key(values))


def encode_plain_key(values: tuple[Any, ...]) -> str:
    """The text of what ``plain_key`` gave. Raises InvalidRowError as ``encode_key`` does."""
    try:
        return _encode(values if _is_usual(values) else [_spelled(value) for value in values]).decode()
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRowError(f"a key cannot hold {shown(values)}: {error}") from error


def decode_key(text: str) -> tuple[Any, ...]:
    """The values of a key.

    >>> decode_key('[1,{"bytes":"31"}]')
    (1, b'1')
    """
    return tuple(_value(value) for value in msgspec.json.decode(text))


def _is_usual(values: Iterable[Any]) -> bool:
    """Whether all are texts, or integers of 64 bits, as most keys are: JSON holds these as they are."""
    for value in values:
        if type(value) is not str and not (type(value) is int and -(2**63) <= value < 2**64):
            return False
    return True


def _plain(value: Any) -> Any:
    if type(value) is float:  # keys have a spelling for infinities
        return value
    try:
        return plain_value(value)
    except UnfitError as unfit:
        raise InvalidRowError(f"a key cannot hold {shown(value)}: it {unfit.why}") from unfit.__cause__


def _spelled(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise ValueError("NaN is equal to nothing")
        return {"float": repr(value)}
    if isinstance(value, float):
        return value + 0.0  # -0.0 is the same key as 0.0
    if value is None or isinstance(value, _NOT_SCALARS):
        raise TypeError(f"the value of a key is a scalar, and not of type {type(value).__name__}")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise OverflowError(f"{value} has more than 64 bits")
    return value


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["bytes"]) if "bytes" in value else float(value["float"])
    return value
