"""From what a SQLSource is given, a URL or an Engine, to the Engine that reads it.

No connection is made here. An Engine that is made from a URL keeps no connection open, and creates no file. Whatever
is wrong with a URL by itself is said at once, without quoting any part of it: a mistyped URL has its password anywhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from shapestore.errors import InvalidSourceError
from shapestore.source.catalogue.sqlite import IN_MEMORY
from shapestore.source.sqlite_feed.file import path_in_uri
from shapestore.source.suggest import near

_DIALECTS = ("postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql")
_PACKAGE_OF_MODULE = {"MySQLdb": "mysqlclient", "psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}
_SYNCHRONOUS = {
    "sqlite": "sqlite:///app.db",
    "postgresql": "postgresql+psycopg://",
    "mysql": "mysql+pymysql://",
    "mariadb": "mariadb+pymysql://",
}

_URL_FORM = (
    "a source is an SQLAlchemy URL, dialect://user:password@host:port/database, in which special characters of a name "
    "or password are written as %XX; for a SQLite file it is sqlite:/// and the path"
)


def engine_of(url_or_engine: object) -> Engine:
    """The engine that reads the source. Raises InvalidSourceError."""
    engine = url_or_engine if isinstance(url_or_engine, Engine) else _made(_parsed(url_or_engine))
    if engine.dialect.is_async:
        raise InvalidSourceError(
            f'the driver "{engine.dialect.driver}" is for asyncio; a source is read in a thread: name a synchronous '
            f'driver, as in "{_synchronous(engine.dialect.name)}", or give a synchronous Engine'
        )
    return engine


def _synchronous(dialect: str) -> str:
    return _SYNCHRONOUS.get(dialect, f"{dialect}+driver://")


def _parsed(url: object) -> URL:
    if isinstance(url, URL):
        return url
    if not isinstance(url, str):
        raise InvalidSourceError(f"a source is an SQLAlchemy URL or a synchronous Engine, not {type(url).__name__}")
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        parsed = None
    if parsed is None:  # raised here, outside of the handler: the error that was caught holds the text
        raise InvalidSourceError(_URL_FORM)
    if parsed.password and "@" in f"{parsed.host}{parsed.database}":
        raise InvalidSourceError(f'the URL of the source has more than one "@"; {_URL_FORM} (%40 for "@")')
    return parsed


def _made(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite" and not url.host and url.database in (None, "", ":memory:"):
        raise InvalidSourceError(IN_MEMORY)
    # A creation is a slow query, beside which connecting costs little; so nothing stays open that must be closed.
    try:
        engine = create_engine(url, poolclass=NullPool)
    except NoSuchModuleError:
        problem = _unknown_dialect(url)
    except ImportError as error:
        problem = _missing_driver(url, error.name)
    except Exception as error:  # a dialect converts the values of the query, each in its own way
        problem = (
            f"the URL of the source was refused ({type(error).__name__}): check its query and its form; {_URL_FORM}"
        )
    else:
        if engine.dialect.name == "sqlite":
            _create_no_file(engine)
        return engine
    raise InvalidSourceError(problem)  # outside of the handler: the error that was caught quotes the URL


def _unknown_dialect(url: URL) -> str:
    meant = near(url.get_backend_name(), _DIALECTS)
    if meant and meant[0] != url.get_backend_name():
        return f'SQLAlchemy does not know the dialect of the URL; did you mean "{meant[0]}"?'
    return "SQLAlchemy does not know the dialect or driver of the URL: correct it, or install the package that adds it"


def _missing_driver(url: URL, module: str | None) -> str:
    package = _PACKAGE_OF_MODULE.get(module or "", module)
    return (
        f'the driver for "{url.drivername}" is missing (no module {module!r}): `pip install "{package}"`, '
        f"or name a driver that is installed, as in {url.get_backend_name()}+driver://"
    )


def _create_no_file(engine: Engine) -> None:
    """Let SQLite open existing files only: it would create one at a mistyped path."""

    @event.listens_for(engine, "do_connect")
    def _(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        name: str = arguments[0]
        is_uri = options.get("uri") and name.startswith("file:")
        query = parse_qs(name.partition("#")[0].partition("?")[2], keep_blank_values=True) if is_uri else {}
        if {"mode", "vfs"} & query.keys() or name.startswith("file::memory:"):  # the URI itself says what is opened
            return
        file = Path(path_in_uri(name) if is_uri else name)
        if file.is_dir():
            raise IsADirectoryError(f"the source is a file, and {file} is a folder: name a file in it")
        if not file.is_file():
            raise FileNotFoundError(f"the source does not exist: {file} is not a file")
        if not os.access(file, os.R_OK):
            raise PermissionError(f"the source cannot be read: this user has no permission to read {file}")
        # Not mode=ro: that would leave -wal and -shm files beside a database in WAL mode, and cannot read one whose
        # writer was killed half way. A file without write permission is opened read-only all the same.
        arguments[0] = f"{file.absolute().as_uri()}?{urlencode({'mode': 'rw', **query}, doseq=True)}"
        options["uri"] = True
