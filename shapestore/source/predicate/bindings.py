"""The values that a statement binds, each once."""

from __future__ import annotations

from shapestore.shape.shape import Scalar


class Bindings:
    """Gives out the placeholders of values. A value that occurs twice has one placeholder, and so one type.

    >>> bindings = Bindings()
    >>> bindings.bind("a"), bindings.bind(1), bindings.bind(True), bindings.bind("a")
    (':value_0', ':value_1', ':value_2', ':value_0')
    """

    def __init__(self) -> None:
        self._names: dict[tuple[type, Scalar | bytes], str] = {}

    def bind(self, value: Scalar | bytes) -> str:
        """The placeholder of ``value``, as text() takes it."""
        return f":{self._names.setdefault((type(value), value), f'value_{len(self._names)}')}"

    @property
    def values(self) -> dict[str, Scalar | bytes]:
        """The bound values by their names."""
        return {name: value for (_, value), name in self._names.items()}
