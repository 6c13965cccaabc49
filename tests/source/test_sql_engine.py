"""What a SQLSource can be made with, and what is said about the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from shapestore import SQLSource
from shapestore.errors import InvalidSourceError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("music.db", "for a SQLite file it is sqlite:/// and the path"),
        ("", "a source is an SQLAlchemy URL"),
        ("me:hunter2@host/x", "a source is an SQLAlchemy URL"),
        ("postgresql://me:hunter2@host:port/x", "a source is an SQLAlchemy URL"),
        ("postgresql://me:hun@ter2@host/x", 'has more than one "@"'),
        ("postgresql://me:hun@ter2/hunter2@host/x", 'has more than one "@"'),
        ("sqlite://hunter2.db", "for a SQLite file it is sqlite:/// and the path"),
        ("sqlite:///music.db?timeout=hunter2", "the URL of the source was refused (ValueError): check its query"),
        ("mysql+pymysql://me@host/x?connect_timeout=hunter2", "the URL of the source was refused (ValueError)"),
        ("postgres://me:hunter2@host/x", 'does not know the dialect of the URL; did you mean "postgresql"?'),
        ("hunter2://host/x", "does not know the dialect or driver of the URL: correct it, or install"),
        ("postgresql+hunter2://host/x", "does not know the dialect or driver of the URL: correct it, or install"),
        ("sqlite://", "poolclass=StaticPool"),
        ("sqlite:///:memory:", "poolclass=StaticPool"),
        ("sqlite+aiosqlite:///music.db", 'name a synchronous driver, as in "sqlite:///app.db"'),
        (Path("music.db"), "synchronous Engine, not "),
        (None, "synchronous Engine, not NoneType"),
    ],
)
def test_what_is_no_database_is_refused_at_once_and_no_part_of_it_is_quoted(given: Any, message: str) -> None:
    with pytest.raises(InvalidSourceError) as caught:
        SQLSource(given)
    assert message in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hun" not in f"{error}{error.args}"
        assert "ter2" not in f"{error}{error.args}"
        error = error.__context__


def test_an_engine_for_asyncio_is_refused() -> None:
    engine = create_engine("sqlite+aiosqlite:///music.db")
    with pytest.raises(InvalidSourceError, match='"aiosqlite" is for asyncio'):
        SQLSource(engine)


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


@pytest.mark.parametrize("nan", ["none", None, True, "x" * 10_000])
def test_nan_is_an_error_or_null(nan: Any) -> None:
    with pytest.raises(InvalidSourceError, match=r'^nan is "error" or "null", not .{1,100}$'):
        SQLSource("sqlite:///music.db", nan=nan)


def test_nothing_is_opened_before_a_shape_is_read(tmp_path: Path) -> None:
    SQLSource(f"sqlite:///{tmp_path / 'nowhere' / 'music.db'}")
    assert list(tmp_path.iterdir()) == []
