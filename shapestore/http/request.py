"""What a client asks for: a query string and a JSON body, read and checked.

>>> await parse([("table", "track"), ("offset", "-1"), ("where", "n = $1"), ("params[1]", "7")], None, tables, describe)
ShapeRequest(shape=Shape('track', where='"n" = :p1', params={'p1': 7}), offset='-1', ...)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from shapestore.errors import InvalidShapeError
from shapestore.http.handles import place_of
from shapestore.http.messages.messages import Replica
from shapestore.http.parameters import json_of, params_of, subset_fields, subset_params
from shapestore.http.response import invalid
from shapestore.http.structured import order_text, where_text
from shapestore.http.tables import Tables, check_key, columns_of, table_of
from shapestore.http.where.names import Columns
from shapestore.http.where.order import orders
from shapestore.http.where.refusal import RefusedError
from shapestore.http.where.translate import translate
from shapestore.shape.column_description import Description
from shapestore.shape.order import Order
from shapestore.shape.shape import Scalar, Shape
from shapestore.storage.log.pages import Place

Query = Sequence[tuple[str, str]]
"""The parameters of a query string, decoded, in their order."""

_MAX_HANDLE = 256


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of a shape's rows, as they are now."""

    where: str | None
    """In the language of a shape's where; None for all rows of the shape."""
    params: Mapping[str, Scalar]
    order_by: tuple[Order, ...]
    limit: int | None
    offset: int


@dataclass(frozen=True, slots=True)
class ShapeRequest:
    """A request for a shape's log, or for a subset of its rows."""

    shape: Shape
    """As the client asks for it, its table and columns among those that are allowed."""
    offset: str
    """As the client wrote it."""
    place: Place
    """The place in the log that it names."""
    handle: str | None
    live: bool
    sse: bool
    cursor: str | None
    replica: Replica
    log: Literal["full", "changes_only"]
    subset: Subset | None
    expired_handle: str | None


async def parse(
    query: Query,
    body: bytes | None,
    tables: Tables,
    describe: Callable[[str], Awaitable[Description]],
    shape: Shape | None = None,
) -> ShapeRequest:
    """The request. Raises Refusal, whose messages name no table or column that is not allowed.

    ``tables`` are those that may be asked for, each with its columns or None for all; ``describe`` tells the columns of
    one of them. A ``shape`` of the application's own takes the place of the table, where, params and columns.
    """
    given = dict(query)
    offset = given.get("offset") or invalid("offset", "can't be blank")
    place = place_of(offset, given.get("handle"))
    if place is None:
        invalid("offset", "has invalid format")
    handle = None if offset in ("-1", "now") else _handle(given)
    live = is_true(given.get("live"))
    sse = wants_events(given)
    if live and handle is None:
        invalid("live", f"can't be true when offset == {offset}")
    if sse and not live:
        invalid("live_sse", "can't be true unless live is also true")
    if shape is None:
        shape, columns = await _shape(query, given, tables, describe)
    else:
        columns = Columns(shape.table, await describe(shape.table), shape.columns)
    return ShapeRequest(
        shape=shape,
        offset=offset,
        place=place,
        handle=handle,
        live=live,
        sse=sse,
        cursor=given.get("cursor") or None,
        replica=_chosen(given, "replica", "default", "full"),
        log=_chosen(given, "log", "full", "changes_only"),
        subset=_subset(subset_fields(given, body), columns),
        expired_handle=given.get("expired_handle") or None,
    )


async def _shape(
    query: Query, given: Mapping[str, str], tables: Tables, describe: Callable[[str], Awaitable[Description]]
) -> tuple[Shape, Columns]:
    """The shape, and the columns that a subset of it may name."""
    table = table_of(given.get("table"), tables)
    description = await describe(table)
    columns = Columns(table, description, tables[table])
    check_key(table, columns, description)
    chosen = columns_of(given.get("columns"), columns, description)
    with _about("where"):
        predicate = translate(given.get("where"), params_of(query), columns)
        return Shape(table, where=predicate.where, params=predicate.params, columns=chosen), columns


def _subset(fields: Mapping[str, Any], columns: Columns) -> Subset | None:
    if not fields:
        return None
    with _about("subset__where"):
        predicate = translate(_text(fields, "where", where_text), subset_params(fields), columns)
    with _about("subset__order_by"):
        text = _text(fields, "order_by", order_text)
        order_by = orders(text, columns) if text else ()
    limit, offset = _count(fields, "limit", least=1), _count(fields, "offset", least=0)
    if not order_by and (limit is not None or offset is not None):
        invalid("subset__order_by", "order_by is required when limit or offset is present")
    return Subset(predicate.where, predicate.params, order_by, limit, offset or 0)


@contextmanager
def _about(parameter: str) -> Iterator[None]:
    """What is refused within the block is wrong with this parameter."""
    try:
        yield
    except (RefusedError, InvalidShapeError) as error:
        invalid(parameter, str(error))


def _text(fields: Mapping[str, Any], name: str, structured: Callable[[Any], str]) -> str | None:
    """A field as text; that of its structured form, which clients send beside it, where there is no text."""
    text = fields.get(name)
    if text is not None:
        return text if isinstance(text, str) else invalid(f"subset__{name}", "must be a string")
    expression = fields.get(f"{name}_expr")
    if isinstance(expression, str):
        expression = json_of(expression, f"subset__{name}_expr")
    return None if expression is None else structured(expression)


def _count(fields: Mapping[str, Any], name: str, least: int) -> int | None:
    text = fields.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < least:
        invalid(f"subset__{name}", f"must be a whole number, {least} or greater")
    return int(text)


def _handle(given: Mapping[str, str]) -> str:
    handle = given.get("handle")
    if not handle:
        invalid("handle", "can't be blank when offset != -1")
    if len(handle) > _MAX_HANDLE:
        invalid("handle", f"too long: the limit is {_MAX_HANDLE} characters")
    return handle


def is_true(text: str | None) -> bool:
    """Whether a parameter that is true or false is true."""
    return text is not None and text.lower() != "false"


def wants_events(given: Mapping[str, str]) -> bool:
    """Whether a live request wants server-sent events."""
    return is_true(given.get("live_sse")) or is_true(given.get("experimental_live_sse"))


def _chosen(given: Mapping[str, str], name: str, default: Any, other: Any) -> Any:
    value = given.get(name, default)
    if value not in (default, other):
        invalid(name, f"is invalid: it is {default} or {other}")
    return value
