"""Phrases that messages about a store share."""

from __future__ import annotations


def count(number: int, thing: str) -> str:
    """A number of things.

    >>> count(1, "shape"), count(1_004, "follower")
    ('1 shape', '1,004 followers')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
