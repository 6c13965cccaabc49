"""What a SQLSource may be made with, and what is said about the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from shapestore import SQLSource
from shapestore.errors import InvalidSourceError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("music.db", "a SQLite file is sqlite:/// and its path"),
        ("", "a source is an SQLAlchemy URL"),
        ("postgresql://me:secret@host:port/x", "a source is an SQLAlchemy URL"),
        ("sqlite://music.db", "Invalid SQLite URL"),
        ("sqlite:///music.db?timeout=soon", "the URL of the source is refused: could not convert"),
        ("postgres://me:secret@host/x", 'no dialect "postgres"; did you mean "postgresql"?'),
        ("zzz+yyy://host/x", 'no dialect "zzz+yyy"; install the package that brings it'),
        ("sqlite://", "a new in-memory database has nothing to be read"),
        ("sqlite:///:memory:", "a new in-memory database has nothing to be read"),
        ("sqlite+aiosqlite:///music.db", '"sqlite+aiosqlite" is a driver for asyncio'),
        (Path("music.db"), "synchronous Engine, not "),
        (None, "synchronous Engine, not NoneType"),
    ],
)
def test_what_is_no_database_is_refused_at_once(given: Any, message: str) -> None:
    with pytest.raises(InvalidSourceError) as caught:
        SQLSource(given)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("drivername", "module", "package"),
    [("mysql", "MySQLdb", "mysqlclient"), ("mysql+pymysql", "pymysql", "pymysql")],
)
def test_a_driver_that_is_missing_is_said_with_its_package(
    monkeypatch: pytest.MonkeyPatch, drivername: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidSourceError) as caught:
        SQLSource(f"{drivername}://me:secret@host/x")
    assert f'`pip install "{package}"`' in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("batch_size", [0, -1, True, 1.5, None])
def test_a_batch_has_rows(batch_size: Any) -> None:
    with pytest.raises(InvalidSourceError, match="batch_size is a number of rows, 1 or more"):
        SQLSource("sqlite:///music.db", batch_size=batch_size)


def test_a_password_is_not_shown() -> None:
    pytest.importorskip("psycopg")
    source = SQLSource(make_url("postgresql+psycopg://me:secret@host/x"))
    assert repr(source) == "SQLSource('postgresql+psycopg://me:***@host/x')"


def test_nothing_is_opened_before_a_shape_is_read(tmp_path: Path) -> None:
    SQLSource(f"sqlite:///{tmp_path / 'nowhere' / 'music.db'}")
    assert list(tmp_path.iterdir()) == []
