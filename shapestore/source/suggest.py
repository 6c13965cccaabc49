"""What is meant by a name that is not there."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(name: str, there: Iterable[str]) -> list[str]:
    """The names like it, the likest first; one that differs in the case of letters alone is the only one.

    >>> near("track", ["Album", "Track", "Tracks"]), near("Trakc", ["Album", "Track", "Tracks"])
    (['Track'], ['Track', 'Tracks'])
    """
    folded = {known.casefold(): known for known in there}
    wanted = name.casefold()
    matches = [wanted] if wanted in folded else get_close_matches(wanted, folded)
    return [folded[match] for match in matches]
