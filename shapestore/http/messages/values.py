"""Values as Electric's clients expect them: PostgreSQL's text of each, as a JSON string, or null.

A row is stored as a JSON object, and its values are taken as they stand there, as bytes: a number needs quotes, a text
is what it was.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

Column = Mapping[str, Any]
"""What is known of a column: ``type``, and perhaps ``dims``, ``pk_index`` and more."""

TIMESTAMPS = frozenset(("timestamp", "timestamptz"))
JSON_TYPES = frozenset(("json", "jsonb"))

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_decode_text = msgspec.json.Decoder(str).decode
_read_through = msgspec.json.Decoder(msgspec.Raw).decode

_TRUE, _FALSE = b'"t"', b'"f"'
_WITH_T = re.compile(rb'("\d{4}-\d\d-\d\d)T(?=\d)')
_NOT_WHOLE = re.compile(rb"\.0\Z")

AsText = Callable[[bytes], bytes]


def as_text(column: Column) -> AsText:
    """What turns the JSON of a value of this column into the JSON of PostgreSQL's text of it."""
    convert = _SPECIAL.get(column.get("type", ""), _plain)
    if convert is _json and column.get("not_null"):
        convert = _json_of_not_null
    return partial(_array, convert) if column.get("dims") else convert


def as_json_text(value: bytes) -> bytes:
    """The JSON of a value as a text that holds this JSON: for a column of which no type is known."""
    return b"null" if value == b"null" else _encode(value.decode())


def _plain(value: bytes) -> bytes:
    match value[:1]:
        case b'"' | b"n":
            return value
        case b"t":
            return _TRUE
        case b"f":
            return _FALSE
        case b"{" | b"[":
            return as_json_text(value)
    return b'"%s"' % _NOT_WHOLE.sub(b"", value)


def _truth(value: bytes) -> bytes:
    match value:
        case b"1" | b"true":
            return _TRUE
        case b"0" | b"false":
            return _FALSE
    return _plain(value)


def _timestamp(value: bytes) -> bytes:
    return _WITH_T.sub(rb"\1 ", _plain(value), count=1)


def _json(value: bytes) -> bytes:
    """A text that is JSON is taken for that, as SQLite holds it; any other for a string, since clients read JSON."""
    if value[:1] == b'"':
        return value if _is_json(value) else as_json_text(value)
    return b'"%s"' % value if value in {b"true", b"false"} else _plain(value)


def _json_of_not_null(value: bytes) -> bytes:
    """JSON's own null is a value, and clients refuse the other where there is none."""
    return b'"null"' if value == b"null" else _json(value)


def _is_json(value: bytes) -> bool:
    """Whether a text, of which the JSON is given, is JSON itself."""
    try:
        _read_through(_decode_text(value))
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _bytea(value: bytes) -> bytes:
    if value[:1] != b'"':
        return _plain(value)
    try:
        held = base64.b64decode(value[1:-1], validate=True)
    except binascii.Error:  # a text in a column of blobs, as SQLite allows
        held = _decode(value).encode()
    return b'"\\\\x%s"' % held.hex().encode()


def _array(of: AsText, value: bytes) -> bytes:
    """The text of an array, of whose items ``of`` makes texts."""
    return _encode(_array_text(of, _decode(value))) if value[:1] == b"[" else _plain(value)


def _array_text(of: AsText, items: list[Any]) -> str:
    return "{" + ",".join([_item_text(of, item) for item in items]) + "}"


def _item_text(of: AsText, item: Any) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, list):
        return _array_text(of, item)
    text: str = _decode(of(_encode(item)))
    if isinstance(item, (bool, int, float)):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_SPECIAL: Mapping[str, AsText] = {
    "bool": _truth,
    "bytea": _bytea,
    **dict.fromkeys(TIMESTAMPS, _timestamp),
    **dict.fromkeys(JSON_TYPES, _json),
}
