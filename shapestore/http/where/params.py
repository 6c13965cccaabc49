"""The parameters of a request's where: texts, which take the type of what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from shapestore.http.where.arrays import items_of
from shapestore.http.where.refusal import refuse
from shapestore.http.where.types import NUMBERS, Family, moments_of, value_of
from shapestore.shape.shape import Scalar
from shapestore.shape.where.nodes import Constant, Expression, Parameter

Values = Mapping[int, str | None]
"""The values as a client sends them, by their numbers; None for NULL."""


class Params:
    """The parameters that one where uses. ``$2`` is ``:p2`` of a shape; the items of an array are ``:p2_1``, ...

    Each has one type, as in PostgreSQL. What a where does not use is left out: clients send more than they use.
    """

    def __init__(self, given: Values) -> None:
        self._given = given
        self._families: dict[int, Family] = {}
        self._untyped: dict[int, int] = {}
        self._items: dict[int, Family] = {}
        self._typed: dict[str, Scalar] = {}

    def values(self) -> dict[str, Scalar]:
        """The typed values by their names. Raises RefusedError for a parameter whose type nothing tells."""
        for number, place in self._untyped.items():
            if number not in self._families and self._given[number] is not None:
                refuse(place, f"could not determine the type of parameter ${number}; write ${number}::text, or another")
        return self._typed | {_name(number): None for number in self._untyped if number not in self._families}

    def text(self, number: int, place: int) -> str | None:
        """The value as it was sent; None for NULL."""
        if number not in self._given:
            refuse(place, f"parameter ${number} was not given")
        return self._given[number]

    def untyped(self, number: int, place: int) -> Parameter:
        """A parameter whose type is not told yet."""
        self.text(number, place)
        self._untyped.setdefault(number, place)
        return Parameter(_name(number))

    def typed(self, number: int, family: Family, place: int) -> Parameter:
        """A parameter that takes a type."""
        text = self.text(number, place)
        family = self._take(number, family, place)
        self._typed[_name(number)] = None if text is None else _converted(number, text, family, place)
        return Parameter(_name(number))

    def moment(self, number: int, text: str, place: int, suffix: str) -> Parameter:
        """A parameter whose value is another text of the moment that was sent."""
        self._take(number, Family.TEXT, place)
        self._typed[_name(number) + suffix] = text
        return Parameter(_name(number) + suffix)

    def items(self, number: int, family: Family, place: int, sought: str) -> list[Expression]:
        """The items of an array, sorted and each once, so that their order is no part of a shape's identity.

        ``sought``: the type of what stands beside them.
        """
        text = self.text(number, place)
        self._take(number, Family.ARRAY, place)
        if self._items.setdefault(number, family) is not family:
            _refuse_types(number, self._items[number], family, place)
        values = {None} if text is None else item_values(text, family, place, f"parameter ${number}", sought)
        known = sorted(value for value in values if value is not None)
        prefix = f"{_name(number)}_{sought if sought in ('date', 'timestamp') else ''}"
        named = {f"{prefix}{count}": value for count, value in enumerate(known, 1)}
        self._typed |= named
        nulls: list[Expression] = [Constant("NULL")] if None in values else []
        return [*map(Parameter, named), *nulls]

    def _take(self, number: int, family: Family, place: int) -> Family:
        """The family that a parameter has once it is used as one of ``family``: as in PostgreSQL, one for all uses."""
        known = self._families.setdefault(number, family)
        if known is not family:
            if not {known, family} <= NUMBERS:
                _refuse_types(number, known, family, place)
            self._families[number] = Family.INTEGER
        return self._families[number]


def item_values(text: str, family: Family, place: int, what: str, sought: str) -> set[Scalar]:
    """The items of an array literal, as values of one family. Raises RefusedError.

    ``sought``: the type of what stands beside them; a moment that JavaScript wrote is sought in all of its texts.
    """
    try:
        items = [text for item in items_of(text) for text in moments_of(item or "", sought) or (item,)]
        return {None if item is None else value_of(item, family) for item in items}
    except ValueError as error:
        refuse(place, f"{what}: {error}")


def _refuse_types(number: int, known: Family, family: Family, place: int) -> NoReturn:
    refuse(
        place,
        f"inconsistent types deduced for parameter ${number}: {known.value} and {family.value}; "
        "send its value twice, as two parameters",
    )


def _converted(number: int, text: str, family: Family, place: int) -> Scalar:
    try:
        return value_of(text, family)
    except ValueError as error:
        refuse(place, f"parameter ${number}: {error}")


def _name(number: int) -> str:
    return f"p{number}"
