"""Names and strings in quotes, as SQL spells them."""

from __future__ import annotations


def quoted(text: str, mark: str = '"') -> str:
    """A name in quotes, as standard SQL spells it; a string, with ``'`` for the mark."""
    return mark + text.replace(mark, mark * 2) + mark


def unquoted(text: str) -> str:
    """What stands between quotes or brackets."""
    return text[1:-1] if text[0] == "[" else text[1:-1].replace(text[0] * 2, text[0])
