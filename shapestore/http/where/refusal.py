"""What is wrong with a text that a client sent, and where in it."""

from __future__ import annotations

from typing import NoReturn

SYNTAX_OFFSET = len("SELECT 1 WHERE ")
"""Electric counts the place of a syntax error in the statement that it makes of the text; its clients expect that."""

UNSUPPORTED = {
    "ARRAY": "ARRAY[...] is supported in = ANY(...) and <> ALL(...) only",
    "EXISTS": "subqueries are not supported",
    "SELECT": "subqueries are not supported",
    "WITH": "subqueries are not supported",
}
_CHANGING = """
    CURRENT_CATALOG CURRENT_DATE CURRENT_ROLE CURRENT_SCHEMA CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER LOCALTIME
    LOCALTIMESTAMP SESSION_USER USER
"""
UNSUPPORTED |= dict.fromkeys(_CHANGING.split(), "a value that changes is not supported: send it as a parameter")
"""Words of PostgreSQL that begin a value, and why there is none."""


class RefusedError(Exception):
    """A text of a client's is not understood, or not accepted; the message says where and why."""


def refuse(place: int, why: str) -> NoReturn:
    """Raise a RefusedError about the character at ``place``, counted from 0."""
    raise RefusedError(f"At location {place}: {why}")


def refuse_syntax(place: int, found: str) -> NoReturn:
    """Raise a RefusedError about a text that is not an expression, in the words of PostgreSQL."""
    near = f'at or near "{found}"' if found else "at end of input"
    refuse(SYNTAX_OFFSET + place, f"syntax error {near}")
