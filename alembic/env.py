"""How alembic runs the migrations: from the command line on the file named by ``-x db=PATH``, or for a store.

A store opens the file itself, holds the write gate, and passes its connection. Everything between
BEGIN IMMEDIATE and COMMIT is one transaction, so a run that is killed half way has changed nothing.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from alembic import context
from alembic.migration import MigrationContext
from alembic.operations.ops import MigrationScript
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from shapestore.errors import ShapeStoreError
from shapestore.locking.gate import Gate
from shapestore.storage import migrations, schema
from shapestore.storage.path import check_beside, make_if_missing, resolve
from shapestore.storage.schema import views


def main() -> None:
    connection = context.config.attributes.get("connection")
    if context.is_offline_mode():
        print_statements()
    elif connection is not None:
        migrate(connection)
    else:
        from_the_command_line()


def from_the_command_line() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("alembic.util.messaging").disabled = True  # alembic prints errors as well
    try:
        path = resolve(path_from_the_command_line())
        check_beside(path)
        migrations.refuse_foreign(path)  # before a gate is made beside it
        gate = Gate(path)
        with closing(gate), gate.hold_blocking():
            make_if_missing(path)
            with migrations.opened(path) as connection:
                migrate(connection)
    except ShapeStoreError as error:
        raise CommandError(str(error)) from error


def path_from_the_command_line() -> str:
    path: str | None = context.get_x_argument(as_dictionary=True).get("db")
    if not path:
        raise CommandError("name the store's file: alembic -x db=/path/to/shapes.db upgrade head")
    command = getattr(context.config.cmd_opts, "cmd", (None,))[0]
    if not os.path.exists(path) and getattr(command, "__name__", "") != "upgrade":
        raise CommandError(f"there is no file {path!r}; `alembic -x db=... upgrade head` makes it")
    return path


def migrate(connection: sqlite3.Connection) -> None:
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as begun:
            context.configure(
                connection=begun,
                target_metadata=schema.metadata,
                transactional_ddl=True,
                compare_server_default=True,
                render_as_batch=True,
                include_name=is_of_the_store,
                process_revision_directives=number_the_revision,
            )
            if context.get_context().get_current_revision() != "0001":  # which has made its views itself
                for statement in drop_views():
                    begun.exec_driver_sql(statement)
            context.run_migrations()
            if context.get_context().get_current_revision() == migrations.HEAD:
                for statement in (*drop_views(), *views.VIEWS.values()):
                    begun.exec_driver_sql(statement)
    except DBAPIError as error:
        raise error.orig or error from error


def print_statements() -> None:
    context.configure(dialect_name="sqlite", transactional_ddl=True)
    with context.begin_transaction():
        if context.get_starting_revision_argument() == migrations.HEAD:
            for statement in drop_views():
                context.execute(statement)
        context.run_migrations()
        if context.get_revision_argument() == migrations.HEAD:
            for statement in (*drop_views(), *views.VIEWS.values()):
                context.execute(statement)


def drop_views() -> list[str]:
    """Views are no part of the revisions: they are dropped before and made again after, from views.py."""
    return [f"DROP VIEW IF EXISTS {name}" for name in views.VIEWS]


def is_of_the_store(name: str | None, kind: str, _parents: Any) -> bool:
    """Whether autogenerate considers an object: Litestream keeps two tables of its own in a file that it replicates."""
    return kind != "table" or not str(name).startswith("_litestream_")


def number_the_revision(_context: MigrationContext, _revision: Any, scripts: Iterable[MigrationScript]) -> None:
    """Name a new revision by the number after the newest one, so that a list of the folder shows their order."""
    newest = ScriptDirectory.from_config(context.config).get_current_head()
    for script in scripts:
        script.rev_id = f"{int(newest or 0) + 1:04}"


main()
