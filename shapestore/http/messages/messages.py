"""The messages of a shape: a row of its snapshot, a change, and those that say where the client stands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain, islice, repeat
from typing import Any, Literal

import msgspec

from shapestore.http.messages.row_pattern import RowPattern, has_pattern
from shapestore.http.messages.values import AsText, Column, as_it_is, as_text, is_mixed, may_become_null
from shapestore.storage.log.pages import LoggedChange, Page, RowLines

Replica = Literal["default", "full"]
"""Of an update: the columns that changed, or the whole row, and the old values beside it."""

DEFAULT_SCHEMA = "public"

# So many bytes of rows are put into messages by one call of the regular expression, and so on. Python's lock is held
# meanwhile, about a millisecond; and what fits in the processor's cache is quicker.
SLICE_BYTES = 16 * 1024

_encode = msgspec.json.encode
_decode_row = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.decode

_LIKE_ANOTHER = re.compile(rb'"(?:\'.*|t|f|-?inf|-?[0-9.]++(?:e[-+]?[0-9]++)?+|\\\\x[0-9a-f]*+)"')
"""A text that reads like a truth value, a number or bytes in a key; or like one in quotes."""
_NUMBERS = re.compile(rb"[\[\]0-9,\n-]*+")

RawRow = Mapping[str, msgspec.Raw]


def up_to_date(last_seen: int) -> bytes:
    """The message after which nothing is left, as of the round ``last_seen``."""
    return b'{"headers":{"control":"up-to-date","global_last_seen_lsn":"%d"}}' % last_seen


def snapshot_end(seq: int | None) -> bytes:
    """The message behind the last row of a snapshot, which has seen its source's changes up to ``seq``."""
    return b'{"headers":{"control":"snapshot-end","xmin":"%d","xmax":"%d","xip_list":[]}}' % (
        (seq or 0) + 1,
        (seq or 0) + 1,
    )


def as_events(body: bytes) -> bytes:
    """The messages of a body, a JSON array, as server-sent events."""
    return b"".join([b"data: %s\n\n" % bytes(message) for message in _decode_list(body)])


@lru_cache(maxsize=256)
def schema(columns_described: str | None) -> str:
    """The columns of a shape and their types, as JSON in ASCII; none where nothing is known of them.

    Clients give up at a null where there is none: it is not told of a column in which one may be sent all the same.
    """
    columns: dict[str, dict[str, Any]] = {} if columns_described is None else _decode(columns_described)
    for column in columns.values():
        if may_become_null(column):
            column.pop("not_null", None)
    return json.dumps(columns, separators=(",", ":"))


def relation_of(table: str) -> tuple[str, str]:
    """Schema and table of a shape's table."""
    schema, dot, name = table.partition(".")
    return (schema, name) if dot and schema and name else (DEFAULT_SCHEMA, table)


