"""From the URL of a source to the Engine that reads it: one that keeps nothing open and makes no file.

No connection is made here. Whatever can be wrong with a URL by itself is said at once.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from shapestore.errors import InvalidSourceError

_DIALECTS = ("postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql")
_PACKAGE_OF_MODULE = {"MySQLdb": "mysqlclient", "psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}


def engine_of(url: str | URL) -> Engine:
    """The engine for ``url``. Raises InvalidSourceError."""
    parsed = _parsed(url)
    # A creation is a slow query, beside which connecting costs little; so nothing stays open, and nobody must close.
    try:
        engine = create_engine(parsed, poolclass=NullPool)
    except NoSuchModuleError as error:
        near = get_close_matches(parsed.get_backend_name(), _DIALECTS, n=1)
        meant = f'did you mean "{near[0]}"?' if near else "install the package that brings it"
        raise InvalidSourceError(f'SQLAlchemy has no dialect "{parsed.drivername}"; {meant}') from error
    except ImportError as error:
        package = _PACKAGE_OF_MODULE.get(error.name or "", error.name)
        raise InvalidSourceError(
            f'the driver for "{parsed.drivername}" is missing ({error}): `pip install "{package}"`, '
            f"or name a driver that is installed, as in {parsed.get_backend_name()}+driver://"
        ) from error
    except (SQLAlchemyError, ValueError) as error:
        raise InvalidSourceError(f"the URL of the source is refused: {error}") from error
    if engine.dialect.is_async:
        raise InvalidSourceError(
            f'"{parsed.drivername}" is a driver for asyncio; a source is read in a thread, by one that blocks'
        )
    if engine.dialect.name == "sqlite":
        _open_no_new_file(engine)
    return engine


def _parsed(url: str | URL) -> URL:
    if not isinstance(url, (str, URL)):
        raise InvalidSourceError(f"a source is an SQLAlchemy URL or a synchronous Engine, not {type(url).__name__}")
    try:
        return make_url(url)
    except (SQLAlchemyError, ValueError):  # neither is it shown nor the text itself: a password may be in it
        raise InvalidSourceError(
            "a source is an SQLAlchemy URL, dialect://user:password@host:port/database, with whatever is special in a "
            "name or password written as %XX; a SQLite file is sqlite:/// and its path"
        ) from None


def _open_no_new_file(engine: Engine) -> None:
    """Have SQLite open files that are there, and make none at a mistyped path."""
    if engine.url.database in (None, "", ":memory:"):
        raise InvalidSourceError("a new in-memory database has nothing to be read; give the Engine that filled it")

    @event.listens_for(engine, "do_connect")
    def _(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        if options.get("uri"):  # it says itself how it is to be opened
            return
        file = Path(arguments[0])
        if not file.is_file():
            raise FileNotFoundError(f"the source is not there: {file} is no file")
        # Not mode=ro: that would leave -wal and -shm files beside a database in WAL mode, and cannot read one whose
        # writer was killed half way. What may not be written is opened read-only all the same.
        arguments[0] = f"{file.as_uri()}?mode=rw"
        options["uri"] = True
