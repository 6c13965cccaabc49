"""Servers that the tests of sources share: each is started once, and gone when the tests have ended."""

from __future__ import annotations

from collections.abc import Iterator

import mariadb_server
import postgres_server
import pytest


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server's database."""
    pytest.importorskip("psycopg")
    folder = postgres_server.binaries()
    if folder is None:
        pytest.skip("no PostgreSQL server is installed here (Debian: apt-get install postgresql)")
    with postgres_server.running_server(folder) as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """The URL of a MariaDB server's database."""
    pytest.importorskip("pymysql")
    program = mariadb_server.binary()
    if program is None:
        pytest.skip("no MariaDB server is installed here (Debian: apt-get install mariadb-server)")
    with mariadb_server.running_server(program) as url:
        yield url
