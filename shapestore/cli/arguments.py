"""The arguments and options that several commands share, except those that describe a shape; and their completion."""

from __future__ import annotations

import math
import os
import re
import shlex
import sqlite3
import time
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from shapestore.admin.inspector import Inspector, open_inspector
from shapestore.admin.records import ShapeRecord
from shapestore.cli.printing.output import visible
from shapestore.cli.printing.words import described, short
from shapestore.errors import InvalidShapeError, ShapeStoreError
from shapestore.shape.listing import listed
from shapestore.shape.shape import Shape
from shapestore.source.suggest import near

F = TypeVar("F", bound=Callable[..., Any])

PATH_VARIABLE = "SHAPESTORE_PATH"
_MOST_COMPLETIONS = 1_000


# --- the path


class _Path(click.Path):
    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"Give the path of a store, or set {PATH_VARIABLE}."


class _PathArgument(click.Argument):
    """PATH. It may be left out where ``SHAPESTORE_PATH`` names the file."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        if os.environ.get(PATH_VARIABLE) and isinstance(opts, MutableMapping):
            _make_way(opts, self._next(ctx))
        return super().consume_value(ctx, opts)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        following = self._next(ctx) if os.environ.get(PATH_VARIABLE) else None
        items = super().shell_complete(ctx, incomplete)
        return items if following is None else [*items, *following.shell_complete(ctx, incomplete)]

    def _next(self, ctx: click.Context) -> click.Argument | None:
        others = (other for other in ctx.command.params if isinstance(other, click.Argument) and other is not self)
        return next(others, None)


def _make_way(opts: MutableMapping[str, Any], following: click.Argument | None) -> None:
    """Let what stands in the place of PATH be the next argument, if there are too few, or it is not a file."""
    path = opts.get("path")
    if following is None or following.name is None or not isinstance(path, str):
        return
    given = opts.get(following.name)
    if following.nargs == -1:
        if not os.path.exists(path):
            opts[following.name] = (path, *(given if isinstance(given, tuple) else ()))
            del opts["path"]
    elif not isinstance(given, str):
        opts[following.name] = path
        del opts["path"]


def path_argument(command: F) -> F:
    """Add PATH. A decorator is made for each command, since that of click 8.1 forgets its ``cls`` after the first."""
    return click.argument("path", type=_Path(), cls=_PathArgument, envvar=PATH_VARIABLE)(command)


# --- handles


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


# --- tables


def other_tables(inspector: Inspector, table: str | None, namespace: str | None = None) -> str:
    """A hint for a table without shapes: namespaces where it has some, or other tables, first those with like names."""
    there = [] if table is None else inspector.tables(namespace)
    if table is None or table in there:
        return ""
    if elsewhere := [] if namespace is None else inspector.namespaces(table):
        return f"; there are shapes of it in {listed([_namespace(name) for name in elsewhere])}"
    if not there:
        return ""
    if meant := near(table, there):
        return f"; did you mean {' or '.join(meant)}?"
    return f"; there are shapes of {listed(there, most=10)}"


def _namespace(name: str) -> str:
    return f"--namespace {shlex.quote(name)}"


# --- numbers and times


class Seconds(click.FloatRange):
    """A number of seconds; "nan" is refused, which lies in every range."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


_AGO = re.compile(r"(\d+(?:\.\d+)?) ?(s|m|min|h|d|days?|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def moment(text: str) -> datetime:
    """A time: so long ago, as in "90 s", "15min", "2h" or "3 days"; or ISO 8601, in UTC unless it names a zone."""
    try:
        if ago := _AGO.fullmatch(text):
            return datetime.fromtimestamp(time.time() - float(ago[1]) * _SECONDS[ago[2][0]], UTC)
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        found.astimezone(UTC)  # which has no year 0 or 10,000
        return found
    except (ValueError, OverflowError, OSError) as error:
        raise click.BadParameter(f"{text!r} is not a time, such as 90s, 15min, 2h, 3d or 2024-05-01T12:00") from error


# --- options


def _namespace_name(text: str) -> str:
    try:
        Shape("any").comparable_in(text)
    except InvalidShapeError as error:
        raise click.BadParameter(str(error)) from error
    return text


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


def limit_option(default: int | None = None) -> Callable[[Any], Any]:
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(min=1, max=2**63 - 1),  # a number of SQLite's
        default=default,
        show_default=default is not None,
        metavar="N",
        help="Print N at most.",
    )


# --- what a shell completes


def complete_handles(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Handles that begin so, or else the ends of handles, which the tables show."""
    shapes = _inspect(ctx, lambda inspector: inspector.shapes(sort="read", limit=_MOST_COMPLETIONS))
    whole = [(shape.handle, shape) for shape in shapes if shape.handle.startswith(incomplete)]
    ends = [(short(shape.handle), shape) for shape in shapes if short(shape.handle).startswith(incomplete)]
    return [CompletionItem(value, help=visible(described(shape))) for value, shape in whole or ends]


def complete_locks(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    locks = _inspect(ctx, lambda inspector: inspector.locks())
    return [
        CompletionItem(lock.handle, help=visible(described(lock)))
        for lock in locks
        if lock.handle.startswith(incomplete)
    ]


def complete_namespaces(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names = _inspect(ctx, lambda inspector: inspector.namespaces())
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and name == visible(name)]


def complete_tables(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    tables = _inspect(ctx, lambda inspector: inspector.tables())
    return [CompletionItem(table) for table in tables if table.startswith(incomplete) and table == visible(table)]


def _inspect(ctx: click.Context, read: Callable[[Inspector], list[Any]]) -> list[Any]:
    """What the store of the command line holds; nothing, if it cannot be read: a shell has no place for an error."""
    # Behind an option without its value, click has not come to the arguments yet.
    path = next(filter(os.path.isfile, ctx.args), ctx.params.get("path"))
    if not isinstance(path, str):
        return []
    try:
        with open_inspector(path) as inspector:
            return read(inspector)
    except (ShapeStoreError, sqlite3.Error, OSError):
        return []


handle_argument = click.argument("handle", shell_complete=complete_handles)
handles_argument = click.argument("handles", metavar="[HANDLE]...", nargs=-1, shell_complete=complete_handles)
_namespace_option = partial(
    click.option, "--namespace", type=_namespace_name, metavar="NAME", shell_complete=complete_namespaces
)
namespace_option = _namespace_option(help="The namespace; by default the one without a name.")
namespace_filter_option = _namespace_option(help="Only those of this namespace.")
table_option = click.option(
    "--table", metavar="TABLE", help="Only those of this table.", shell_complete=complete_tables
)
