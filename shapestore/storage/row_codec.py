"""Rows as JSON text, checked on their way into a store."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from shapestore.errors import InvalidRowError
from shapestore.shape.listing import described, shown
from shapestore.shape.row_values import PLAIN, UnfitError, plain_row

MAX_ROW_BYTES = 64 * 1024 * 1024

_NAMES = frozenset((str,))
_encode = msgspec.json.Encoder(decimal_format="string").encode


def encode_row(row: Any, position: int) -> str:
    """The JSON text of a row. Raises InvalidRowError, which names the row by ``position`` and the value by its path."""
    return _encoded(row, position).decode()


def _encoded(row: Any, position: int) -> bytes:
    # Most rows are seen to be plain by two set comparisons; those with a float, value by value.
    if not (
        type(row) is dict
        and _NAMES.issuperset(map(type, row))
        and (PLAIN.issuperset(map(type, row.values())) or all(map(_is_plain, row.values())))
    ):
        row = _plain(row, position)
    try:
        text = _encode(row)
    except Exception as error:
        raise _named(row, position, error) from error
    if len(text) > MAX_ROW_BYTES:
        column = max(row, key=lambda name: len(_encode(row[name])))
        raise InvalidRowError(
            f"row {position} takes {len(text)} bytes of JSON, most of them in {column!r:.100}; "
            f"the limit is {MAX_ROW_BYTES} bytes"
        )
    return text


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return kind in PLAIN or (kind is float and isfinite(value))


def _plain(row: Any, position: int) -> dict[str, Any]:
    try:
        if isinstance(row, Mapping):
            return plain_row(row)
    except UnfitError as unfit:
        raise InvalidRowError(f"row {position}{unfit.path} {unfit.why}") from unfit.__cause__
    except Exception as error:  # isinstance() asks the row what it is
        raise InvalidRowError(f"row {position} cannot be read: {described(error)}") from error
    raise InvalidRowError(f"row {position} must be a mapping of str to values; got {shown(row)}")


def _named(row: dict[str, Any], position: int, error: Exception) -> InvalidRowError:
    """The error for a row that cannot be encoded, with the name of the first column that is to blame."""
    for name, value in row.items():
        try:
            _encode({name: value})
        except Exception as at_fault:
            return InvalidRowError(f"row {position}, {name!r:.100} cannot be held as JSON: {described(at_fault)}")
    return InvalidRowError(f"row {position} cannot be held as JSON: {described(error)}")
