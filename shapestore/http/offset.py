"""The place in a shape's log from which a client reads on, as the client writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from shapestore.http.response import invalid

_FORM = re.compile(r"([0-9]{1,19})_([0-9]{1,19}|inf)", re.ASCII)


class Place(Enum):
    """What an offset names."""

    BEGINNING = "-1"
    NOW = "now"
    SNAPSHOT = "0_n"
    """The end of a part of the snapshot."""
    CHANGE = "l_n"
    """A change, or the end of a round."""


@dataclass(frozen=True, slots=True)
class Offset:
    """An offset."""

    place: Place
    round: int = 0
    """The round of a change; 0 for the snapshot."""
    position: int | None = 0
    """Of a change its position in the shape, of the snapshot the number of the part; None for the last one."""

    def __str__(self) -> str:
        if self.place in (Place.BEGINNING, Place.NOW):
            return str(self.place.value)
        return f"{self.round}_{'inf' if self.position is None else self.position}"


BEGINNING, NOW = Offset(Place.BEGINNING), Offset(Place.NOW)


def offset_of(text: str | None) -> Offset:
    """The offset that a client sent. Raises Refusal.

    >>> offset_of("7_3"), str(offset_of("0_inf"))
    (Offset(place=<Place.CHANGE: 'l_n'>, round=7, position=3), '0_inf')
    """
    if not text:
        invalid("offset", "can't be blank")
    if text in ("-1", "now"):
        return BEGINNING if text == "-1" else NOW
    match = _FORM.fullmatch(text)
    if match is None:
        invalid("offset", "has invalid format")
    round_, position = int(match[1]), None if match[2] == "inf" else int(match[2])
    return Offset(Place.CHANGE if round_ else Place.SNAPSHOT, round_, position)
