"""The rows of a shape on their way out, however many: in batches, each forgotten before the next is read."""

from __future__ import annotations

import csv
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

import click
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from shapestore.admin.inspector import Inspector
from shapestore.admin.records import ShapeRecord
from shapestore.cli.arguments import json_option
from shapestore.cli.output import console, count, is_terminal, plain, print_fields, say, visible
from shapestore.storage.row_codec import decode_row

F = TypeVar("F", bound=Callable[..., Any])

Row = dict[str, Any]

_GAP = "  "
_NARROWEST = 4


def form_options(command: F) -> F:
    """--json and --csv; the command is given the ``form``, or None."""

    @functools.wraps(command)
    def with_form(*arguments: Any, as_json: bool, as_csv: bool, **others: Any) -> Any:
        if as_json and as_csv:
            raise click.UsageError("--json or --csv, not both")
        return command(*arguments, form="json" if as_json else "csv" if as_csv else None, **others)

    as_csv = click.option("--csv", "as_csv", is_flag=True, help="CSV with a header; what is nested, as JSON.")
    return cast(F, json_option(as_csv(with_form)))


def print_rows(seen: Inspector, shape: ShapeRecord, form: str | None) -> None:
    """All rows of the shape, in order. A reader that goes away ends it; a shape that does raises ShapeGoneError."""
    batches = seen.rows(shape)
    if form == "json":
        for batch in batches:
            sys.stdout.write("".join(f"{text}\n" for text in batch))
        return
    decoded = ([decode_row(text) for text in batch] for batch in batches)
    first = next(decoded, [])
    names = _names(first) or list(shape.columns or ())
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if names:  # nobody knows those of no rows at all, unless the shape names its columns
            writer.writerow(names)
        for row in _uniform(names, first, decoded):
            writer.writerow([plain(value) for value in row])
    elif is_terminal():
        _print_on_the_terminal(names, first, decoded)
        say(count(shape.row_count, "row"))
    else:
        if names:
            print_fields(names)
        for row in _uniform(names, first, decoded):
            print_fields(row)


def _names(rows: list[Row]) -> list[str]:
    """The columns, in the order in which they turn up. Rows need not all have the same."""
    return list({name: None for row in rows for name in row})


def _uniform(names: list[str], first: list[Row], others: Iterator[list[Row]]) -> Iterator[list[Any]]:
    """The values of every row in the order of the names; nothing is left out silently."""
    known = set(names)
    position = 0
    for batch in _and_then(first, others):
        for row in batch:
            position += 1
            if not known.issuperset(row):
                unknown = ", ".join(repr(name) for name in row if name not in known)
                raise click.ClickException(
                    f"row {position} has {unknown}, which the first rows have not: no table can show it; use --json"
                )
            yield [row.get(name) for name in names]


def _and_then(first: list[Row], others: Iterator[list[Row]]) -> Iterator[list[Row]]:
    yield first
    yield from others


def _print_on_the_terminal(names: list[str], first: list[Row], others: Iterator[list[Row]]) -> None:
    """The first batch settles how wide the columns are; what is longer later on is cut."""
    if not names:
        return
    screen = console()
    columns = [[visible(row.get(name)) for row in first] for name in names]
    wanted = [max(map(cell_len, [visible(name), *column])) for name, column in zip(names, columns, strict=True)]
    widths = _fitted(wanted, screen.width)
    right = [all(isinstance(row.get(name), (int, float, type(None))) for row in first) for name in names]
    screen.print(Text(_line(map(visible, names), widths, right), style="bold"), soft_wrap=True)
    for row in _uniform(names, first, others):
        sys.stdout.write(_line(map(visible, row), widths, right) + "\n")


def _fitted(wanted: list[int], width: int) -> list[int]:
    """Widths that fit into a line, if they can: the widest columns give way."""
    widths = list(wanted)
    too_much = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while too_much > 0 and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
        too_much -= 1
    return widths


def _line(texts: Iterable[str], widths: list[int], right: list[bool]) -> str:
    cells = []
    for text, width, is_number in zip(texts, widths, right, strict=True):
        length = cell_len(text)
        if length > width:
            cells.append(set_cell_size(text, width - 1) + "…")
        else:
            padding = " " * (width - length)
            cells.append(padding + text if is_number else text + padding)
    return _GAP.join(cells).rstrip()
