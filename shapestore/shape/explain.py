"""Why a shape is, or is not, the same as one that is stored: field by field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which two shapes differ. The values are as Python shows them, so that 1, 1.0 and '1' can be told."""

    field: str
    """``table``, ``where``, ``columns``, or ``params.NAME``."""
    asked: str
    stored: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a shape's identity is, and what is stored that comes nearest to it."""

    comparable: str
    """The canonical text: two shapes are the same if, and only if, this text is."""
    nearest: StoredShape | None
    """The stored shape that differs least; the shape itself, if it is stored. None if nothing is."""
    differences: tuple[Difference, ...]
    """What sets the shape apart from the nearest; empty if it is stored."""


def differences(asked: Shape, stored: Shape) -> tuple[Difference, ...]:
    """Every field in which two shapes differ.

    >>> differences(Shape("Track", columns=["Name"]), Shape("Track"))
    (Difference(field='columns', asked="('Name',)", stored='None'),)
    """
    pairs = [
        Difference(field, repr(getattr(asked, field)), repr(getattr(stored, field)))
        for field in ("table", "where", "columns")
    ]
    pairs += [
        Difference(f"params.{name}", _param(asked, name), _param(stored, name))
        for name in sorted({*asked.params, *stored.params})
    ]
    return tuple(pair for pair in pairs if pair.asked != pair.stored)


def _param(shape: Shape, name: str) -> str:
    return repr(shape.params[name]) if name in shape.params else "(not given)"


def explain(shape: Shape, candidates: Iterable[StoredShape]) -> Explanation:
    """The candidate that differs in the fewest fields, and how."""
    apart = [(differences(shape, stored.shape), stored) for stored in candidates]
    if not apart:
        return Explanation(shape.comparable, None, ())
    fewest, nearest = min(apart, key=lambda entry: len(entry[0]))
    return Explanation(shape.comparable, nearest, fewest)
