"""JSON text on its way into a store: rows, which are checked, and what the library has made itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shapestore.errors import InvalidRowError
from shapestore.shape.listing import described, shown
from shapestore.shape.row_values import PLAIN, UnfitError, plain_row

MAX_ROW_BYTES = 64 * 1024 * 1024

_encode = msgspec.json.Encoder(decimal_format="string").encode


def encode_row(row: Any, position: int) -> str:
    """As ``row_bytes``, as a text."""
    return row_bytes(row, position).decode()


def row_bytes(row: Any, position: int) -> bytes:
    """The JSON text of a row. Raises InvalidRowError, which names the row by ``position`` and the value by its path."""
    if not _is_plain(row):
        row = _plain(row, position)
    try:
        text = _encode(row)
    except Exception as error:
        raise _named(row, position, error) from error
    if len(text) > MAX_ROW_BYTES:
        raise _too_large(row, position, text)
    return text


def as_json(value: Any) -> str:
    """The JSON text of a value that the library has made itself."""
    return msgspec.json.encode(value).decode()


def _is_plain(row: Any) -> bool:
    """Whether JSON holds the row as it is, as most are. Each row of a snapshot is asked: a loop takes half of all()."""
    if type(row) is not dict:
        return False
    for name, value in row.items():
        if type(name) is not str:
            return False
        if type(value) not in PLAIN and not (type(value) is float and value - value == 0.0):  # NaN if it is not finite
            return False
    return True


def _plain(row: Any, position: int) -> dict[str, Any]:
    try:
        if isinstance(row, Mapping):
            return plain_row(row)
    except UnfitError as unfit:
        raise InvalidRowError(f"row {position}{unfit.path} {unfit.why}") from unfit.__cause__
    except Exception as error:  # isinstance() asks the row what it is
        raise InvalidRowError(f"row {position} cannot be read: {described(error)}") from error
    raise InvalidRowError(f"row {position} must be a mapping of str to values; got {shown(row)}")


def _too_large(row: dict[str, Any], position: int, text: bytes) -> InvalidRowError:
    column = max(row, key=lambda name: len(_encode(row[name])))
    return InvalidRowError(
        f"row {position} takes {len(text)} bytes of JSON, most of them in {column!r:.100}; "
        f"the limit is {MAX_ROW_BYTES} bytes"
    )


def _named(row: dict[str, Any], position: int, error: Exception) -> InvalidRowError:
    """The error for a row that cannot be encoded, with the name of the first column that is to blame."""
    for name, value in row.items():
        try:
            _encode({name: value})
        except Exception as at_fault:
            return InvalidRowError(f"row {position}, {name!r:.100} cannot be held as JSON: {described(at_fault)}")
    return InvalidRowError(f"row {position} cannot be held as JSON: {described(error)}")
