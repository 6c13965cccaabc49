"""What the commands are given: a path, a handle, the options that describe a shape."""

from __future__ import annotations

import csv
import functools
import json
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from shapestore.admin.inspector import Inspector
from shapestore.admin.records import ShapeRecord
from shapestore.errors import InvalidShapeError
from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.where.where import parse_where
from shapestore.source.suggest import near

F = TypeVar("F", bound=Callable[..., Any])

path_argument = click.argument("path", type=click.Path())
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")

_MOST_TABLES = 10

# As JSON has them; Python's own reader would take NaN and Infinity too.
_NUMBER_OR_WORD = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|null|true|false")


class Seconds(click.FloatRange):
    """So many seconds, and not "nan", which is in every range."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


def shape_options(*, required: bool = True) -> Callable[[F], F]:
    """The options that describe a shape; the command is given the ``shape``, or None, if it is not ``required``."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def with_shape(
            *arguments: Any,
            table: str | None,
            where: str | None,
            params: tuple[str, ...],
            columns: str | None,
            **others: Any,
        ) -> Any:
            if table is None and (where or params or columns):
                raise click.UsageError("a shape needs its --table")
            shape = None if table is None else _shape_of(table, where, params, columns)
            return command(*arguments, shape=shape, **others)

        decorated: Any = with_shape
        for option in (
            click.option("--columns", metavar="A,B", help="The columns, in order; all, if not given."),
            click.option(
                "--param",
                "params",
                multiple=True,
                metavar="NAME=VALUE",
                help="A parameter of --where. VALUE is a number, true, false or null if it looks like one; anything "
                "else is text, and so is whatever stands in double quotes: --param 'zip=\"01234\"'.",
            ),
            click.option("--where", metavar="WHERE", help="A predicate, as in: AlbumId = :album."),
            click.option("--table", required=required, metavar="TABLE", help="The table."),
        ):
            decorated = option(decorated)
        return cast(F, decorated)

    return decorate


def _shape_of(table: str, where: str | None, params: tuple[str, ...], columns: str | None) -> Shape:
    try:
        values = _params(params)
        used = parse_where(where).params if where is not None else frozenset()
        for name in sorted(used - values.keys()):
            raise click.UsageError(f"--where has :{name}, and there is no --param {name}=VALUE")
        for name in sorted(values.keys() - used):
            raise click.UsageError(f"--param {name} is nowhere in --where")
        return Shape(table, where=where, params=values or None, columns=_columns(columns))
    except InvalidShapeError as error:
        raise click.UsageError(str(error)) from error


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
    """The value that a person means. Raises ValueError where that is not to be had.

    >>> [param_value(text) for text in ("1", "1.5", "true", "null", "Rock", "01", '"1"')]
    [1, 1.5, True, None, 'Rock', '01', '1']
    """
    if _NUMBER_OR_WORD.fullmatch(text) and len(text) < 400:
        value: Scalar = json.loads(text)
        if _is_too_large(value):
            raise ValueError(f"{text} is too large for a number; in double quotes it is text")
        return value
    if text.startswith('"'):
        if len(text) == 1 or not text.endswith('"'):
            raise ValueError(f"the double quote is not closed: {text}")
        try:
            return str(json.loads(text))
        except ValueError:
            return text[1:-1]  # no JSON, such as a Windows path; that quotes make a text is clear all the same
    return text


def _is_too_large(value: Scalar) -> bool:
    return value in (math.inf, -math.inf) or (type(value) is int and not -(2**63) <= value < 2**63)


def _columns(given: str | None) -> list[str] | None:
    """Names parted by commas; one that has a comma in it is written in double quotes, as in CSV."""
    if given is None:
        return None
    try:
        return [name.strip() for row in csv.reader([given], skipinitialspace=True, strict=True) for name in row]
    except csv.Error as error:
        raise click.BadParameter(
            f"{given!r} is no list of names parted by commas, each as it is or in double quotes", param_hint="--columns"
        ) from error


def shape_by_handle(seen: Inspector, handle: str) -> ShapeRecord:
    """The one shape whose handle is, begins with, or ends with, what was given."""
    if not handle:
        raise click.UsageError("the handle is empty")
    found = seen.shapes_by_part(handle)
    if not found:
        raise click.ClickException(f"no shape has the handle {handle!r}; `shapestore ls` lists those that are stored")
    if len(found) > 1 and found[0].handle != handle:
        raise click.ClickException(f"several handles begin or end with {handle!r}: give more of it")
    return found[0]


def other_tables(seen: Inspector, table: str) -> str:
    """What to add where nothing is found of a table: which others have shapes, if that one has none."""
    there = [name for (name,) in seen.read("SELECT DISTINCT table_name FROM shapes ORDER BY table_name")]
    if table in there or not there:
        return ""
    if meant := near(table, there):
        return f"; did you mean {' or '.join(meant)}?"
    return f"; there are shapes of {', '.join(there[:_MOST_TABLES])}{', ...' if len(there) > _MOST_TABLES else ''}"
