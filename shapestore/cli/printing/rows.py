"""Writing the rows of a shape, however many: in batches, each forgotten before the next is read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import click

from shapestore.admin.inspector import Inspector
from shapestore.admin.wording import count
from shapestore.cli.arguments import json_option
from shapestore.cli.printing.output import is_terminal, print_csv, print_fields, print_json_text, say
from shapestore.cli.printing.tables import print_rows_on_the_terminal
from shapestore.shape.listing import listed

F = TypeVar("F", bound=Callable[..., Any])

Row = dict[str, Any]


def form_options(command: F) -> F:
    """Add --json and --csv; the command is given the ``form``, or None."""

    @functools.wraps(command)
    def with_form(*arguments: Any, as_json: bool, as_csv: bool, **others: Any) -> Any:
        if as_json and as_csv:
            raise click.UsageError("give --json or --csv, not both")
        return command(*arguments, form="json" if as_json else "csv" if as_csv else None, **others)

    as_csv = click.option("--csv", "as_csv", is_flag=True, help="CSV with a header; nested values are JSON.")
    return cast(F, json_option(as_csv(with_form)))


def print_rows(
    inspector: Inspector, handle: str, form: str | None, *, columns: Sequence[str] | None, row_count: int
) -> None:
    """Print all rows of a handle in order. Raises ShapeGoneError if they are forgotten meanwhile."""
    batches = inspector.rows(handle)
    if form == "json":
        for batch in batches:
            print_json_text("".join(f"{text}\n" for text in batch))
        return
    decoded = map(inspector.decoded, batches)
    first = next(decoded, [])
    names = _names(first) or list(columns or ())
    rows = _uniform(names, first, decoded)
    if not names:
        for _ in rows:  # there are none, or they are empty; one that is not is an error
            pass
    elif form == "csv":
        print_csv(names, "the header")
        for position, row in enumerate(rows, 1):
            print_csv(row, f"row {position}")
    elif is_terminal():
        print_rows_on_the_terminal(names, [[row.get(name) for name in names] for row in first], rows)
    else:
        print_fields(names)
        for row in rows:
            print_fields(row)
    if form is None and is_terminal():
        say(count(row_count, "row"))


def _names(rows: list[Row]) -> list[str]:
    """The columns in the order in which they appear. Rows need not all have the same ones."""
    return list({name: None for row in rows for name in row})


def _uniform(names: list[str], first: list[Row], others: Iterator[list[Row]]) -> Iterator[list[Any]]:
    """The values of every row in the order of the names. Raises an error rather than leave a value out."""
    known = set(names)
    position = 0
    for batch in _and_then(first, others):
        for row in batch:
            position += 1
            if not known.issuperset(row):
                unknown = listed([repr(name) for name in row if name not in known])
                raise click.ClickException(
                    f"row {position} has {unknown}, which the first rows do not have, so a table cannot show it: "
                    "use --json"
                )
            yield [row.get(name) for name in names]


def _and_then(first: list[Row], others: Iterator[list[Row]]) -> Iterator[list[Row]]:
    yield first
    yield from others
