"""What to say of a name that does not exist."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from shapestore.shape.listing import listed


def near(name: str, there: Iterable[str]) -> list[str]:
    """The names most like ``name``, the likest first. A name that differs in the case of letters alone is the only one.

    >>> near("track", ["Album", "Track", "Tracks"]), near("Trakc", ["Album", "Track", "Tracks"])
    (['Track'], ['Track', 'Tracks'])
    """
    folded = {known.casefold(): known for known in there}
    wanted = name.casefold()
    matches = [wanted] if wanted in folded else get_close_matches(wanted, folded)
    return [folded[match] for match in matches]


def instead(name: str, there: Collection[str]) -> str:
    """The end of a message: what to write instead of ``name``, and what there is.

    >>> instead("Trakc", ["Album", "Track"])
    '; did you mean "Track"? It has "Album", "Track"'
    """
    has = f"t has {_quoted(there) if there else 'none at all'}"
    meant = near(name, there)
    return f"; did you mean {_quoted(meant, ' or ')}? I{has}" if meant else f"; i{has}"


def _quoted(names: Iterable[str], comma: str = ", ") -> str:
    return listed([f'"{name}"' for name in names], comma, most=40)
