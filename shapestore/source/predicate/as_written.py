"""The predicate for SQLite: the where as it was written, since a where means what SQLite makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shapestore.shape.shape import Scalar
from shapestore.shape.where.render import Renderer
from shapestore.source.predicate.bindings import Bindings


class AsWritten(Renderer):
    """Spells columns, and binds strings and parameters."""

    def __init__(self, column: Callable[[str], str], params: Mapping[str, Scalar], bindings: Bindings) -> None:
        self._column = column
        self._params = params
        self._bindings = bindings

    def identifier(self, name: str) -> str:
        return self._column(name)

    def string(self, value: str) -> str:
        return self._bindings.bind(value)

    def parameter(self, name: str) -> str:
        return self._bindings.bind(self._params[name])
