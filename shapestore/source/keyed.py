"""Rows with their keys: how a store learns which row of a refresh is which row of the shape that it has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from shapestore.errors import InvalidCreatorError
from shapestore.shape.column_description import Description
from shapestore.shape.shape import Shape

T = TypeVar("T")

Key = tuple[int | float | str | bytes | None, ...]
"""The values of a row's key, in the order of the key's columns."""


class Moment(NamedTuple):
    """As of when a SQLite source was read, for its follower. Each is None where it does not apply."""

    source: str | None = None
    """The resolved path of the source's file."""
    seq: int | None = None
    """The newest row of the source's change table, if it has one: all that was committed up to it is in the rows."""
    nonce: int | None = None
    """The nonce of that row."""
    signature: str | None = None
    """Of a table that is to be followed: it stands for the table and its triggers, by which all changes are seen."""
    table: str | None = None
    """The name of that table in the source."""
    markers: Sequence[int] | None = None
    """Changes up to ``seq`` that applications wait for by their numbers: the last of them."""


class KeyedRows(Iterator[tuple[Key | None, dict[str, Any]]]):
    """Pairs of a key, None where there is none, and a row. Closing it ends the query; so does its end."""

    def __init__(self, rows: Iterator[Any]) -> None:
        """``rows``: a generator that yields the key's columns, or None, the moment, the description; then the pairs."""
        self._rows = rows
        self.key_columns: Sequence[str] | None
        """The columns of the key, or None."""
        self.moment: Moment
        """As of when the rows are read."""
        self.description: Description
        """What is known of the columns of the rows."""
        self.key_columns, self.moment, self.description = next(rows)

    def __next__(self) -> tuple[Key | None, dict[str, Any]]:
        pair: tuple[Key | None, dict[str, Any]] = next(self._rows)
        return pair

    def close(self) -> None:
        self._rows.close()  # type: ignore[attr-defined]


class Subset(NamedTuple):
    """Some of a shape's rows, with their keys."""

    moment: Moment
    """As of when they were read."""
    rows: list[tuple[Key | None, dict[str, Any]]]


class Keyed(partial[T]):
    """A creator with a key. To :mod:`inspect` it is a coroutine or generator function if the creator is one."""

    columns: tuple[str, ...]

    def key_columns(self, _shape: Shape) -> Sequence[str]:
        return self.columns


def keyed(creator: Callable[[Shape], T], *columns: str) -> Keyed[T]:
    """``creator``, with the names of the columns whose values tell its rows apart.

    With them, a refresh changes the rows that differ, instead of replacing the shape.

    >>> store = ShapeStore("shapes.db", create=keyed(report, "region", "year"))

    Raises InvalidCreatorError if ``creator`` is not callable, or ``columns`` are not different names.
    """
    if not callable(creator):
        raise InvalidCreatorError(
            f"keyed() takes a creator and the names of its key's columns; {creator!r:.100} is not callable"
        )
    if not columns or not all(type(name) is str and name for name in columns) or len(set(columns)) < len(columns):
        raise InvalidCreatorError(f"keyed() takes the names of the key's columns, each once: not {columns!r:.100}")
    is_function = inspect.isroutine(creator) or isinstance(creator, partial)
    # Of an object, the method that runs: inspect looks at functions alone.
    wrapped: Keyed[T] = Keyed(creator) if is_function else Keyed(type(creator).__call__, creator)
    wrapped.columns = columns
    return wrapped
