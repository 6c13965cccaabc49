"""From the where of a client that speaks PostgreSQL to the where and params of a shape."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from shapestore.http.where.names import Columns
from shapestore.http.where.params import Params, Values
from shapestore.http.where.parser import Parser
from shapestore.http.where.refusal import RefusedError
from shapestore.shape.quoting import quoted
from shapestore.shape.shape import Scalar
from shapestore.shape.where.nodes import Expression, Parameter, walk
from shapestore.shape.where.render import Renderer
from shapestore.shape.where.where import MAX_LENGTH


class Predicate(NamedTuple):
    """A where and its params, as a shape takes them."""

    where: str | None
    params: Mapping[str, Scalar]


EVERYTHING = Predicate(None, {})

_MOST_LEVELS = 200
"""Python's stack bears as many, and more."""
_SHORT = 2_000
"""Up to so many characters a where and its values are remembered: clients that are live send the same ones again."""


def translate(text: str | None, values: Values, columns: Columns) -> Predicate:
    """The where of a client; None and an empty text select everything. Raises RefusedError.

    >>> translate('"id" = $1', {1: "5"}, columns)
    Predicate(where='"id" = :p1', params={'p1': 5})
    """
    if text is None or not text.strip():
        return EVERYTHING
    if len(text) > MAX_LENGTH:
        raise RefusedError(f"too long: {len(text)} characters; the limit is {MAX_LENGTH}")
    if len(text) + sum(len(value or "") for value in values.values()) > _SHORT:
        return _translated(text, values, columns)
    return _remembered(text, tuple(sorted(values.items())), columns)


def _translated(text: str, values: Values, columns: Columns) -> Predicate:
    params = Params(values)
    tree = Parser(text, columns, params).whole()
    _refuse_large(tree)
    typed = params.values()
    used = {part.name for part in walk(tree) if isinstance(part, Parameter)}
    return Predicate(_text_of(tree), {name: value for name, value in typed.items() if name in used})


def _refuse_large(tree: Expression) -> None:
    """Raise RefusedError for a where that would be much longer or deeper than it was sent.

    What stands once in a client's where may stand several times in that of a shape, as the arguments of ``greatest``
    do: in one another, they would double with each. Here each is measured once.
    """
    measured: dict[int, tuple[int, int]] = {}
    waiting = [tree]
    while waiting:
        here = waiting[-1]
        operands = here.operands()
        if unknown := [operand for operand in operands if id(operand) not in measured]:
            waiting += unknown
            continue
        waiting.pop()
        parts = [measured[id(operand)] for operand in operands]
        measured[id(here)] = 1 + sum(size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0)
    size, depth = measured[id(tree)]
    if size > MAX_LENGTH or depth > _MOST_LEVELS:
        raise RefusedError("too large: write it in fewer steps, or with fewer that stand in one another")


@lru_cache(maxsize=1_000)
def _remembered(text: str, values: tuple[tuple[int, str | None], ...], columns: Columns) -> Predicate:
    return _translated(text, dict(values), columns)


class _Plain(Renderer):
    """Spells a where as :mod:`shapestore.shape.where` reads it."""

    def identifier(self, name: str) -> str:
        return quoted(name)

    def string(self, value: str) -> str:
        return quoted(value, "'")

    def parameter(self, name: str) -> str:
        return f":{name}"


_text_of = _Plain().render
