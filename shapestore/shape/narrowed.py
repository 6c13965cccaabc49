"""A shape's rows, fewer of them: a further condition that cannot learn about the other rows."""

from __future__ import annotations

from collections.abc import Mapping

from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.where.lexer import PARAMETER, tokenize


def narrowed(shape: Shape, where: str | None, params: Mapping[str, Scalar] | None = None) -> Shape:
    """``shape``, of whose rows ``where`` leaves those for which it is true as well.

    The condition is a guarded one: ``(shape's) AND CASE WHEN (shape's) THEN (further) END``. A plain AND is no guard,
    since databases may evaluate its second operand first, where an index says so: then an error of the second, as a
    number that is too large, would tell about rows that the first excludes. It is a part of the shape, and so holds
    wherever the shape's where is executed. Parameters of the further condition whose names the shape uses are renamed.

    Raises InvalidShapeError if the condition is not acceptable, by itself or together with the shape's.

    >>> narrowed(Shape("Track", where="tenant = 7"), "price > :p1", {"p1": 2}).where_as_written
    '(tenant = 7) AND CASE WHEN (tenant = 7) THEN (price > :p1) END'
    """
    if where is None:
        return shape
    further = Shape(shape.table, where=where, params=params)
    if shape.where_as_written is None:
        return Shape(shape.table, where=where, params=params, columns=shape.columns)
    names = _new_names(further.params, shape.params)
    own, added = shape.where_as_written, _renamed(where, names)
    values = {names[name]: value for name, value in further.params.items()}
    return Shape(
        shape.table,
        where=f"({own}) AND CASE WHEN ({own}) THEN ({added}) END",
        params={**shape.params, **values},
        columns=shape.columns,
    )


def _new_names(params: Mapping[str, Scalar], taken: Mapping[str, Scalar]) -> dict[str, str]:
    """For each parameter its own name, or if that is taken, one that neither of the two has."""
    names: dict[str, str] = {}
    for name in params:
        new = name
        while new in taken or (new != name and new in params) or new in names.values():
            new += "_"
        names[name] = new
    return names


def _renamed(where: str, names: Mapping[str, str]) -> str:
    """The text with other names of parameters."""
    pieces: list[str] = []
    end = 0
    for token in tokenize(where):
        if token.kind == PARAMETER:
            pieces += (where[end : token.start], f":{names[token.text]}")
            end = token.start + 1 + len(token.text)
    return "".join((*pieces, where[end:]))
