"""What all readers of a client's texts share: the tokens, one after another, and names of columns and types."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from shapestore.http.where.lexer import END, QUOTED, Token, tokenize
from shapestore.http.where.names import Name
from shapestore.http.where.refusal import refuse, refuse_syntax

_TWO_WORDS = frozenset((("DOUBLE", "PRECISION"), ("CHARACTER", "VARYING")))


class TypeName(NamedTuple):
    """A type as a cast names it."""

    name: str
    place: int
    is_array: bool = False


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

    def _type(self) -> TypeName:
        token = self._advance()
        if not token.is_name and token.kind != QUOTED:
            refuse_syntax(token.place, token.text)
        name = token.text
        if (token.kind, self._next.kind) in _TWO_WORDS:
            name += f" {self._advance().text}"
        if token.kind in ("TIME", "TIMESTAMP") and self._next.kind in ("WITH", "WITHOUT"):
            name += f" {self._advance().text}"
            for word in ("TIME", "ZONE"):
                self._require(word)
                name += f" {word}"
        if self._next.kind == "(":
            refuse(self._next.place, "a type with a length or precision is not supported in a cast")
        is_array = self._take("[")
        if is_array:
            self._require("]")
        return TypeName(name, token.place, is_array)

    def _unexpected(self) -> NoReturn:
        refuse_syntax(self._next.place, self._next.text)
