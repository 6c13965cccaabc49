"""Phrases that messages about a store share."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: int, thing: str) -> str:
    """A number of things.

    >>> count(1, "shape"), count(1_004, "follower")
    ('1 shape', '1,004 followers')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def some(things: Sequence[str], comma: str = ", ", most: int = 5) -> str:
    """The first things of a list, and how many more there are.

    >>> some(["a", "b"]), some(["a", "b", "c"], most=2)
    ('a, b', 'a, b, and 1 more')
    """
    more = len(things) - most
    return comma.join(things[:most]) + (f"{comma}and {more} more" if more > 0 else "")
