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
from typing import NamedTuple

from shapestore.errors import InvalidShapeError
from shapestore.shape.comparable import Scalar
from shapestore.shape.where.expression import (
    Between,
    Call,
    Chain,
    Column,
    Comparison,
    Expression,
    In,
    Is,
    Junction,
    Like,
    Negative,
    Not,
    Number,
    Parameter,
    String,
)
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
"""Parameters up to this number of characters are counted once for all, when a where is parsed."""


# --- depth

# What stands on the parser's stack when it begins the first operand, and when it begins each further one.
_STACKED: dict[type[Expression], tuple[int, int]] = {
    Call: (3, 5),  # name ( distinct; and list ,
    Negative: (2, 2),  # - (
    Not: (2, 2),
    Chain: (1, 3),  # ( ; and operand + (
    Comparison: (1, 3),
    Is: (1, 4),  # operand IS NOT (
    In: (1, 5),  # operand IN ( list ,
    Between: (1, 5),  # operand BETWEEN operand AND (
    Like: (1, 5),
    Junction: (1, 3),
}
_GROUPED = 3
"""What a long chain of AND or OR has on the stack besides, since it is rendered in groups."""


def check_depth(expression: Expression) -> None:
    """Raise InvalidShapeError if SQLite could not parse what is rendered for ``expression``."""
    levels, stack = _depth(expression)
    if levels > MAX_LEVELS:
        raise InvalidShapeError(
            f"the where is too deep for SQLite: {levels} levels; the limit is {MAX_LEVELS}. Each operand of + - * / % "
            "or || is a level: write fewer of them side by side"
        )
    if stack > MAX_STACK:
        raise InvalidShapeError(
            f"the where is nested too deeply for SQLite: its parser would need {stack} entries of its stack; "
            f"the limit is {MAX_STACK}. Write fewer operators inside one another"
        )


def _depth(expression: Expression) -> tuple[int, int]:
    """The levels of SQLite's tree, and the entries of its parser's stack."""
    levels, stack = 0, 1
    before, later = _STACKED.get(type(expression), (0, 0))
    operands = expression.operands()
    if isinstance(expression, Junction) and len(operands) > WIDEST_JUNCTION:
        before, later = before + _GROUPED, later + _GROUPED
    for operand in operands:
        inner_levels, inner_stack = _depth(operand)
        levels = max(levels, inner_levels)
        stack = max(stack, before + inner_stack)
        before = later
    return levels + _own_levels(expression, len(operands)), stack


def _own_levels(expression: Expression, operands: int) -> int:
    if isinstance(expression, Junction) and operands > WIDEST_JUNCTION:
        return 2 * (isqrt(operands - 1) + 1)
    if isinstance(expression, (Junction, Chain)):
        return operands - 1
    return 2 if isinstance(expression, (Is, In, Between, Like)) else 1  # NOT is a level of its own


# --- size


class Size(NamedTuple):
    """How long a value may be: ``times`` the longest column value of the row, and ``plus`` bytes."""

    times: int
    plus: int


_NUMBER = Size(0, 32)
"""A number or truth value, where it is taken for text."""


def size_of(expression: Expression, params: Mapping[str, Scalar] | None) -> Size:
    """How long the value of an expression may be. Without ``params`` each counts as a string of SHORT characters.

    Raises InvalidShapeError if it may compute too much, or if a LIKE in it fails with these values for every row.
    """
    return _Meter(params).size(expression)


class _Meter:
    """Adds up what one where computes."""

    def __init__(self, params: Mapping[str, Scalar] | None) -> None:
        self._params = params
        self._bytes = 0

    def size(self, expression: Expression) -> Size:
        size = self._computed(expression, list(map(self.size, expression.operands())))
        self._bytes += size.plus
        if size.times > MAX_TIMES:
            raise InvalidShapeError(
                f"the where may compute a value {size.times} times as long as a column's; the limit is {MAX_TIMES}. "
                "Join fewer columns by ||, or write shorter replacements in replace()"
            )
        if self._bytes > MAX_BYTES:
            raise InvalidShapeError(
                f"the where's strings and parameters, each time they occur, and what it computes from them take more "
                f"than {MAX_BYTES} bytes. Write shorter ones, or fewer"
            )
        return size

    def _computed(self, expression: Expression, operands: list[Size]) -> Size:
        match expression:
            case Column():
                return Size(1, 0)
            case Parameter(name):
                return Size(0, self._length(name))
            case String(value):
                return Size(0, len(value.encode()))
            case Number(text):
                return Size(0, len(text))
            case Call("replace", arguments):
                return self._replaced(arguments, operands)
            case Call("coalesce"):
                return Size(max(size.times for size in operands), max(size.plus for size in operands))
            case Call("lower" | "upper" | "trim" | "ltrim" | "rtrim" | "substr" | "nullif"):
                return operands[0]
            case Chain(_, rest) if rest[0][0] == "||":
                return Size(sum(size.times for size in operands), sum(size.plus for size in operands))
            case Like(_, _, escape, _):
                self._check_like(operands[1], escape)
        return _NUMBER

    def _replaced(self, arguments: tuple[Expression, ...], operands: list[Size]) -> Size:
        """What is found may be one byte long, unless it is a literal or a value that is known."""
        if operands[2].times:
            raise InvalidShapeError(
                "replace() with a column in its third argument may compute any length; write a string or a parameter"
            )
        known = isinstance(arguments[1], String if self._params is None else (String, Parameter))
        growth = max(1, -(-operands[2].plus // max(1, operands[1].plus if known else 1)))
        return Size(operands[0].times * growth, operands[0].plus * growth)

    def _check_like(self, pattern: Size, escape: Expression | None) -> None:
        if pattern.plus > MAX_PATTERN_BYTES:
            raise InvalidShapeError(
                f"the pattern of LIKE is too long: {pattern.plus} bytes; the limit is {MAX_PATTERN_BYTES}"
            )
        if isinstance(escape, Parameter) and not self._is_character(escape.name):
            raise InvalidShapeError(f"ESCAPE takes one character; params[{escape.name!r}] must be a str of one")

    def _length(self, name: str) -> int:
        if self._params is None:
            return 4 * SHORT
        value = self._params[name]
        return len(value.encode()) if isinstance(value, str) else 32

    def _is_character(self, name: str) -> bool:
        value = None if self._params is None else self._params[name]
        return isinstance(value, str) and len(value) == 1
