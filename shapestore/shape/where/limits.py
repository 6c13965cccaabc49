"""What a where may cost: how deep it is, and how much it may compute. What is within these limits runs on SQLite.

Depth. SQLite refuses an expression of more than 1,000 levels, and before 3.46 one that needs more than 100 entries of
its parser's stack. A where may take part of either: the rest is for the statement around it.

Size. A value that a where computes is bounded by the values that it reads: ``times`` the longest column of the row,
``plus`` a number of bytes that follows from literals and parameters. ``replace`` multiplies and ``||`` adds; without
a limit, nested replaces made 1.4 GB from 2,750 characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import NamedTuple, NoReturn

from shapestore.errors import InvalidShapeError
from shapestore.shape.comparable import Scalar
from shapestore.shape.where import nodes
from shapestore.shape.where.nodes import Expression
from shapestore.shape.where.render import WIDEST_JUNCTION

MAX_LEVELS = 500
"""Levels of the tree as SQLite counts them: each further term of a chain of ``+ - * / %`` or ``||`` is one more."""
MAX_STACK = 70
"""Entries of the stack of SQLite's parser."""
MAX_TIMES = 100
"""How many times the longest column value of a row a computed value may be."""
MAX_BYTES = 4 * 1024 * 1024
"""What all strings and parameters, each time they occur, and what is computed from them alone may take together."""
MAX_PATTERN_BYTES = 8_192
"""The greatest length of a LIKE's pattern, the columns in it not counted: SQLite refuses more than 50,000 bytes."""
SHORT = 1_000
"""Parameters up to this number of characters are counted once for all, when a where is read."""


class Cost(NamedTuple):
    """What an expression costs."""

    levels: int
    """Of SQLite's tree."""
    stack: int
    """Entries of the stack of SQLite's parser."""
    times: int
    """Its value is at most ``times`` as long as the longest column value of the row,"""
    plus: int
    """and this number of bytes longer."""


_COLUMN = Cost(1, 1, 1, 0)
_NUMBER_BYTES = 32
"""A number or truth value, where it is taken for text."""

# What stands on the parser's stack when it begins the first operand, and when it begins each further one.
_STACKED: dict[type[Expression], tuple[int, int]] = {
    nodes.Call: (3, 5),  # name ( distinct; and list ,
    nodes.Case: (4, 7),  # CASE operand WHEN (; and CASE operand list WHEN condition THEN (
    nodes.Negative: (2, 2),  # - (
    nodes.Not: (2, 2),
    nodes.Chain: (1, 3),  # ( ; and operand + (
    nodes.Comparison: (1, 3),
    nodes.Is: (1, 4),  # operand IS NOT (
    nodes.In: (1, 5),  # operand IN ( list ,
    nodes.Between: (1, 5),  # operand BETWEEN operand AND (
    nodes.Like: (1, 5),
    nodes.Junction: (1, 3),
}
_GROUPED = 3
"""What a long chain of AND or OR has on the stack besides, since it is rendered in groups."""
_WITH_A_NOT = (nodes.Is, nodes.In, nodes.Between, nodes.Like)
_SHORTENING = frozenset(("lower", "upper", "trim", "ltrim", "rtrim", "substr", "nullif"))
"""Functions whose value is no longer than their first argument."""


