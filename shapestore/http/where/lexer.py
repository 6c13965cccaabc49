"""The tokens of a where as PostgreSQL reads it, each with its place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NoReturn

from msgspec import Struct

from shapestore.http.where.refusal import refuse, refuse_syntax
from shapestore.shape.quoting import unquoted

NAME, QUOTED, STRING, NUMBER, PARAMETER, END = "name", "quoted", "string", "number", "parameter", "end"

_TOKEN = re.compile(
    r"""
    [ \t\r\n\f\v]*+ (?:
      (?P<string>    '[^']*+(?:''[^']*+)*+' )
    | (?P<quoted>    "(?:[^"]|"")++" )
    | (?P<number>    (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w$]) )
    | (?P<parameter> \$[0-9]{1,5}(?![\w$]) )
    | (?P<name>      [^\W\d][\w$]*+ )
    | (?P<sign>      :: | <= | >= | <> | != | \|\| | !~~\*?+ | ~~\*?+ | -(?![->]) | /(?!\*) | [+*%<>=(),.\[\]] )
    | (?P<end>       \Z )
    )
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"[ \t\r\n\f\v]*")
_INVALID = re.compile("[\0\ud800-\udfff]")
_OPERATOR = re.compile(r"[+\-*/<>=~!@\#%^&|`?]+")
_LITERAL_OF_ANOTHER_KIND = re.compile(r"(?:[eEbBxXnN]|[uU]&)\Z")
_SPELLINGS = {"!=": "<>"}


class Token(Struct, frozen=True):
    """One token. ``kind`` is a sign in its one spelling, a name in upper case, else the name of its class."""

    kind: str
    text: str
    """A name or string without its quotes, a parameter without its dollar, anything else as it is written."""
    place: int
    is_name: bool = False
    """Whether it is a name without quotes, so that it may be a keyword."""


def tokenize(text: str) -> Iterator[Token]:
    """The tokens of a text, the last of which is its end. Raises RefusedError."""
    if invalid := _INVALID.search(text):
        refuse(invalid.start(), "neither NUL nor half a surrogate pair is accepted")
    place, group = 0, ""
    while group != END:
        match = _TOKEN.match(text, place)
        if match is None:
            _refuse(text, _SPACE.match(text, place).end())  # type: ignore[union-attr]  # it matches anywhere
        group = str(match.lastgroup)
        start, place = match.span(group)
        if group == NAME and text.startswith("'", place) and _LITERAL_OF_ANOTHER_KIND.match(text, start, place):
            refuse(start, f"a string is written 'text'; {text[start:place]}'...' is not supported")
        yield _token(group, text[start:place], start)


def _token(group: str, text: str, start: int) -> Token:
    match group:
        case "string" | "quoted":
            return Token(group, unquoted(text), start)
        case "parameter":
            return Token(group, text[1:], start)
        case "name":
            return Token(text.upper() if text.isascii() else NAME, text, start, is_name=True)
        case "sign":
            return Token(_SPELLINGS.get(text, text), text, start)
    return Token(group, text, start)


def _refuse(text: str, place: int) -> NoReturn:
    rest = text[place:]
    if rest.startswith(("--", "/*")):
        refuse(place, "comments are not supported")
    if rest.startswith(("'", '"')):
        refuse(place, f"unterminated quoted {'string' if rest[0] == chr(39) else 'identifier'}")
    if rest.startswith("$"):
        refuse(place, "a parameter is written $1, $2, ...")
    if operator := _OPERATOR.match(rest):
        refuse(place, f"the operator {operator[0]} is not supported")
    refuse_syntax(place, rest[0])
