"""The tokens of a where: names, literals, parameters, keywords and signs, each with its place in the text.

A comment, a semicolon, a dot, or anything else that is none of these is refused here, at its character.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from math import isinf
from typing import NoReturn

from msgspec import Struct

from shapestore.errors import InvalidShapeError
from shapestore.shape.quoting import quoted, unquoted

NAME, FUNCTION, STRING, NUMBER, PARAMETER, END = "name", "function", "string", "number", "parameter", "the end"

_KEYWORDS = "AND BETWEEN CASE ELSE END ESCAPE FALSE IN IS ISNULL LIKE NOT NOTNULL NULL OR THEN TRUE WHEN"

# Without quotes, one database or another takes these for the start of something else, or for a value of its own.
_RESERVED = """
    ADD ALL ALTER ANY AS AUTOINCREMENT CAST CHECK COLLATE COMMIT CONSTRAINT CREATE CURRENT_CATALOG CURRENT_DATE
    CURRENT_ROLE CURRENT_SCHEMA CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DEFAULT DEFERRABLE DELETE DISTINCT DROP
    EXCEPT EXISTS FOREIGN FROM GLOB GROUP HAVING ILIKE INDEX INSERT INTERSECT INTERVAL INTO JOIN LIMIT LOCALTIME
    LOCALTIMESTAMP MATCH NOTHING ON ORDER PRIMARY RAISE REFERENCES REGEXP RETURNING SELECT SESSION_USER SET SIMILAR SOME
    SYSTEM_USER TABLE TO TRANSACTION UNION UNIQUE UNKNOWN UPDATE USING VALUES WHERE WITH
"""

KEYWORDS, RESERVED = frozenset(_KEYWORDS.split()), frozenset(_RESERVED.split())

_TOKEN = re.compile(
    r"""
    [ \t\r\n\f]*+ (?:
      (?P<string>    '[^']*+(?:''[^']*+)*+' )
    | (?P<quoted>    "(?:[^"]|"")++" | `(?:[^`]|``)++` | \[[^\]]++\] )
    | (?P<number>    (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.$]) )
    | (?P<parameter> :[A-Za-z_][A-Za-z0-9_]*(?!\w) )
    | (?P<function>  [^\W\d]\w*+ (?=[ \t\r\n\f]*\() )
    | (?P<bare>      [^\W\d]\w*+ )
    | (?P<sign>      <= | >= | <> | != | == | \|\| | -(?!-) | /(?!\*) | [+*%<>=(),] )
    | (?P<end>       \Z )
    )
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"[ \t\r\n\f]*")
_SPELLINGS = {"==": "=", "!=": "<>"}
_REMEDIES = {
    "--": "comments are not supported",
    "/*": "comments are not supported",
    ";": "a where is one expression, not a statement",
    ".": "qualified names are not supported; write the column's name alone",
    ":": "a parameter is written :name, with an ASCII name",
    "?": "a parameter is written :name",
    "$": "a parameter is written :name",
    "@": "a parameter is written :name",
    "'": "the string is not closed",
    '"': "the quoted name is empty or not closed",
    "`": "the quoted name is empty or not closed",
    "[": "the quoted name is empty or not closed",
}
_REASONS = {
    "ORDER": "a shape has no ORDER BY; rows come in the order of the source's primary key",
    "LIMIT": "a shape has no LIMIT; it holds every row for which its where is true",
    "GROUP": "a shape has no GROUP BY; it holds the rows of its table as they are",
    "SELECT": "a where has no subqueries (no SELECT); make a view of it in the source",
    "EXISTS": "a where has no subqueries (no EXISTS); make a view of it in the source",
}


class Token(Struct, frozen=True):
    """One token. ``kind`` is a keyword or sign in its one spelling, else the name of its class."""

    kind: str
    text: str
    """A name or string without its quotes, a parameter without its colon, anything else as it is written."""
    start: int


def tokenize(text: str) -> list[Token]:
    """All tokens of ``text``, and an ``END``. Raises InvalidShapeError at the first character that begins no token."""
    tokens: list[Token] = []
    place, group = 0, ""
    while group != "end":
        match = _TOKEN.match(text, place)
        if match is None:
            place = _SPACE.match(text, place).end()  # type: ignore[union-attr]  # it matches anywhere
            refuse(text, place, _remedy(text, place))
        group = str(match.lastgroup)
        start, place = match.span(group)
        tokens.append(_READERS[group](text, start, text[start:place]))
    return tokens


def refuse(text: str, place: int, why: str) -> NoReturn:
    """Raise an InvalidShapeError that says what is wrong with ``text``, and where."""
    begin = max(0, place - 30)
    near = ("..." if begin else "") + text[begin : place + 30] + ("..." if len(text) > place + 30 else "")
    raise InvalidShapeError(f"where, at character {place + 1}: {why} (near {near!r})")


def _number(where: str, start: int, text: str) -> Token:
    value, digits = float(text), text.lower().partition("e")[0].strip("0.")
    if isinf(value) or (digits and not value):
        # SQLite reads infinity or 0, PostgreSQL a number of 100,000 digits, MariaDB an error.
        refuse(where, start, "this is not a number that every database reads alike; its exponent is too large")
    return Token(NUMBER, text, start)


def _bare(where: str, start: int, text: str, kind: str = NAME) -> Token:
    keyword = text.upper() if text.isascii() else text
    if keyword in KEYWORDS:
        return Token(keyword, text, start)
    if keyword in RESERVED:
        reason = _REASONS.get(keyword, f"a where has no {keyword}")
        refuse(where, start, f"{reason} (a column of this name is written {quoted(text)})")
    return Token(kind, text, start)


_READERS: dict[str, Callable[[str, int, str], Token]] = {
    "string": lambda _, start, text: Token(STRING, unquoted(text), start),
    "quoted": lambda _, start, text: Token(NAME, unquoted(text), start),
    "number": _number,
    "parameter": lambda _, start, text: Token(PARAMETER, text[1:], start),
    "function": partial(_bare, kind=FUNCTION),
    "bare": _bare,
    "sign": lambda _, start, text: Token(_SPELLINGS.get(text, text), text, start),
    "end": lambda _, start, text: Token(END, text, start),
}
"""For each group of the pattern, what makes a token of the whole text, its place, and its own text."""


def _remedy(text: str, place: int) -> str:
    for beginning, remedy in _REMEDIES.items():
        if text.startswith(beginning, place):
            return f"{beginning!r}: {remedy}"
    if text[place].isdigit():
        return "this is not a number that every database reads alike; write decimal digits"
    return f"{text[place]!r} has no meaning here"
