"""Which revision of the schema a file has, and how it is brought to the one that this code works with.

The revision is read with plain SQLite. alembic, which takes a quarter of a second to import, is loaded only
when there is something to migrate.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from shapestore.errors import MigrationRequiredError, StorageError
from shapestore.shape.listing import listed
from shapestore.storage.connection import BUSY_TIMEOUT_MS, SCHEMA, open_immutable
from shapestore.storage.sqlite_errors import damaged, translated

REVISIONS = ("0001", SCHEMA)
"""Every revision that this code knows, oldest first."""

HEAD = REVISIONS[-1]
"""The revision that this code works with."""

# A store has all of these. alembic_version alone proves nothing, for other programs use alembic too.
_TABLES_OF_A_STORE = {"shapes", "shape_rows", "create_locks"}

_TAKEN = re.compile("already exists$|^there is already (a|an|another) ")

# alembic keeps its state in globals of its modules, so two threads must not run it at once, not even on two files.
_alembic_turn = threading.Lock()


def current_revision(connection: sqlite3.Connection) -> str | None:
    """Return the revision of the file's schema; None for an empty file.

    Raises StorageError if the file is a database of another program.
    """
    # Litestream adds tables of its own to the file that it replicates.
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')"
        " AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_litestream_*' ORDER BY name"
    ).fetchall()
    tables = {name for (name,) in names}
    versions = connection.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
    revisions = [revision for (revision,) in versions]
    if not revisions and tables <= {"alembic_version"}:
        return None
    if len(revisions) == 1 and tables >= _TABLES_OF_A_STORE:
        return str(revisions[0])
    raise StorageError(
        f"{_path_of(connection)!r} is a database of another program (it holds {listed(sorted(tables))}), "
        "and was left as it is; give the store a file of its own"
    )


def refuse_foreign(path: str) -> str | None:
    """Raise StorageError for a database of another program, CorruptStoreError for a file that is not a database.

    Neither is changed, nor is a file made beside it, which the gate would be. Any other obstacle, such as another
    process that is making the store at this moment, is left for the opening to meet. Returns the revision, as far as
    it can be told without the gate.
    """
    try:
        with contextlib.closing(open_immutable(path)) as connection:
            return current_revision(connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise damaged(error, path) from error
        return None


def check(connection: sqlite3.Connection, path: str) -> None:
    """Raise MigrationRequiredError, which says what to do, unless the file is at HEAD.

    StorageError if it is a database of another program, or not in UTF-8.
    """
    revision = _known_revision(connection, path)
    if revision == HEAD:
        return
    found = "has no tables yet" if revision is None else f"has the schema {revision!r}"
    argument = shlex.quote(path)
    raise MigrationRequiredError(
        f"{path!r} {found}, and this shapestore works with {HEAD!r}: run `shapestore migrate {argument}`, or "
        f"`alembic -x db={argument} upgrade head` from a checkout"
    )


def check_as_it_is(path: str) -> None:
    """``check`` the file at ``path``, of which nothing is changed: an empty one stays empty."""
    with _errors_told(path), contextlib.closing(open_immutable(path)) as connection:
        check(connection, path)


def upgrade(path: str) -> None:
    """Bring the file at ``path`` to HEAD, making it if it is missing. All or nothing, also if the process is killed.

    It blocks, so call it in a thread. The caller holds the write gate. Does nothing if the file is at HEAD already.

    Raises MigrationRequiredError for a file of a newer shapestore, StorageError for one of another program,
    StoreBusyError, StorageError or CorruptStoreError for an error of SQLite.
    """
    with opened(path) as connection:
        if current_revision(connection) != HEAD:
            with _alembic_turn, _quiet_alembic():
                _run_alembic(connection)
            check(connection, path)


@contextlib.contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    """Open a connection for a migration of the file at ``path``. The caller holds the write gate until it is closed.

    The file is in WAL mode afterwards. A file of another program or of a newer shapestore is refused and left as it is.
    """
    with (
        _errors_told(path),
        contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)) as connection,
    ):
        _known_revision(connection, path)
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        yield connection


@contextlib.contextmanager
def _errors_told(path: str) -> Iterator[None]:
    """Raise the errors of SQLite as those that say what has happened to the file."""
    try:
        yield
    except sqlite3.Error as error:
        if _TAKEN.search(str(error)):
            raise StorageError(
                f"{path!r} cannot be migrated ({error}): a table, view or index in it that is not the store's has a "
                "name which the store needs now; nothing was changed: rename it, or drop it"
            ) from error
        raise translated(error, path, is_migrated=True) from error
    except UnicodeDecodeError as error:  # in SQLite's own message, which quotes the schema
        raise damaged(error, path) from error


def _known_revision(connection: sqlite3.Connection, path: str) -> str | None:
    """The revision. Raises an error for a file that this code can neither work with nor migrate."""
    revision = current_revision(connection)
    if revision is not None and revision not in REVISIONS:
        raise MigrationRequiredError(
            f"{path!r} was written by a newer shapestore (its schema is {revision!r}, this one knows up to "
            f"{HEAD!r}): upgrade the package"
        )
    ((encoding,),) = connection.execute("PRAGMA encoding").fetchall()
    if encoding != "UTF-8":  # rows are read as its bytes, without decoding them
        raise StorageError(
            f"{path!r} was made with PRAGMA encoding = {encoding!r}, and a store holds UTF-8: move the file away, and "
            "let the store make its own"
        )
    return revision


def _run_alembic(connection: sqlite3.Connection) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    command.upgrade(config, "head")


def scripts_folder() -> Path:
    """The folder of the migrations: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_migrations", package.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise FileNotFoundError(f"the migrations are missing from {str(package)!r}: install shapestore again")


@contextlib.contextmanager
def _quiet_alembic() -> Iterator[None]:
    """Keep alembic's INFO lines out of the application's log, unless it gave alembic's logger a level itself."""
    logger = logging.getLogger("alembic")
    if logger.level != logging.NOTSET:
        yield
        return
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(logging.NOTSET)


def _path_of(connection: sqlite3.Connection) -> str:
    ((path,),) = connection.execute(
        "SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'"
    ).fetchall()
    return os.fsdecode(path)  # it need not be UTF-8
