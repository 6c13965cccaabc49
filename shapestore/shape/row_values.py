"""The values that a row may hold, brought to the plain types of which JSON is made.

What is stored is what was given, or the row is refused. So nothing that an object says of itself is trusted: of a
subclass of str, int, float or bytes the content is taken, not what its ``__str__`` or ``__int__`` gives. A subclass of
a date or time is taken apart and has to equal what came out: ``pandas.NaT`` does not, nor does a pandas ``Timestamp``
with nanoseconds. A subclass of list, tuple or dict has to show what it holds. Once a value is plain, encoding it runs
no code but Python's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from shapestore.shape.listing import described, shown, type_name

MAX_DEPTH = 100
"""How many lists and mappings may stand inside one another."""

PLAIN = frozenset((str, int, bool, type(None)))
"""Types whose values JSON holds as they are. Most rows are made of these alone."""

_MINUTE = timedelta(minutes=1)


class UnfitError(Exception):
    """A value has no form in JSON. ``path`` leads to it, and ``why`` says what is wrong with it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path = ""


def plain_row(row: Any) -> dict[str, Any]:
    """The row as a dict of str to None, bool, int, float, str, lists and dicts, and types that msgspec gives as text.

    Raises UnfitError, whatever the row and its values are, and whatever they raise.
    """
    try:
        return _plain_mapping(row, 0)
    except UnfitError:
        raise
    except Exception as error:
        raise UnfitError(f"cannot be read: {described(error)}") from error


def plain_value(value: Any) -> Any:
    """One value as it is in a plain row. Raises UnfitError."""
    return _plain(value, 0)


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in PLAIN:
        return value
    try:
        convert = _EXACT.get(kind) or _convert_of_base(value)
        return convert(value, depth)
    except UnfitError:
        raise
    except Exception as error:
        raise UnfitError(f"cannot be read: {described(error)}") from error


def _convert_of_base(value: object) -> Callable[[Any, int], Any]:
    for base, convert in _OF_SUBCLASSES:
        if isinstance(value, base):
            return convert
    raise UnfitError(
        f"is of type {type_name(value)}, which JSON cannot hold; "
        "use None, bool, int, float, str, list, dict, or a date, time, Decimal, UUID or bytes"
    )


# --- what contains others


def _plain_mapping(mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    _check_depth(depth)
    given = mapping if type(mapping) is dict else _items(mapping)
    plain = {}
    for key, value in given.items():
        name = key if type(key) is str else _plain_key(key)
        try:
            plain[name] = _plain(value, depth + 1)
        except UnfitError as unfit:
            unfit.path = f", {name!r:.100}{unfit.path}"
            raise
    if len(plain) < len(given):
        raise UnfitError("has two keys that are the same text")
    return plain


def _items(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    items = {key: mapping[key] for key in mapping}
    if isinstance(mapping, dict):
        _check_content(mapping, items.values(), dict.values(mapping))
    return items


def _plain_key(key: object) -> str:
    if not isinstance(key, str):
        raise UnfitError(f"has the key {shown(key)}; keys are str")
    return str.__str__(key)


def _plain_list(values: Iterable[Any], depth: int) -> list[Any]:
    _check_depth(depth)
    plain = []
    for index, value in enumerate(values):
        try:
            plain.append(_plain(value, depth + 1))
        except UnfitError as unfit:
            unfit.path = f"[{index}]{unfit.path}"
            raise
    return plain


def _plain_sequence(values: Any, depth: int) -> list[Any]:
    """The items of a subclass of list or tuple."""
    items = list(iter(values))
    base = list if isinstance(values, list) else tuple
    _check_content(values, items, base.__iter__(values))
    return _plain_list(items, depth)


def _check_content(container: Any, seen: Iterable[Any], held: Iterable[Any]) -> None:
    """Refuse a subclass that shows other items than it holds: either of them may be what was meant."""
    if list(map(id, seen)) != list(map(id, held)):
        raise UnfitError(f"is of type {type_name(container)}, which shows other items than it holds; give a plain one")


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise UnfitError(f"is nested deeper than {MAX_DEPTH} levels")


# --- dates and times


def _plain_datetime(moment: datetime, _: int) -> datetime:
    if type(moment) is not datetime:
        parts = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond)
        moment = _equal(moment, datetime(*parts, tzinfo=moment.tzinfo, fold=moment.fold))
    return moment if moment.tzinfo is None else moment.replace(tzinfo=_zone(moment.utcoffset()), fold=0)


def _plain_time(moment: time, _: int) -> time:
    if type(moment) is not time:
        parts = (moment.hour, moment.minute, moment.second, moment.microsecond)
        moment = _equal(moment, time(*parts, tzinfo=moment.tzinfo, fold=moment.fold))
    return moment if moment.tzinfo is None else moment.replace(tzinfo=_zone(moment.utcoffset()), fold=0)


def _zone(offset: timedelta | None) -> timezone | None:
    if offset is None:
        return None
    if offset % _MINUTE:
        raise UnfitError(f"is not a whole number of minutes from UTC, as times in JSON are, but {offset}")
    return timezone(offset)


def _equal(given: Any, plain: Any) -> Any:
    if (plain == given) is not True:
        raise UnfitError(
            f"is of type {type_name(given)} and does not equal what JSON would hold for it, {shown(plain)}"
        )
    return plain


# --- the types


def _finite(number: float, _: int) -> float:
    if math.isfinite(number):
        return number
    raise UnfitError(f"is {number!r}, which JSON cannot hold")


def _as_it_is(value: Any, _: int) -> Any:
    return value


_EXACT: dict[type, Callable[[Any, int], Any]] = {
    float: _finite,
    dict: _plain_mapping,
    list: _plain_list,
    tuple: _plain_list,
    datetime: _plain_datetime,
    date: _as_it_is,
    time: _plain_time,
    timedelta: _as_it_is,
    Decimal: _as_it_is,
    UUID: _as_it_is,
    bytes: _as_it_is,
}

_OF_SUBCLASSES: tuple[tuple[type, Callable[[Any, int], Any]], ...] = (
    (str, lambda value, _: str.__str__(value)),
    (int, lambda value, _: int.__int__(value)),
    (float, lambda value, _: _finite(float.__float__(value), _)),
    (bytes, lambda value, _: bytes.__getitem__(value, slice(None))),
    (bytearray, lambda value, _: bytes(bytearray.__getitem__(value, slice(None)))),
    (memoryview, lambda value, _: value.tobytes()),
    (dict, _plain_mapping),
    (list, _plain_sequence),
    (tuple, _plain_sequence),
    (datetime, _plain_datetime),
    (date, lambda value, _: _equal(value, date(value.year, value.month, value.day))),
    (time, _plain_time),
    (timedelta, lambda value, _: _equal(value, timedelta(value.days, value.seconds, value.microseconds))),
    (Decimal, lambda value, _: Decimal(value)),
    (UUID, lambda value, _: _equal(value, UUID(int=value.int))),
    (Mapping, _plain_mapping),
)
"""In this order: a datetime is a date too. Bases go before Mapping, whose isinstance() is slow."""
