"""A where as the SQL that a database executes: its operands in the order written, every name in quotes.

The order matters: databases evaluate ``b = 0 OR a / b > 2`` from left to right in practice, and the first term guards
the second. So it is the where as written that is rendered, never the canonical text, whose operands are sorted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import isqrt

from shapestore.shape.where import nodes
from shapestore.shape.where.nodes import Expression

WIDEST_JUNCTION = 100
"""Longer chains of AND or OR are joined in groups: a database counts each term of a chain as one level of depth."""

_LEAVES = (nodes.Column, nodes.Parameter, nodes.String, nodes.Number, nodes.Constant, nodes.Call, nodes.Case)


class Renderer(ABC):
    """Writes a where in one database's SQL. A dialect says how it spells names and values, and what differs in it.

    A method is given its operands as SQL, in parentheses where they are more than a name, a value or a call: so it may
    place them beside any operator of its database, whatever binds there more tightly.
    """

    @abstractmethod
    def identifier(self, name: str) -> str:
        """A column's name, given without quotes."""

    @abstractmethod
    def string(self, value: str) -> str:
        """A string, given as its value."""

    @abstractmethod
    def parameter(self, name: str) -> str:
        """A parameter, given without its colon."""

    def call(self, function: str, arguments: Sequence[str]) -> str:
        return f"{function}({', '.join(arguments)})"

    def concatenation(self, operands: Sequence[str]) -> str:
        return " || ".join(operands)

    def arithmetic(self, first: str, rest: Sequence[tuple[str, str]]) -> str:
        """Operands joined from left to right by ``+`` and ``-``, or by ``*``, ``/`` and ``%``."""
        return first + "".join(f" {sign} {operand}" for sign, operand in rest)

    def comparison(self, left: str, sign: str, right: str) -> str:
        return f"{left} {sign} {right}"

    def identity(self, left: str, right: str, negated: bool) -> str:
        """``IS`` and ``IS NOT``, of any two values; ``right`` is ``NULL`` in a test for it."""
        return f"{left} IS {_not(negated)}{right}"

    def membership(self, left: str, items: Sequence[str], negated: bool) -> str:
        return f"{left} {_not(negated)}IN ({', '.join(items)})"

    def between(self, left: str, low: str, high: str, negated: bool) -> str:
        return f"{left} {_not(negated)}BETWEEN {low} AND {high}"

    def like(self, left: str, pattern: str, escape: str | None, negated: bool) -> str:
        return f"{left} {_not(negated)}LIKE {pattern}" + ("" if escape is None else f" ESCAPE {escape}")

    def render(self, expression: Expression) -> str:
        """The SQL of a tree."""
        match expression:
            case nodes.Column(name):
                return self.identifier(name)
            case nodes.Parameter(name):
                return self.parameter(name)
            case nodes.String(value):
                return self.string(value)
            case nodes.Number(text) | nodes.Constant(text):
                return text
            case nodes.Call(function, arguments):
                return self.call(function, list(map(self.render, arguments)))
            case nodes.Case(branches, otherwise):
                rendered = [(self.render(condition), self.render(value)) for condition, value in branches]
                return case_text(rendered, None if otherwise is None else self.render(otherwise))
            case nodes.Negative(operand):
                return f"-{self._operand(operand)}"
            case nodes.Not(operand):
                return f"NOT {self._operand(operand)}"
            case nodes.Junction(word, parts):
                return _joined([self._operand(part) for part in parts], f" {word} ")
        return self._operation(expression)

    def _operation(self, expression: Expression) -> str:
        operands = list(map(self._operand, expression.operands()))
        match expression:
            case nodes.Chain(_, rest) if rest[0][0] == "||":
                return self.concatenation(operands)
            case nodes.Chain(_, rest):
                return self.arithmetic(
                    operands[0], [(sign, operand) for (sign, _), operand in zip(rest, operands[1:], strict=True)]
                )
            case nodes.Comparison(_, sign, _):
                return self.comparison(operands[0], sign, operands[1])
            case nodes.Is(_, _, negated):
                return self.identity(operands[0], operands[1], negated)
            case nodes.In(_, _, negated):
                return self.membership(operands[0], operands[1:], negated)
            case nodes.Between(_, _, _, negated):
                return self.between(operands[0], operands[1], operands[2], negated)
            case nodes.Like(_, _, escape, negated):
                return self.like(operands[0], operands[1], None if escape is None else operands[2], negated)
        raise AssertionError(f"no SQL for {expression!r}")

    def _operand(self, expression: Expression) -> str:
        text = self.render(expression)
        return text if isinstance(expression, _LEAVES) else f"({text})"


def case_text(branches: Sequence[tuple[str, str]], otherwise: str | None) -> str:
    """A CASE of conditions and values. It holds together by itself."""
    words = [f"WHEN {condition} THEN {value}" for condition, value in branches]
    words += [] if otherwise is None else [f"ELSE {otherwise}"]
    return f"CASE {' '.join(words)} END"


def _not(negated: bool) -> str:
    return "NOT " if negated else ""


def _joined(operands: list[str], joint: str) -> str:
    """A chain; a long one in groups, which keep the order: its depth is then twice the root of its length."""
    if len(operands) > WIDEST_JUNCTION:
        size = isqrt(len(operands) - 1) + 1
        groups = [operands[start : start + size] for start in range(0, len(operands), size)]
        operands = [f"({joint.join(group)})" for group in groups]
    return joint.join(operands)
