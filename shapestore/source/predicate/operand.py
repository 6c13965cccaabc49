"""The operands of a translated where: SQL, and what is known of its values."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from math import isfinite
from typing import Final, final

from shapestore.shape.shape import Scalar
from shapestore.source.column_type import Kind

NUMBERS = frozenset((Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT))
_SINGLES = frozenset(("float4", "float"))

_NUMERIC_TEXT = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)

# An int of more digits has more than 64 bits; and Python makes none of more than 4,300, be they zeros.
_INTEGER = re.compile(r"\s*(?P<sign>[+-]?)0*(?P<digits>\d{1,19})\s*", re.ASCII)


class UntranslatableError(Exception):
    """Why a part of a where has no translation. The walk makes an InvalidShapeError of it, which says which part."""


@final
class _Varies:
    """In place of a value that differs from row to row."""


VARIES: Final = _Varies()


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand."""

    sql: str
    """In parentheses where it is more than a name, a value or a call."""
    kind: Kind
    value: Scalar | _Varies = VARIES
    """The value itself, if it is known before any row is read."""
    type_name: str = ""
    """The database's name for its type, where it is a column, or of the kind OTHER."""
    is_column: bool = False
    is_unsigned: bool = False
    has_collation: bool = False
    """Whether text of a column is in it, whose collation then decides."""

    @property
    def is_constant(self) -> bool:
        return self.value is not VARIES

    @property
    def is_single(self) -> bool:
        """Whether it is a column of floating-point numbers of 32 bits."""
        return self.is_column and self.kind is Kind.FLOAT and self.type_name in _SINGLES


def kind_of(value: Scalar) -> Kind:
    """The kind of a constant. A fraction is exact, as its literal is."""
    match value:
        case None:
            return Kind.NULL
        case bool():
            return Kind.TRUTH
        case int():
            return Kind.INTEGER
        case float():
            return Kind.DECIMAL if has_short_literal(value) else Kind.FLOAT
    return Kind.TEXT


def has_short_literal(value: float) -> bool:
    """Whether its literal needs no exponent: databases take such a literal for exact, and others for a float."""
    return value == 0 or 1e-15 <= abs(value) < 1e15


def is_read_of_a_single(value: Scalar | _Varies) -> bool:
    """Whether a floating-point number of 32 bits reads as this one: by the fewest digits that tell it from others.

    >>> is_read_of_a_single(0.1), is_read_of_a_single(0.10000000149), is_read_of_a_single(16777217)
    (True, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if value == 0 or not 2.0**-126 <= abs(value) < 2.0**127:  # beyond these databases may refuse it as one
        return value == 0
    single = _single(value)
    reads = (float(f"{single:.{digits}g}") for digits in range(1, 10))
    return value == next(read for read in reads if _single(read) == single)


def _single(value: float) -> float:
    """The number of 32 bits that is nearest to this one."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def number_in(text: str) -> int | float | None:
    """The number that SQLite takes a text for beside a column of numbers, if it is one.

    >>> number_in(" -7 "), number_in("1e2"), number_in("7 apples")
    (-7, 100.0, None)
    """
    found = number(text) if _NUMERIC_TEXT.fullmatch(text) else None
    return found if found is not None and isfinite(found) else None


def number(digits: str) -> int | float:
    """A number from its digits: an int if it has 64 bits, else a float."""
    if match := _INTEGER.fullmatch(digits):
        integer = int(match["sign"] + match["digits"])
        if -(2**63) <= integer < 2**63:
            return integer
    return float(digits)
