"""How a method of the asynchronous store becomes one of the synchronous store, in one line and with its types."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import GenericAlias
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, get_args, get_type_hints

from shapestore.store import ShapeStore as AsyncShapeStore

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Face(Protocol):
    """What the methods made here need of the synchronous store."""

    _store: AsyncShapeStore

    def _wait(self, method: Callable[[], Coroutine[Any, Any, T]]) -> T: ...

    def _iterate(self, method: Callable[[], AsyncIterator[T]], ahead: int) -> Generator[T, None, None]: ...


def waiting(
    method: Callable[Concatenate[AsyncShapeStore, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Face, P], T]:
    """The method that runs the coroutine function ``method`` on the loop, and waits for what it returns."""

    def wait(self: Face, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(functools.partial(method, self._store, *args, **kwargs))

    _name_after(method, wait)
    return wait


def iterating(
    method: Callable[Concatenate[AsyncShapeStore, P], AsyncIterator[T]], *, ahead: int = 100
) -> Callable[Concatenate[Face, P], Generator[T, None, None]]:
    """The method whose iterator gives what the async generator function ``method`` gives.

    Up to ``ahead`` items are read before they are asked for; 1 is right where an item is large.
    """

    def iterate(self: Face, /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        return self._iterate(functools.partial(method, self._store, *args, **kwargs), ahead)

    _name_after(method, iterate)
    hints = get_type_hints(method)
    hints["return"] = GenericAlias(Generator, (get_args(hints["return"])[0], None, None))
    signature = inspect.signature(method).replace(return_annotation=hints["return"])
    iterate.__annotations__ = hints
    vars(iterate)["__signature__"] = signature
    return iterate


def arguments_of(
    constructor: Callable[Concatenate[AsyncShapeStore, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """Give another constructor the signature of this one."""
    return functools.wraps(constructor, assigned=("__annotations__",))


def _name_after(method: Callable[..., Any], own: Callable[..., Any]) -> None:
    """Give ``own`` the name, the signature and the docstring of ``method``."""
    functools.update_wrapper(own, method)
    own.__module__ = "shapestore.sync"
    documented_as(method)(own)


def documented_as(method: object) -> Callable[[F], F]:
    """Give another method the docstring of this one, without ``await``."""

    def document(own: F) -> F:
        own.__doc__ = re.sub(r"\bawait |\basync (?=for|with)", "", method.__doc__ or "")
        return own

    return document
