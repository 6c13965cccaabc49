"""The catalogue of PostgreSQL. Materialized views, which information_schema leaves out, are in it."""

from __future__ import annotations

from msgspec.structs import replace

from shapestore.shape.column_description import ColumnDescription
from shapestore.source.catalogue.catalogue import Catalogue, Place, SourceColumn
from shapestore.source.column_type import ColumnType, Kind

_KINDS = {
    "int2": Kind.INTEGER,
    "int4": Kind.INTEGER,
    "int8": Kind.INTEGER,
    "oid": Kind.INTEGER,
    "numeric": Kind.DECIMAL,
    "float4": Kind.FLOAT,
    "float8": Kind.FLOAT,
    "bool": Kind.TRUTH,
    "text": Kind.TEXT,
    "varchar": Kind.TEXT,
    "bpchar": Kind.TEXT,
    "name": Kind.TEXT,
    "citext": Kind.TEXT,
}

_TABLES = """
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
"""
_OF_PLACE = f"{_TABLES} AND n.nspname = :schema AND c.relname = :table"


class PostgresCatalogue(Catalogue):
    """A name without a schema is looked for on the session's search path."""

    def find(self, table: str, schema: str | None) -> Place | None:
        chosen = "pg_catalog.pg_table_is_visible(c.oid)" if schema is None else "n.nspname = :schema"
        statement = f"SELECT n.nspname {_TABLES} AND c.relname = :table AND {chosen}"
        found = self._names(statement, table=table, **({} if schema is None else {"schema": schema}))
        return Place(found[0], table) if found else None

    def columns(self, place: Place) -> dict[str, SourceColumn]:
        # A domain has the kind of the type that it is made from, which may be a domain too.
        statement = f"""
            WITH RECURSIVE columns (name, place, type, dims, modifier, not_null, pk_index) AS (
                SELECT a.attname, a.attnum, a.atttypid, a.attndims, a.atttypmod, a.attnotnull,
                    array_position((CAST(i.indkey AS int2[]))[0:i.indnkeyatts - 1], a.attnum) - 1
                FROM pg_catalog.pg_attribute AS a
                LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
                WHERE a.attrelid = (SELECT c.oid {_OF_PLACE}) AND a.attnum > 0 AND NOT a.attisdropped
                UNION ALL
                SELECT c.name, c.place, t.typbasetype, c.dims, c.modifier, c.not_null, c.pk_index
                FROM columns AS c JOIN pg_catalog.pg_type AS t ON t.oid = c.type
                WHERE t.typtype = 'd'
            )
            SELECT c.name, t.typname, c.dims, c.modifier, c.not_null, c.pk_index
            FROM columns AS c JOIN pg_catalog.pg_type AS t ON t.oid = c.type
            WHERE t.typtype <> 'd' ORDER BY c.place
        """
        return {
            column: SourceColumn(ColumnType(_KINDS.get(name, Kind.OTHER), name), _described(name, *declared))
            for column, name, *declared in self._ask(statement, **place._asdict())
        }

    def tables(self, schema: str | None) -> list[str]:
        chosen = (
            "pg_catalog.pg_table_is_visible(c.oid) AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
            if schema is None
            else "n.nspname = :schema"
        )
        statement = f"SELECT c.relname {_TABLES} AND {chosen} ORDER BY c.relkind IN ('v', 'm'), c.relname"
        return self._names(statement, **({} if schema is None else {"schema": schema}))

    def schemas(self) -> list[str]:
        return self._names("SELECT nspname FROM pg_catalog.pg_namespace ORDER BY nspname")


def _described(name: str, dims: int, modifier: int, not_null: bool, pk_index: int | None) -> ColumnDescription:
    """The name of a type of arrays is that of its items, behind an underscore. A modifier of -1 means none."""
    is_array = name.startswith("_")
    column = ColumnDescription(name[is_array:], max(dims, 1) if is_array else 0, pk_index, not_null)
    match column.type:
        case _ if modifier < 0:
            return column
        case "varchar":
            return replace(column, max_length=modifier - 4)
        case "bpchar":
            return replace(column, length=modifier - 4)
        case "bit":
            return replace(column, length=modifier)
        case "numeric":
            return replace(column, precision=(modifier - 4) >> 16, scale=(modifier - 4) & 0x7FF)
        case "time" | "timetz" | "timestamp" | "timestamptz":
            return replace(column, precision=modifier)
    return column
