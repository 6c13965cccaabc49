"""From operators and operands, as PostgreSQL means them, to the expressions of a shape's where.

What an expression of a shape cannot say in the same way is said in another way, or refused: ``= ANY`` becomes IN,
ILIKE becomes LIKE of both in lower case, ``IS DISTINCT FROM`` becomes IS NOT. A string or parameter takes the type of
what it stands beside. Each method is given the place of its operator, and raises RefusedError.
"""

from __future__ import annotations

from collections.abc import Sequence

from shapestore.http.where.operand import Operand, literal
from shapestore.http.where.params import Params, item_values
from shapestore.http.where.refusal import refuse
from shapestore.http.where.types import NUMBERS, Family, family_of_type, moments_of, value_of
from shapestore.shape.where import nodes
from shapestore.shape.where.nodes import Expression, chained, joined

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ESCAPE = "\\"
"""What escapes in a pattern of PostgreSQL's that names no other character."""


class Builder:
    """Builds the expressions of one where."""

    def __init__(self, params: Params) -> None:
        self._params = params

    # --- operands

    def string(self, text: str, place: int) -> Operand:
        return Operand(nodes.String(text), None, place, is_open=True)

    def number(self, digits: str, place: int) -> Operand:
        return Operand(nodes.Number(digits), Family.INTEGER if digits.isdigit() else Family.NUMBER, place)

    def null(self, place: int) -> Operand:
        return Operand(nodes.Constant("NULL"), None, place, is_open=True)

    def truth(self, word: str, place: int) -> Operand:
        return Operand(nodes.Constant(word), Family.TRUTH, place)

    def parameter(self, number: int, place: int) -> Operand:
        return Operand(self._params.untyped(number, place), None, place, is_open=True, parameter=number)

    def typed(self, operand: Operand, family: Family) -> Expression:
        """An operand that takes a type, if its own is still open."""
        if not operand.is_open or operand.expression == nodes.Constant("NULL"):
            return operand.expression
        if operand.parameter is not None:
            return self._params.typed(operand.parameter, family, operand.place)
        assert isinstance(operand.expression, nodes.String)
        try:
            return literal(value_of(operand.expression.value, family))
        except ValueError as error:
            refuse(operand.place, str(error))

    def text_of(self, operand: Operand) -> str | None:
        """The text of an open operand; None for NULL, and for any other operand."""
        if operand.parameter is not None:
            return self._params.text(operand.parameter, operand.place)
        return operand.expression.value if operand.is_open and isinstance(operand.expression, nodes.String) else None

    def aligned(self, operands: Sequence[Operand], place: int) -> tuple[list[Expression], Family | None]:
        """Operands that are compared with each other, or of which one is chosen, as values of one family."""
        families = {operand.family for operand in operands if operand.family is not None}
        if Family.ARRAY in families:
            refuse(place, "arrays are not supported, except in = ANY(...) and <> ALL(...)")
        if len(families) > 1 and not families <= NUMBERS and not families <= {Family.TRUTH, Family.INTEGER}:
            names = " and ".join(sorted(family.value for family in families))
            refuse(place, f"{names} stand side by side; convert one of them, as in value::text")
        family = _joint(families)
        if family is None and all(operand.is_open for operand in operands):
            family = Family.TEXT  # as PostgreSQL has it, of values whose types are all unknown
        if family is None:
            return [operand.expression for operand in operands], None
        return [self.typed(operand, family) for operand in operands], family

    # --- conditions

    def condition(self, operand: Operand) -> Expression:
        """The operand of a NOT, AND or OR, or the whole where."""
        if operand.family is not None and operand.family not in (Family.TRUTH, Family.INTEGER):
            refuse(operand.place, f"a condition must be of type boolean, not of type {operand.family.value}")
        return self.typed(operand, Family.TRUTH)

    def negation(self, operand: Operand, place: int) -> Operand:
        return _truth(nodes.Not(self.condition(operand)), place)

    def junction(self, word: str, operands: Sequence[Operand]) -> Operand:
        return _truth(joined(word, map(self.condition, operands)), operands[0].place)

    def comparison(self, left: Operand, sign: str, right: Operand, place: int) -> Operand:
        (first, second), _ = self.aligned((left, right), place)
        if moments := self._moments(left, right):
            return _truth(self._moment_test(first, sign, right, moments), left.place)
        if moments := self._moments(right, left):
            return _truth(self._moment_test(second, _MIRRORED.get(sign, sign), left, moments), left.place)
        return _truth(nodes.Comparison(first, sign, second), left.place)

    def _moments(self, column: Operand, sent: Operand) -> tuple[str, str] | None:
        """The texts of a moment that was sent to stand beside a column of moments; the first is the lesser."""
        return None if column.is_open else moments_of(self.text_of(sent) or "", column.type)

    def _moment_test(self, column: Expression, sign: str, sent: Operand, moments: tuple[str, str]) -> Expression:
        """A comparison with a moment that may be held as either of two texts."""
        written = self._written(sent, moments)
        if sign in ("=", "<>") and len(written) > 1:
            return nodes.In(column, tuple(written), sign == "<>")
        return nodes.Comparison(column, sign, written[-1] if sign in (">", "<=") else written[0])

    def _written(self, sent: Operand, moments: tuple[str, str]) -> list[Expression]:
        """Both texts, or one if they are the same. A parameter may stand beside a date and beside a timestamp."""
        first, second = moments
        suffixes = {second: "__", first: "_"} if " " in first else {first: "_day"}
        return [self._moment(sent, text, suffixes[text]) for text in dict.fromkeys(moments)]

    def _moment(self, sent: Operand, text: str, suffix: str) -> Expression:
        if sent.parameter is None:
            return nodes.String(text)
        return self._params.moment(sent.parameter, text, sent.place, suffix)

    def distinction(self, left: Operand, right: Operand, place: int, *, negated: bool) -> Operand:
        """``IS DISTINCT FROM``, and negated ``IS NOT DISTINCT FROM``."""
        if self._moments(left, right) or self._moments(right, left):
            return self.truth_test(self.comparison(left, "=", right, place), "TRUE", negated=not negated)
        (first, second), _ = self.aligned((left, right), place)
        return _truth(nodes.Is(first, second, not negated), left.place)

    def null_test(self, operand: Operand, *, negated: bool) -> Operand:
        return _truth(nodes.Is(operand.expression, nodes.Constant("NULL"), negated), operand.place)

    def truth_test(self, operand: Operand, word: str, *, negated: bool) -> Operand:
        return _truth(nodes.Is(self.condition(operand), nodes.Constant(word), negated), operand.place)

    def between(self, value: Operand, low: Operand, high: Operand, place: int, *, negated: bool) -> Operand:
        if any(self._moments(value, end) or self._moments(end, value) for end in (low, high)):
            ends = self.comparison(value, ">=", low, place), self.comparison(value, "<=", high, place)
            inside = self.junction("AND", ends)
            return self.negation(inside, value.place) if negated else inside
        (middle, least, most), _ = self.aligned((value, low, high), place)
        return _truth(nodes.Between(middle, least, most, negated), value.place)

    # --- lists

    def membership(self, value: Operand, items: Sequence[Operand], place: int, *, negated: bool) -> Operand:
        (first, *others), _ = self.aligned((value, *items), place)
        sought: list[Expression] = []
        for item, other in zip(items, others, strict=True):
            moments = self._moments(value, item)
            sought += [other] if moments is None else self._written(item, moments)
        return _truth(nodes.In(first, tuple(sought), negated), value.place)

    def array_test(self, value: Operand, array: Operand, place: int, *, negated: bool) -> Operand:
        """``= ANY(array)``, and negated ``<> ALL(array)``. Nothing is in an empty array, not even NULL."""
        family = value.family
        if array.type:
            family = family or family_of_type(array.type)
        elif value.is_open:
            family = Family.TEXT
        if family is None:
            refuse(value.place, "the type of the array's items cannot be told; write one, as in ANY($1::text[])")
        sought, items = self.typed(value, family), self._items(array, family, "" if value.is_open else value.type)
        if not items:
            return _truth(nodes.Constant("TRUE" if negated else "FALSE"), value.place)
        return _truth(nodes.In(sought, tuple(items), negated), value.place)

    def _items(self, array: Operand, family: Family, sought: str) -> list[Expression]:
        """The items of an array, in which a value of the type ``sought`` is."""
        if array.parameter is not None:
            return self._params.items(array.parameter, family, array.place, sought)
        text = self.text_of(array)
        if text is None:
            refuse(array.place, "ANY and ALL take an array: a parameter, '{a,b}', or ARRAY['a','b']")
        values = item_values(text, family, array.place, "array", sought)
        return [literal(value) for value in sorted(values, key=lambda value: (value is None, value))]

    # --- choices

    def case(self, branches: Sequence[tuple[Operand, Operand]], otherwise: Operand | None, place: int) -> Operand:
        """``CASE WHEN condition THEN value ... ELSE otherwise END``."""
        conditions = [self.condition(condition) for condition, _ in branches]
        choices = [value for _, value in branches] + ([] if otherwise is None else [otherwise])
        values, family = self.aligned(choices, place)
        last = None if otherwise is None else values[-1]
        return Operand(nodes.Case(tuple(zip(conditions, values, strict=False)), last), family, place)

    # --- patterns

    def like(self, value: Operand, pattern: Operand, escape: Operand | None, *, negated: bool, folds: bool) -> Operand:
        """LIKE, and ILIKE where it ``folds`` the case of letters."""
        first, second = (self.text(operand, "LIKE") for operand in (value, pattern))
        character = self._escape(pattern, escape)
        if folds:
            first, second = nodes.Call("lower", (first,)), nodes.Call("lower", (second,))
            if character is not None and character.lower() != character.upper():
                refuse(pattern.place, "the ESCAPE of ILIKE is not a letter")
        escaping = None if character is None else nodes.String(character)
        return _truth(nodes.Like(first, second, escaping, negated), value.place)

    def _escape(self, pattern: Operand, escape: Operand | None) -> str | None:
        """The character that escapes in a pattern, None if none does in this one."""
        if escape is not None:
            self.typed(escape, Family.TEXT)
        character = _ESCAPE if escape is None else self.text_of(escape)
        if character is None or len(character) > 1:
            refuse(pattern.place, "ESCAPE takes one character, or an empty string")
        text = self.text_of(pattern)
        if character and text is not None and (len(text) - len(text.rstrip(character))) % 2:
            refuse(pattern.place, "LIKE pattern must not end with escape character")
        is_needed = escape is not None or text is None or character in text
        return character if character and is_needed else None

    def text(self, operand: Operand, what: str) -> Expression:
        """An operand that must be text."""
        if operand.family not in (None, Family.TEXT):
            name = "" if operand.family is None else operand.family.value
            refuse(operand.place, f"{what} takes text, not {name}; convert it, as in value::text")
        return self.typed(operand, Family.TEXT)

    # --- values

    def arithmetic(self, left: Operand, sign: str, right: Operand, place: int) -> Operand:
        (first, second), family = self.aligned((left, right), place)
        if family is not None and family not in NUMBERS:
            refuse(place, f"{sign} takes numbers, not {family.value}")
        return Operand(chained(first, (sign, second)), family, left.place)

    def negative(self, operand: Operand, place: int) -> Operand:
        if operand.is_open or operand.family not in (None, *NUMBERS):
            refuse(place, "- takes a number")
        return Operand(nodes.Negative(operand.expression), operand.family, place)

    def concatenation(self, left: Operand, right: Operand, place: int) -> Operand:
        if not {left.family, right.family} & {None, Family.TEXT}:
            refuse(place, "|| takes text; convert a value, as in value::text")
        first, second = (self.written(operand, "||") for operand in (left, right))
        return Operand(chained(first, ("||", second)), Family.TEXT, left.place)

    def written(self, operand: Operand, what: str) -> Expression:
        """An operand as a part of a text: it is text, or an integer, which every database writes in the same way."""
        return operand.expression if operand.family is Family.INTEGER else self.text(operand, what)


def _truth(expression: Expression, place: int) -> Operand:
    return Operand(expression, Family.TRUTH, place)


def _joint(families: set[Family]) -> Family | None:
    """The family of values that are compared with each other, None if no type is known."""
    if Family.NUMBER in families:
        return Family.NUMBER
    return next(iter(families - {Family.INTEGER}), Family.INTEGER) if families else None
