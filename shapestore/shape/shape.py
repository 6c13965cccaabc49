"""What a shape is: a table, a predicate, its parameters and the columns; and the one text that is its identity."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from math import isfinite
from types import MappingProxyType
from typing import Any, NoReturn, final

import msgspec

from shapestore.errors import InvalidShapeError
from shapestore.shape.where.where import parse_where

Scalar = None | bool | int | float | str
"""What a parameter can be. An int has 64 bits; a float is finite."""

MAX_NAME_LENGTH = 256
"""The greatest length of a table's or column's name, in characters."""
MAX_COMPARABLE_LENGTH = 262_144
"""The greatest length of a shape's canonical text, in bytes of UTF-8: it is the key of an index."""

_NO_PARAMS: Mapping[str, Scalar] = MappingProxyType({})


class _Comparable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of a comparable, in the order in which they are written."""

    v: int
    table: str
    where: str | None
    params: dict[str, Scalar]
    columns: tuple[str, ...] | None


_VERSION = 1
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Comparable).decode


@final
class Shape:
    """A subset of a table: the rows for which ``where`` is true, and of each the ``columns``.

    Immutable and hashable. Two shapes are equal if their ``comparable`` is: spellings of one ``where`` that differ in
    white space, keywords' case, needless parentheses, quotes, or the order of AND, OR and IN make the same shape.

    Args:
        table: The name of the table, as the source knows it.
        where: One boolean expression, with ``:name`` for parameters; None means every row.
        params: A value for each parameter of ``where``: None, bool, int of 64 bits, finite float or str. 1, 1.0, True
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

    __slots__ = ("columns", "comparable", "params", "table", "where")

    table: str
    where: str | None
    """The canonical text of the predicate, or None."""
    params: Mapping[str, Scalar]
    """Read-only, in the order of the names."""
    columns: tuple[str, ...] | None
    comparable: str
    """The canonical text of the whole, as JSON: the shape's identity, and its key in the store."""

    def __new__(
        cls,
        table: str,
        *,
        where: str | None = None,
        params: Mapping[str, Scalar] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Shape:
        if not _is_name(table):
            _refuse_name("table", table)
        canonical, values = _predicate(where, params)
        names = None if columns is None else _names(columns)
        comparable = _comparable(_Comparable(_VERSION, table, canonical, values, names))
        return _made(table, canonical, values, names, comparable)

    @classmethod
    def from_comparable(cls, text: str) -> Shape:
        """The shape whose ``comparable`` is ``text``, which this library wrote: it is not checked once more.

        Raises InvalidShapeError if it is of another version of the format, or no such text at all.
        """
        try:
            fields = _decode(text)
        except (msgspec.MsgspecError, UnicodeError, TypeError) as error:
            raise InvalidShapeError(f"not the comparable of a shape: {_shown(text)} ({error})") from error
        if fields.v != _VERSION:
            raise InvalidShapeError(
                f"the comparable is of version {fields.v}, this shapestore knows version {_VERSION}: {_shown(text)}"
            )
        return _made(fields.table, fields.where, fields.params, fields.columns, text)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Shape is immutable; {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Shape is immutable; {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return self.comparable == other.comparable if isinstance(other, Shape) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.comparable)

    def __repr__(self) -> str:
        given = {"where": self.where, "params": dict(self.params) or None, "columns": self.columns}
        rest = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
        return f"Shape({self.table!r}{rest})"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Shape.from_comparable, (self.comparable,)


_set = object.__setattr__


def _made(
    table: str, where: str | None, params: dict[str, Scalar], columns: tuple[str, ...] | None, comparable: str
) -> Shape:
    shape = object.__new__(Shape)
    _set(shape, "table", table)
    _set(shape, "where", where)
    _set(shape, "params", MappingProxyType(params) if params else _NO_PARAMS)
    _set(shape, "columns", columns)
    _set(shape, "comparable", comparable)
    return shape


# What follows checks the usual case by exact types and in few steps: a Shape is made for each request.


def _is_name(name: object) -> bool:
    return type(name) is str and 0 < len(name) <= MAX_NAME_LENGTH and "\0" not in name


def _is_scalar(value: object) -> bool:
    # `type(...) is` rather than isinstance(): True is no 1 here, and an IntEnum or a numpy float is neither.
    if type(value) is int:
        return -(2**63) <= value < 2**63
    if type(value) is float:
        return isfinite(value)
    return type(value) is str or type(value) is bool or value is None


def _predicate(where: str | None, params: Mapping[str, Scalar] | None) -> tuple[str | None, dict[str, Scalar]]:
    if params is None:
        params = _NO_PARAMS
    elif type(params) is not dict and not isinstance(params, Mapping):
        raise InvalidShapeError(f"params is a mapping of names to values, not {_shown(params)}")
    if where is None:
        if params:
            raise InvalidShapeError(f"params are given but no where that uses them: {_listed(params)}")
        return None, {}
    if type(where) is not str:
        raise InvalidShapeError(f"where is a str or None, not {_shown(where)}")
    parsed = parse_where(where)
    if parsed.params != params.keys():
        _refuse_names_of_params(parsed.params, params)
    values = {name: params[name] for name in sorted(parsed.params)}
    for name, value in values.items():
        if not _is_scalar(value):
            _refuse_value(name, value)
    return parsed.canonical, values


def _names(columns: Sequence[str]) -> tuple[str, ...]:
    if isinstance(columns, (str, bytes, bytearray)) or not isinstance(columns, Sequence):
        raise InvalidShapeError(f"columns is a list of names in their order, not {_shown(columns)}")
    names = tuple(columns)
    if not names:
        raise InvalidShapeError("columns is empty; name at least one column, or leave it out for all of them")
    for name in names:
        if not _is_name(name):
            _refuse_name("columns", name)
    if len(set(names)) < len(names):
        twice = (name for name, count in Counter(names).items() if count > 1)
        raise InvalidShapeError(f"columns names a column more than once: {_listed(twice)}")
    return names


def _comparable(fields: _Comparable) -> str:
    try:
        text = _encode(fields)
    except UnicodeEncodeError as error:
        raise InvalidShapeError(f"half a surrogate pair, which is no text: {_shown(error.object)}") from error
    if len(text) > MAX_COMPARABLE_LENGTH:
        raise InvalidShapeError(f"the shape is too large: {len(text)} bytes, of at most {MAX_COMPARABLE_LENGTH}")
    return text.decode()


def _refuse_name(what: str, name: object) -> NoReturn:
    raise InvalidShapeError(
        f"{what}: a name is a str of 1 to {MAX_NAME_LENGTH} characters, none of them NUL, not {_shown(name)}"
    )


def _refuse_names_of_params(used: frozenset[str], given: Mapping[str, Scalar]) -> NoReturn:
    if missing := used - given.keys():
        raise InvalidShapeError(f"where uses parameters that params does not give: {_listed(missing)}")
    raise InvalidShapeError(f"params gives what where does not use: {_listed(given.keys() - used)}")


def _refuse_value(name: str, value: object) -> NoReturn:
    raise InvalidShapeError(
        f"params[{name!r}] is a None, bool, int of 64 bits, finite float or str, of exactly these types,"
        f" not {_shown(value)}"
    )


def _listed(names: Iterable[object]) -> str:
    some = sorted(map(_shown, islice(names, 11)))
    return ", ".join(some[:10]) + (", ..." if len(some) > 10 else "")


def _shown(value: object) -> str:
    """What ``value`` is, in a line, whatever its size and however its own repr fails."""
    try:
        text = reprlib.repr(value)
    except Exception:  # a repr is anybody's code, and Python's own refuses an int of 5,000 digits
        text = "something that cannot be shown"
    return f"{text} ({type(value).__name__})"
