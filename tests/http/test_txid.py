"""The number by which a client knows a write of its own again."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served_shapes import make_source
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from shapestore.http import txid
from shapestore.source.sqlite_feed.installation import install

RENAME = "UPDATE Track SET Name = 'new' WHERE TrackId = 1"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return make_source(tmp_path / "source.db")


def path(url: str) -> str:
    return url.removeprefix("sqlite:///")


@pytest.fixture
def followed(url: str) -> str:
    install(path(url), "Track")
    return url


@contextlib.contextmanager
def in_sqlite3(url: str) -> Iterator[tuple[Any, Any]]:
    with contextlib.closing(sqlite3.connect(path(url))) as connection, connection:
        connection.row_factory = sqlite3.Row
        yield connection, connection.execute


@contextlib.contextmanager
def disposed_of(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


@contextlib.contextmanager
def in_a_connection(url: str) -> Iterator[tuple[Any, Any]]:
    with disposed_of(create_engine(url)) as engine, engine.begin() as connection:
        yield connection, lambda statement: connection.execute(text(statement))


@contextlib.contextmanager
def in_a_session(url: str) -> Iterator[tuple[Any, Any]]:
    with disposed_of(create_engine(url)) as engine, Session(engine) as session, session.begin():
        yield session, lambda statement: session.execute(text(statement))


WAYS = pytest.mark.parametrize("way", [in_sqlite3, in_a_connection, in_a_session])


def markers(url: str) -> list[int]:
    with contextlib.closing(sqlite3.connect(path(url))) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM shapestore_changes WHERE tab = 0 ORDER BY seq")]


@WAYS
def test_it_is_the_place_of_a_marker_among_the_changes(followed: str, way: Any) -> None:
    before = markers(followed)
    with way(followed) as (connection, execute):
        execute(RENAME)
        given = txid(connection)
        execute(RENAME)
    [marker] = [seq for seq in markers(followed) if seq not in before]
    assert given == marker > 0


@WAYS
def test_what_is_rolled_back_leaves_no_marker(followed: str, way: Any) -> None:
    before = markers(followed)
    with contextlib.suppress(ZeroDivisionError), way(followed) as (connection, _):
        txid(connection)
        raise ZeroDivisionError
    assert markers(followed) == before


@WAYS
def test_it_is_0_where_nothing_is_captured_and_the_write_does_not_fail(url: str, way: Any) -> None:
    with way(url) as (connection, execute):
        execute(RENAME)
        assert txid(connection) == 0
    with contextlib.closing(sqlite3.connect(path(url))) as connection:
        assert connection.execute("SELECT Name FROM Track WHERE TrackId = 1").fetchall() == [("new",)]


def test_what_is_not_a_connection_is_refused(url: str) -> None:
    engine: Any = create_engine(url)
    with pytest.raises(TypeError, match=r"txid takes a connection .* not Engine"):
        txid(engine)
