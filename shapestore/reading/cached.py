"""A function as the creator of shapes: one shape for each set of its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

from shapestore.errors import InvalidCreatorError
from shapestore.shape.listing import shown, type_name
from shapestore.shape.shape import Shape

P = ParamSpec("P")

Creation = tuple[Shape, Callable[[Shape], Any]]


def creations_of(function: Callable[P, Any], table: str) -> Callable[P, Creation]:
    """What turns arguments of ``function`` into the shape that they stand for, and its creator.

    Raises InvalidCreatorError for a function whose arguments cannot be params: they have no names of their own
    (``*args``, ``**kwargs``), or one of them is the object of a method.
    """
    names = _names_of_arguments(function)
    signature = inspect.signature(function)
    where = " AND ".join(f'"{name}" = :{name}' for name in sorted(names)) or None
    Shape(table, where=where, params=dict.fromkeys(names))  # an unfit name is told here, and not at each call

    def creation(*args: P.args, **kwargs: P.kwargs) -> Creation:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        shape = Shape(table, where=where, params=bound.arguments or None)
        return shape, _creator(function, bound.args, bound.kwargs)

    return creation


def _names_of_arguments(function: Callable[..., Any]) -> list[str]:
    named = getattr(function, "__qualname__", type_name(function))
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise InvalidCreatorError(
            f"cached() takes a function that tells its arguments, and {shown(function)} does not"
        ) from error
    for place, (name, parameter) in enumerate(parameters.items()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidCreatorError(
                f"{named} takes {parameter}: a cached function names each of its arguments, which are the params of "
                "its shapes"
            )
        if not name.isascii():
            raise InvalidCreatorError(f"{named} takes {name}: the name of a param of a shape is ASCII; rename it")
        if place == 0 and name in ("self", "cls"):
            raise InvalidCreatorError(
                f"{named} takes {name}, which cannot be the param of a shape: decorate the bound method of an object, "
                "a static method, or a function"
            )
    return list(parameters)


def _creator(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[Shape], Any]:
    """A creator of the function's own kind, so that an async function runs on the loop, and a plain one in a thread."""

    async def run(_: Shape) -> Any:
        return await function(*args, **kwargs)

    async def iterate(_: Shape) -> Any:
        async for row in function(*args, **kwargs):
            yield row

    def call(_: Shape) -> Any:
        return function(*args, **kwargs)

    if inspect.iscoroutinefunction(function):
        return run
    return iterate if inspect.isasyncgenfunction(function) else call
