"""The one statement that reads a shape.

Every name is quoted, since words become reserved later; and every column is qualified, since SQLite takes a quoted name
that is not a column for a string. Columns get labels of our own: of a column "t [C]" a driver may take the "C" for the
name of a converter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, TextClause, text

from shapestore.shape.order import Order
from shapestore.shape.quoting import quoted
from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.where.where import parse_where, where_columns
from shapestore.source.predicate.as_written import AsWritten
from shapestore.source.predicate.bindings import Bindings
from shapestore.source.predicate.dialect import Dialect
from shapestore.source.predicate.mariadb import mariadb_dialect
from shapestore.source.predicate.postgresql import PostgresDialect
from shapestore.source.predicate.standard import Standard
from shapestore.source.predicate.translated import Translator
from shapestore.source.table import Table

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
    table.check([order.column for order in part.order_by])
    key = table.key if with_key else ()
    columns = list(dict.fromkeys((*own, *key)))
    made = _Statement(connection, table)
    sql = made.select(columns) + made.where(shape, part.keys) + made.order_by(part.order_by) + made.limit(part)
    return Query(text(sql), made.bindings.values, columns, len(own), [columns.index(name) for name in key])


class _Statement:
    """Writes the clauses of one statement as text() takes them: it reads a ``:``, and doubles a ``%`` where needed."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self._connection = connection
        self._database = connection.dialect.name
        self._table = table
        self.bindings = Bindings()

    def select(self, columns: Sequence[str]) -> str:
        labelled = ", ".join(
            f"{self._column(name)} AS {self._quote(f'c{place}')}" for place, name in enumerate(columns)
        )
        schema, table = self._table.place
        qualifier = "" if schema is None else f"{self._quote(schema)}."
        return f"SELECT {labelled} FROM {qualifier}{self._quote(table)} {self._quote(_ROW)}"

    def where(self, shape: Shape, keys: Sequence[Sequence[Scalar | bytes]] | None) -> str:
        conditions = [] if keys is None else [self._one_of(keys)]
        if shape.where_as_written is not None:
            self._table.check(sorted(where_columns(shape.where_as_written)))
            conditions.append(self._predicate(shape.where_as_written, shape.params))
        return f" WHERE ({') AND ('.join(conditions)})" if conditions else ""

    def order_by(self, orders: Sequence[Order]) -> str:
        sorted_by = {order.column for order in orders}
        terms = [self._order(order) for order in orders]
        terms += [self._column(name) for name in self._table.key if name not in sorted_by]
        return f" ORDER BY {', '.join(terms)}" if terms else ""

    def limit(self, part: Part) -> str:
        if part.limit is None:
            return ""
        return f" LIMIT {self.bindings.bind(part.limit)} OFFSET {self.bindings.bind(part.offset)}"

    def _one_of(self, keys: Sequence[Sequence[Scalar | bytes]]) -> str:
        """Whether the row's key is one of these. OR, not a list of rows: not every database compares rows."""
        names, bind = [self._column(name) for name in self._table.key], self.bindings.bind
        if len(names) == 1:
            return f"{names[0]} IN ({', '.join(bind(key[0]) for key in keys)})"
        return " OR ".join(
            f"({' AND '.join(f'{name} = {bind(value)}' for name, value in zip(names, key, strict=True))})"
            for key in keys
        )

    def _predicate(self, where: str, params: Mapping[str, Scalar]) -> str:
        """The where, its values bound: MySQL reads a backslash in a string as more than that."""
        tree = parse_where(where).tree
        dialect: Dialect
        match self._database:
            case "sqlite":
                return AsWritten(self._column, params, self.bindings).render(tree)
            case "postgresql":
                dialect = PostgresDialect()
            case "mysql" | "mariadb":
                dialect = mariadb_dialect(self._connection)
            case _:
                return Standard(self._column, params, self.bindings).render(tree)
        return Translator(dialect, self._table.columns, self._column, params, self.bindings).condition(tree)

    def _order(self, order: Order) -> str:
        column, direction = self._column(order.column), "DESC" if order.descending else "ASC"
        if self._database in ("mysql", "mariadb"):  # they do not know NULLS FIRST
            return f"{column} IS NULL {'DESC' if order.nulls_first else 'ASC'}, {column} {direction}"
        return f"{column} {direction} NULLS {'FIRST' if order.nulls_first else 'LAST'}"

    def _column(self, name: str) -> str:
        return f"{self._quote(_ROW)}.{self._quote(name)}"

    def _quote(self, name: str) -> str:
        match self._database:
            case "sqlite" | "postgresql":
                spelled = quoted(name)
            case "mysql" | "mariadb":
                spelled = quoted(name, "`")
            case _:  # by SQLAlchemy's rules, which know of names that Oracle must not be given in quotes
                preparer = self._connection.dialect.identifier_preparer
                spelled = preparer.quote(name)
                spelled = spelled.replace("%%", "%") if "%%" in preparer.quote("%") else spelled
        return spelled.replace(":", r"\:")
