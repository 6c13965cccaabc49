"""For how long the store that a command opens keeps what was replaced or dropped."""

from __future__ import annotations

import os

from shapestore.locking.owner import living_owners
from shapestore.storage.path import resolve

_ALONE_SECONDS = 60.0
_FOR_EVER_SECONDS = 10 * 365 * 86_400.0


def kept_seconds(path: str) -> float:
    """A minute, or for ever where others have the file open: what these keep for their readers is theirs to forget.

    Of several stores that have a file open the smallest time counts, and a command does not know those of the others.
    """
    real = resolve(path)
    try:
        has_others = os.path.exists(real) and bool(living_owners(real))
    except OSError:  # the opening of the store says what is wrong with the folder
        has_others = True
    return _FOR_EVER_SECONDS if has_others else _ALONE_SECONDS
