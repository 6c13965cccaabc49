"""The predicate for a database that is not known here: the part of a where that standard SQL gives one meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from shapestore.errors import InvalidShapeError
from shapestore.source.predicate.as_written import AsWritten

_FUNCTIONS = frozenset(("abs", "coalesce", "lower", "nullif", "upper"))


class Standard(AsWritten):
    """Refuses what databases understand in different ways."""

    def call(self, function: str, arguments: Sequence[str]) -> str:
        if function not in _FUNCTIONS:
            _refuse(f"{function}()")
        return super().call(function, arguments)

    def concatenation(self, operands: Sequence[str]) -> str:
        _refuse("||")

    def arithmetic(self, first: str, rest: Sequence[tuple[str, str]]) -> str:
        for sign, _ in rest:
            if sign in "/%":
                _refuse(sign)
        return super().arithmetic(first, rest)

    def identity(self, left: str, right: str, negated: bool) -> str:
        if right != "NULL":
            _refuse("IS with anything but NULL")
        return super().identity(left, right, negated)

    def like(self, left: str, pattern: str, escape: str | None, negated: bool) -> str:
        _refuse("LIKE")


def _refuse(what: str) -> NoReturn:
    raise InvalidShapeError(
        f"where: {what} is not known to mean the same in this database; use comparisons, AND, OR, NOT, IS NULL, IN, "
        f"BETWEEN, + - *, and the functions {', '.join(sorted(_FUNCTIONS))}, or select by a view"
    )
