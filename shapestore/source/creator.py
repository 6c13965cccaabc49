"""A creator: a callable that gives the rows of a shape; and what it may tell beside them.

It may have, beside its call, what is listed here. A store asks for the first that is there, from the top:

``keyed_rows(shape)``
    A :class:`~shapestore.source.keyed.KeyedRows`: rows and their keys, of one moment. It gives the key also where the
    shape's ``columns`` leave key columns out. SQLSource has it.
``key_columns(shape)``
    The names of the columns whose values tell the rows apart, or None. Each row holds them. Creators made by
    :func:`~shapestore.source.keyed.keyed` have it; SQLSource has it too, for callers who want the names alone.

And, where rows do not come by ``keyed_rows``:

``describe(shape)``
    The columns of the rows, in their order, each with a
    :class:`~shapestore.shape.column_description.ColumnDescription`. It is stored with the shape, for clients that come
    by HTTP. Where it is missing, the columns are said to hold JSON.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from shapestore.errors import InvalidCreatorError
from shapestore.shape.column_description import Description
from shapestore.shape.listing import shown
from shapestore.shape.shape import Shape

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
Creator = Callable[[Shape], Rows | Awaitable[Rows]]


def check_creator(creator: object) -> None:
    """Raise InvalidCreatorError unless it is callable, and no class of creators."""
    if not callable(creator):
        raise InvalidCreatorError(f"a creator is a callable that takes a Shape, not {type(creator).__name__}")
    if isinstance(creator, type) and hasattr(creator, "keyed_rows"):
        raise InvalidCreatorError(f"{creator.__name__} is a class: give an object of it, as SQLSource(url) makes one")


def required_creator(creator: Creator | None) -> Creator:
    """The creator of a shape that is missing or too old. Raises InvalidCreatorError if there is none."""
    if creator is None:
        raise InvalidCreatorError(
            "the shape is missing or too old, and there is no creator: give create= to ShapeStore or to this call"
        )
    check_creator(creator)
    return creator


def follows(creator: Creator | None) -> bool:
    """Whether a creator makes live shapes."""
    return getattr(creator, "follow", False) is True


def runs_on_the_loop(creator: Creator) -> bool:
    """Whether a call of it does not block: an async function, or an object whose ``__call__`` is one."""
    return _is_async(creator) or _is_async(type(creator).__call__)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def key_columns_of(creator: Creator, shape: Shape) -> tuple[str, ...] | None:
    """The columns whose values name a row, if the creator knows them. Raises InvalidCreatorError.

    It is called where the creator runs: it may look them up in the source.
    """
    ask = getattr(creator, "key_columns", None)
    columns: Any = ask(shape) if callable(ask) else ask
    if columns is None:
        return None
    if inspect.iscoroutine(columns):
        columns.close()  # otherwise Python warns that it was never awaited
    is_list = callable(ask) and isinstance(columns, Sequence) and not isinstance(columns, (str, bytes))
    names = tuple(columns) if is_list else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InvalidCreatorError(
            "key_columns of a creator is a plain function that gives the names of columns, each once, or None; it gave "
            f"{shown(columns)}"
        )
    return names


def description_of(creator: Creator, shape: Shape) -> Description | None:
    """What the creator knows of the columns, if it does. Raises InvalidCreatorError. It is called where it runs."""
    ask: Callable[[Shape], Description] | None = getattr(creator, "describe", None)
    description = None if ask is None else ask(shape)
    if description is not None and not isinstance(description, Mapping):
        raise InvalidCreatorError(f"describe of a creator gives a mapping of names, or None, not {description!r:.100}")
    return description
