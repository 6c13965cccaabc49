"""Rows on their way into a store: encoded as JSON text, counted, and cut into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shapestore.errors import InvalidRowError
from shapestore.storage.log.keys import encode_plain_key, json_string, plain_key
from shapestore.storage.log.live.followed import Followed
from shapestore.storage.log.positions import MAX_POSITION
from shapestore.storage.row_codec import row_bytes

# A chunk is one transaction's worth of rows: large enough that its commit costs little beside its rows, small
# enough that other keys' commands, which take turns with it, hardly wait.
CHUNK_ROWS = 2_000
CHUNK_BYTES = 512 * 1024

# A snapshot is served over HTTP in parts of about this size, or several at once, which end where they ended the first
# time. What is served of each row is a message, which holds so many bytes more, about.
PART_BYTES = 2 * 1024 * 1024
MESSAGE_BYTES = 128


class Chunk:
    """Rows of the attempt ``handle``, encoded; the first has the position ``first`` (positions count from 1)."""

    __slots__ = ("first", "handle", "keys", "rows", "size")

    def __init__(self, handle: str, first: int, *, keyed: bool = False) -> None:
        self.handle = handle
        self.first = first
        self.rows: list[str] = []
        self.keys: list[str] | None = [] if keyed else None
        self.size = 0
        """Bytes of the rows."""

    def add(self, row: str, size: int, key: str | None) -> bool:
        """Add a row of so many bytes; its key, if the chunk is keyed. Whether the chunk is full then."""
        self.rows.append(row)
        self.size += size
        if self.keys is not None:
            assert key is not None
            self.keys.append(key)
        return self.size >= CHUNK_BYTES or len(self.rows) >= CHUNK_ROWS

    def next(self) -> Chunk:
        """An empty one, for the rows that come after these."""
        return Chunk(self.handle, self.first + len(self.rows), keyed=self.keys is not None)

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= CHUNK_ROWS or self.size >= CHUNK_BYTES

    def as_json(self) -> str:
        """All rows as one JSON text, and so one parameter: an array, or an object of the keys and their rows."""
        if self.keys is None:
            return f"[{','.join(self.rows)}]"
        pairs = map(":".join, zip(map(json_string, self.keys), self.rows, strict=True))
        return f"{{{','.join(pairs)}}}"


class Encoder:
    """Turns one attempt's rows into chunks.

    >>> encoder = Encoder("h1")
    >>> encoder.add({"id": 1, "name": "one"})     # None: the chunk has room for more
    >>> encoder.rest().rows
    ['{"id":1,"name":"one"}']
    """

    def __init__(
        self,
        handle: str,
        key_columns: Sequence[str] | None = None,
        columns_described: str | None = None,
        followed: Followed | None = None,
    ) -> None:
        self.followed = followed
        """What the rows follow, if they are to be live."""
        self.key_columns = key_columns
        """The columns whose values are a row's key; None where rows have no key, as where one of them is NULL."""
        self.columns_described = columns_described
        """What is known of the columns, as JSON."""
        self._chunk = Chunk(handle, 1, keyed=key_columns is not None)
        self.row_count = 0
        self.bytes = 0
        """Of all rows so far."""
        self.part_ends: list[int] = []
        self._part_bytes = 0
        self.keys_grow = True
        """Whether each key so far was greater than the one before, so that none came twice."""
        self._greatest: tuple[Any, ...] | None = None

    def add(self, row: Any, key: Sequence[Any] | None = None) -> Chunk | None:
        """Take one row; give back the chunk that it filled, if it did. Raises InvalidRowError.

        ``key``: the values of the row's key, where the row itself may lack them.
        """
        position = self.row_count + 1
        encoded = row_bytes(row, position)
        size = len(encoded)
        self._count(position, size)
        chunk = self._chunk
        if not chunk.add(encoded.decode(), size, None if self.key_columns is None else self._key(row, key, position)):
            return None
        self._chunk = chunk.next()
        return chunk

    def rest(self) -> Chunk:
        """The rows that filled no chunk."""
        return self._chunk

    def _count(self, position: int, size: int) -> None:
        if position > MAX_POSITION:  # ids of the next shape come behind it
            raise InvalidRowError(f"a shape holds {MAX_POSITION} rows at most, and its creator gives more")
        self.row_count = position
        self.bytes += size
        self._part_bytes += size + MESSAGE_BYTES
        if self._part_bytes >= PART_BYTES:
            self.part_ends.append(position)
            self._part_bytes = 0

    def _key(self, row: Any, key: Sequence[Any] | None, position: int) -> str | None:
        assert self.key_columns is not None
        try:
            values = plain_key([row[name] for name in self.key_columns] if key is None else key)
            text = None if None in values else encode_plain_key(values)
        except KeyError as error:
            raise InvalidRowError(f"row {position} lacks the key column {error}") from None
        except InvalidRowError as error:
            raise InvalidRowError(f"row {position}: {error}") from error.__cause__
        if text is None:  # SQL's NULL is equal to nothing: such rows have no key
            self.key_columns = self._chunk.keys = None
            self.keys_grow = True
            return None
        if self.keys_grow:
            self.keys_grow = self._greatest is None or _is_greater(values, self._greatest)
            self._greatest = values
        return text


def byte_length(text: str) -> int:
    """How many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _is_greater(values: tuple[Any, ...], than: tuple[Any, ...]) -> bool:
    try:
        return values > than
    except (TypeError, ArithmeticError):  # of several types, or a Decimal that is not a number
        return False
