"""What the drivers give for a value, as a value that a row can hold; and as a part of a key.

A driver's value goes into JSON as follows. What is not listed is refused with an InvalidRowError that names the row and
the column: convert such a column in a view.

=================================================  ==============================================================
Value of the driver                                In JSON
=================================================  ==============================================================
``None``, ``bool``, ``int``, ``float``, ``str``    as they are
NaN, Infinity, -Infinity (of float and Decimal)    refused, or null with ``SQLSource(..., nan="null")``
``bytes``, ``bytearray``, ``memoryview``           text, base64
``Decimal`` (numeric, decimal)                     text with all digits: ``"9.50"``
``datetime`` with a time zone (timestamptz)        text, in UTC: ``"2024-01-02T03:04:05Z"``
``datetime`` without one, ``date``                 text: ``"2024-01-02T03:04:05"``, ``"2024-01-02"``
``time`` (time, timetz)                            text: ``"03:04:05"``, ``"03:04:05+01:00"``
``timedelta`` (PostgreSQL: interval)               text, an ISO 8601 duration: ``"P1DT7200S"``; a month is 30 days
``timedelta`` (MySQL, MariaDB: TIME)               text, as the database writes it: ``"-26:00:00"``
``UUID``                                           text
addresses and networks (inet, cidr)                text: ``"10.0.0.1"``, ``"10.0.0.0/8"``
ranges, multiranges                                text that PostgreSQL reads: ``"[1,5)"``, ``"{[1,2),[4,5)}"``
``list``, ``tuple`` (array, composite), ``dict``   array, object (json, jsonb, hstore); their values as in this table
``set`` (MySQL: SET)                               text, in the order of the alphabet: ``"a,b"``
=================================================  ==============================================================

Most other types come as text already: enum, xml, money, bit, macaddr, geometric types, MariaDB's JSON, UUID and INET6.
SQLite has no types beyond the first line and bytes: a date is the text or number that is stored. PostgreSQL's dates and
times outside of the years 1 to 9999, and "infinity", are refused by its driver.
"""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError

from shapestore.errors import InvalidRowError, InvalidSourceError

# Most rows are made of these alone, and of finite floats.
_PLAIN = frozenset((type(None), bool, int, str, bytes))
_STORED = frozenset((type(None), int, float, str, bytes))
"""What SQLite stores."""

_ADDRESSES = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)

_NOT_UTF8 = re.compile(r"Could not decode to UTF-8 column 'c(\d+)'")

_encode = msgspec.json.Encoder(decimal_format="string").encode


class Values:
    """Converts the values of one result. ``names`` are the columns' names, for messages.

    ``followed``: they are SQLite's, and are to be those that are stored, as a follower reads them later.
    """

    def __init__(
        self, names: Sequence[str], *, nan_as_null: bool, time_is_timedelta: bool, followed: bool = False
    ) -> None:
        self._names = names
        self._nan_as_null = nan_as_null
        self._time_is_timedelta = time_is_timedelta
        self._plain = _PLAIN & _STORED if followed else _PLAIN
        self._followed = followed
        self._row_count = 0

    def convert(self, row: Sequence[Any]) -> Sequence[Any]:
        """The values of one row, in the same order. Raises InvalidRowError."""
        self._row_count += 1
        plain = self._plain
        for value in row:
            if type(value) not in plain and not (type(value) is float and value - value == 0.0):  # NaN if not finite
                break
        else:
            return row  # as most are
        return [value if type(value) in plain else self._converted(value, i) for i, value in enumerate(row)]

    def _converted(self, value: Any, column: int) -> Any:
        if self._followed and type(value) not in _STORED:
            raise InvalidSourceError(
                f'the table cannot be followed: the Engine gives values of the column "{self._names[column]}" as '
                f"{type(value).__name__}, and a follower as they are stored; make its connections without detect_types"
            )
        match value:
            case float():
                return value if math.isfinite(value) else self._not_finite(value, column)
            case Decimal():  # which may be finite, and larger than any float
                return value if value.is_finite() else self._not_finite(value, column)
            case datetime.datetime():
                return _in_utc(value)
            case datetime.timedelta():
                return _clock_time(value) if self._time_is_timedelta else value
            case list() | tuple():
                return [self._converted(item, column) for item in value]
            case dict():
                return {key: self._converted(item, column) for key, item in value.items()}
            case set() | frozenset():
                return ",".join(sorted(map(str, value)))
        if isinstance(value, _ADDRESSES):
            return str(value)
        return _range_text(value)

    def _not_finite(self, value: float | Decimal, column: int) -> None:
        if not self._nan_as_null:
            raise InvalidRowError(
                f'row {self._row_count}, column "{self._names[column]}" is {value}, which JSON cannot hold; '
                'SQLSource(..., nan="null") makes it null'
            )


@contextmanager
def naming_columns(names: Sequence[str]) -> Iterator[None]:
    """Text that is not UTF-8, as SQLite takes it, is refused under its column's name, not under our label for it."""
    try:
        yield
    except DBAPIError as error:
        undecodable = _NOT_UTF8.search(str(error.orig))
        if undecodable is None:
            raise
        raise InvalidRowError(
            f'the column "{names[int(undecodable[1])]}" holds text that is not UTF-8: convert it in a view, as by '
            "CAST(... AS BLOB)"
        ) from None


def key_part(value: Any) -> int | float | str | bytes | None:
    """A converted value as part of a key: a value that is more than a number, text or bytes, as its JSON text.

    -0.0 is 0.0, as it is to the unique index of the key.
    """
    if type(value) is int or type(value) is str:  # as most are
        return value
    if type(value) is float:
        return value + 0.0
    if value is None or isinstance(value, (int, float, str, bytes)):
        return int(value) if type(value) is bool else value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    text = _encode(value)
    decoded = msgspec.json.decode(text)
    return decoded if isinstance(decoded, str) else text.decode()


def _in_utc(moment: datetime.datetime) -> datetime.datetime:
    """The same text in every session's time zone, also where that was not whole minutes from UTC, as before 1900."""
    if moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(datetime.UTC)
    except OverflowError:  # within a day of the first or last year
        return moment


def _clock_time(value: datetime.timedelta) -> str:
    sign, value = ("-", -value) if value < datetime.timedelta() else ("", value)
    minutes, seconds = divmod(value.days * 86_400 + value.seconds, 60)
    fraction = f".{value.microseconds:06}" if value.microseconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"


def _range_text(value: Any) -> Any:
    """A range or multirange of psycopg's, known by its shape, so that no driver is imported. Else the value itself."""
    kind = type(value).__name__
    if kind.endswith("Multirange") and isinstance(value, Sequence):
        return f"{{{','.join(map(_range_text, value))}}}"
    if not kind.endswith("Range") or not hasattr(value, "isempty"):
        return value
    if value.isempty:
        return "empty"
    begin, end = "[" if value.lower_inc else "(", "]" if value.upper_inc else ")"
    return f"{begin}{_bound(value.lower)},{_bound(value.upper)}{end}"


def _bound(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        value = _in_utc(value)
    text = value.isoformat() if isinstance(value, datetime.date) else str(value)
    special = not text or any(character in '()[],"\\' or character.isspace() for character in text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if special else text
