"""The functions that a client's where may call, as a shape's where calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from shapestore.http.where.builder import Builder
from shapestore.http.where.operand import Operand, literal
from shapestore.http.where.refusal import refuse
from shapestore.http.where.types import NUMBERS, Family, value_of
from shapestore.shape.where import nodes
from shapestore.shape.where.nodes import Expression, chained
from shapestore.shape.where.parser import FUNCTIONS as KNOWN

_OF_TEXT = ("length", "lower", "ltrim", "replace", "rtrim", "trim", "upper")
"""Functions whose arguments are all text."""

_SPELLINGS = {"btrim": "trim", "char_length": "length", "character_length": "length", "substring": "substr"}
"""Other names that PostgreSQL has for them."""

_COUNTS = {**KNOWN, "coalesce": (1, 100), "concat": (1, 100), "greatest": (1, 10), "least": (1, 10)}
"""The least and the greatest number of arguments. Those of greatest and least are each compared with each."""


class Functions:
    """The functions of one where. They raise RefusedError."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._by_name: dict[str, Callable[[Sequence[Operand], int], Operand]] = {
            **{name: partial(self._of_text, name) for name in _OF_TEXT},
            "abs": self._abs,
            "coalesce": self._coalesce,
            "concat": self._concat,
            "greatest": partial(self._extreme, ">="),
            "least": partial(self._extreme, "<="),
            "nullif": self._nullif,
            "round": self._round,
            "substr": self._substr,
        }

    def call(self, name: str, arguments: Sequence[Operand], place: int) -> Operand:
        """A call of the function with this name."""
        name = name.lower()
        known = _SPELLINGS.get(name, name)
        if known not in self._by_name:
            names = ", ".join(sorted({*_SPELLINGS, *self._by_name}))
            refuse(place, f"there is no function {name}() here; there are {names}")
        least, most = _COUNTS[known]
        if not least <= len(arguments) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            refuse(place, f"{name} takes {count} argument(s), not {len(arguments)}")
        return self._by_name[known](arguments, place)

    def _of_text(self, name: str, arguments: Sequence[Operand], place: int) -> Operand:
        texts = tuple(self._builder.text(argument, name) for argument in arguments)
        return Operand(nodes.Call(name, texts), Family.INTEGER if name == "length" else Family.TEXT, place)

    def _abs(self, arguments: Sequence[Operand], place: int) -> Operand:
        return self._of_number("abs", arguments[0], (), place)

    def _round(self, arguments: Sequence[Operand], place: int) -> Operand:
        digits = [literal(self._whole(argument, "round")) for argument in arguments[1:]]
        return self._of_number("round", arguments[0], digits, place)

    def _of_number(self, name: str, operand: Operand, rest: Sequence[Expression], place: int) -> Operand:
        if operand.is_open or operand.family not in (None, *NUMBERS):
            refuse(operand.place, f"{name} takes a number; convert the value, as in value::numeric")
        family = Family.NUMBER if name == "round" else operand.family
        return Operand(nodes.Call(name, (operand.expression, *rest)), family, place)

    def _coalesce(self, arguments: Sequence[Operand], place: int) -> Operand:
        return arguments[0] if len(arguments) == 1 else self._aligned("coalesce", arguments, place)

    def _nullif(self, arguments: Sequence[Operand], place: int) -> Operand:
        return self._aligned("nullif", arguments, place)

    def _aligned(self, name: str, arguments: Sequence[Operand], place: int) -> Operand:
        values, family = self._builder.aligned(arguments, place)
        return Operand(nodes.Call(name, tuple(values)), family, place)

    def _extreme(self, sign: str, arguments: Sequence[Operand], place: int) -> Operand:
        """The first argument that is not exceeded by any behind it. NULL counts only where there is nothing else."""
        values, family = self._builder.aligned(arguments, place)
        branches = [
            (_joined([_exceeds(value, sign, other) for other in values[index + 1 :]]), value)
            for index, value in enumerate(values[:-1])
        ]
        return Operand(nodes.Case(tuple(branches), values[-1]) if branches else values[0], family, place)

    def _concat(self, arguments: Sequence[Operand], place: int) -> Operand:
        """NULL is an empty text in it, as nowhere else."""
        parts = [self._part(argument) for argument in arguments]
        if len(parts) == 1:
            return Operand(parts[0], Family.TEXT, place)
        return Operand(chained(parts[0], *(("||", part) for part in parts[1:])), Family.TEXT, place)

    def _part(self, operand: Operand) -> Expression:
        expression = self._builder.written(operand, "concat")
        if operand.is_open:
            return nodes.String("") if self._builder.text_of(operand) is None else expression
        if operand.family is Family.INTEGER:
            expression = chained(expression, ("||", nodes.String("")))
        return nodes.Call("coalesce", (expression, nodes.String("")))

    def _substr(self, arguments: Sequence[Operand], place: int) -> Operand:
        """A start below 1 is a place before the text, where a shape's where would count from the end."""
        text = self._builder.text(arguments[0], "substr")
        start, *lengths = (self._whole(argument, "substr") for argument in arguments[1:])
        if lengths and lengths[0] < 0:
            refuse(arguments[2].place, "negative substring length not allowed")
        places = [max(start, 1), *(max(length + min(start, 1) - 1, 0) for length in lengths)]
        return Operand(nodes.Call("substr", (text, *map(literal, places))), Family.TEXT, place)

    def _whole(self, operand: Operand, name: str) -> int:
        """The value of an argument that databases must be given as a literal."""
        text = self._builder.text_of(operand)
        match operand.expression:
            case nodes.Number(digits) if digits.isdigit():
                text = digits
            case nodes.Negative(nodes.Number(digits)) if digits.isdigit():
                text = f"-{digits}"
        try:
            value = None if text is None else value_of(text, Family.INTEGER)
        except ValueError as error:
            refuse(operand.place, str(error))
        if not isinstance(value, int):
            refuse(operand.place, f"{name} takes a whole number here, as a literal or a parameter")
        if operand.parameter is not None:
            self._builder.typed(operand, Family.INTEGER)
        return value


def _exceeds(value: Expression, sign: str, other: Expression) -> Expression:
    return nodes.Junction("OR", (nodes.Comparison(value, sign, other), nodes.Is(other, nodes.Constant("NULL"), False)))


def _joined(conditions: list[Expression]) -> Expression:
    return nodes.Junction("AND", tuple(conditions)) if len(conditions) > 1 else conditions[0]
