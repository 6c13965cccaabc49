"""Casts: what ``value::type`` means, where a shape's where can say it."""

from __future__ import annotations

from shapestore.http.where.builder import Builder
from shapestore.http.where.operand import Operand
from shapestore.http.where.reader import TypeName
from shapestore.http.where.refusal import refuse
from shapestore.http.where.types import Family, canonical_name, family_of_type
from shapestore.shape.where.nodes import Expression, Number, String, chained

_PLAIN_TEXTS = frozenset(("text", "varchar", "name", "citext"))


def cast(builder: Builder, operand: Operand, type_: TypeName) -> Operand:
    """``operand::type_``. Raises RefusedError.

    A string or parameter becomes a value of the type. A column without a declared type is taken to have it. Another
    value keeps its type, or is converted in a way that all databases share: an integer to a number or to text.
    """
    name, place = canonical_name(type_.name), type_.place
    if name is None:
        refuse(place, f'type "{type_.name}" does not exist')
    family = family_of_type(name)
    if type_.is_array:
        if not operand.is_open:
            refuse(place, "only a parameter or a string is cast to an array")
        return Operand(operand.expression, Family.ARRAY, operand.place, name, True, operand.parameter)
    if operand.is_open:
        # A moment stays open: its text is another one beside a column.
        is_open = name in ("timestamp", "timestamptz")
        return Operand(builder.typed(operand, family), family, operand.place, name, is_open, operand.parameter)
    return Operand(_converted(operand, name, family, place), family, operand.place, name)


def _converted(operand: Operand, name: str, family: Family, place: int) -> Expression:
    match operand.family, family:
        case Family.INTEGER, Family.TEXT if name in _PLAIN_TEXTS:
            return chained(operand.expression, ("||", String("")))
        case Family.INTEGER, Family.NUMBER:
            return chained(operand.expression, ("*", Number("1.0")))
    if not _is_kept(operand, name, family):
        known = operand.type or ("unknown" if operand.family is None else operand.family.value)
        refuse(place, f"cannot cast type {known} to {name} here")
    return operand.expression


def _is_kept(operand: Operand, name: str, family: Family) -> bool:
    """Whether the cast leaves a value as it is."""
    if family is Family.TEXT:
        return operand.family is None or (operand.family is family and name in (operand.type, *_PLAIN_TEXTS))
    return operand.family in (None, family)
