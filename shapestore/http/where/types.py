"""The types of PostgreSQL, as far as a where needs them, and values from their texts.

What is compared must be of one family: PostgreSQL refuses anything else, and SQLite would compare text with numbers.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import Enum
from math import isfinite

from shapestore.shape.column_description import SPELLINGS, ColumnDescription
from shapestore.shape.shape import Scalar


class Family(Enum):
    """What values of several types have in common, by PostgreSQL's name for it."""

    INTEGER = "integer"
    NUMBER = "numeric"
    TRUTH = "boolean"
    TEXT = "text"
    """Also dates, UUIDs and all else that is compared with a text that spells one."""
    BYTES = "bytea"
    ARRAY = "array"


NUMBERS = frozenset((Family.INTEGER, Family.NUMBER))

_FAMILIES = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), Family.INTEGER),
    **dict.fromkeys(("float4", "float8", "numeric"), Family.NUMBER),
    "bool": Family.TRUTH,
    "bytea": Family.BYTES,
}
_TEXTS = """
    bpchar cidr citext date inet interval json jsonb macaddr name text time timestamp timestamptz timetz uuid varchar
"""
_NAMES = {**SPELLINGS, "float": "float8", "real": "float4"}

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
_DATE_OF_JAVASCRIPT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.(\d{3})Z", re.ASCII)
_TRUTHS = dict.fromkeys(("t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"), True) | dict.fromkeys(
    ("f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"), False
)


def canonical_name(name: str) -> str | None:
    """PostgreSQL's own name of a type that a cast names, or None if there is no such type here.

    >>> canonical_name("double precision"), canonical_name("int4"), canonical_name("intt")
    ('float8', 'int4', None)
    """
    name = _NAMES.get(name.lower(), name.lower())
    return name if name in _FAMILIES or name in _TEXTS.split() else None


def family_of(column: ColumnDescription) -> Family | None:
    """The family of a column's values; None if no type is declared."""
    if column.dims:
        return Family.ARRAY
    return None if column.type == "unknown" else family_of_type(column.type)


def family_of_type(name: str) -> Family:
    """The family of a type, by PostgreSQL's own name of it."""
    return _FAMILIES.get(name, Family.TEXT)


def moments_of(text: str, type_: str) -> tuple[str, str] | None:
    """The texts of what JavaScript writes for a Date, as databases without dates hold it in a column of this type.

    None for any other text, and any type but date and timestamp. A whole second is held with a fraction or without one:
    SQLAlchemy writes ``.000000``, SQLite itself nothing. The lesser of the two comes first.

    >>> moments_of("2024-01-01T00:00:00.000Z", "timestamp")
    ('2024-01-01 00:00:00', '2024-01-01 00:00:00.000000')
    """
    match = _DATE_OF_JAVASCRIPT.fullmatch(text) if type_ in ("date", "timestamp") else None
    if match is None:
        return None
    day, time, thousandths = match.groups()
    if type_ == "date":
        return day, day
    exact = f"{day} {time}.{thousandths}000"
    return (exact if int(thousandths) else f"{day} {time}", exact)


def value_of(text: str, family: Family) -> Scalar:
    """The value that a text spells. Raises ValueError, whose message says what is wrong.

    >>> value_of("5", Family.INTEGER), value_of("5", Family.NUMBER), value_of("t", Family.TRUTH)
    (5, 5.0, True)
    """
    match family:
        case Family.TEXT:
            return text
        case Family.TRUTH if (truth := _TRUTHS.get(text.strip().lower())) is not None:
            return truth
        case Family.INTEGER if _INTEGER.fullmatch(text):
            return _integer(text)
        case Family.INTEGER | Family.NUMBER if _NUMBER.fullmatch(text):
            return _number(text)
        case Family.BYTES | Family.ARRAY:
            raise ValueError(f"values of type {family.value} are not supported here")
    raise ValueError(f'invalid input syntax for type {family.value}: "{text:.100}"')


def _integer(text: str) -> int:
    digits = text.strip()
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**63:
        raise ValueError(f'value "{digits:.100}" is out of range for type bigint')
    return value


def _number(text: str) -> float:
    """A floating-point number; an integer of 64 bits where only that is exact. Decimal numbers may have more digits."""
    value = float(text)
    if not isfinite(value):
        raise ValueError(f'"{text.strip():.100}" is out of range for type double precision')
    if Decimal(text.strip()) == Decimal(repr(value)):
        return value
    if _INTEGER.fullmatch(text):
        return _integer(text)
    raise ValueError(f'"{text.strip():.100}" has more digits than a number has here')
