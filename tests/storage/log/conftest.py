"""What the tests of logs share: a file, on a connection as the writer's is."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest


@pytest.fixture
def connection(empty_path: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(empty_path, isolation_level=None)) as connection:
        yield connection
