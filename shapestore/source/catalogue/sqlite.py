"""The catalogue of SQLite."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from shapestore.errors import InvalidSourceError
from shapestore.shape.quoting import quoted
from shapestore.source.catalogue.catalogue import Catalogue, Place, SourceColumn
from shapestore.source.catalogue.declared import declared
from shapestore.source.column_type import UNTYPED

IN_MEMORY = (
    "an in-memory database belongs to the one connection that filled it: give SQLSource the Engine that filled it, "
    'made with create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})'
)


class SqliteCatalogue(Catalogue):
    """Every column may hold values of every type, so none is told.

    SQLite finds a table in any case of letters. A shape's table is spelled as it was created: one name for one table.
    """

    def find(self, table: str, schema: str | None) -> Place | None:
        schemas = self.schemas()
        known = {"temp": None} | dict.fromkeys(schemas)  # in the order in which SQLite looks for a name
        searched = known if schema is None else known.keys() & {schema}
        for each in searched:
            if self._master(each, "SELECT name FROM {} WHERE type IN ('table', 'view') AND name = :table", table=table):
                return Place(each, table)
        if schema is None:
            self._refuse_empty_memory(schemas)
        return None

    def columns(self, place: Place) -> dict[str, SourceColumn]:
        """An ``INTEGER PRIMARY KEY`` is the row's number, and so never NULL; other keys may be, if not declared.

        Those have an index of their own, also an ``INTEGER PRIMARY KEY DESC``.
        """
        # hidden = 1: a column of a virtual table which `SELECT *` leaves out.
        statement = """
            SELECT name, type, nullif(pk, 0) - 1, "notnull" OR (
                pk = 1 AND type = 'INTEGER' COLLATE NOCASE
                AND NOT EXISTS (SELECT 1 FROM pragma_index_list(:table, :schema) WHERE origin = 'pk')
            ) FROM pragma_table_xinfo(:table, :schema) WHERE hidden <> 1 ORDER BY cid
        """
        return {
            name: SourceColumn(UNTYPED, replace(declared(type_), pk_index=pk_index, not_null=bool(not_null)))
            for name, type_, pk_index, not_null in self._ask(statement, **place._asdict())
        }

    def tables(self, schema: str | None) -> list[str]:
        """The default is the database ``main``."""
        own = (
            "SELECT name FROM {} WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite#_%' ESCAPE '#' "
            "ORDER BY type, name"
        )
        return self._master(schema or "main", own)

    def schemas(self) -> list[str]:
        return self._names("SELECT name FROM pragma_database_list WHERE name <> 'temp' ORDER BY seq")

    def _master(self, schema: str, statement: str, **values: Any) -> list[str]:
        master = f"{quoted(schema)}.sqlite_master".replace(":", r"\:")
        return self._names(statement.format(master), **values)

    def _refuse_empty_memory(self, schemas: list[str]) -> None:
        """A new in-memory database is what each thread gets from an Engine that was not made for sharing one."""
        [has_file] = self._names("SELECT file <> '' FROM pragma_database_list WHERE name = 'main'")
        if not has_file and not any(map(self.tables, schemas)):
            raise InvalidSourceError(f"this in-memory database is empty: {IN_MEMORY}")
