"""A store's file as the tests of its migrations see it, and commands run on it in another process."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from shapestore.storage import migrations, schema

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def opened(path: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def revision_of(path: str) -> str | None:
    with opened(path) as connection:
        return migrations.current_revision(connection)


def definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """The SQL of everything in the file but alembic's own table, without the white space that means nothing."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name != 'alembic_version'"
    )
    return {name: without_spare_space(sql) for name, sql in found.fetchall()}


def without_spare_space(sql: str) -> str:
    sql = " ".join(sql.split())
    for mark in "(),":
        sql = sql.replace(f" {mark}", mark).replace(f"{mark} ", mark)
    return sql


def definitions_of_the_metadata() -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        engine = sa.create_engine("sqlite://", creator=lambda: connection, poolclass=sa.StaticPool)
        schema.metadata.create_all(engine)
        for statement in (schema.TRIGGERS | schema.VIEWS).values():
            connection.execute(statement)
        return definitions(connection)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def alembic(path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "alembic", "-x", f"db={path}", *arguments)
