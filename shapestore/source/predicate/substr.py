"""substr(), whose start and length mean in SQLite what they mean in no other database."""

from __future__ import annotations

_LONGEST = 2**31 - 1
"""No text has more characters; and the functions of PostgreSQL take integers of 32 bits."""


def substr(text: str, start: int, length: int | None) -> str | None:
    """SQL for what ``substr(text, start, length)`` gives in SQLite, ``text`` being SQL; None if there is none.

    A start below 0 counts from the end; 0 is the place before the first character; a length below 0 takes characters
    before the start. Only functions that PostgreSQL and MariaDB have alike are used, within the limits in which they
    are alike.
    """
    start = max(-_LONGEST, min(start, _LONGEST))
    if length is None:
        return f"RIGHT({text}, {-start})" if start < 0 else f"SUBSTR({text}, {max(start, 1)})"
    length = max(-_LONGEST, min(length, _LONGEST))
    if start < 0:
        return None if length < 0 else _from_the_end(text, -start, length)
    if length < 0:
        first = max(start + length, 1)
        return f"SUBSTR({text}, {first}, {max(start - first, 0)})"
    return f"SUBSTR({text}, {max(start, 1)}, {length if start else max(length - 1, 0)})"


def _from_the_end(text: str, distance: int, length: int) -> str:
    """Places before the first character count, and hold nothing."""
    before = f"GREATEST({distance} - CHAR_LENGTH({text}), 0)"
    return f"LEFT(RIGHT({text}, {distance}), GREATEST({length} - {before}, 0))"
