"""The ``ORDER BY`` of a client: columns, each with its direction."""

from __future__ import annotations

from shapestore.http.where.lexer import END
from shapestore.http.where.names import Columns
from shapestore.http.where.reader import Reader
from shapestore.http.where.refusal import RefusedError
from shapestore.shape.order import Order

MAX_LENGTH = 4_096


def orders(text: str, columns: Columns) -> tuple[Order, ...]:
    """What ``"title" DESC NULLS LAST, id`` asks for. Raises RefusedError.

    As in PostgreSQL, NULL counts as greater than every value: it comes last, and first in a descending order.
    """
    if len(text) > MAX_LENGTH:
        raise RefusedError(f"too long: {len(text)} characters; the limit is {MAX_LENGTH}")
    return _Reader(text, columns).whole()


class _Reader(Reader):
    def __init__(self, text: str, columns: Columns) -> None:
        super().__init__(text)
        self._columns = columns

    def whole(self) -> tuple[Order, ...]:
        found = [self._order()]
        while self._take(","):
            found.append(self._order())
        self._require(END)
        return tuple(found)

    def _order(self) -> Order:
        parts = [self._name()]
        while self._take("."):
            parts.append(self._name())
        column, _ = self._columns.find(parts)
        descending = self._take("DESC")
        if not descending:
            self._take("ASC")
        if not self._take("NULLS"):
            return Order(column, descending, nulls_first=descending)
        nulls_first = self._take("FIRST")
        if not nulls_first and not self._take("LAST"):
            self._unexpected()
        return Order(column, descending, nulls_first)
