"""How results are shown: tables for people on a terminal, tab-separated lines in a pipe, JSON lines for programs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

_GAP = 2
_NARROWEST_FOLD = 12

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def is_terminal() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout.isatty()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - it is called where it is caught; rich would exit with 1


def console(width: int | None = None) -> Console:
    return _Console(width=width, markup=False, emoji=False, highlight=False)


def say(message: str) -> None:
    """A line for people, on stderr, so that it is in no program's way."""
    click.echo(message, err=True)


def print_json(value: object) -> None:
    """One line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


# --- tables


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of a table: what it shows of a record to people, and, where that differs, to programs."""

    title: str
    short: Callable[[T], Any]
    exact: Callable[[T], Any] | None = None
    right: bool = False
    fold: bool = False
    """Folded to several lines where it is too long, rather than cut."""
    spare: int = 0
    """Left out where there is no room, that of the highest number first; never, if 0."""

    def justify(self) -> Literal["left", "right"]:
        return "right" if self.right else "left"

    def least_width(self, records: Iterable[T]) -> int:
        """The characters that it takes to be read."""
        wanted = max(map(cell_len, (self.title, *(visible(self.short(record)) for record in records))))
        return min(wanted, _NARROWEST_FOLD) if self.fold else wanted


def print_table(columns: Sequence[Column[T]], records: Iterable[T], *, nothing: str) -> None:
    """The records, one a line. On a terminal it says ``nothing`` where there are none, and what it leaves out."""
    if not is_terminal():
        print_fields([column.title for column in columns])
        for record in records:
            print_fields([(column.exact or column.short)(record) for column in columns])
        return
    records = list(records)
    if not records:
        say(nothing)
        return
    screen = console()
    shown = fitting(columns, records, screen.width)
    screen.print(table_of(shown, records))
    if len(shown) < len(columns):
        say(f"no room for: {', '.join(column.title for column in columns if column not in shown)}")


def fitting(columns: Sequence[Column[T]], records: Sequence[T], width: int) -> list[Column[T]]:
    """The columns, but for as many of the spare ones as leave the others too little of a line of so many characters."""
    least = {column.title: column.least_width(records) + _GAP for column in columns}
    shown = list(columns)
    while sum(least[column.title] for column in shown) - _GAP > width:
        sparest = max(shown, key=lambda column: column.spare)
        if not sparest.spare:
            break
        shown.remove(sparest)
    return shown


def table_of(columns: Sequence[Column[T]], records: Iterable[T]) -> Table:
    """The records as people read them."""
    table = new_table()
    for column in columns:
        table.add_column(
            Text(column.title),
            justify=column.justify(),
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
            min_width=max(map(len, column.title.split("\n"))) if column.right else None,
        )
    for record in records:
        table.add_row(*(cell(column.short(record)) for column in columns))
    return table


def new_table() -> Table:
    return Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Facts about one thing, by name."""
    if not is_terminal():
        for fact in facts:
            print_fields(fact)
        return
    table = new_table()
    table.show_header = False
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(cell(name), cell(value))
    console().print(table)


def print_fields(values: Iterable[Any]) -> None:
    """One line of a pipe: fields parted by tabs; tabs and line ends within them as backslash and letter."""
    sys.stdout.write("\t".join(map(_field, values)) + "\n")


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _field(value: Any) -> str:
    return plain(value).translate(_ESCAPES)


def visible(value: Any) -> str:
    """A value in a line of text that a terminal shows as it is: it may come from anywhere, escape sequences and all."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), plain(value))


def cell(value: Any) -> Text:
    return Text(visible(value))


def plain(value: Any) -> str:
    """A value as text: nothing for None, and JSON for what is neither text nor number."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return msgspec.json.encode(value).decode()


# --- in words


def now() -> float:
    """The wall clock, for people."""
    return time.time()


def ago(moment: datetime | None) -> str:
    return "" if moment is None else f"{age(moment)} ago"


def age(moment: datetime | None) -> str:
    """How long ago that was, as the views say it."""
    return "" if moment is None else duration(now() - moment.timestamp())


def duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7_200:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3_600} h"
    return f"{whole // 86_400} days"


def size(number: int) -> str:
    """Bytes."""
    if number < 10_000:
        return f"{number:,} bytes"
    return f"{number / 1000:,.0f} kB" if number < 10_000_000 else f"{number / 1_000_000:,.0f} MB"


def short(handle: str) -> str:
    """As much of a handle as tells it from others: its end, for those made at about the same time begin alike."""
    return handle[-12:]


def count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
