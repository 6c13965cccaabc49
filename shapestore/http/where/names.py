"""Names as clients write them, and the tables and columns that they stand for.

PostgreSQL folds a name without quotes to lower case. Here a name stands for what is spelled exactly so; without quotes,
for the one thing that differs from it in the case of letters alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from shapestore.http.where.lexer import Token
from shapestore.http.where.refusal import refuse
from shapestore.shape.column_description import ColumnDescription, Description
from shapestore.source.suggest import near

_DEFAULT_SCHEMAS = frozenset(("main", "public"))
"""The schemas, of SQLite and of PostgreSQL, whose tables have names without one."""


_NAMES = {
    separator: re.compile(
        rf'\s*+(?:"(?P<quoted>(?:[^"]|"")++)"|(?P<bare>[^\s"{separator}][^"{separator}]*+))\s*+(?P<end>\{separator}|\Z)'
    )
    for separator in ",."
}
"""How names are written between commas or dots. Possessive, so that no text takes longer than its length asks for."""


class Name(Struct, frozen=True):
    """One name, or one part of a qualified name."""

    text: str
    is_quoted: bool
    place: int

    @classmethod
    def of(cls, token: Token) -> Name:
        return cls(token.text, not token.is_name, token.place)

    def found_in(self, names: Iterable[str]) -> str | None:
        """What the name stands for among ``names``; None if there is none, or more than one."""
        known = list(names)
        if self.text in known:
            return self.text
        alike = [] if self.is_quoted else [name for name in known if name.lower() == self.text.lower()]
        return alike[0] if len(alike) == 1 else None


def names_in(text: str, separator: str) -> list[Name]:
    """The names between separators, each as it is or in quotes; none if one is empty, or its quote is not closed.

    >>> [name.text for name in names_in('id, "has,comma"', ",")]
    ['id', 'has,comma']
    """
    pattern = _NAMES[separator]
    names: list[Name] = []
    place = 0
    while match := pattern.match(text, place):
        quoted, bare = match.group("quoted", "bare")
        name = bare.strip() if quoted is None else quoted.replace('""', '"')
        names.append(Name(name, quoted is not None, match.start()))
        place = match.end()
        if not match["end"]:
            return names
    return []


def is_default_schema(name: Name) -> bool:
    return name.text.lower() in _DEFAULT_SCHEMAS


def ends_with(name: str, parts: Sequence[Name]) -> bool:
    """Whether the name of a table is what these parts stand for, or ends with it behind a dot."""
    for part in reversed(parts):
        beginning, end = name[: -len(part.text)], name[-len(part.text) :]
        if part.found_in((end,)) is None or (beginning and not beginning.endswith(".")):
            return False
        name = beginning[:-1]
    return True


class Columns:
    """The columns of one table that a client may name."""

    def __init__(self, table: str, description: Description, allowed: Collection[str] | None) -> None:
        self._table = table
        self._columns = {name: column for name, column in description.items() if allowed is None or name in allowed}
        self._identity = table, tuple(self._columns.items())
        self.are_all = allowed is None
        """Whether a client may name all that the table has, those that it will have too."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Columns) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def names(self) -> Sequence[str]:
        """All of them, in the order of the table."""
        return tuple(self._columns)

    def find(self, parts: Sequence[Name]) -> tuple[str, ColumnDescription]:
        """The column that a name stands for, qualified or not. Raises RefusedError, which names no other columns."""
        *qualifiers, name = parts
        if qualifiers and not self._is_own(qualifiers):
            refuse(parts[0].place, f'missing FROM-clause entry for table "{qualifiers[-1].text}"')
        found = name.found_in(self._columns)
        if found is None:
            meant = near(name.text, self._columns)
            instead = f' - did you mean "{meant[0]}"?' if meant else ""
            refuse(parts[0].place, f"unknown reference {name.text}{instead}")
        return found, self._columns[found]

    def _is_own(self, qualifiers: Sequence[Name]) -> bool:
        """Whether the qualifiers are the table's name, perhaps in a default schema, or the end of it behind a dot."""
        return any(ends_with(f"{schema}.{self._table}", qualifiers) for schema in _DEFAULT_SCHEMAS)
