"""The operands of a where: expressions, and what is known of their types."""

from __future__ import annotations

from msgspec import Struct

from shapestore.http.where.types import Family
from shapestore.shape.shape import Scalar
from shapestore.shape.where.nodes import Constant, Expression, Negative, Number, String


class Operand(Struct, frozen=True):
    """One operand."""

    expression: Expression
    family: Family | None
    """None if no type is declared, or if the operand is open."""
    place: int
    """Where it begins in the text."""
    type: str = ""
    """The type of a column, or that a cast gave."""
    is_open: bool = False
    """A parameter, string or NULL, whose type is that of what it stands beside."""
    parameter: int | None = None
    """The number of a parameter."""


def literal(value: Scalar) -> Expression:
    """A value that is known, as an expression."""
    match value:
        case None | bool():
            return Constant("NULL" if value is None else str(value).upper())
        case str():
            return String(value)
    return Negative(Number(repr(-value))) if value < 0 else Number(repr(value))
