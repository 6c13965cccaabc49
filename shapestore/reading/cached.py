"""A function as the creator of shapes: one shape for each set of its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

from shapestore.errors import InvalidCreatorError
from shapestore.shape.shape import Shape

P = ParamSpec("P")

Creation = tuple[Shape, Callable[[Shape], Any]]


def creations_of(function: Callable[P, Any], table: str) -> Callable[P, Creation]:
    """What turns arguments of ``function`` into the shape that they stand for, and its creator.

    Raises InvalidCreatorError for a function whose arguments have no names of their own (``*args``, ``**kwargs``).
    """
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidCreatorError(
                f"{function.__qualname__} takes {parameter}: a cached function names each of its arguments, which are "
                "the params of its shapes"
            )
    where = " AND ".join(f'"{name}" = :{name}' for name in sorted(signature.parameters)) or None

    def creation(*args: P.args, **kwargs: P.kwargs) -> Creation:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        shape = Shape(table, where=where, params=bound.arguments or None)
        return shape, _creator(function, bound.args, bound.kwargs)

    return creation


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
