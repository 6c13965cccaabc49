"""A SQLite source in WAL mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from followed_source import Source


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    made = Source(tmp_path / "app.db")
    with closing(made.connection):
        yield made
