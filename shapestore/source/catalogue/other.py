"""The catalogue of any other database, as far as SQLAlchemy knows it."""

from __future__ import annotations

from msgspec.structs import replace
from sqlalchemy import inspect

from shapestore.source.catalogue.catalogue import Catalogue, Place, SourceColumn
from shapestore.source.catalogue.declared import declared
from shapestore.source.column_type import UNTYPED


class OtherCatalogue(Catalogue):
    """Names are those that SQLAlchemy gives: it writes in lower case what Oracle keeps in capitals."""

    def find(self, table: str, schema: str | None) -> Place | None:
        return Place(schema, table) if inspect(self.connection).has_table(table, schema) else None

    def columns(self, place: Place) -> dict[str, SourceColumn]:
        """Described by SQLAlchemy's own types, which are spelled as SQL does."""
        inspector = inspect(self.connection)
        key = inspector.get_pk_constraint(place.table, place.schema)["constrained_columns"]
        return {
            column["name"]: SourceColumn(
                UNTYPED,
                replace(
                    declared(column["type"].__visit_name__),
                    pk_index=key.index(column["name"]) if column["name"] in key else None,
                    not_null=not column["nullable"],
                ),
            )
            for column in inspector.get_columns(place.table, place.schema)
        }

    def tables(self, schema: str | None) -> list[str]:
        inspector = inspect(self.connection)
        return inspector.get_table_names(schema) + inspector.get_view_names(schema)

    def schemas(self) -> list[str]:
        return inspect(self.connection).get_schema_names()
