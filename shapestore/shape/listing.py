"""How messages show values and lists of names: bounded, in one line, whatever the values are."""

from __future__ import annotations

import reprlib
from collections.abc import Collection
from itertools import islice

_LONGEST = 200
_BRIEFLY = reprlib.Repr()
_BRIEFLY.maxstring = _BRIEFLY.maxother = 80


def listed(things: Collection[str], comma: str = ", ", most: int = 5) -> str:
    """The first things of a list, and how many more there are.

    >>> listed(["a", "b"]), listed(["a", "b", "c"], most=2)
    ('a, b', 'a, b, and 1 more')
    """
    more = len(things) - most
    return comma.join(islice(things, most)) + (f"{comma}and {more} more" if more > 0 else "")


def shown(value: object) -> str:
    r"""A value and its type, without control characters; also where its own ``repr`` fails or is huge.

    >>> print(shown("\x1b[31m"), shown(10**5000))
    '\x1b[31m' (str) <int instance at 0x...> (int)
    """
    try:
        text = _BRIEFLY.repr(value)
    except Exception:  # a repr may be any code; Python's own refuses an int of 5,000 digits
        text = "a value that cannot be shown"
    return f"{printable(text)} ({type_name(value)})"


def described(error: BaseException) -> str:
    """The type of an error and the beginning of its message, without control characters, whatever its ``str`` does."""
    try:
        message = printable(str(error)[:_LONGEST])
    except Exception:  # as in shown()
        message = "its message cannot be shown"
    return f"{type_name(error)}: {message}" if message else type_name(error)


def type_name(value: object) -> str:
    """The name of a value's type, whatever its class or metaclass say."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return printable(name[:_LONGEST])


def printable(text: str) -> str:
    """``text`` with its control characters and other unprintable ones as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
