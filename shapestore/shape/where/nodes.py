"""What a where is made of: a tree of expressions, its operands in the order in which they were written.

Parentheses are not in the tree, and one tree stands for one meaning. ``AND`` and ``OR`` join any number of operands,
as do ``+ -``, ``* / %`` and ``||``, so that a tree is no deeper than the parentheses, calls and NOTs of its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct


class Expression(Struct, frozen=True):
    """One node of the tree."""

    def operands(self) -> tuple[Expression, ...]:
        """The expressions it is made of, in their order."""
        return ()


class Column(Expression, frozen=True):
    name: str


class Parameter(Expression, frozen=True):
    name: str


class String(Expression, frozen=True):
    value: str


class Number(Expression, frozen=True):
    text: str
    """Its digits as written: 1, 1.0 and 1e0 are different numbers to a database."""


class Constant(Expression, frozen=True):
    word: str
    """``NULL``, ``TRUE`` or ``FALSE``."""


class Call(Expression, frozen=True):
    function: str
    """One of the functions that the parser knows, in lower case."""
    arguments: tuple[Expression, ...]

    def operands(self) -> tuple[Expression, ...]:
        return self.arguments


class Case(Expression, frozen=True):
    """The value behind the first condition that is true. The conditions and values behind it are not evaluated."""

    branches: tuple[tuple[Expression, Expression], ...]
    """At least one condition and its value."""
    otherwise: Expression | None
    """The value if no condition is true; None stands for NULL."""

    def operands(self) -> tuple[Expression, ...]:
        inner = tuple(part for branch in self.branches for part in branch)
        return inner if self.otherwise is None else (*inner, self.otherwise)


class Negative(Expression, frozen=True):
    operand: Expression

    def operands(self) -> tuple[Expression, ...]:
        return (self.operand,)


class Chain(Expression, frozen=True):
    """Operands joined from left to right by signs of one rank: ``+ -``, ``* / %`` or ``||``."""

    first: Expression
    rest: tuple[tuple[str, Expression], ...]
    """At least one sign and the operand that follows it."""

    def operands(self) -> tuple[Expression, ...]:
        return (self.first, *(operand for _, operand in self.rest))


class Comparison(Expression, frozen=True):
    left: Expression
    sign: str
    """``= <> < <= >`` or ``>=``."""
    right: Expression

    def operands(self) -> tuple[Expression, ...]:
        return (self.left, self.right)


class Is(Expression, frozen=True):
    left: Expression
    right: Expression
    negated: bool

    def operands(self) -> tuple[Expression, ...]:
        return (self.left, self.right)


class In(Expression, frozen=True):
    left: Expression
    items: tuple[Expression, ...]
    negated: bool

    def operands(self) -> tuple[Expression, ...]:
        return (self.left, *self.items)


class Between(Expression, frozen=True):
    left: Expression
    low: Expression
    high: Expression
    negated: bool

    def operands(self) -> tuple[Expression, ...]:
        return (self.left, self.low, self.high)


class Like(Expression, frozen=True):
    left: Expression
    pattern: Expression
    escape: Expression | None
    """A string or parameter of one character."""
    negated: bool

    def operands(self) -> tuple[Expression, ...]:
        return (self.left, self.pattern) if self.escape is None else (self.left, self.pattern, self.escape)


class Not(Expression, frozen=True):
    operand: Expression

    def operands(self) -> tuple[Expression, ...]:
        return (self.operand,)


class Junction(Expression, frozen=True):
    """Operands joined by AND or OR; none of them is a junction of the same word."""

    word: str
    """``AND`` or ``OR``."""
    parts: tuple[Expression, ...]
    """Two or more, in the order written, repetitions included."""

    def operands(self) -> tuple[Expression, ...]:
        return self.parts


_RANKS = {"||": "||", "+": "+-", "-": "+-", "*": "*/%", "/": "*/%", "%": "*/%"}


def chained(first: Expression, *rest: tuple[str, Expression]) -> Chain:
    """A chain of what its first operand and further ones say: ``(a - b) - c`` is ``a - b - c``."""
    if isinstance(first, Chain) and _RANKS[first.rest[0][0]] == _RANKS[rest[0][0]]:
        return Chain(first.first, (*first.rest, *rest))
    return Chain(first, rest)


def joined(word: str, parts: Iterable[Expression]) -> Junction:
    """A junction of parts, of which those of the same word give their own parts."""
    flat: list[Expression] = []
    for part in parts:
        flat += part.parts if isinstance(part, Junction) and part.word == word else (part,)
    return Junction(word, tuple(flat))


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and all that it is made of, an operand after what it belongs to."""
    waiting = [expression]
    while waiting:
        waiting += (here := waiting.pop()).operands()
        yield here
