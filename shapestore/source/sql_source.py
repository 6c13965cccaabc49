"""SQLSource: shapes read from a database, any that SQLAlchemy can connect to.

This module is imported when it is asked for: SQLAlchemy takes 140 ms to load, and not everybody reads a database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Executable,
    Inspector,
    TableClause,
    column,
    inspect,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError, StatementError
from sqlalchemy.sql.compiler import IdentifierPreparer

from shapestore.errors import InvalidSourceError, UnknownColumnError, UnknownTableError
from shapestore.shape.shape import Scalar, Shape
from shapestore.shape.where.where import render_where, where_columns
from shapestore.source.sql_engine import engine_of
from shapestore.source.suggest import near


class SQLSource:
    """A creator that reads shapes from a database.

    >>> store = ShapeStore("shapes.db", create=SQLSource("sqlite:///chinook.db"))

    ``url_or_engine``: an SQLAlchemy URL, as text or URL object, or an Engine. Nothing is connected before the first
    shape. With a URL each shape is read over a connection of its own, closed at the end; for a pool give an Engine.
    ``batch_size``: rows fetched at once, and so held in memory.

    All of a shape is read in one transaction, as of one moment where the database can do that (SQLite, PostgreSQL and
    MySQL can). Until it ends, a SQLite source that is not in WAL mode refuses its writers.

    The table may be a view, and may be named ``schema.table``. Names are the database's own spelling. Rows come in the
    order of the primary key; where there is none, as in a view, in whatever order the database gives them. Values are
    the driver's: from SQLite as they are stored, so that a date is the text or number that stands there.

    Thread-safe: one source serves all creations at once.

    Raises InvalidSourceError. Reading raises UnknownTableError, UnknownColumnError, FileNotFoundError (a SQLite file)
    or the error of the database's driver, and the store makes a CreateFailedError of it.
    """

    def __init__(self, url_or_engine: str | URL | Engine, *, batch_size: int = 1000) -> None:
        if type(batch_size) is not int or batch_size < 1:
            raise InvalidSourceError(f"batch_size is a number of rows, 1 or more, not {batch_size!r}")
        self._engine = url_or_engine if isinstance(url_or_engine, Engine) else engine_of(url_or_engine)
        self._batch_size = batch_size

    def __repr__(self) -> str:
        return f"SQLSource({self._engine.url.render_as_string(hide_password=True)!r})"

    def __call__(self, shape: Shape) -> Iterator[dict[str, Any]]:
        """The rows of ``shape``, fetched as they are asked for. Closing the iterator ends the transaction."""
        with _plain_errors(), _snapshot(self._engine) as connection:
            statement, values, names = _query(connection, shape)
            with connection.execute(statement.execution_options(yield_per=self._batch_size), values) as result:
                for rows in result.partitions():
                    for row in rows:
                        yield dict(zip(names, row, strict=True))


# --- what is asked of the database


def _query(connection: Connection, shape: Shape) -> tuple[Executable, dict[str, Any], Collection[str]]:
    """The statement that reads ``shape``, its bound values, and the names of its columns.

    What there is to be read is looked up each time, in the transaction that reads it: a source's schema changes, and
    SQLite takes a quoted name that is no column for a string.
    """
    inspector = inspect(connection)
    found = _table(inspector, shape.table)
    try:
        key = _primary_key(inspector, found)
    except NoSuchTableError:  # SQLite reads a table in any case of letters, but has it listed in one
        raise _unknown_table(inspector, shape.table) from None
    there = list(connection.execute(select(literal_column("*")).select_from(found).limit(0)).keys())
    names = shape.columns or there
    for name in (*names, *sorted(where_columns(shape.where_as_written) if shape.where_as_written else ())):
        if name not in there:
            raise UnknownColumnError(f'the table "{shape.table}" has no column "{name}"{_instead(name, there)}')
    # Bare columns, and not the types that reflection finds: these would refuse what SQLite lets stand in a column,
    # such as a malformed date.
    columns: list[Any] = [column(name) for name in names]
    statement = select(*columns).select_from(found).order_by(*map(column, key))
    if shape.where_as_written is None:
        return statement, {}, names
    predicate, values = _predicate(connection.dialect.identifier_preparer, shape.where_as_written, shape.params)
    return statement.where(text(predicate)), values, names


def _table(inspector: Inspector, name: str) -> TableClause:
    if inspector.has_table(name):
        return table(name)
    schema, _, bare = name.rpartition(".")
    if schema and inspector.has_table(bare, schema):
        return table(bare, schema=schema)
    raise _unknown_table(inspector, name)


def _unknown_table(inspector: Inspector, name: str) -> UnknownTableError:
    schema = name.rpartition(".")[0]
    there = _tables(inspector, None)
    if schema in inspector.get_schema_names():
        there += [f"{schema}.{table}" for table in _tables(inspector, schema)]
    return UnknownTableError(f'the source has no table or view "{name}"{_instead(name, there)}')


def _tables(inspector: Inspector, schema: str | None) -> list[str]:
    return inspector.get_table_names(schema) + inspector.get_view_names(schema)


def _primary_key(inspector: Inspector, found: TableClause) -> list[str]:
    return inspector.get_pk_constraint(found.name, found.schema)["constrained_columns"]


def _predicate(preparer: IdentifierPreparer, where: str, params: Mapping[str, Scalar]) -> tuple[str, dict[str, Scalar]]:
    """The where as text() takes it, and its values. Strings are bound too: MySQL reads a backslash in them as more."""
    doubles_percents = "%%" in preparer.quote("%")
    values: dict[str, Scalar] = {}

    def bound(value: Scalar) -> str:
        name = f"value_{len(values)}"
        values[name] = value
        return f":{name}"

    def quoted(name: str) -> str:
        spelled = preparer.quote(name)
        if doubles_percents:  # as text() will do once more
            spelled = spelled.replace("%%", "%")
        return spelled.replace(":", r"\:")

    return render_where(where, identifier=quoted, string=bound, parameter=lambda name: bound(params[name])), values


def _instead(name: str, there: Collection[str]) -> str:
    """What to write instead, and what there is."""
    has = f"t has {_listed(there) if there else 'none at all'}"
    meant = near(name, there)
    return f"; did you mean {_listed(meant, ' or ')}? I{has}" if meant else f"; i{has}"


def _listed(names: Collection[str], comma: str = ", ", most: int = 40) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return comma.join(f'"{name}"' for name in islice(names, most)) + more


# --- how it is connected


_REPEATABLE = ("postgresql", "mysql", "mariadb")


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that sees the database as of one moment, if the database can do that."""
    with engine.connect() as connection:
        if engine.dialect.name in _REPEATABLE:
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            if engine.dialect.name == "sqlite":
                # One SELECT is a snapshot by itself, but the look at the schema comes before it, and the driver sends
                # no BEGIN for either. An Engine may be set up to send one: then there is nothing left to do.
                driver: Any = connection.connection.driver_connection
                if not driver.in_transaction:
                    connection.exec_driver_sql("BEGIN")
            yield connection


@contextmanager
def _plain_errors() -> Iterator[None]:
    """The driver's own error in place of SQLAlchemy's, whose message is the statement, its values and a link."""
    try:
        yield
    except StatementError as error:
        if error.orig is None:
            raise
        raise error.orig from None
    except SQLAlchemyError as error:
        error.code = None  # the link
        raise
