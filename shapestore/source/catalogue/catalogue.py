"""The questions that the catalogue of every database answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from shapestore.shape.column_description import ColumnDescription
from shapestore.source.column_type import ColumnType


class Place(NamedTuple):
    """Where a table or view stands."""

    schema: str | None
    """None if the database has no schemas, or did not tell."""
    table: str


class SourceColumn(NamedTuple):
    """A column of a table or view."""

    type: ColumnType
    description: ColumnDescription


class Catalogue(ABC):
    """The catalogue of one database, read over one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @abstractmethod
    def find(self, table: str, schema: str | None) -> Place | None:
        """The table or view of exactly this name. A schema of None means: as the database itself resolves the name."""

    @abstractmethod
    def columns(self, place: Place) -> Mapping[str, SourceColumn]:
        """The columns in their order."""

    @abstractmethod
    def tables(self, schema: str | None) -> Sequence[str]:
        """The names of a schema's tables, and then of its views."""

    @abstractmethod
    def schemas(self) -> Sequence[str]:
        """The names of the schemas that a table's name may be qualified with."""

    def _ask(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a catalogue query. Text is text, whatever the driver was told to make of it."""
        rows = self.connection.execute(text(statement), values).fetchall()
        return [tuple(value.decode() if isinstance(value, bytes) else value for value in row) for row in rows]

    def _names(self, statement: str, **values: Any) -> list[str]:
        """The first column of a catalogue query."""
        return [row[0] for row in self._ask(statement, **values)]
