"""A shape: a table, a predicate, its parameters and the columns; and the one text that is its identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import Any, NoReturn, final

import msgspec

from shapestore.errors import InvalidShapeError
from shapestore.shape import comparable as comparables
from shapestore.shape.comparable import MAX_NAME_LENGTH, VERSION, Fields, Scalar, is_name
from shapestore.shape.listing import listed, shown
from shapestore.shape.where.limits import SHORT
from shapestore.shape.where.where import Where, parse_where

__all__ = ["Scalar", "Shape"]

_NO_PARAMS: Mapping[str, Scalar] = MappingProxyType({})


@final
class Shape:
    """A subset of a table: the rows for which ``where`` is true, and of each the ``columns``.

    Immutable and hashable. Two shapes are equal if their ``comparable`` is: spellings of one ``where`` that differ in
    white space, the case of keywords, needless parentheses, quotes, or the order of AND, OR and IN make equal shapes.

    A source executes the where as it was written, with its operands in their order: databases evaluate ``b = 0 OR
    a / b > 2`` from left to right in practice, and people rely on it. Of several callers who ask for equal shapes at
    once, one leads and the others share its result; the text that is executed is the leader's.

    Args:
        table: The name of the table, as the source knows it.
        where: One boolean expression, with ``:name`` for parameters; None means every row.
        params: A value for each parameter of ``where``: None, bool, 64-bit int, finite float or str. 1, 1.0, True
            and "1" are different.
        columns: The names of the columns, in order; None means all.

    Raises:
        InvalidShapeError: One of these is not acceptable; the message says which and why.

    >>> shape = Shape("Track", where="AlbumId = :album", params={"album": 1}, columns=["TrackId", "Name"])
    >>> shape == Shape("Track", where="( AlbumId==:album )", params={"album": 1}, columns=["TrackId", "Name"])
    True
    >>> shape.comparable
    '{"v":1,"table":"Track","where":"\\\\"AlbumId\\\\" = :album","params":{"album":1},"columns":["TrackId","Name"]}'
    """

    __slots__ = ("columns", "comparable", "params", "table", "where", "where_as_written")

    table: str
    where: str | None
    """The canonical text of the predicate, or None. It is part of the identity, and is not executed."""
    where_as_written: str | None
    """The predicate as the caller wrote it, or None. It is what a source executes, and no part of the identity."""
    params: Mapping[str, Scalar]
    """Read-only, in the order of the names."""
    columns: tuple[str, ...] | None
    comparable: str
    """The canonical text of the whole, as JSON: the shape's identity, and its key in a store without namespace."""

    def __new__(
        cls,
        table: str,
        *,
        where: str | None = None,
        params: Mapping[str, Scalar] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Shape:
        if not is_name(table):
            _refuse_name("table", table)
        parsed, values = _predicate(where, params)
        names = None if columns is None else _names(columns)
        canonical = None if parsed is None else parsed.canonical
        fields = Fields(v=VERSION, table=table, where=canonical, params=values, columns=names)
        comparable = comparables.write(fields)
        if parsed is not None and (parsed.depends_on_values or (len(comparable) > SHORT and _has_long(values))):
            parsed.check(values)
        return _made(fields, where, comparable)

    @classmethod
    def from_comparable(cls, text: str, where_as_written: str | None = None) -> Shape:
        """The shape with this key, which :attr:`comparable` or :meth:`comparable_in` gave.

        A namespace in it is left out: a shape has none. ``where_as_written`` is trusted to mean what the key's where
        means; without it the canonical where takes its place.

        Raises InvalidShapeError if the text is not the key of a shape, or one of another version of the format.
        """
        fields = comparables.read(text)
        if fields.namespace:
            fields = msgspec.structs.replace(fields, namespace="")
            text = comparables.write(fields)
        return _made(fields, fields.where and (where_as_written or fields.where), text)

    def comparable_in(self, namespace: str) -> str:
        """The shape's key in a store with this namespace: ``comparable`` itself for ``""``.

        Keys of different namespaces are never equal. Raises InvalidShapeError if the namespace is not a str of at most
        256 characters of Unicode text.

        >>> Shape("Track").comparable_in("tenant-7")
        '{"v":1,"namespace":"tenant-7","table":"Track","where":null,"params":{},"columns":null}'
        """
        return comparables.in_namespace(self.comparable, namespace)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Shape is immutable; {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Shape is immutable; {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return self.comparable == other.comparable if isinstance(other, Shape) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.comparable)

    def __repr__(self) -> str:
        given = {"where": self.where_as_written, "params": dict(self.params) or None, "columns": self.columns}
        rest = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
        return f"Shape({self.table!r}{rest})"

    def __reduce__(self) -> tuple[Any, tuple[str, str | None]]:
        return Shape.from_comparable, (self.comparable, self.where_as_written)


_set = object.__setattr__


def _made(fields: Fields, where_as_written: str | None, comparable: str) -> Shape:
    shape = object.__new__(Shape)
    _set(shape, "table", fields.table)
    _set(shape, "where", fields.where)
    _set(shape, "where_as_written", where_as_written)
    _set(shape, "params", MappingProxyType(fields.params) if fields.params else _NO_PARAMS)
    _set(shape, "columns", fields.columns)
    _set(shape, "comparable", comparable)
    return shape


# The checks take few steps for the usual case, by exact types: a Shape is made for each request.


def _is_scalar(value: object) -> bool:
    # `type(...) is` rather than isinstance(): True is not 1 here, nor is an IntEnum or a numpy float a number.
    if type(value) is int:
        return -(2**63) <= value < 2**63
    if type(value) is float:
        return isfinite(value)
    return type(value) is str or type(value) is bool or value is None


def _has_long(values: Mapping[str, Scalar]) -> bool:
    return any(type(value) is str and len(value) > SHORT for value in values.values())


def _predicate(where: str | None, params: Mapping[str, Scalar] | None) -> tuple[Where | None, dict[str, Scalar]]:
    if params is None:
        params = _NO_PARAMS
    elif type(params) is not dict and not isinstance(params, Mapping):
        raise InvalidShapeError(f"params must be a mapping of names to values; got {shown(params)}")
    if where is None:
        if params:
            raise InvalidShapeError(f"params are given without a where that uses them: {_all_shown(params)}")
        return None, {}
    if type(where) is not str:
        raise InvalidShapeError(f"where must be a str or None; got {shown(where)}")
    parsed = parse_where(where)
    if parsed.params != params.keys():
        _refuse_names_of_params(parsed.params, params)
    values = {name: params[name] for name in sorted(parsed.params)}
    for name, value in values.items():
        if not _is_scalar(value):
            _refuse_value(name, value)
    return parsed, values


def _names(columns: Sequence[str]) -> tuple[str, ...]:
    if isinstance(columns, (str, bytes, bytearray)) or not isinstance(columns, Sequence):
        raise InvalidShapeError(f"columns must be a list of names, in their order; got {shown(columns)}")
    names = tuple(columns)
    if not names:
        raise InvalidShapeError("columns is empty; name at least one column, or leave it out for all of them")
    for name in names:
        if not is_name(name):
            _refuse_name("columns", name)
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise InvalidShapeError(f"columns names a column more than once: {_all_shown(twice)}")
    return names


def _refuse_name(what: str, name: object) -> NoReturn:
    raise InvalidShapeError(
        f"{what}: a name must be a str of 1 to {MAX_NAME_LENGTH} characters, without NUL; got {shown(name)}"
    )


def _refuse_names_of_params(used: frozenset[str], given: Mapping[str, Scalar]) -> NoReturn:
    if missing := used - given.keys():
        raise InvalidShapeError(f"where uses parameters that params does not give: {_all_shown(missing)}")
    raise InvalidShapeError(f"params gives what where does not use: {_all_shown(given.keys() - used)}")


def _refuse_value(name: str, value: object) -> NoReturn:
    raise InvalidShapeError(
        f"params[{name!r}] must be None, a bool, a 64-bit int, a finite float or a str, and of no subclass of these; "
        f"got {shown(value)}"
    )


def _all_shown(names: Collection[object]) -> str:
    return listed(sorted(map(shown, names)), most=10)
