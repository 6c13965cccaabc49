"""A connection that sees the source as of one moment, and changes nothing in it.

On PostgreSQL, MySQL and MariaDB that is a transaction of REPEATABLE READ or, if the Engine asks for it, SERIALIZABLE; a
weaker level of the Engine's is raised. On SQLite it is a transaction begun before the first look at the schema.

An Engine on a StaticPool has one connection for all threads. A transaction of the application's would end with ours,
and an error of ours could cost it an in-memory database. So nothing is read over that connection: a connection of our
own is made in the same way, and a database in memory is copied into it, once no write transaction is open.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.pool import StaticPool

from shapestore.errors import InvalidSourceError
from shapestore.shape.quoting import quoted
from shapestore.source.catalogue.sqlite import IN_MEMORY
from shapestore.source.sqlite_feed.file import ask, files_of

COPY_TIMEOUT = 5.0
"""Seconds for which the copy of an in-memory database waits for a writer, as SQLite's own connections do."""

_REPEATABLE = ("postgresql", "mysql", "mariadb")


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that sees the database as of one moment, if the database can do that."""
    with _connected(engine) as connection:
        if engine.dialect.name in _REPEATABLE and connection.get_isolation_level() != "SERIALIZABLE":
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            if engine.dialect.name == "sqlite":
                with _begun(connection):
                    yield connection
            else:
                yield connection


@contextmanager
def _begun(connection: Connection) -> Iterator[None]:
    """A transaction of SQLite's, for which neither SQLAlchemy nor the driver sends a BEGIN before a SELECT.

    An Engine may be set up to send one; then there is nothing to do. And it may be set up, by ``autocommit``, so that
    commit() and rollback() of its driver do nothing: what was begun here ends here.
    """
    driver: Any = connection.connection.driver_connection
    if driver.in_transaction:
        yield
        return
    connection.exec_driver_sql("BEGIN")
    try:
        yield
    finally:
        if driver.in_transaction:
            driver.execute("ROLLBACK")


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    if not isinstance(engine.pool, StaticPool):
        with engine.connect() as connection:
            yield connection
        return
    pool = engine.pool.recreate()
    shared, own = engine.pool.connection.driver_connection, pool.connection.driver_connection
    if shared is own:  # and so the pool must not be disposed of, which would close it
        raise InvalidSourceError(
            "the creator of the Engine always returns the same connection, and a source does not share a "
            "connection with other threads: let the creator connect, or give SQLSource a URL"
        )
    try:
        _fill(own, shared)
        with closing(Connection(engine, pool.connect())) as connection:
            yield connection
    finally:
        pool.dispose()


# --- a StaticPool's databases


def _fill(own: object, shared: object) -> None:
    """Give our own connection the databases that only the shared one has: those in memory, and attached ones."""
    if not isinstance(own, sqlite3.Connection) or not isinstance(shared, sqlite3.Connection):
        return
    try:
        _copy(shared, own)
    except sqlite3.ProgrammingError as error:
        if "thread" not in str(error):
            raise
        raise InvalidSourceError(IN_MEMORY) from error


_USING_SHARED = threading.Lock()
"""Held while a shared connection is used: if two threads run one statement on it, each may get only some of the rows.

(The driver gives both threads the one statement that it has prepared, from Python 3.13 on also while it is in use.)
"""


def _copy(shared: sqlite3.Connection, own: sqlite3.Connection) -> None:
    attached = files_of(own)
    with _USING_SHARED:
        files = files_of(shared)
        in_memory = [name for name, file in files.items() if not file and _has_pages(shared, name)]
    for schema, file in files.items():
        if schema not in attached:
            own.execute(f"ATTACH ? AS {quoted(schema)}", (file or ":memory:",))
    if in_memory:
        for schema, image in _images(shared, in_memory).items():
            own.deserialize(image, name=schema)


def _images(shared: sqlite3.Connection, schemas: list[str]) -> dict[str, bytes]:
    """The databases as of one moment outside of any write transaction."""
    deadline = time.monotonic() + COPY_TIMEOUT
    while time.monotonic() < deadline:
        with _USING_SHARED:
            changes = shared.total_changes
            if not shared.in_transaction:
                images = {schema: shared.serialize(name=schema) for schema in schemas}
                if not shared.in_transaction and shared.total_changes == changes:
                    return images
        time.sleep(0.005)
    raise sqlite3.OperationalError(
        f"the in-memory database was in a write transaction for {COPY_TIMEOUT:g} s, and cannot be read until it ends: "
        "commit before you ask for a shape of it"
    )


def _has_pages(connection: sqlite3.Connection, schema: str) -> bool:
    return ask(connection, f"PRAGMA {quoted(schema)}.page_count") != [(0,)]
