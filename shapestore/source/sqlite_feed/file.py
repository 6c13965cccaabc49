"""The file of a SQLite source, and connections of our own to it."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_to_bytes

from shapestore.errors import InvalidSourceError
from shapestore.shape.where.parser import FUNCTIONS

if TYPE_CHECKING:
    from sqlalchemy import Engine

TIMEOUT = 10.0
"""Seconds for which a connection of ours waits for another writer."""

NO_FILE = "only a SQLite file can be followed, over the driver sqlite3 of Python's own library"


def source_path(engine: Engine) -> str:
    """The resolved path of the file that ``engine`` reads. Raises InvalidSourceError if it reads no SQLite file."""
    if engine.dialect.name != "sqlite":
        raise InvalidSourceError(f"a source on {engine.dialect.name} cannot be followed: {NO_FILE}")
    with engine.connect() as connection:
        path = path_of(connection.connection.driver_connection)
    if path is None:
        raise InvalidSourceError(f"the source cannot be followed: {NO_FILE}")
    if why := why_unnamed(path):
        raise InvalidSourceError(f"the source cannot be followed: {why}")
    return path


def why_unnamed(path: str) -> str | None:
    """Why a store cannot name a source by this path; None if it can."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"its path is not text in UTF-8, by which a store would name it: {path!r}; give it another path"
    return None


def named_path(engine: Engine) -> str | None:
    """The path of the SQLite file that the URL of ``engine`` names, also by a URI; None if it names none."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    arguments, options = engine.dialect.create_connect_args(engine.url)
    name = str(arguments[0]) if arguments else engine.url.database
    if not options.get("uri") or not name.startswith("file:"):
        return name
    return path_in_uri(name)


def path_in_uri(uri: str) -> str:
    """The path that a URI of a SQLite file names."""
    path = re.split("[?#]", uri.removeprefix("file:"))[0]
    if path.startswith("//"):  # an authority, which is empty or "localhost"
        path = "/" + path[2:].partition("/")[2]
    return os.fsdecode(unquote_to_bytes(path))


class Meanings(NamedTuple):
    """What wheres mean on the connections of an engine, where that is not what they mean on any."""

    case_sensitive_like: bool
    """Whether LIKE tells a from A, as ``PRAGMA case_sensitive_like`` has it."""
    own: frozenset[str]
    """Functions of a where, and "like", in whose place the application has put others."""


def meanings(engine: Engine) -> Meanings:
    """What wheres mean on the connections of ``engine``."""
    like, own = "SELECT 'a' LIKE 'A', 'ä' LIKE 'Ä'", "SELECT name FROM pragma_function_list WHERE NOT builtin"
    with engine.connect() as connection:
        ignores_case, folds = connection.exec_driver_sql(like).one()
        names = {name.lower() for (name,) in connection.exec_driver_sql(own)}
    with closing(sqlite3.connect(":memory:")) as usual:
        ((_, usually_folds),) = usual.execute(like).fetchall()
    replaced = names & FUNCTIONS.keys() | ({"like"} if folds != usually_folds else set())
    return Meanings(not ignores_case, frozenset(replaced))


def path_of(connection: object) -> str | None:
    """The resolved path of a driver connection's main database, or None: it has no file, or is not of SQLite."""
    if not isinstance(connection, sqlite3.Connection):
        return None
    file = files_of(connection)["main"]
    return os.path.realpath(file) if os.path.isabs(file) else None  # a copy in memory is called "x"


def files_of(connection: sqlite3.Connection) -> dict[str, str]:
    """The databases of a connection by their names, each with its file, which is empty for one in memory."""
    try:
        files = {name: file for _, name, file in ask(connection, "PRAGMA database_list")}
    except (sqlite3.OperationalError, UnicodeDecodeError):  # a path that is not UTF-8; to ask so takes a lock
        in_hex = ask(connection, "SELECT name, hex(file) FROM pragma_database_list")
        files = {name: os.fsdecode(bytes.fromhex(file)) for name, file in in_hex}
    return {name: file for name, file in files.items() if name != "temp"}


@contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    """A connection to the file, which must exist; transactions are begun by hand, and checkpoints left to others."""
    with closing(
        sqlite3.connect(f"{Path(path).as_uri()}?mode=rw", uri=True, timeout=TIMEOUT, isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # one that meets a writer may lose pages before 3.51.3
        yield connection


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """A transaction that is committed at the end, or rolled back by an error."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def ask(connection: sqlite3.Connection, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a query of our own as plain tuples, whatever the connection was told to make of rows and text."""
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute(statement, values).fetchall()
    return [tuple(value.decode() if isinstance(value, bytes) else value for value in row) for row in rows]


class NotUtf8(bytes):
    """Text of the source that no str can hold."""


@contextmanager
def any_text(connection: sqlite3.Connection) -> Iterator[None]:
    """Text that is not UTF-8 comes as NotUtf8 inside. Outside it is an error."""
    before, connection.text_factory = connection.text_factory, _text
    try:
        yield
    finally:
        connection.text_factory = before


def _text(raw: bytes) -> str | NotUtf8:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return NotUtf8(raw)
