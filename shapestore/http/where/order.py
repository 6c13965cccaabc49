"""The ``ORDER BY`` of a client: columns, each with its direction."""

from __future__ import annotations

from typing import NoReturn

from shapestore.http.where.lexer import END, QUOTED, tokenize
from shapestore.http.where.names import Columns, Name
from shapestore.http.where.refusal import RefusedError, refuse_syntax
from shapestore.shape.order import Order

MAX_LENGTH = 4_096


def orders(text: str, columns: Columns) -> tuple[Order, ...]:
    """What ``"title" DESC NULLS LAST, id`` asks for. Raises RefusedError.

    As in PostgreSQL, NULL counts as greater than every value: it comes last, and first in a descending order.
    """
    if len(text) > MAX_LENGTH:
        raise RefusedError(f"too long: {len(text)} characters; the limit is {MAX_LENGTH}")
    return _Reader(text, columns).whole()


class _Reader:
    def __init__(self, text: str, columns: Columns) -> None:
        self._tokens = list(tokenize(text))
        self._columns = columns

    def whole(self) -> tuple[Order, ...]:
        found = [self._order()]
        while self._take(","):
            found.append(self._order())
        if not self._take(END):
            self._unexpected()
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

    def _name(self) -> Name:
        token = self._tokens[0]
        if not token.is_name and token.kind != QUOTED:
            self._unexpected()
        return Name.of(self._tokens.pop(0))

    def _take(self, kind: str) -> bool:
        found = self._tokens[0].kind == kind
        if found:
            self._tokens.pop(0)
        return found

    def _unexpected(self) -> NoReturn:
        refuse_syntax(self._tokens[0].place, self._tokens[0].text)
