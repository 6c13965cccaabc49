r"""PostgreSQL's array literals: ``{1,2}``, ``{"a,b","say \"hi\"",NULL}``."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import msgspec

MAX_ITEMS = 10_000

_ITEM = re.compile(
    r'\s*+(?:"(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*+)"|(?P<bare>[^\s{}",\\][^{}",\\]*+))\s*+(?P<end>[,}])', re.S
)
_EMPTY = re.compile(r"\s*\{\s*\}\s*")
_BOUNDS = re.compile(r"\A\s*+(?:\[[-+0-9:]++\])++=")
_PART = re.compile(r'"(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*+)"|(?P<bare>[^\s{}",\\][^{}",\\]*+)|[{}]', re.S)


def items_of(text: str) -> list[str | None]:
    r"""The items of an array of one dimension. Raises ValueError, whose message says what is wrong.

    >>> items_of('{1, two ,"a,\\"b",NULL,"NULL"}')
    ['1', 'two', 'a,"b', None, 'NULL']
    """
    if _EMPTY.fullmatch(text):
        return []
    begin = len(text) - len(text.lstrip())
    if not text.startswith("{", begin):
        raise ValueError(f'malformed array literal: "{text:.100}"; it is written {{a,"b c",NULL}}')
    items: list[str | None] = []
    place, end = begin + 1, ","
    while end == ",":
        match = _ITEM.match(text, place)
        if match is None or len(items) == MAX_ITEMS:
            _refuse(text, place, len(items))
        quoted, bare, end = match.group("quoted", "bare", "end")
        items.append(_unescaped(quoted) if bare is None else _bare(bare))
        place = match.end()
    if text[place:].strip():
        _refuse(text, place, len(items))
    return items


def array_in(text: str) -> list[Any]:
    """The items of an array of any dimensions, the arrays in it as lists. Raises ValueError if it is none.

    >>> array_in('{{1,NULL},{"a,b",2}}')
    [['1', None], ['a,b', '2']]
    """
    try:
        return msgspec.json.decode(_PART.sub(_as_json, _BOUNDS.sub("", text)), type=list[Any])
    except msgspec.MsgspecError as error:
        raise ValueError(f'malformed array literal: "{text:.100}"') from error


def _as_json(part: re.Match[str]) -> str:
    quoted, bare = part.group("quoted", "bare")
    if quoted is None and bare is None:
        return "[" if part[0] == "{" else "]"
    return msgspec.json.encode(_unescaped(quoted) if bare is None else _bare(bare)).decode()


def _bare(text: str) -> str | None:
    text = text.rstrip()
    return None if text.upper() == "NULL" else text


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.S)


def _refuse(text: str, place: int, count: int) -> NoReturn:
    if count >= MAX_ITEMS:
        raise ValueError(f"an array has at most {MAX_ITEMS} items")
    if text[place:].lstrip().startswith("{"):
        raise ValueError("arrays of arrays are not supported")
    raise ValueError(f'malformed array literal near "{text[place : place + 30]}"; it is written {{a,"b c",NULL}}')
