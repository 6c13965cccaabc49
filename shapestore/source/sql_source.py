"""SQLSource: shapes read from a database, any that SQLAlchemy can connect to.

This module is imported when it is asked for: SQLAlchemy takes 140 ms to load, and not every program reads a database.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from msgspec.structs import replace
from sqlalchemy import URL, Connection, Engine

from shapestore.errors import InvalidSourceError
from shapestore.shape.column_description import ColumnDescription
from shapestore.shape.narrowed import narrowed
from shapestore.shape.order import Order
from shapestore.shape.shape import Scalar, Shape
from shapestore.source.driver_errors import plain_errors
from shapestore.source.keyed import Key, KeyedRows, Moment, Subset
from shapestore.source.query import Part, Query, shape_query
from shapestore.source.secrets import secrets_of, shown, without_secrets
from shapestore.source.snapshot import snapshot
from shapestore.source.sql_engine import engine_of
from shapestore.source.sqlite_feed.file import NO_FILE, Meanings, meanings, named_path, source_path, why_unnamed
from shapestore.source.sqlite_feed.installation import install
from shapestore.source.sqlite_feed.moment import followed_moment_of, moment_of
from shapestore.source.sqlite_feed.refusals import null_key, refusal
from shapestore.source.table import Table, find_table
from shapestore.source.values import Values, key_part, naming_columns

_KEYS_IN_A_STATEMENT = 100
_MOST_ROWS_AT_ONCE = 2**31 - 1  # drivers take a number of 32 bits

_INSTALLATIONS = 3
"""How often triggers are put into a source for one reading."""


class SQLSource:
    """A creator that reads shapes from a database.

    >>> store = ShapeStore("shapes.db", create=SQLSource("sqlite:///chinook.db"))

    Args:
        url_or_engine: An SQLAlchemy URL, as text or URL object, or an Engine. Nothing is connected before the first
            shape. With a URL each shape is read over a connection of its own, closed at the end; for a pool give an
            Engine. All options of an Engine hold, ``schema_translate_map`` included. Only the isolation level is raised
            to REPEATABLE READ where it is weaker.
        follow: Let shapes follow their table in a SQLite source: whatever any program writes to it appears in them. It
            takes a table with a primary key, and a database in WAL mode that may be written: triggers are put into it
            when the first shape of a table is made, which ``shapestore unfollow URL`` removes. What they are, and what
            they cost, is in :mod:`shapestore.source.sqlite_feed`. Connections with ``detect_types`` are refused: a
            follower reads values as they are stored.
        batch_size: The number of rows that are fetched at once, and so held in memory.
        nan: What NaN and the infinities become, which JSON cannot hold: "error" refuses the row, "null" stores null.

    All of a shape is read in one transaction, as of one moment where the database can do that: SQLite, PostgreSQL,
    MySQL and MariaDB can. Until it ends, a SQLite source that is not in WAL mode refuses its writers.

    The table may be a view, and may be named ``schema.table``. Names are spelled as the database spells them. Rows come
    in the order of the primary key; without one, as in a view, in the order in which the database gives them. Values
    are those of the driver, converted as :mod:`shapestore.source.values` lists; SQLite has no types for dates, so that
    a date is the text or number that is stored.

    Thread-safe: one source serves all creations at once.

    Raises:
        InvalidSourceError: The URL or Engine cannot be read, or an option is not one of the above.

    Reading raises UnknownTableError, UnknownColumnError, InvalidShapeError (a where that this database would understand
    in another way), InvalidRowError (a value that JSON cannot hold), OSError (a SQLite file), or the error of
    the database's driver; the store makes a CreateFailedError of it. The secrets in the URL are in none of them.
    """

    def __init__(
        self,
        url_or_engine: str | URL | Engine,
        *,
        follow: bool = False,
        batch_size: int = 1000,
        nan: Literal["error", "null"] = "error",
    ) -> None:
        if type(follow) is not bool:
            raise InvalidSourceError(f"follow is True or False, not {follow!r:.100}")
        if type(batch_size) is not int or batch_size < 1:
            raise InvalidSourceError(f"batch_size is a number of rows, 1 or more, not {batch_size!r}")
        if nan not in ("error", "null"):
            raise InvalidSourceError(f'nan is "error" or "null", not {nan!r:.100}')
        self._engine = engine_of(url_or_engine)
        self._secrets = secrets_of(self._engine.url)
        self._batch_size = min(batch_size, _MOST_ROWS_AT_ONCE)
        self.nan_as_null = nan == "null"
        if follow and self._engine.dialect.name != "sqlite":
            raise InvalidSourceError(f"a source on {self._engine.dialect.name} cannot be followed: {NO_FILE}")
        if follow and (why := why_unnamed(self._engine.url.database or "")):
            raise InvalidSourceError(f"the source cannot be followed: {why}")
        self.follow = follow

    def __repr__(self) -> str:
        return f"SQLSource({shown(self._engine.url)!r})"

    def __call__(self, shape: Shape) -> Iterator[dict[str, Any]]:
        """The rows of ``shape``, fetched as they are asked for. Closing the iterator ends the transaction."""
        with self._connection() as connection:
            query = shape_query(connection, find_table(connection, shape.table), shape, with_key=False)
            for row in self._rows(connection, query):
                yield dict(zip(query.columns, row, strict=True))

    def keyed_rows(self, shape: Shape) -> KeyedRows:
        """The rows of ``shape`` with their keys, also where its ``columns`` leave the key's columns out.

        Key columns and rows are of the same moment. It connects and begins the query at once: close what it returns.
        """
        return KeyedRows(self._keyed(shape))

    def key_columns(self, shape: Shape) -> Sequence[str] | None:
        """The primary key of the table of ``shape``, in its own order; None for a view, or a table without one.

        It connects and looks the key up each time. In SQLite values of a primary key may be NULL, and then be the same
        in several rows, unless its columns are NOT NULL.
        """
        with self._connection() as connection:
            return find_table(connection, shape.table).key or None

    def describe(self, shape: Shape) -> dict[str, ColumnDescription]:
        """What the source says of the columns of ``shape``, in their order: types, the primary key, NOT NULL.

        It connects and looks each time. Raises UnknownTableError, UnknownColumnError.
        """
        with self._connection() as connection:
            return self._described(find_table(connection, shape.table), shape)

    def subset(
        self,
        shape: Shape,
        *,
        where: str | None = None,
        params: Mapping[str, Scalar] | None = None,
        order_by: Sequence[Order] = (),
        limit: int,
        offset: int = 0,
    ) -> Subset:
        """Some of the rows of ``shape``, as the source has them now.

        ``where`` leaves rows out, and can learn nothing about those that are not of the shape: see
        :func:`shapestore.shape.narrowed.narrowed`. At most ``limit`` rows are read. Rows that are alike in ``order_by``
        come in the order of the primary key.

        Raises what reading a shape raises, and InvalidShapeError if ``where`` and ``params`` are not acceptable.
        """
        some = narrowed(shape, where, params)
        with self._connection() as connection:
            moment = moment_of(connection)
            table, part = find_table(connection, shape.table), Part(order_by, limit, offset)
            query = shape_query(connection, table, some, with_key=True, part=part)
            return Subset(moment, list(self._pairs(connection, query)))

    def rows_by_key(self, shapes: Sequence[Shape], keys: Sequence[Key]) -> Generator[Any, None, None]:
        """The rows of several shapes of one table that have one of these keys, as of one moment.

        First comes the primary key, None where there is none; then, for each row, the place of its shape among
        ``shapes``, its key and the row. A key's values are numbers or text, on SQLite bytes too; for others, ValueError
        is raised: databases may compare them in another way than they are told apart here.
        """
        _check_key_values(keys, {int, str, float, bytes} if self._engine.dialect.name == "sqlite" else {int, str})
        with self._connection() as connection:
            table = find_table(connection, shapes[0].table)
            yield table.key or None
            for place, shape in enumerate(shapes):
                for first in range(0, len(keys), _KEYS_IN_A_STATEMENT):
                    part = Part(keys=keys[first : first + _KEYS_IN_A_STATEMENT])
                    query = shape_query(connection, table, shape, with_key=True, part=part)
                    for key, row in self._pairs(connection, query):
                        yield place, key, row

    @property
    def reads(self) -> object:
        """The same for sources that read one database: a URL; or the Engine, whose URL may name no database."""
        return self._engine.url if self._engine.url.database else self._engine

    def source_path(self) -> str:
        """The resolved path of the SQLite file that is read. It connects. Raises InvalidSourceError if it has none."""
        with without_secrets(self._secrets), plain_errors():
            return source_path(self._engine)

    def named_path(self) -> str | None:
        """The path of the SQLite file as the URL names it, which may lead over links; None if it names none."""
        return named_path(self._engine)

    def meanings(self) -> Meanings:
        """What LIKE and functions mean on its connections to a SQLite file, for a follower's. It connects."""
        with without_secrets(self._secrets), plain_errors():
            return meanings(self._engine)

    def _keyed(self, shape: Shape) -> Iterator[Any]:
        """As KeyedRows takes it: the key's columns first, and then pairs."""
        with self._moment(shape) as (connection, table, moment):
            query = shape_query(connection, table, shape, with_key=True)
            key_columns = tuple(query.columns[place] for place in query.key) or None
            yield key_columns, moment, self._described(table, shape)
            followed = moment.signature is not None
            for key, row in self._pairs(connection, query, followed=followed):
                if followed and key is not None and None in key:
                    raise null_key(shape.table)
                yield key, row

    def _described(self, table: Table, shape: Shape) -> dict[str, ColumnDescription]:
        columns = table.description
        if shape.columns is not None:
            table.check(shape.columns)
            columns = {name: columns[name] for name in shape.columns}
        if self.nan_as_null:  # then any may be null, whatever it is declared
            columns = {name: replace(column, not_null=False) for name, column in columns.items()}
        return columns

    def _pairs(
        self, connection: Connection, query: Query, *, followed: bool = False
    ) -> Iterator[tuple[Key | None, dict[str, Any]]]:
        own = query.columns[: query.width]
        for row in self._rows(connection, query, followed=followed):
            key: Key = tuple([key_part(row[place]) for place in query.key])  # half the time of a generator
            yield key or None, dict(zip(own, row, strict=False))

    @contextmanager
    def _moment(self, shape: Shape) -> Iterator[tuple[Connection, Table, Moment]]:
        """A connection to the source as of one moment, from which on changes are captured if they are followed.

        What there is to be read is looked up each time, in the transaction that reads it: schemas change.
        """
        for _ in range(_INSTALLATIONS):
            with self._connection() as connection:
                table = find_table(connection, shape.table)
                moment = followed_moment_of(connection, table.place) if self.follow else moment_of(connection)
                if moment.signature is not None or not self.follow:
                    yield connection, table, moment
                    return
            install(str(moment.source), table.place.table)
        raise refusal(
            shape.table,
            f"its triggers were put back {_INSTALLATIONS} times, and were gone again; ask for the shape once the "
            "migration of the table has ended",
        )

    def _rows(self, connection: Connection, query: Query, *, followed: bool = False) -> Iterator[Sequence[Any]]:
        """The rows of a query, their values converted."""
        values = Values(
            query.columns,
            nan_as_null=self.nan_as_null,
            time_is_timedelta=connection.dialect.name in ("mysql", "mariadb"),
            followed=followed,
        )
        # no_parameters: were it set on the Engine, a doubled % would stay doubled.
        statement = query.statement.execution_options(stream_results=True, no_parameters=False)
        with naming_columns(query.columns), connection.execute(statement, query.values) as result:
            for rows in result.yield_per(self._batch_size).partitions():
                yield from map(values.convert, rows)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with without_secrets(self._secrets), plain_errors(), snapshot(self._engine) as connection:
            yield connection


def _check_key_values(keys: Sequence[Key], kinds: set[type]) -> None:
    for key in keys:
        for value in key:
            if type(value) not in kinds:
                raise ValueError(f"rows are not read by a key that has a value of type {type(value).__name__}")
