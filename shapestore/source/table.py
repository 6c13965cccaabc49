"""From the name of a shape's table to what the source has by it; and what to say where it has nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import Connection

from shapestore.errors import UnknownColumnError, UnknownTableError
from shapestore.shape.column_description import ColumnDescription, key_of
from shapestore.source.catalogue.catalogue import Catalogue, Place, SourceColumn
from shapestore.source.catalogue.mariadb import MariadbCatalogue
from shapestore.source.catalogue.other import OtherCatalogue
from shapestore.source.catalogue.postgresql import PostgresCatalogue
from shapestore.source.catalogue.sqlite import SqliteCatalogue
from shapestore.source.suggest import instead

_CATALOGUES: Mapping[str, type[Catalogue]] = {
    "sqlite": SqliteCatalogue,
    "postgresql": PostgresCatalogue,
    "mysql": MariadbCatalogue,
    "mariadb": MariadbCatalogue,
}


class Table(NamedTuple):
    """A table or view of the source."""

    name: str
    """As the shape gives it."""
    place: Place
    columns: Mapping[str, SourceColumn]

    @property
    def description(self) -> dict[str, ColumnDescription]:
        """What the source says of the columns, in their order."""
        return {name: column.description for name, column in self.columns.items()}

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key in its own order; none for a view, or a table without one."""
        return key_of(self.description)

    def check(self, names: Collection[str]) -> None:
        """Raise UnknownColumnError for a name that is not a column's."""
        for name in names:
            if name not in self.columns:
                raise UnknownColumnError(f'the table "{self.name}" has no column "{name}"{instead(name, self.columns)}')


def find_table(connection: Connection, name: str) -> Table:
    """The table or view that ``name`` stands for. Raises UnknownTableError.

    The whole name comes first, then ``schema.table``, cut at its first dot that gives a table: both parts may hold
    dots. An Engine's ``schema_translate_map`` replaces schemas, as it does for SQLAlchemy's own tables: where it names
    one for ``None``, a name without a schema is looked for in that one alone.
    """
    catalogue = _CATALOGUES.get(connection.dialect.name, OtherCatalogue)(connection)
    translated: Mapping[str | None, str | None] = connection.get_execution_options().get("schema_translate_map") or {}
    for schema, table in _cuts(name):
        place = catalogue.find(table, translated.get(schema, schema))
        if place is not None:
            return Table(name, place, catalogue.columns(place))
    raise UnknownTableError(
        f'the source has no table or view "{name}"{instead(name, _there(catalogue, name, translated))}'
    )


def _cuts(name: str) -> Iterator[tuple[str | None, str]]:
    yield None, name
    for place, character in enumerate(name):
        if character == "." and 0 < place < len(name) - 1:
            yield name[:place], name[place + 1 :]


def _there(catalogue: Catalogue, name: str, translated: Mapping[str | None, str | None]) -> list[str]:
    """The names that could have been meant: those of the default schema, and of the schemas that ``name`` may name."""
    schemas = catalogue.schemas()
    there: list[str] = []
    for schema in dict.fromkeys(schema for schema, _ in _cuts(name)):
        real = translated.get(schema, schema)
        if real is None or real in schemas:
            there += [table if schema is None else f"{schema}.{table}" for table in catalogue.tables(real)]
    return there
