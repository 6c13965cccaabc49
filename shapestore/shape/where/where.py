"""A shape's predicate: read once, known by its canonical text, and rendered for the database that executes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from shapestore.errors import InvalidShapeError
from shapestore.shape.comparable import Scalar
from shapestore.shape.where.cache import BoundedCache
from shapestore.shape.where.canonical import canonical
from shapestore.shape.where.lexer import refuse
from shapestore.shape.where.limits import Meter
from shapestore.shape.where.nodes import Column, Expression, Parameter, walk
from shapestore.shape.where.parser import parse

MAX_LENGTH = 32_768
"""The greatest length of a where, in characters, as written and as canonical text."""

REMEMBERED_BYTES = 8 * 1024 * 1024
"""What the wheres that were read last may take together."""

_INVALID = re.compile("[\0\ud800-\udfff]")


class Where(NamedTuple):
    """A where, read."""

    tree: Expression
    canonical: str
    params: frozenset[str]
    """The names of its parameters, without the colon."""
    depends_on_values: bool
    """Whether the values of its parameters decide if it is acceptable, even where they are short."""
    weight: int
    """About how many bytes it takes in memory, and not fewer."""

    def check(self, values: Mapping[str, Scalar]) -> None:
        """Raise InvalidShapeError if it may compute too much with these values, or a LIKE always fails with them."""
        meter = Meter(values)
        meter.cost(self.tree)
        if meter.excess:
            raise InvalidShapeError(meter.excess)


def parse_where(text: str) -> Where:
    """Read a where. The texts read last are remembered, so that reading one again costs next to nothing.

    Raises InvalidShapeError, which says what is not accepted, and at which character.

    >>> parse_where("name like :start and (albumid==1)").canonical
    '"albumid" = 1 AND "name" LIKE :start'
    """
    return _remembered.get(text)


def where_columns(text: str) -> frozenset[str]:
    """The names of the columns that a where reads, as written and without quotes."""
    return frozenset(part.name for part in walk(parse_where(text).tree) if isinstance(part, Column))


def _read(text: str) -> Where:
    _check_length(text)
    if invalid := _INVALID.search(text):
        refuse(text, invalid.start(), "neither NUL nor half a surrogate pair is accepted, in quotes or outside of them")
    tree = parse(text)
    meter = Meter()
    meter.cost(tree)
    nodes = list(walk(tree))
    params = frozenset(node.name for node in nodes if isinstance(node, Parameter))
    if meter.excess and not params:
        raise InvalidShapeError(meter.excess)
    canonical_text = canonical(tree)
    _check_length(canonical_text)
    weight = 1_000 + 8 * len(text) + 300 * len(nodes)
    return Where(tree, canonical_text, params, meter.excess is not None, weight)


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise InvalidShapeError(f"where is too long: {len(text)} characters; the limit is {MAX_LENGTH}")


_remembered = BoundedCache(_read, lambda where: where.weight, REMEMBERED_BYTES)
