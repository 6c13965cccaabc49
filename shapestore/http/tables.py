"""Which table a request names, and which of its columns it may read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shapestore.http.response import invalid
from shapestore.http.where.names import Columns, Name, ends_with, is_default_schema, names_in
from shapestore.shape.column_description import Description, key_of
from shapestore.shape.listing import listed

Tables = Mapping[str, Sequence[str] | None]
"""The tables that may be asked for, and the columns of each; None for all of them."""

MAX_LENGTH = 32_768
"""The most characters of the name of a table, or of a list of columns."""


def table_of(name: str | None, tables: Tables) -> str:
    """The table that a client names: ``name`` or ``schema.name``, each as it is or quoted. Raises Refusal.

    A name stands for the table that is spelled exactly so; else, without quotes, for the one that differs from it in
    the case of letters alone.
    """
    if not name:
        invalid("table", "can't be blank")
    if name in tables:
        return name
    parts = _names(name, ".", "table")
    found = _found(parts, tables)
    if not found and len(parts) > 1 and is_default_schema(parts[0]):
        found = _found(parts[1:], tables)
    if not found:
        invalid("table", f'Table "{name:.200}" does not exist, or is not served here')
    return found


def columns_of(text: str | None, columns: Columns, description: Description) -> tuple[str, ...] | None:
    """The columns that a client names, in the order of the table; None for all of the table. Raises Refusal.

    Where the columns that may be named are listed they are named in the shape too, even if the table has no others: it
    may have more by the time the shape is made.
    """
    if text is None:
        chosen = set(columns.names)
    else:
        names = _names(text, ",", "columns")
        found = {name.text: name.found_in(columns.names) for name in names}
        missing = [text for text, column in found.items() if column is None]
        if missing:
            invalid("columns", f"The following columns are not found on the table: {', '.join(missing):.500}")
        chosen = set(filter(None, found.values()))
        if left_out := [name for name in key_of(description) if name not in chosen]:
            invalid("columns", f"The list must include all columns of the primary key, missing: {', '.join(left_out)}")
    is_whole = columns.are_all and len(chosen) == len(description)
    return None if is_whole else tuple(name for name in description if name in chosen)


def check_key(table: str, columns: Columns, description: Description) -> None:
    """A client tells rows apart by their key. Raises Refusal if it cannot read one."""
    key = key_of(description)
    if not key:
        invalid("table", f'Table "{table}" has no primary key')
    if not set(key) <= set(columns.names):
        invalid("table", f'Table "{table}" is not served with its primary key')


def misnamed(table: str, tables: Tables, description: Description) -> str | None:
    """What the application has to know of how it names a table and its columns; None where all of that can be read."""
    return _keyless(table, tables, description) or _columnless(table, tables, description)


def _keyless(table: str, tables: Tables, description: Description) -> str | None:
    """Why the table is refused for its key."""
    key = key_of(description)
    if not key:
        return (
            f"the table {table!r} is served and asked for, but has no primary key, by which clients tell rows apart: "
            "they get 400. Serve a view, or a table without one, by shape= in place of tables="
        )
    columns = tables[table]
    if columns is not None and (hidden := [name for name in key if name not in columns]):
        return (
            f"the table {table!r} is served and asked for, but its columns in tables= leave out {', '.join(hidden)} "
            "of its primary key, by which clients tell rows apart: they get 400. Name the whole key too"
        )
    return None


def _columnless(table: str, tables: Tables, description: Description) -> str | None:
    """Why rows of the table come without some of the columns that are named."""
    missing = [name for name in tables[table] or () if name not in description]
    if not missing:
        return None
    return (
        f"the table {table!r} has no {listed(missing)}, which tables= names among its columns: clients get its rows "
        f"without. It has {listed(list(description), most=40)}"
    )


def _names(text: str, separator: str, field: str) -> list[Name]:
    if len(text) > MAX_LENGTH:
        invalid(field, f"too long: {len(text)} characters; the limit is {MAX_LENGTH}")
    names = names_in(text, separator)
    if not names:
        invalid(field, "has invalid format")
    return names


def _found(parts: Sequence[Name], tables: Iterable[str]) -> str | None:
    """The table that a name in one or more parts stands for."""
    whole = ".".join(part.text for part in parts)
    is_quoted = all(part.is_quoted for part in parts)
    if is_quoted or whole in tables:
        return whole if whole in tables else None
    alike = [name for name in tables if len(name) == len(whole) and ends_with(name, parts)]
    return alike[0] if len(alike) == 1 else None