class Meter:
    """Walks a where once, and adds up what it costs.

    With ``params`` it counts their values; without, each as a string of SHORT characters.
    """

    def __init__(self, params: Mapping[str, Scalar] | None = None) -> None:
        self.excess: str | None = None
        """Why the where may compute too much, or a LIKE in it always fails. None if neither."""
        self._params = params
        self._bytes = 0

    def cost(self, expression: Expression) -> Cost:
        """What an expression costs. Raises InvalidShapeError if SQLite cannot parse it; for the size, see excess."""
        if isinstance(expression, nodes.Column):
            return _COLUMN
        operands = [*map(self.cost, expression.operands())]
        times, plus = self._size(expression, operands) if operands else (0, self._length_of_leaf(expression))
        levels, stack = _depth(expression, operands) if operands else (1, 1)
        if levels > MAX_LEVELS or stack > MAX_STACK:
            _refuse_depth(levels, stack)
        self._bytes += plus
        if times > MAX_TIMES:
            self._exceeds(
                f"the where may compute a value {times} times as long as a column's; the limit is {MAX_TIMES}. "
                "Join fewer columns by ||, or write shorter replacements in replace()"
            )
        if self._bytes > MAX_BYTES:
            self._exceeds(
                f"the where's strings and parameters, each time they occur, and what it computes from them take more "
                f"than {MAX_BYTES} bytes. Write shorter ones, or fewer"
            )
        return Cost(levels, stack, times, plus)

    def _exceeds(self, why: str) -> None:
        self.excess = self.excess or why

    def _length_of_leaf(self, leaf: Expression) -> int:
        match leaf:
            case nodes.Parameter(name):
                return self._length(name)
            case nodes.String(text) | nodes.Number(text) | nodes.Constant(text):
                return len(text.encode())
        raise AssertionError(f"no length for {leaf!r}")

    def _size(self, expression: Expression, operands: list[Cost]) -> tuple[int, int]:
        first = operands[0]
        match expression:
            case nodes.Call("replace", arguments):
                return self._replaced(arguments, operands)
            case nodes.Call("coalesce") | nodes.Case():
                return max(cost.times for cost in operands), max(cost.plus for cost in operands)
            case nodes.Call(function) if function in _SHORTENING:
                return first.times, first.plus
            case nodes.Chain(_, rest) if rest[0][0] == "||":
                return sum(cost.times for cost in operands), sum(cost.plus for cost in operands)
            case nodes.Like(_, _, escape, _):
                self._check_like(operands[1], escape)
        return 0, _NUMBER_BYTES

    def _replaced(self, arguments: tuple[Expression, ...], operands: list[Cost]) -> tuple[int, int]:
        """What is found may be one byte long, unless it is a text that is known."""
        text, search, replacement = operands
        if replacement.times:
            self._exceeds(
                "replace() with a column in its third argument may compute any length; write a string or a parameter"
            )
        found = search.plus if self._is_known_text(arguments[1]) else 1
        growth = max(1, -(-replacement.plus // max(1, found)))
        return text.times * growth, text.plus * growth

    def _is_known_text(self, expression: Expression) -> bool:
        """Whether its value is known to the byte. A number is not: how long its text is differs by the database."""
        match expression:
            case nodes.Parameter(name):
                return self._params is not None and isinstance(self._params[name], str)
        return isinstance(expression, nodes.String)

    def _check_like(self, pattern: Cost, escape: Expression | None) -> None:
        if pattern.plus > MAX_PATTERN_BYTES:
            self._exceeds(f"the pattern of LIKE is too long: {pattern.plus} bytes; the limit is {MAX_PATTERN_BYTES}")
        if isinstance(escape, nodes.Parameter) and not self._is_character(escape.name):
            self._exceeds(f"ESCAPE takes one character; params[{escape.name!r}] must be a str of one")

    def _length(self, name: str) -> int:
        if self._params is None:
            return 4 * SHORT
        value = self._params[name]
        return len(value.encode()) if isinstance(value, str) else _NUMBER_BYTES

    def _is_character(self, name: str) -> bool:
        value = None if self._params is None else self._params[name]
        return isinstance(value, str) and len(value) == 1


def _depth(expression: Expression, operands: list[Cost]) -> tuple[int, int]:
    """Levels and entries of the stack of what is rendered for an expression."""
    grouped = isinstance(expression, nodes.Junction) and len(operands) > WIDEST_JUNCTION
    before, later = _STACKED[type(expression)]
    if grouped:
        before, later = before + _GROUPED, later + _GROUPED
    levels = stack = 0
    for cost in operands:
        levels = max(levels, cost.levels)
        stack = max(stack, before + cost.stack)
        before = later
    if grouped:
        return levels + 2 * (isqrt(len(operands) - 1) + 1), stack
    if isinstance(expression, (nodes.Junction, nodes.Chain)):
        return levels + len(operands) - 1, stack
    return levels + (2 if isinstance(expression, _WITH_A_NOT) else 1), stack


def _refuse_depth(levels: int, stack: int) -> NoReturn:
    if levels > MAX_LEVELS:
        raise InvalidShapeError(
            f"the where is too deep for SQLite: {levels} levels; the limit is {MAX_LEVELS}. Each operand of "
            "+ - * / % or || is a level: write fewer of them side by side"
        )
    raise InvalidShapeError(
        f"the where is nested too deeply for SQLite: its parser would need {stack} entries of its stack; "
        f"the limit is {MAX_STACK}. Write fewer operators inside one another"
    )
