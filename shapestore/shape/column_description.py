"""What a source says of a column: its type by PostgreSQL's name, and what is declared beside it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

SPELLINGS = {
    "bigint": "int8",
    "boolean": "bool",
    "char": "bpchar",
    "character": "bpchar",
    "character varying": "varchar",
    "dec": "numeric",
    "decimal": "numeric",
    "double precision": "float8",
    "int": "int4",
    "integer": "int4",
    "smallint": "int2",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}
"""PostgreSQL's own names of types, by those of standard SQL."""


class ColumnDescription(Struct, frozen=True, omit_defaults=True):
    """One column. Encoded as JSON it is what Electric's clients are told of a column; what is not known is left out.

    >>> msgspec.json.encode(ColumnDescription("int8", pk_index=0, not_null=True))
    b'{"type":"int8","pk_index":0,"not_null":true}'
    """

    type: str
    """A name of PostgreSQL's, of the elements where the column holds arrays; ``unknown`` if no type is declared."""
    dims: int = 0
    """The number of dimensions of an array, 0 for any other type."""
    pk_index: int | None = None
    """The place in the primary key, from 0; None for a column that is not a part of it."""
    not_null: bool = False
    max_length: int | None = None
    """Of ``varchar(n)``."""
    length: int | None = None
    """Of ``char(n)`` and ``bit(n)``."""
    precision: int | None = None
    scale: int | None = None


Description = Mapping[str, ColumnDescription]
"""The columns of a table, in their order."""


def key_of(description: Description) -> tuple[str, ...]:
    """The columns of the primary key, in the key's own order."""
    places = {column.pk_index: name for name, column in description.items() if column.pk_index is not None}
    return tuple(places[place] for place in sorted(places))
