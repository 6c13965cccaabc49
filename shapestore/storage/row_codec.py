"""Rows on their way into a store: checked, encoded as JSON text, and cut into chunks."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from shapestore.errors import InvalidRowError

# A chunk is one transaction's worth of rows: large enough that its commit costs little beside its rows, small
# enough that other keys' commands, which take turns with it, hardly wait.
CHUNK_ROWS = 2_000
CHUNK_BYTES = 512 * 1024

MAX_ROW_BYTES = 64 * 1024 * 1024


def _as_plain(value: Any) -> Any:
    """What msgspec does not take by itself: a mapping that is no dict, an instance of a subclass."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime.datetime):
        return datetime.datetime.combine(value.date(), value.timetz())
    kinds: tuple[type[Any], ...] = (str, int, float, bytes, Decimal)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


_encode = msgspec.json.Encoder(decimal_format="string", enc_hook=_as_plain).encode

# Types whose values JSON always holds as they are. Most rows are made of these alone, which one set comparison shows.
_PLAIN = frozenset({str, int, bool, type(None)})
_AS_TEXT = (
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    Decimal,
    UUID,
    bytes,
    bytearray,
    memoryview,
)
_MINUTE = datetime.timedelta(minutes=1)


class Chunk:
    """Rows of the attempt ``handle``, encoded; the first has the position ``first`` (positions count from 1)."""

    __slots__ = ("first", "handle", "rows", "size")

    def __init__(self, handle: str, first: int) -> None:
        self.handle = handle
        self.first = first
        self.rows: list[str] = []
        self.size = 0
        """Bytes of JSON text, near enough."""

    def as_array(self) -> str:
        """All rows as one JSON array: one parameter, and one statement to insert them."""
        return f"[{','.join(self.rows)}]"


class Encoder:
    """Turns one attempt's rows into chunks.

    >>> encoder = Encoder("h1")
    >>> encoder.add({"id": 1, "name": "one"})     # None: the chunk has room for more
    >>> encoder.rest().rows
    ['{"id":1,"name":"one"}']
    """

    def __init__(self, handle: str) -> None:
        self._handle = handle
        self._chunk = Chunk(handle, 1)
        self.row_count = 0

    def add(self, row: Any) -> Chunk | None:
        """Take one row; give back the chunk that it filled, if it did. Raises InvalidRowError."""
        position = self.row_count + 1
        text = encode_row(row, position)
        self.row_count = position
        chunk = self._chunk
        chunk.rows.append(text)
        chunk.size += len(text)
        if len(chunk.rows) < CHUNK_ROWS and chunk.size < CHUNK_BYTES:
            return None
        self._chunk = Chunk(self._handle, position + 1)
        return chunk

    def rest(self) -> Chunk:
        """The rows that filled no chunk."""
        return self._chunk


def encode_row(row: Any, position: int) -> str:
    """The JSON text of a row. Raises InvalidRowError, which names the row by ``position`` and the value by its path."""
    if type(row) is not dict:
        if not isinstance(row, Mapping):
            raise InvalidRowError(
                f"row {position} is of type {type(row).__name__}, not a mapping of str to values: {row!r:.100}"
            )
        row = dict(row)
    if not (_PLAIN.issuperset(map(type, row.values())) and all(type(key) is str for key in row)):
        _check(row, f"row {position}")
    try:
        text = _encode(row).decode()
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise InvalidRowError(f"row {position} cannot be held as JSON: {error}") from error
    if len(text) > MAX_ROW_BYTES:
        raise InvalidRowError(f"row {position} takes {len(text)} characters of JSON; the bound is {MAX_ROW_BYTES}")
    return text


def decode_row(text: str) -> dict[str, Any]:
    """The row that a JSON text of the store holds."""
    row: dict[str, Any] = msgspec.json.decode(text)
    return row


def _check(value: Any, path: str, depth: int = 0) -> None:
    """Raise InvalidRowError for whatever would not come back as it went in, or as the text that stands for it."""
    if isinstance(value, (datetime.datetime, datetime.time)) and (value.utcoffset() or _MINUTE) % _MINUTE:
        raise InvalidRowError(f"{path} is not a whole number of minutes from UTC, as times in JSON are: {value}")
    if value is None or isinstance(value, (str, int, *_AS_TEXT)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRowError(f"{path} is {value!r}, which JSON cannot hold")
    elif depth > 100:
        raise InvalidRowError(f"{path} is nested deeper than 100 levels")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidRowError(f"{path} has the key {key!r} of type {type(key).__name__}; keys are str")
            _check(item, f"{path}, {key!r}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    else:
        raise InvalidRowError(
            f"{path} is of type {type(value).__name__}, which JSON cannot hold; "
            "use None, bool, int, float, str, list, dict, or a date, time, Decimal, UUID or bytes"
        )
