"""Patterns of LIKE, which every database escapes in its own way, rewritten for one escape character."""

from __future__ import annotations

ESCAPE = "!"
"""No database gives it a meaning of its own, in a pattern or in a string."""


def rewritten(pattern: str, escape: str | None) -> str | None:
    """The pattern with ESCAPE in place of ``escape``. None if it ends with its escape character.

    >>> rewritten("50#%_!", "#"), rewritten("a#", "#")
    ('50!%_!!', None)
    """
    pieces: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            escaped = next(characters, None)
            if escaped is None:
                return None
            pieces.append(_literal(escaped))
        else:
            pieces.append(character if character in "%_" else _literal(character))
    return "".join(pieces)


def _literal(character: str) -> str:
    return f"{ESCAPE}{character}" if character in f"%_{ESCAPE}" else character
