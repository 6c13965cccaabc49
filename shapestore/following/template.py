"""The where of a shape, parted into what it has in common with other shapes and its own values.

The values of a where, parameters and literals alike, become columns of one table, in which each shape is a row. So one
statement answers for all shapes of a template.

A value is spelled ``coalesce(p.v0, NULL)``: as an expression, it has neither the affinity nor the collation of a
column, as a bound value has none. Then the comparison is exactly the one by which the shape was created. Numbers with a
fraction or an exponent stay in the text, since SQLite reads them in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shapestore.shape.quoting import quoted
from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.where import nodes
from shapestore.shape.where.nodes import Expression, walk
from shapestore.shape.where.render import Renderer
from shapestore.shape.where.where import parse_where

ROW = "shape_row"
"""What a routing statement calls the source's table."""
VALUES = "p"
"""What it calls the table of the values."""
_MOST_DIGITS = 18
_MOST_FILTERS = 3


class Template(NamedTuple):
    """What shapes have in common that are routed by one statement."""

    table: int
    """The number of the source table."""
    where: str
    width: int
    """How many values a shape has."""
    filters: tuple[tuple[str, int], ...]
    """Columns that must be equal to one of the values, with its place."""


def template_of(shape: Shape, table: int) -> tuple[Template, tuple[Scalar, ...]]:
    """The template of a shape, and its values."""
    if shape.where_as_written is None:
        return Template(table, "1", 0, ()), ()
    renderer = _Renderer(shape)
    tree = parse_where(shape.where_as_written).tree
    where = renderer.render(tree)
    filters = tuple(_filters(tree, renderer))[:_MOST_FILTERS]
    return Template(table, where, len(renderer.values), filters), tuple(renderer.values)


def functions_of(shape: Shape) -> set[str]:
    """The functions that the where of a shape calls; LIKE is one."""
    if shape.where_as_written is None:
        return set()
    parts = list(walk(parse_where(shape.where_as_written).tree))
    called = {part.function for part in parts if isinstance(part, nodes.Call)}
    return called | {"like" for part in parts if isinstance(part, nodes.Like)}


class _Renderer(Renderer):
    """Spells columns, and puts values aside; those of one node are always in the same place."""

    def __init__(self, shape: Shape) -> None:
        self._params = shape.params
        self.values: list[Scalar] = []
        self.places: dict[int, int] = {}
        """The places of values by the identity of their nodes, which the tree keeps alive."""

    def render(self, expression: Expression) -> str:
        before = len(self.values)
        text = super().render(expression)
        if (
            isinstance(expression, nodes.Number)
            and len(expression.text) <= _MOST_DIGITS
            and expression.text.isascii()
            and expression.text.isdigit()
        ):
            text = self._value(int(expression.text))
        if isinstance(expression, (nodes.String, nodes.Parameter, nodes.Number)) and len(self.values) > before:
            self.places[id(expression)] = before
        return text

    def identifier(self, name: str) -> str:
        return f"{ROW}.{quoted(name)}"

    def string(self, value: str) -> str:
        return self._value(value)

    def parameter(self, name: str) -> str:
        return self._value(self._params[name])

    def _value(self, value: Scalar) -> str:
        self.values.append(int(value) if isinstance(value, bool) else value)
        return f"coalesce({VALUES}.v{len(self.values) - 1}, NULL)"


def _required(tree: Expression) -> Iterator[Expression]:
    """The parts of a where all of which must be true; those behind the guard of a narrowed shape are among them."""
    match tree:
        case nodes.Junction("AND", parts):
            for part in parts:
                yield from _required(part)
        case nodes.Case(((condition, value),), None):
            yield from _required(condition)
            yield from _required(value)
        case _:
            yield tree


def _filters(tree: Expression, renderer: _Renderer) -> list[tuple[str, int]]:
    """Columns that the whole where requires to be equal to a value."""
    found: dict[str, int] = {}
    for part in _required(tree):
        if isinstance(part, nodes.Comparison) and part.sign == "=":
            for column, value in ((part.left, part.right), (part.right, part.left)):
                if isinstance(column, nodes.Column) and id(value) in renderer.places:
                    found.setdefault(column.name, renderer.places[id(value)])
    return list(found.items())
