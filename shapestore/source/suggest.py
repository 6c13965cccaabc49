"""Suggestions for a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(name: str, there: Iterable[str]) -> list[str]:
    """The names most like ``name``, the likest first. A name that differs in the case of letters alone is the only one.

    >>> near("track", ["Album", "Track", "Tracks"]), near("Trakc", ["Album", "Track", "Tracks"])
    (['Track'], ['Track', 'Tracks'])
    """
    folded = {known.casefold(): known for known in there}
    wanted = name.casefold()
    matches = [wanted] if wanted in folded else get_close_matches(wanted, folded)
    return [folded[match] for match in matches]
