"""The catalogue of MariaDB and MySQL, where a schema is a database of the server."""

from __future__ import annotations

from msgspec.structs import replace

from shapestore.shape.column_description import ColumnDescription
from shapestore.source.catalogue.catalogue import Catalogue, Place, SourceColumn
from shapestore.source.column_type import ColumnType, Kind

_KINDS = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit"), Kind.INTEGER),
    **dict.fromkeys(("decimal",), Kind.DECIMAL),
    **dict.fromkeys(("float", "double"), Kind.FLOAT),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"), Kind.TEXT),
}

_NAMES = {
    "tinyint": "int2",
    "smallint": "int2",
    "year": "int2",
    "mediumint": "int4",
    "int": "int4",
    "bigint": "int8",
    "decimal": "numeric",
    "float": "float4",
    "double": "float8",
    "varchar": "varchar",
    "char": "bpchar",
    "date": "date",
    "time": "time",
    "datetime": "timestamp",
    "timestamp": "timestamptz",
    "json": "json",
    "uuid": "uuid",
    **dict.fromkeys(("bit", "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), "bytea"),
}
"""PostgreSQL's names of types; any other is text."""
_UNSIGNED = {"int2": "int4", "int4": "int8", "int8": "numeric"}
"""The type that holds all values of one without a sign."""

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

    def columns(self, place: Place) -> dict[str, SourceColumn]:
        statement = """
            SELECT column_name, lower(data_type), column_type LIKE '%unsigned%', is_nullable = 'NO',
                character_maximum_length, coalesce(numeric_precision, datetime_precision), numeric_scale
            FROM information_schema.columns
            WHERE table_schema = :schema AND table_name = :table ORDER BY ordinal_position
        """
        rows = self._ask(statement, **place._asdict())
        # Asked for by itself: a join would open every table of the server, and compare names so that e is é.
        places = {name: index for index, name in enumerate(self._primary_key(place))}
        return {
            name: SourceColumn(_typed(*column[:2]), replace(_described(*column), pk_index=places.get(name)))
            for name, *column in rows
        }

    def _primary_key(self, place: Place) -> list[str]:
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


def _typed(data_type: str, is_unsigned: int) -> ColumnType:
    return ColumnType(_KINDS.get(data_type, Kind.OTHER), data_type, bool(is_unsigned) or data_type == "bit")


def _described(data_type: str, is_unsigned: int, not_null: int, *sizes: int | None) -> ColumnDescription:
    name = _NAMES.get(data_type, "text")
    if is_unsigned:
        name = _UNSIGNED.get(name, name)
    length, precision, scale = sizes
    column = ColumnDescription(name, not_null=bool(not_null))
    match name:
        case "varchar":
            return replace(column, max_length=length)
        case "bpchar":
            return replace(column, length=length)
        case "numeric":
            return replace(column, precision=precision, scale=scale)
        case "time" | "timestamp" | "timestamptz":
            return replace(column, precision=precision)
    return column
