"""The canonical text of a where: the one that all spellings of the same where share.

It quotes every name, spells keywords in capitals, has no parentheses without need, and sorts the operands of AND and
OR and the lists of IN. Read again it gives the same canonical text, so that two wheres that could select different
rows never share one.
"""

from __future__ import annotations

from typing import NamedTuple

from shapestore.shape.quoting import quoted
from shapestore.shape.where import nodes
from shapestore.shape.where.nodes import Expression
from shapestore.shape.where.render import case_text

# How tightly an expression holds together: it is in parentheses where something tighter is called for.
_OR, _AND, _NOT, _COMPARISON, _CONCATENATION, _SUM, _PRODUCT, _NEGATIVE, _OPERAND = range(9)
_VALUE = _CONCATENATION
_BINDING_OF_SIGN = {"||": _CONCATENATION, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "%": _PRODUCT}


class _Text(NamedTuple):
    """A piece of the canonical text."""

    text: str
    binding: int = _OPERAND
    opposite: str | None = None
    """What NOT makes of it, for an operator with a NOT of its own."""

    def within(self, binding: int) -> str:
        return self.text if self.binding >= binding else f"({self.text})"


def canonical(expression: Expression) -> str:
    """The canonical text of a tree."""
    return _text(expression).text


def _text(expression: Expression) -> _Text:
    match expression:
        case nodes.Column(name):
            return _Text(quoted(name))
        case nodes.Parameter(name):
            return _Text(f":{name}")
        case nodes.String(value):
            return _Text(quoted(value, "'"))
        case nodes.Number(text) | nodes.Constant(text):
            return _Text(text)
        case nodes.Call(function, arguments):
            return _Text(f"{function}({', '.join(map(canonical, arguments))})")
        case nodes.Case(branches, otherwise):
            return _Text(
                case_text(
                    [(canonical(condition), canonical(value)) for condition, value in branches],
                    None if otherwise is None else canonical(otherwise),
                )
            )
        case nodes.Negative(operand):
            return _Text(f"-{_text(operand).within(_OPERAND)}", _NEGATIVE)
        case nodes.Chain():
            return _chain(expression)
        case nodes.Comparison(left, sign, right):
            return _Text(f"{_value(left)} {sign} {_value(right)}", _COMPARISON)
        case nodes.Not(operand):
            return _negation(_text(operand))
        case nodes.Junction():
            return _junction(expression)
    return _negatable(expression)


def _value(expression: Expression) -> str:
    return _text(expression).within(_VALUE)


def _negatable(expression: Expression) -> _Text:
    match expression:
        case nodes.Is(left, right, negated):
            operators, end = ("IS", "IS NOT"), _value(right)
        case nodes.In(left, items, negated):
            operators, end = ("IN", "NOT IN"), f"({', '.join(sorted(set(map(canonical, items))))})"
        case nodes.Between(left, low, high, negated):
            operators, end = ("BETWEEN", "NOT BETWEEN"), f"{_value(low)} AND {_value(high)}"
        case nodes.Like(left, pattern, escape, negated):
            operators, end = ("LIKE", "NOT LIKE"), _value(pattern)
            if escape is not None:
                end += f" ESCAPE {_value(escape)}"
        case _:
            raise AssertionError(f"no canonical text for {expression!r}")
    begin = _value(left)
    return _Text(f"{begin} {operators[negated]} {end}", _COMPARISON, f"{begin} {operators[not negated]} {end}")


def _negation(operand: _Text) -> _Text:
    if operand.opposite is not None:
        return _Text(operand.opposite, _COMPARISON, operand.text)
    return _Text(f"NOT {operand.within(_NOT)}", _NOT)


def _chain(chain: nodes.Chain) -> _Text:
    """From left to right: ``a - (b - c)`` keeps its parentheses, and so does ``a + (b + c)``, since floats round."""
    binding = _BINDING_OF_SIGN[chain.rest[0][0]]
    inner = _NEGATIVE if binding == _CONCATENATION else binding + 1
    pieces = [_text(chain.first).within(inner)]
    for sign, operand in chain.rest:
        pieces += (sign, _text(operand).within(inner))
    return _Text(" ".join(pieces), binding)


def _junction(junction: nodes.Junction) -> _Text:
    """AND and OR do not mind order or repetition, NULL included, as long as they join truth values to a truth value."""
    binding = _AND if junction.word == "AND" else _OR
    parts = [_text(part) for part in junction.parts]
    operands = sorted({part.within(binding + 1) for part in parts})
    if len(operands) == 1:
        # `5 AND 5` is 1 and not 5: only an expression that is a truth value by itself stands for two of it.
        if parts[0].binding <= _COMPARISON:
            return parts[0]
        operands *= 2
    return _Text(f" {junction.word} ".join(operands), binding)
