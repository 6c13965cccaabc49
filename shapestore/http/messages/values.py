"""Values as Electric's clients expect them: PostgreSQL's text of each, as a JSON string, or null.

A row is stored as a JSON object, and its values are taken as they stand there, as bytes: a number needs quotes, a text
is what it was.

SQLite keeps any value in any column, and clients read each by the type that is declared: what they would give up at, or
mistake for another value, is sent as the next best that they can read.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from shapestore.http.where.arrays import array_in

Column = Mapping[str, Any]
"""What is known of a column: ``type``, and perhaps ``dims``, ``pk_index`` and more."""

TIMESTAMPS = frozenset(("timestamp", "timestamptz"))
JSON_TYPES = frozenset(("json", "jsonb"))
NUMBER_TYPES = frozenset(("int2", "int4", "int8", "float4", "float8"))
"""Of which clients make numbers of JavaScript's."""

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_decode_text = msgspec.json.Decoder(str).decode
_read_through = msgspec.json.Decoder(msgspec.Raw).decode

_TRUE, _FALSE = b'"t"', b'"f"'
_DIGITS = frozenset(b"%c" % each for each in b"-0123456789")
_WITH_T = re.compile(rb'("\d{4}-\d\d-\d\d)T(?=\d)')
_NOT_WHOLE = re.compile(rb"\.0\Z")
_INTEGER = re.compile(rb'-?[0-9]+(?:\.0)?|"-?[0-9]+"')
_BLANK = re.compile(rb'"\s*"')
_TRUTHS = dict.fromkeys((b'"t"', b'"true"', b'"y"', b'"yes"', b'"on"', b'"1"', b"true"), _TRUE)
_TRUTHS |= dict.fromkeys((b'"f"', b'"false"', b'"n"', b'"no"', b'"off"', b'"0"', b"false"), _FALSE)

AsText = Callable[[bytes], bytes]


def as_text(column: Column) -> AsText:
    """What turns the JSON of a value of this column into the JSON of PostgreSQL's text of it."""
    convert = _SPECIAL.get(column.get("type", ""), _plain)
    if column.get("dims"):
        return partial(_array, convert)
    return _json_of_not_null if convert is _json and column.get("not_null") else convert


def as_it_is(value: bytes) -> bytes:
    """The value itself."""
    return value


def is_mixed(column: Column | None) -> bool:
    """Whether a column keeps 1 and '1' apart: if it has no type, or BLOB, or if nothing is known of it."""
    return column is None or column.get("type") in {"unknown", "bytea"}


def may_become_null(column: Column) -> bool:
    """Whether null is sent for values of this column that are not null, or as an item of them."""
    return column.get("type") == "int8" or bool(column.get("dims"))


def _plain(value: bytes) -> bytes:
    match value[:1]:
        case b'"' | b"n":
            return value
        case b"t":
            return _TRUE
        case b"f":
            return _FALSE
        case b"{" | b"[":
            return _encode(value.decode())
    return b'"%s"' % _NOT_WHOLE.sub(b"", value)


def _truth(value: bytes) -> bytes:
    """Whatever PostgreSQL, or a where of SQLite's, takes for a truth value. Of any other text clients make false."""
    if value[:1] in _DIGITS:
        return _TRUE if float(value) else _FALSE
    return _TRUTHS.get(value.lower()) or _plain(value)


def _number(value: bytes) -> bytes:
    """Of a text clients make NaN, but of an empty one they would make 0."""
    return b'"NaN"' if _BLANK.fullmatch(value) else _plain(value)


def _integer(value: bytes) -> bytes:
    """Clients make a BigInt of it, and give up if they cannot: what is no integer is null."""
    if _INTEGER.fullmatch(value):
        return _plain(value)
    number = _decode(value)
    is_whole = isinstance(number, bool) or (isinstance(number, float) and number.is_integer())
    return b'"%d"' % int(number) if is_whole else b"null"


def _timestamp(value: bytes) -> bytes:
    return _WITH_T.sub(rb"\1 ", _plain(value), count=1)


def _json(value: bytes) -> bytes:
    """A text that is JSON is taken for that, as SQLite holds it; any other for a string, since clients read JSON."""
    if value[:1] == b'"':
        return value if _is_json(value) else _encode(value.decode())
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
    """The text of an array, of whose items ``of`` makes texts. Any other value is sent as the only item of one."""
    if value == b"null" or (value[:2] == b'"{' and of not in _EXACTING):
        return value
    held = _decode(value)
    try:
        text = _array_text(of, _items(held))
    except RecursionError:  # it is nested deeper than any array
        text = _array_text(of, [held if isinstance(held, str) else value.decode()])
    return _encode(text)


def _items(held: Any) -> list[Any]:
    """The items of an array. SQLite holds it as a text, either PostgreSQL's or JSON's."""
    if isinstance(held, str):
        with contextlib.suppress(ValueError):
            return array_in(held)
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            held = _decode(held) if held[:1] == "[" else held
    return held if isinstance(held, list) else [held]


def _array_text(of: AsText, items: list[Any]) -> str:
    return "{" + ",".join([_item_text(of, item) for item in items]) + "}"


def _item_text(of: AsText, item: Any) -> str:
    if isinstance(item, list):
        return _array_text(of, item)
    text: str | None = None if item is None else _decode(of(_encode(item)))
    if text is None:
        return "NULL"
    if isinstance(item, (bool, int, float)):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_EXACTING = frozenset((_integer, _json))
"""What makes texts for clients that give up at any other."""
_SPECIAL: Mapping[str, AsText] = {
    "bool": _truth,
    "bytea": _bytea,
    **dict.fromkeys(NUMBER_TYPES, _number),
    "int8": _integer,
    **dict.fromkeys(TIMESTAMPS, _timestamp),
    **dict.fromkeys(JSON_TYPES, _json),
}
