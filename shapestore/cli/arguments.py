"""The arguments and options that several commands share, except those that describe a shape."""

from __future__ import annotations

import math
from typing import Any

import click

from shapestore.admin.inspector import Inspector
from shapestore.admin.records import ShapeRecord
from shapestore.admin.wording import some
from shapestore.source.suggest import near

path_argument = click.argument("path", type=click.Path())
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
table_option = click.option("--table", metavar="TABLE", help="Only those of this table.")


class Seconds(click.FloatRange):
    """A number of seconds; "nan" is refused, which lies in every range."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


def shape_by_handle(inspector: Inspector, handle: str) -> ShapeRecord:
    """The only shape whose handle is ``handle``, or begins or ends with it."""
    if not handle:
        raise click.UsageError("the handle is empty")
    found = inspector.shapes_by_part(handle)
    if not found:
        raise click.ClickException(f"no shape has the handle {handle!r}; `shapestore ls` lists the stored shapes")
    if len(found) > 1 and found[0].handle != handle:
        raise click.ClickException(f"several handles begin or end with {handle!r}: give more characters of it")
    return found[0]


def other_tables(inspector: Inspector, table: str) -> str:
    """A hint for a table without shapes: the tables that have some, or those with a similar name."""
    there = inspector.tables()
    if table in there or not there:
        return ""
    if meant := near(table, there):
        return f"; did you mean {' or '.join(meant)}?"
    return f"; there are shapes of {some(there, most=10)}"
