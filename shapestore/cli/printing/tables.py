"""Tables: on a terminal fitted into its width, in a pipe as lines of fields."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from shapestore.cli.printing.output import cell, console, is_terminal, print_fields, print_json, say, visible

T = TypeVar("T")

_GAP = 2
_NARROWEST_FOLD = 12
_NARROWEST = 4


# --- records


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of a table of records: what it shows to people, and to programs, if that is ``exact`` instead."""

    title: str
    short: Callable[[T], Any]
    exact: Callable[[T], Any] | None = None
    right: bool = False
    fold: bool = False
    """Folded to several lines if it is too long, rather than cut."""
    spare: int = 0
    """Left out if the terminal is too narrow, the highest number first; 0 is never left out."""
    rare: bool = False
    """Left out on a terminal if it says nothing of any record."""

    def least_width(self, records: Iterable[T]) -> int:
        """The number of characters that make it readable."""
        wanted = max(map(cell_len, (self.title, *(visible(self.short(record)) for record in records))))
        return min(wanted, _NARROWEST_FOLD) if self.fold else wanted


def print_records(columns: Sequence[Column[T]], records: Sequence[T], *, as_json: bool, nothing: str) -> None:
    """Print one record a line. On a terminal, say ``nothing`` if there are none, and name the columns left out."""
    if as_json:
        for record in records:
            print_json(record)
        return
    if not is_terminal():
        print_fields([column.title for column in columns])
        for record in records:
            print_fields([(column.exact or column.short)(record) for column in columns])
        return
    if not records:
        say(nothing)
        return
    screen = console()
    columns = [column for column in columns if not column.rare or any(map(column.short, records))]
    shown = fitting(columns, records, screen.width)
    screen.print(table_of(shown, records))
    if len(shown) < len(columns):
        say(f"no room for: {', '.join(column.title for column in columns if column not in shown)}")


def fitting(columns: Sequence[Column[T]], records: Sequence[T], width: int) -> list[Column[T]]:
    """The columns that are readable in a line of ``width`` characters: without some of the spare ones, if need be."""
    least = {column.title: column.least_width(records) + _GAP for column in columns}
    shown = list(columns)
    while sum(least[column.title] for column in shown) - _GAP > width:
        sparest = max(shown, key=lambda column: column.spare)
        if not sparest.spare:
            break
        shown.remove(sparest)
    return shown


def table_of(columns: Sequence[Column[T]], records: Iterable[T]) -> Table:
    table = new_table()
    for column in columns:
        table.add_column(
            Text(column.title),
            justify="right" if column.right else "left",
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
            min_width=max(map(len, column.title.split("\n"))) if column.right else None,
        )
    for record in records:
        table.add_row(*(cell(column.short(record)) for column in columns))
    return table


def new_table(*, header: bool = True) -> Table:
    return Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold", show_header=header)


# --- facts about one thing


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Print pairs of a name and a value."""
    if not is_terminal():
        for fact in facts:
            print_fields(fact)
        return
    table = new_table(header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(cell(name), cell(value))
    console().print(table)


# --- rows, of which only the first batch is known


def print_rows_on_the_terminal(
    names: Sequence[str], first: Sequence[Sequence[Any]], rows: Iterator[Sequence[Any]]
) -> None:
    """Print all ``rows``. The ``first`` of them settle the widths; what is longer is cut."""
    screen = console()
    columns = [[row[n] for row in first] for n in range(len(names))]
    wanted = [max(cell_len(visible(value)) for value in column) for column in zip(names, *first, strict=True)]
    widths = _shrunk(wanted, screen.width)
    right = [all(isinstance(value, (int, float, type(None))) for value in column) for column in columns]
    screen.print(Text(_line(names, widths, right), style="bold"), soft_wrap=True)
    for row in rows:
        sys.stdout.write(_line(row, widths, right) + "\n")


def _shrunk(wanted: list[int], width: int) -> list[int]:
    """Widths that fit into a line, if they can: the widest columns give way."""
    widths = [min(characters, width) for characters in wanted]
    too_much = sum(widths) + _GAP * (len(widths) - 1) - width
    while too_much > 0 and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
        too_much -= 1
    return widths


def _line(values: Iterable[Any], widths: list[int], right: list[bool]) -> str:
    cells = []
    for text, width, is_number in zip(map(visible, values), widths, right, strict=True):
        length = cell_len(text)
        if length > width:
            cells.append(set_cell_size(text, width - 1) + "…")
        else:
            padding = " " * (width - length)
            cells.append(padding + text if is_number else text + padding)
    return (" " * _GAP).join(cells).rstrip()