class Messages:
    """Makes the messages of one shape.

    ``columns``: what is known of its columns, if anything is. The values of others are sent as the JSON that they are,
    and clients take them so. ``key_columns``: None where rows have no key; then each is named by its number.
    """

    def __init__(self, table: str, columns: Mapping[str, Column] | None, key_columns: Sequence[str] | None) -> None:
        relation = relation_of(table)
        self._columns = columns = columns or {}
        self._key_columns = key_columns or ()
        self._key_parts: list[Callable[[msgspec.Raw], bytes]] = [
            partial(_key_part, is_mixed=is_mixed(columns.get(name))) for name in self._key_columns
        ]
        self._convert: dict[str, AsText] = {name: as_text(column) for name, column in columns.items()}
        self._relation = _encode(relation)
        self._before = b'{"key":"' + _encode(".".join(f'"{_escaped(part)}"' for part in relation))[1:-1]
        self._after = b',"headers":{"operation":"insert","relation":%s}}' % self._relation
        self._has_pattern = has_pattern(columns)
        self._pattern: tuple[tuple[str, ...], RowPattern] | None = None

    def of_rows(self, lines: RowLines) -> list[bytes]:
        """Rows of the snapshot, as inserts: several at a time, with commas between them."""
        keys = iter(self._keys(lines))
        return [self._of_some_rows(list(islice(keys, some.count(b"\n") + 1)), some) for some in _slices(lines.values)]

    def _of_some_rows(self, keys: list[bytes], values: bytes) -> bytes:
        if self._has_pattern:
            messages = self._pattern_of(values).messages(keys, values)
            if messages is not None:
                return messages
        return self._inserts(keys, values.split(b"\n"), self._after)

    def of_changes(self, page: Page, replica: Replica) -> list[bytes]:
        """The changes of a page, each a message."""
        txids = {round_: b'"txids":%s,' % _encode(seqs) for round_, seqs in page.seqs.items()}
        return [self._change(change, txids.get(change.round, b""), replica) for change in page.changes]

    def of_subset(self, rows: Iterable[bytes], keys: Iterable[bytes], mark: int) -> bytes:
        """Rows of a subset, as inserts, with commas between them. ``mark`` names the subset."""
        after = b',"headers":{"operation":"insert","relation":%s,"snapshot_mark":%d}}' % (self._relation, mark)
        return self._inserts(map(self._key, keys), rows, after)

    def _inserts(self, keys: Iterable[bytes], rows: Iterable[bytes], after: bytes) -> bytes:
        before = self._before
        values = map(self._value, map(_decode_row, rows))
        return b",".join(
            [b'%s%s","value":%s%s' % (before, key, value, after) for key, value in zip(keys, values, strict=True)]
        )

    def _change(self, change: LoggedChange, txids: bytes, replica: Replica) -> bytes:
        old = None if change.old is None else _decode_row(change.old)
        new = None if change.row is None else _decode_row(change.row)
        parts = [b'%s%s"' % (self._before, self._key(change.key.encode()))]
        if new is None:
            assert old is not None
            parts.append(b'"value":' + self._value(old if replica == "full" else self._key_of(old)))
        elif old is None:
            parts.append(b'"value":' + self._value(new))
        else:
            parts += self._update(old, new, replica)
        last = b',"last":true' if change.is_last else b""
        parts.append(
            b'"headers":{"operation":"%s","relation":%s,%s"lsn":"%d","op_position":%d%s}}'
            % (change.operation.encode(), self._relation, txids, change.round, change.position, last)
        )
        return b",".join(parts)

    def _update(self, old: RawRow, new: RawRow, replica: Replica) -> list[bytes]:
        changed = {name: value for name, value in new.items() if _differs(value, old.get(name))}
        if replica == "default":
            return [b'"value":' + self._value({**self._key_of(new), **changed})]
        before = {name: old[name] for name in changed if name in old}
        return [b'"value":' + self._value(new), b'"old_value":' + self._value(before)]

    def _key_of(self, row: RawRow) -> RawRow:
        return {name: row[name] for name in self._key_columns if name in row}

    def _value(self, row: RawRow) -> bytes:
        convert = self._convert
        return b"{%s}" % b",".join(
            [b"%s:%s" % (_encode(name), convert.get(name, as_it_is)(bytes(value))) for name, value in row.items()]
        )

    def _keys(self, lines: RowLines) -> list[bytes]:
        """What follows the table in the key of each row, as the inside of a JSON string."""
        if lines.keys is None:
            return [b'/\\"%d\\"' % number for number in range(lines.first + 1, lines.first + 1 + lines.row_count)]
        if _NUMBERS.fullmatch(lines.keys):
            quoted = lines.keys.replace(b"[", b'/\\"').replace(b",", b'\\"/\\"').replace(b"]", b'\\"')
            return quoted.split(b"\n")
        return [self._key(key) for key in lines.keys.split(b"\n")]

    def _key(self, key: bytes) -> bytes:
        """A subset has the key that the table has now, perhaps of more columns than that of the stored rows."""
        parts = chain(self._key_parts, repeat(_key_part))
        return b"".join([part(value) for part, value in zip(parts, _decode_list(key), strict=False)])

    def _pattern_of(self, rows: bytes) -> RowPattern:
        """The pattern of rows like the first of these."""
        names = tuple(_decode_row(rows.partition(b"\n")[0]))
        if self._pattern is None or self._pattern[0] != names:
            self._pattern = names, RowPattern(names, self._columns, self._before, self._after)
        return self._pattern[1]


@lru_cache(maxsize=256)
def messages_of(table: str, columns_described: str | None, key_columns: str | None) -> Messages:
    """What makes the messages of a shape, from what its row says."""
    return Messages(
        table,
        None if columns_described is None else _decode(columns_described),
        None if key_columns is None else _decode(key_columns),
    )


def _slices(lines: bytes) -> Iterator[bytes]:
    """Lines, some at a time."""
    begin = 0
    while begin < len(lines):
        end = lines.find(b"\n", begin + SLICE_BYTES)
        end = len(lines) if end < 0 else end
        yield lines[begin:end]
        begin = end + 1


def _escaped(part: str) -> str:
    return part.replace("/", "//").replace(".", "..")


def _differs(new: msgspec.Raw, old: msgspec.Raw | None) -> bool:
    return old is None or bytes(new) != bytes(old)


def _key_part(raw: msgspec.Raw, *, is_mixed: bool = True) -> bytes:
    """What names a value. Where a column may hold 1 beside '1', a text that reads like another value is in quotes."""
    value = bytes(raw)
    if value == b"null":
        return b"/_"
    if is_mixed and _LIKE_ANOTHER.fullmatch(value):
        value = b"\"'%s'\"" % value[1:-1]
    if value[:1] == b"{":  # what JSON lacks; see storage/log/keys.py
        held: dict[str, Any] = _decode(value)
        value = _encode(rf"\x{held['bytes']}" if "bytes" in held else held["float"])
    return b'/\\"%s\\"' % as_text({})(value)[1:-1].replace(b"/", b"//")
