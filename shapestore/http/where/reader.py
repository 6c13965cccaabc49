"""What all readers of a client's texts share: the tokens, one after another."""

from __future__ import annotations

from typing import NoReturn

from shapestore.http.where.lexer import END, QUOTED, Token, tokenize
from shapestore.http.where.names import Name
from shapestore.http.where.refusal import refuse_syntax


class Reader:
    """Goes through the tokens of a text. Every method raises RefusedError where the text is not what it reads."""

    def __init__(self, text: str) -> None:
        self._tokens = tokenize(text)
        self._next = next(self._tokens)

    def _advance(self) -> Token:
        token = self._next
        if token.kind != END:
            self._next = next(self._tokens)
        return token

    def _take(self, kind: str) -> bool:
        found = self._next.kind == kind
        if found:
            self._advance()
        return found

    def _require(self, kind: str) -> None:
        if not self._take(kind):
            self._unexpected()

    def _name(self) -> Name:
        if not self._next.is_name and self._next.kind != QUOTED:
            self._unexpected()
        return Name.of(self._advance())

    def _unexpected(self) -> NoReturn:
        refuse_syntax(self._next.place, self._next.text)
