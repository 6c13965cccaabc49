"""The text that is a shape's key: its fields as JSON, always spelled the same way.

Two keys are equal exactly if all their fields are. A store without a namespace has keys of the form
``{"v":1,"table":...}``, a store with one ``{"v":1,"namespace":"...","table":...}``, so that keys of different
namespaces are never equal and those of one namespace lie together in an index.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NoReturn

import msgspec

from shapestore.errors import InvalidShapeError
from shapestore.shape.listing import shown

Scalar = None | bool | int | float | str
"""What a parameter can be. An int has 64 bits; a float is finite."""

MAX_NAME_LENGTH = 256
"""The greatest length of the name of a table, column or namespace, in characters."""
MAX_COMPARABLE_LENGTH = 262_144
"""The greatest length of a shape's canonical text, in bytes of UTF-8: it is the key of an index."""

VERSION = 1
_BEGINNING = f'{{"v":{VERSION},'


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The fields of a key, in the order in which they are written."""

    v: int
    namespace: str = ""
    table: str
    where: str | None
    params: dict[str, Scalar]
    columns: tuple[str, ...] | None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Fields).decode


def write(fields: Fields) -> str:
    """The key with these fields. Raises InvalidShapeError if they are too large, or not text."""
    try:
        text = _encode(fields)
    except UnicodeEncodeError as error:
        raise InvalidShapeError(
            f"a shape is made of Unicode text, and half a surrogate pair is not: {shown(error.object)}"
        ) from error
    if len(text) > MAX_COMPARABLE_LENGTH:
        raise InvalidShapeError(
            f"the shape is too large: its table, where, params and columns take {len(text)} bytes together; "
            f"the limit is {MAX_COMPARABLE_LENGTH}"
        )
    return text.decode()


def read(text: str) -> Fields:
    """The fields of a key that this library wrote. Raises InvalidShapeError for any other text."""
    try:
        fields = _decode(text)
    except (msgspec.MsgspecError, UnicodeError, TypeError) as error:
        raise InvalidShapeError(f"not the comparable of a shape: {shown(text)} ({error})") from error
    if fields.v != VERSION:
        raise InvalidShapeError(
            f"the comparable has version {fields.v}, and this shapestore reads version {VERSION}: {shown(text)}"
        )
    return fields


def in_namespace(comparable: str, namespace: str) -> str:
    """The key of the same shape in a namespace; ``""`` leaves it as it is. Raises InvalidShapeError."""
    if type(namespace) is not str:
        _refuse_namespace(namespace)
    if not namespace:
        return comparable
    return f'{_BEGINNING}"namespace":{_encoded_namespace(namespace)},{comparable[len(_BEGINNING) :]}'


def namespace_of(comparable: str) -> str:
    """The namespace of a key; ``""`` for none. Raises InvalidShapeError if it is not the key of a shape."""
    return read(comparable).namespace


def is_name(name: object) -> bool:
    """Whether a table, column or namespace may have this name."""
    return type(name) is str and 0 < len(name) <= MAX_NAME_LENGTH and "\0" not in name


@lru_cache(maxsize=64)
def _encoded_namespace(namespace: str) -> str:
    if not is_name(namespace):
        _refuse_namespace(namespace)
    try:
        return _encode(namespace).decode()
    except UnicodeEncodeError:
        _refuse_namespace(namespace)


def _refuse_namespace(namespace: object) -> NoReturn:
    raise InvalidShapeError(
        f"namespace must be a str of at most {MAX_NAME_LENGTH} characters, without NUL or half a surrogate pair; "
        f"got {shown(namespace)}"
    )
