"""The options that describe a shape, or some of the stored ones: --table, --where, --param, --columns."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, cast

import click

from shapestore.admin.inspector import Filter, open_inspector
from shapestore.admin.records import ShapeRecord
from shapestore.cli.arguments import (
    complete_tables,
    namespace_filter_option,
    namespace_option,
    other_tables,
    shape_by_handle,
    table_option,
)
from shapestore.errors import InvalidShapeError
from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.where.where import parse_where

F = TypeVar("F", bound=Callable[..., Any])

# In JSON's grammar; Python's own reader would also take NaN and Infinity.
_NUMBER_OR_WORD = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|null|true|false")

_COLUMN = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*|([^",][^,]*)?)(,|$)')

_where = click.option("--where", metavar="WHERE", help="A predicate, as in: AlbumId = :album.")
_param = click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of --where. VALUE is a number, true, false or null if it looks like one; anything else is text. "
    "What is in double quotes is always text, without the quotes, as in --param 'zip=\"1\"'.",
)
_columns = click.option(
    "--columns",
    metavar="A,B",
    help="The columns, in order; by default all. A name with a comma, or with spaces at its ends, stands in double "
    "quotes.",
)


def shape_options(*, required: bool = True) -> Callable[[F], F]:
    """Add the options. The command is given the ``shape`` and its ``namespace``.

    The shape is None if it is not ``required`` and not described.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def with_shape(
            *arguments: Any,
            table: str | None,
            where: str | None,
            params: tuple[str, ...],
            columns: str | None,
            namespace: str | None,
            **others: Any,
        ) -> Any:
            if table is None and (where or params or columns or namespace):
                raise click.UsageError("the options of a shape need --table")
            shape = None if table is None else _shape_of(table, where, params, columns)
            return command(*arguments, shape=shape, namespace=namespace or "", **others)

        table = click.option(
            "--table", required=required, metavar="TABLE", help="The table.", shell_complete=complete_tables
        )
        return cast(F, table(_where(_param(_columns(namespace_option(with_shape))))))

    return decorate


def filter_options(command: F) -> F:
    """Add the options. The command is given ``wanted``, the filter of the shapes that they describe."""

    @functools.wraps(command)
    def with_filter(
        *arguments: Any,
        namespace: str | None,
        table: str | None,
        where: str | None,
        params: tuple[str, ...],
        **others: Any,
    ) -> Any:
        return command(*arguments, wanted=_filter_of(namespace, table, where, params), **others)

    return cast(F, table_option(_where(_param(namespace_filter_option(with_filter)))))


def chosen(path: str, handles: tuple[str, ...], wanted: Filter) -> tuple[list[ShapeRecord], str]:
    """The stored shapes that are named by handle, or else by the filter; and a hint for a mistyped table."""
    if handles and wanted != Filter():
        raise click.UsageError("name the shapes by HANDLE, or by --table and --where, not both")
    if not handles and wanted.table is None:
        raise click.UsageError("Missing argument 'HANDLE...': name the shapes by handle, or by --table")
    with open_inspector(path) as inspector:
        shapes = [shape_by_handle(inspector, handle) for handle in handles] or inspector.shapes(wanted)
        return shapes, other_tables(inspector, wanted.table, wanted.namespace)


def _filter_of(namespace: str | None, table: str | None, where: str | None, params: tuple[str, ...]) -> Filter:
    """A shape's filter needs no value for every parameter: without one, it takes them all."""
    try:
        values = _params(params)
        parsed = None if where is None else parse_where(where)
    except InvalidShapeError as error:
        raise click.UsageError(str(error)) from error
    _refuse_unused(values, frozenset() if parsed is None else parsed.params)
    return Filter(namespace, table, None if parsed is None else parsed.canonical, values)


def _shape_of(table: str, where: str | None, params: tuple[str, ...], columns: str | None) -> Shape:
    try:
        values = _params(params)
        used = frozenset() if where is None else parse_where(where).params
        for name in sorted(used - values.keys()):
            raise click.UsageError(f"--where uses :{name}, but there is no --param {name}=VALUE")
        _refuse_unused(values, used)
        return Shape(table, where=where, params=values or None, columns=column_names(columns))
    except InvalidShapeError as error:
        raise click.UsageError(str(error)) from error


def _refuse_unused(values: Mapping[str, Scalar], used: Collection[str]) -> None:
    for name in sorted(values.keys() - used):
        raise click.UsageError(f"--param {name} is not used in --where")


def _params(given: tuple[str, ...]) -> dict[str, Scalar]:
    params: dict[str, Scalar] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix(":")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint="--param")
        if name in params:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--param")
        try:
            params[name] = param_value(value)
        except ValueError as error:
            raise click.BadParameter(f"{name}: {error}", param_hint="--param") from error
    return params


def param_value(text: str) -> Scalar:
    r"""The value that a person means. Raises ValueError for a number out of range, or an open quote.

    >>> [param_value(text) for text in ("1", "1.5", "true", "null", "Rock", "01", '"1"')]
    [1, 1.5, True, None, 'Rock', '01', '1']
    >>> print(param_value(r'"C:\temp\new"'))
    C:\temp\new
    """
    if _NUMBER_OR_WORD.fullmatch(text) and len(text) < 400:
        value: Scalar = json.loads(text)
        if _is_too_large(value):
            raise ValueError(f"{text} is too large for a number; in double quotes it is text")
        return value
    if text.startswith('"'):
        if len(text) == 1 or not text.endswith('"'):
            raise ValueError(f"the double quote is not closed: {text}")
        return text[1:-1]
    return text


def _is_too_large(value: Scalar) -> bool:
    return value in (math.inf, -math.inf) or (type(value) is int and not -(2**63) <= value < 2**63)


def column_names(given: str | None) -> list[str] | None:
    """Names separated by commas. One in double quotes is taken as it is; a double quote in it is doubled, as in CSV."""
    if given is None:
        return None
    names: list[str] = []
    position, more = 0, ","
    while more:
        match = _COLUMN.match(given, position)
        if match is None:
            raise click.BadParameter(
                f"{given!r} is not a list of names separated by commas, each as it is or in double quotes",
                param_hint="--columns",
            )
        quoted, bare, more = match.groups()
        names.append((bare or "").rstrip() if quoted is None else quoted.replace('""', '"'))
        position = match.end()
    return names
