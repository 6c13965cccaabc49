"""The catalogue of MariaDB and MySQL, where a schema is a database of the server."""

from __future__ import annotations

from shapestore.source.catalogue.catalogue import Catalogue, Place
from shapestore.source.column_type import ColumnType, Kind

_KINDS = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit"), Kind.INTEGER),
    **dict.fromkeys(("decimal",), Kind.DECIMAL),
    **dict.fromkeys(("float", "double"), Kind.FLOAT),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"), Kind.TEXT),
}

_DEFAULT = "coalesce(:schema, database())"


class MariadbCatalogue(Catalogue):
    """A name without a schema belongs to the database that the session has chosen."""

    def find(self, table: str, schema: str | None) -> Place | None:
        statement = f"""
            SELECT table_schema, table_name FROM information_schema.tables
            WHERE table_schema = {_DEFAULT} AND table_name = :table
        """
        # The names are compared as the server compares them, and then once more, exactly.
        found = [Place(*row) for row in self._ask(statement, table=table, schema=schema)]
        return next((place for place in found if place.table == table and schema in (None, place.schema)), None)

    def columns(self, place: Place) -> dict[str, ColumnType]:
        statement = """
            SELECT column_name, data_type, column_type LIKE '%unsigned%' FROM information_schema.columns
            WHERE table_schema = :schema AND table_name = :table ORDER BY ordinal_position
        """
        rows = self._ask(statement, **place._asdict())
        return {
            column: ColumnType(_KINDS.get(name.lower(), Kind.OTHER), name.lower(), bool(unsigned) or name == "bit")
            for column, name, unsigned in rows
        }

    def primary_key(self, place: Place) -> list[str]:
        statement = """
            SELECT column_name FROM information_schema.statistics
            WHERE table_schema = :schema AND table_name = :table AND index_name = 'PRIMARY' ORDER BY seq_in_index
        """
        return self._names(statement, **place._asdict())

    def tables(self, schema: str | None) -> list[str]:
        statement = f"""
            SELECT table_name FROM information_schema.tables
            WHERE table_schema = {_DEFAULT} ORDER BY table_type LIKE '%VIEW', table_name
        """
        return self._names(statement, schema=schema)

    def schemas(self) -> list[str]:
        return self._names("SELECT schema_name FROM information_schema.schemata ORDER BY schema_name")
