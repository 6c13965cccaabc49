"""Many rows at once into messages, without decoding them: the rows of a shape have the same columns in the same order.

One regular expression takes a line apart, a row a line, and one template puts it together again. What a template cannot
say is marked by control characters, which never stand in JSON, and is replaced afterwards in the whole text. Rows that
are in any way unusual do not match; then nothing is done here, and they are decoded one by one (messages.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec

from shapestore.http.messages.values import JSON_TYPES, NUMBER_TYPES, TIMESTAMPS, Column, as_text

# Possessive quantifiers, so that a line that does not match costs no more than one that does.
_STRING = rb'null|"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NUMBER = rb"-?[0-9]++(?:\.(?!0[,}])[0-9]++)?+(?:[eE][-+]?[0-9]++)?+"

# A group for what is text already, and one for what needs quotes. Where numbers are declared, a text is unusual.
_USUAL = rb"(?:(%s)|(%s)(?:\.0)?+)" % (_STRING, _NUMBER), b"%s\x01%s\x01"
_OF_NUMBERS = rb"(?:(null)|(%s)(?:\.0)?+)" % _NUMBER, _USUAL[1]
_INTEGER = rb"(?:(null)|(-?[0-9]++)(?:\.0)?+)", _USUAL[1]
_AS_IT_IS = rb"(true|false|%s|-?[0-9]++(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+)" % _STRING, b"%s"
_TRUTH = rb"(null|true|false|1|0)", b"\x02%s\x02"
_TIMESTAMP = rb'(null|"\d{4}-\d\d-\d\d)(?:[T ](\d[^"\\]*+))?+("?)', b"%s\x03%s%s"

_NO_PATTERN = frozenset(("bytea",))

_AFTERWARDS = {
    b"\x01": ((b"\x01\x01", b""), (b"\x01", b'"')),
    b"\x02": (
        (b"\x021\x02", b'"t"'),
        (b"\x02true\x02", b'"t"'),
        (b"\x020\x02", b'"f"'),
        (b"\x02false\x02", b'"f"'),
        (b"\x02null\x02", b"null"),
    ),
    b"\x03": ((b'\x03"', b'"'), (b"null\x03", b"null"), (b"\x03", b" ")),
}


class RowPattern:
    """How the rows of a shape are taken apart. ``names``: their columns, in the order in which they are stored."""

    def __init__(self, names: Sequence[str], columns: Mapping[str, Column], before: bytes, after: bytes) -> None:
        """``before``, ``after``: what stands before and after the value of each message; before it comes the key."""
        described = [columns.get(name) for name in names]
        parts = list(map(_part, described))
        labels = [b"%s:" % msgspec.json.encode(name) for name in names]
        inside = b",".join(re.escape(label) + part for label, (part, _) in zip(labels, parts, strict=True))
        value = b",".join(_literal(label) + template for label, (_, template) in zip(labels, parts, strict=True))
        # The empty groups have findall() give tuples, however few others there are.
        self._find = re.compile(rb"^()\{%s\}()$" % inside, re.MULTILINE).findall
        self._template = _literal(before) + b'%s","value":%s{' + value + b"}%s" + _literal(after)
        # The first is empty, and each part has as many as its template has places.
        groups = accumulate((template.count(b"%s") for _, template in parts), initial=1)
        self._json = [
            (group, as_text(column))
            for group, column in zip(groups, described, strict=False)
            if column is not None and column.get("type") in JSON_TYPES
        ]
        self._afterwards = [pair for mark, pairs in _AFTERWARDS.items() if mark in self._template for pair in pairs]

    def messages(self, keys: Sequence[bytes], rows: bytes) -> bytes | None:
        """The messages of ``rows``, a row a line, with commas between them; None if a row is unusual."""
        found = self._find(rows)
        if len(found) != len(keys) or not self._holds_json(found):
            return None
        template = self._template
        text = b",".join([template % (key, *groups) for key, groups in zip(keys, found, strict=True)])
        for mark, instead in self._afterwards:
            text = text.replace(mark, instead)
        return text

    def _holds_json(self, found: Sequence[Sequence[bytes]]) -> bool:
        """Whether what is text already, in columns of JSON, may be sent as it is."""
        return all(convert(row[group]) == row[group] for group, convert in self._json for row in found if row[group])


def has_pattern(columns: Mapping[str, Column]) -> bool:
    """Whether rows with these columns can be taken apart like this."""
    return not any(column.get("dims") or column.get("type") in _NO_PATTERN for column in columns.values())


def _part(column: Column | None) -> tuple[bytes, bytes]:
    if column is None:
        return _AS_IT_IS
    type_ = column.get("type")
    if type_ in NUMBER_TYPES:
        return _INTEGER if type_ == "int8" else _OF_NUMBERS
    if type_ == "bool":
        return _TRUTH
    return _TIMESTAMP if type_ in TIMESTAMPS else _USUAL


def _literal(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")
