"""Whether a request bears the secret, and what its sender may have.

The application's ``shape`` says what is asked for, or its ``authorize`` which rows; a client's conditions narrow them.
"""

from __future__ import annotations

import dataclasses
import hmac
import inspect
from collections.abc import Awaitable, Callable

from starlette.requests import Request

from shapestore.errors import InvalidShapeError
from shapestore.http.request import ShapeRequest
from shapestore.http.response import invalid
from shapestore.shape.narrowed import narrowed
from shapestore.shape.shape import Shape
from shapestore.shape.where.where import where_columns

ShapeOfRequest = Callable[[Request], Shape | Awaitable[Shape]]
Authorize = Callable[[Request, Shape], Shape | Awaitable[Shape]]


def has_secret(request: Request, secret: str | None) -> bool:
    """Whether a request bears the secret, if it has to bear one."""
    if secret is None:
        return True
    given = request.query_params.get("secret") or request.query_params.get("api_secret") or ""
    return hmac.compare_digest(given.encode(), secret.encode())


async def shape_by(shape_of: ShapeOfRequest, request: Request) -> Shape:
    """The shape that the application makes of a request. Raises what ``shape_of`` raises, and TypeError."""
    found = shape_of(request)
    shape = await found if inspect.isawaitable(found) else found
    if not isinstance(shape, Shape):
        raise TypeError(f"shape returns a Shape, or raises HTTPException. It returned {shape!r:.200}")
    return shape


async def permitted(authorize: Authorize, request: Request, asked: ShapeRequest) -> ShapeRequest:
    """The request for no more than its sender may see. Raises what ``authorize`` raises, and Refusal."""
    found = authorize(request, asked.shape)
    may_see = await found if inspect.isawaitable(found) else found
    if not isinstance(may_see, Shape) or may_see.table != asked.shape.table:
        raise TypeError(
            f"authorize returns a Shape of the table that it is asked about, {asked.shape.table!r}; or it raises "
            f"HTTPException. It returned {may_see!r:.200}"
        )
    if may_see is asked.shape:
        return asked
    _refuse_hidden(asked, may_see)
    return dataclasses.replace(asked, shape=_narrowed(may_see, asked.shape))


def _narrowed(may_see: Shape, asked: Shape) -> Shape:
    """What is asked for of what may be seen, whose conditions run as the application wrote them."""
    if may_see == asked:
        return may_see
    try:
        return narrowed(_of_both_columns(asked, may_see), asked.where_as_written, asked.params)
    except InvalidShapeError:
        invalid("where", "is too large")


def _of_both_columns(asked: Shape, may_see: Shape) -> Shape:
    """What may be seen, with those of its columns that are asked for. Raises Refusal if there are none."""
    seen = may_see.columns
    columns = asked.columns if seen is None else seen
    if seen is not None and asked.columns is not None:
        columns = tuple(name for name in asked.columns if name in seen)
        if not columns:
            invalid("columns", "The following columns are not found on the table: " + ", ".join(asked.columns)[:500])
    return Shape(may_see.table, where=may_see.where_as_written, params=dict(may_see.params) or None, columns=columns)


def _refuse_hidden(asked: ShapeRequest, may_see: Shape) -> None:
    """A condition on a column tells about its values: none is accepted on columns that may not be seen."""
    if may_see.columns is None:
        return
    subset = asked.subset
    named = {
        "where": _named(None if may_see == asked.shape else asked.shape.where_as_written),
        "subset__where": _named(None if subset is None else subset.where),
        "subset__order_by": frozenset() if subset is None else frozenset(order.column for order in subset.order_by),
    }
    for field, names in named.items():
        if hidden := names - set(may_see.columns):
            invalid(field, f'column "{min(hidden)}" does not exist')


def _named(where: str | None) -> frozenset[str]:
    return frozenset() if where is None else where_columns(where)
