"""A shape's predicate: what a where means, in the one text that all its spellings share.

The canonical text quotes every name, spells keywords in capitals, has no parentheses that say nothing, and puts the
operands of AND and OR and the lists of IN in order. It is where it came from again, so two texts that could select
different rows never share it; and it is a where itself, whose canonical text it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from shapestore.errors import InvalidShapeError
from shapestore.shape.where.lexer import NAME, PARAMETER, STRING, refuse, tokenize
from shapestore.shape.where.parser import Parser

MAX_LENGTH = 32_768
"""The greatest length of a where, in characters, as written and as canonical text."""

_INVALID = re.compile("[\0\ud800-\udfff]")


class Where(NamedTuple):
    """A where, read."""

    canonical: str
    params: frozenset[str]
    """The names of its parameters, without the colon."""
    columns: frozenset[str]
    """The names of its columns, as written and without quotes."""


@lru_cache(maxsize=1_024)
def parse_where(text: str) -> Where:
    """Read a where. The last thousand texts are remembered, so that reading one again costs next to nothing.

    Raises InvalidShapeError, which says what is not accepted, and at which character.

    >>> parse_where("name like :start and (albumid==1)").canonical
    '"albumid" = 1 AND "name" LIKE :start'
    """
    _check_length(text)
    if invalid := _INVALID.search(text):
        refuse(text, invalid.start(), "neither NUL nor half a surrogate pair is accepted, in quotes or out of them")
    parser = Parser(text)
    canonical = parser.canonical()
    _check_length(canonical)
    return Where(canonical, frozenset(parser.parameters), frozenset(parser.columns))


def where_columns(canonical: str) -> frozenset[str]:
    """The names of the columns that a canonical where reads."""
    return parse_where(canonical).columns


def render_where(
    canonical: str,
    *,
    identifier: Callable[[str], str],
    string: Callable[[str], str],
    parameter: Callable[[str], str],
) -> str:
    """A canonical where in the spelling of another database.

    ``identifier`` and ``string`` are given a name and a string's value without quotes, ``parameter`` a name without
    its colon; what they give back takes its place. The rest is the same in every database.

    >>> render_where('"a" = :p', identifier="`{}`".format, string=repr, parameter="%({})s".format)
    '`a` = %(p)s'
    """
    respelled = {NAME: identifier, STRING: string, PARAMETER: parameter}
    text = parse_where(canonical).canonical
    words = tokenize(text)
    pieces: list[str] = []
    for word, following in pairwise(words):
        written = text[word.start : following.start]
        bare = written.rstrip(" ")
        pieces += (respelled[word.kind](word.text) if word.kind in respelled else bare, written[len(bare) :])
    return "".join(pieces)


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise InvalidShapeError(f"where is too long: {len(text)} characters, of at most {MAX_LENGTH}")
