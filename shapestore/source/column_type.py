"""What a where needs to know of a column's type, whichever database declares it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """The kinds of values between which databases do not convert alike."""

    NULL = "null"
    TRUTH = "a truth value"
    INTEGER = "an integer"
    DECIMAL = "a decimal number"
    FLOAT = "a floating-point number"
    TEXT = "text"
    OTHER = "of another type"
    """Dates, UUIDs, bytes, JSON and the like: each is compared with its own type, or with a string that spells it."""


class ColumnType(NamedTuple):
    """The type of one column."""

    kind: Kind
    name: str
    """The database's own name for it, in lower case."""
    is_unsigned: bool = False
    """A number of MySQL's or MariaDB's whose arithmetic has no negative results."""


UNTYPED = ColumnType(Kind.OTHER, "")
"""Of a column whose type does not matter, or is not known."""
