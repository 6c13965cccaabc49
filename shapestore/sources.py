"""SQLSource: shapes read from a database, any that SQLAlchemy can connect to.

This module is imported when it is asked for: SQLAlchemy takes 140 ms to load, and not everybody reads a database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Inspector,
    Select,
    TableClause,
    column,
    create_engine,
    event,
    inspect,
    literal_column,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool

from shapestore.errors import ShapeStoreError
from shapestore.shape import Shape
from shapestore.where import render_where, where_columns


class InvalidSourceError(ShapeStoreError, ValueError):
    """What a SQLSource was made with is no database that it can read; the message says why and what to do."""


class UnknownTableError(ShapeStoreError, LookupError):
    """The source has no table or view of this name; the message says which it has."""


class UnknownColumnError(ShapeStoreError, LookupError):
    """The table has no column of this name; the message says which it has."""


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
        self._engine = url_or_engine if isinstance(url_or_engine, Engine) else _engine(url_or_engine)
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


def _query(connection: Connection, shape: Shape) -> tuple[Select[Any], dict[str, Any], Collection[str]]:
    """The statement that reads ``shape``, its bound values, and the names of its columns.

    What there is to be read is looked up each time, in the transaction that reads it: a source's schema changes, and
    SQLite takes a quoted name that is no column for a string.
    """
    inspector = inspect(connection)
    found = _table(inspector, shape.table)
    there = list(connection.execute(select(literal_column("*")).select_from(found).limit(0)).keys())
    names = there if shape.columns is None else shape.columns
    for name in (*names, *(where_columns(shape.where) if shape.where else ())):
        if name not in there:
            raise UnknownColumnError(f'the table "{shape.table}" has no column "{name}"{_instead(name, there)}')
    # Bare columns, and not the types that reflection finds: these would refuse what SQLite lets stand in a column,
    # such as a malformed date.
    statement = select(*map(column, names)).select_from(found)
    statement = statement.order_by(*map(column, _primary_key(inspector, found)))
    if shape.where is None:
        return statement, {}, names
    predicate, values = _predicate(connection, shape.where, shape)
    return statement.where(text(predicate)), values, names


def _table(inspector: Inspector, name: str) -> TableClause:
    if inspector.has_table(name):
        return table(name)
    schema, _, bare = name.rpartition(".")
    if schema and inspector.has_table(bare, schema):
        return table(bare, schema=schema)
    there = _tables(inspector, None)
    if schema in inspector.get_schema_names():
        there += [f"{schema}.{table}" for table in _tables(inspector, schema)]
    raise UnknownTableError(f'the source has no table or view "{name}"{_instead(name, there)}')


def _tables(inspector: Inspector, schema: str | None) -> list[str]:
    return inspector.get_table_names(schema) + inspector.get_view_names(schema)


def _primary_key(inspector: Inspector, found: TableClause) -> list[str]:
    return inspector.get_pk_constraint(found.name, found.schema)["constrained_columns"]


def _predicate(connection: Connection, where: str, shape: Shape) -> tuple[str, dict[str, Any]]:
    """The where as text() takes it, and its values. Strings are bound too: MySQL reads a backslash in them as more."""
    preparer = connection.dialect.identifier_preparer
    doubles_percents = "%%" in preparer.quote("%")
    values: dict[str, Any] = {}

    def bound(value: Any) -> str:
        name = f"value_{len(values)}"
        values[name] = value
        return f":{name}"

    def quoted(name: str) -> str:
        spelled = preparer.quote(name)
        if doubles_percents:  # which text() does once more
            spelled = spelled.replace("%%", "%")
        return spelled.replace(":", r"\:")

    predicate = render_where(where, identifier=quoted, string=bound, parameter=lambda name: bound(shape.params[name]))
    return predicate, values


def _instead(name: str, there: Collection[str]) -> str:
    """What to write instead, and what there is."""
    folded = {known.casefold(): known for known in there}
    near = [folded[match] for match in get_close_matches(name.casefold(), folded)]
    meant = f"; did you mean {_listed(near, ' or ')}?" if near else ";"
    return f"{meant} It has {_listed(there) if there else 'none at all'}"


def _listed(names: Collection[str], comma: str = ", ", most: int = 40) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return comma.join(f'"{name}"' for name in islice(names, most)) + more


# --- how it is connected


_REPEATABLE = ("postgresql", "mysql", "mariadb")


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that sees the database as of one moment, if the database can do that."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # One SELECT is a snapshot by itself, but the look at the schema comes before it, and the driver sends no
            # BEGIN for either. An Engine may be set up to send it: then there is nothing left to do.
            driver: Any = connection.connection.driver_connection
            if not driver.in_transaction:
                connection.exec_driver_sql("BEGIN")
        elif engine.dialect.name in _REPEATABLE:
            connection.execution_options(isolation_level="REPEATABLE READ")
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


# --- how a source is made


_MODULE_OF_PACKAGE = {"MySQLdb": "mysqlclient", "psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}
_DIALECTS = ("postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql")


def _engine(url: str | URL) -> Engine:
    """An engine that keeps nothing open between shapes, and makes no file."""
    if not isinstance(url, (str, URL)):
        raise InvalidSourceError(f"a source is an SQLAlchemy URL or a (synchronous) Engine, not {type(url).__name__}")
    if "://" not in str(url):  # it is not shown: a password may be in it
        raise InvalidSourceError("this is no URL of a database; for a SQLite file write sqlite:/// before its path")
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, poolclass=NullPool)
    except NoSuchModuleError as error:
        backend, _, driver = parsed.drivername.partition("+")
        near = get_close_matches(backend, _DIALECTS, n=1) if backend not in _DIALECTS else []
        meant = f'; did you mean "{near[0]}"?' if near else " is installed; install the package that has it"
        raise InvalidSourceError(f'no SQLAlchemy dialect "{parsed.drivername}"{meant}') from error
    except ImportError as error:
        package = _MODULE_OF_PACKAGE.get(error.name or "", error.name)
        raise InvalidSourceError(
            f'the driver for "{parsed.drivername}" is missing ({error}): run `pip install "{package}"`, '
            f"or name another driver in the URL, as in {parsed.get_backend_name()}+driver://"
        ) from error
    except (SQLAlchemyError, ValueError) as error:
        raise InvalidSourceError(f"this is no URL of a database: {error}") from error
    if engine.dialect.is_async:
        raise InvalidSourceError(
            f'"{parsed.drivername}" is a driver for asyncio; a source is read in a thread, by a synchronous driver'
        )
    if engine.dialect.name == "sqlite":
        _open_existing_files(engine)
    return engine


def _open_existing_files(engine: Engine) -> None:
    if engine.url.database in (None, "", ":memory:"):
        raise InvalidSourceError("a new in-memory database has nothing to be read; give the Engine that filled it")

    @event.listens_for(engine, "do_connect")
    def _(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        file = str(arguments[0])
        if options.get("uri"):  # which says itself how to open it
            return
        if not Path(file).is_file():
            raise FileNotFoundError(f"the source is not there: no file {file}")
        # mode=rw makes no file. mode=ro would leave -wal and -shm files behind beside a database in WAL mode, and could
        # not read one whose writer was killed half way.
        arguments[0] = f"{Path(file).as_uri()}?mode=rw"
        options["uri"] = True
