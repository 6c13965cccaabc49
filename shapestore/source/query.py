"""The one statement that reads a shape.

Every name is quoted, since words become reserved later; and every column is qualified, since SQLite takes a quoted name
that is not a column for a string. Columns get labels of our own: of a column "t [C]" a driver may take the "C" for the
name of a converter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, TextClause, text

from shapestore.shape.order import Order
from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.where.lexer import quoted
from shapestore.shape.where.where import parse_where, where_columns
from shapestore.source.predicate.as_written import AsWritten
from shapestore.source.predicate.bindings import Bindings
from shapestore.source.predicate.dialect import Dialect
from shapestore.source.predicate.mariadb import mariadb_dialect
from shapestore.source.predicate.postgresql import PostgresDialect
from shapestore.source.predicate.standard import Standard
from shapestore.source.predicate.translated import Translator
from shapestore.source.table import Table

Quote = Callable[[str], str]

_ROW = "shape_row"
"""What the statement calls the table."""


class Query(NamedTuple):
    """How a shape is read."""

    statement: TextClause
    values: dict[str, Scalar | bytes]
    columns: Sequence[str]
    """The names of the columns, of which the shape's own come first."""
    width: int
    """How many of them are the shape's own."""
    key: Sequence[int]
    """The places of the key's columns; none if the table has no key, or it was not asked for."""


class Part(NamedTuple):
    """Some of a shape's rows."""

    order_by: Sequence[Order] = ()
    """What they are sorted by; rows that are alike in it come in the order of the primary key."""
    limit: int | None = None
    offset: int = 0
    keys: Sequence[Sequence[Scalar | bytes]] | None = None
    """Only those whose primary key is one of these."""


ALL = Part()


def shape_query(connection: Connection, table: Table, shape: Shape, *, with_key: bool, part: Part = ALL) -> Query:
    """The statement for ``shape``, whose table is ``table``; ``with_key``, its rows hold the primary key too.

    Raises UnknownColumnError.
    """
    own = shape.columns or tuple(table.columns)
    table.check(own)
    where = shape.where_as_written
    if where is not None:
        table.check(sorted(where_columns(where)))
    key = table.key if with_key else ()
    columns = list(dict.fromkeys((*own, *key)))
    quote = _quoting(connection)
    bindings = Bindings()
    sql = _select(table, columns, quote)
    condition = None if where is None else _predicate(connection, table, shape, where, bindings)
    if part.keys is not None:
        has_key = _one_of(table.key, part.keys, quote, bindings)
        condition = has_key if condition is None else f"({has_key}) AND ({condition})"
    if condition is not None:
        sql += f" WHERE {condition}"
    table.check([order.column for order in part.order_by])
    sql += _order_by(connection, table, part, quote)
    if part.limit is not None:
        sql += f" LIMIT {bindings.bind(part.limit)} OFFSET {bindings.bind(part.offset)}"
    return Query(text(sql), bindings.values, columns, len(own), [columns.index(name) for name in key])


def _select(table: Table, columns: Sequence[str], quote: Quote) -> str:
    labelled = ", ".join(f"{_column(name, quote)} AS {quote(f'c{place}')}" for place, name in enumerate(columns))
    schema = "" if table.place.schema is None else f"{quote(table.place.schema)}."
    return f"SELECT {labelled} FROM {schema}{quote(table.place.table)} {quote(_ROW)}"


def _one_of(columns: Sequence[str], keys: Sequence[Sequence[Scalar | bytes]], quote: Quote, bindings: Bindings) -> str:
    """Whether the row's key is one of these. OR, not a list of rows: not every database compares rows."""
    names = [_column(name, quote) for name in columns]
    if len(names) == 1:
        return f"{names[0]} IN ({', '.join(bindings.bind(key[0]) for key in keys)})"
    return " OR ".join(
        f"({' AND '.join(f'{name} = {bindings.bind(value)}' for name, value in zip(names, key, strict=True))})"
        for key in keys
    )


def _order_by(connection: Connection, table: Table, part: Part, quote: Quote) -> str:
    sorted_by = {order.column for order in part.order_by}
    terms = [_order(connection, order, quote) for order in part.order_by]
    terms += [_column(name, quote) for name in table.key if name not in sorted_by]
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def _order(connection: Connection, order: Order, quote: Quote) -> str:
    column, direction = _column(order.column, quote), "DESC" if order.descending else "ASC"
    if connection.dialect.name in ("mysql", "mariadb"):  # they do not know NULLS FIRST
        return f"{column} IS NULL {'DESC' if order.nulls_first else 'ASC'}, {column} {direction}"
    return f"{column} {direction} NULLS {'FIRST' if order.nulls_first else 'LAST'}"


def _column(name: str, quote: Quote) -> str:
    return f"{quote(_ROW)}.{quote(name)}"


def _quoting(connection: Connection) -> Quote:
    """How names are quoted, in a statement that text() takes: it reads a ``:``, and doubles a ``%`` where needed."""
    preparer = connection.dialect.identifier_preparer
    doubles_percents = "%%" in preparer.quote("%")

    def quote(name: str) -> str:
        match connection.dialect.name:
            case "sqlite" | "postgresql":
                spelled = quoted(name)
            case "mysql" | "mariadb":
                spelled = quoted(name, "`")
            case _:  # by SQLAlchemy's rules, which know of names that Oracle must not be given in quotes
                spelled = preparer.quote(name)
                spelled = spelled.replace("%%", "%") if doubles_percents else spelled
        return spelled.replace(":", r"\:")

    return quote


def _predicate(connection: Connection, table: Table, shape: Shape, where: str, bindings: Bindings) -> str:
    """The where as text() takes it. Its values are bound: MySQL reads a backslash in a string as more than that."""
    quote = _quoting(connection)

    def spell(name: str) -> str:
        return _column(name, quote)

    tree = parse_where(where).tree
    dialect = _dialect(connection)
    if dialect is not None:
        return Translator(dialect, table.columns, spell, shape.params, bindings).condition(tree)
    renderer = AsWritten if connection.dialect.name == "sqlite" else Standard
    return renderer(spell, shape.params, bindings).render(tree)


def _dialect(connection: Connection) -> Dialect | None:
    """The dialect that a where is translated to, if the database is one of those that give it another meaning."""
    match connection.dialect.name:
        case "postgresql":
            return PostgresDialect()
        case "mysql" | "mariadb":
            return mariadb_dialect(connection)
    return None
