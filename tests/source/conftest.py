"""Servers that the tests of sources share: each is started once; each module has a database of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import mariadb_server
import postgres_server
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    pytest.importorskip("psycopg")
    folder = postgres_server.binaries()
    if folder is None:
        pytest.skip("no PostgreSQL server is installed here (Debian: apt-get install postgresql)")
    with postgres_server.running_server(folder) as url:
        yield url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """The URL of a MariaDB server."""
    pytest.importorskip("pymysql")
    program = mariadb_server.binary()
    if program is None:
        pytest.skip("no MariaDB server is installed here (Debian: apt-get install mariadb-server)")
    with mariadb_server.running_server(program) as url:
        yield url


@pytest.fixture(scope="module")
def postgres_url(postgres: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database of PostgreSQL's that is the module's own."""
    return _database(postgres, request)


@pytest.fixture(scope="module")
def mariadb_url(mariadb: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database of MariaDB's that is the module's own."""
    return _database(mariadb, request)


def _database(server: str, request: pytest.FixtureRequest) -> str:
    name = request.path.stem
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return make_url(server).set(database=name).render_as_string()
