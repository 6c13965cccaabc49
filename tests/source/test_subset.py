"""Some of a shape's rows, as the source has them now."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shapestore import InvalidShapeError, Shape, SQLSource, UnknownColumnError
from shapestore.shape.order import Order
from shapestore.source.sqlite_feed.file import opened
from shapestore.source.sqlite_feed.installation import install

ROWS = [(1, "b", 5, 7), (2, "a", None, 7), (3, "c", 5, 7), (4, "a", 9, 7), (5, "z", 1, 8)]
OWN = Shape("item", where="tenant = 7", columns=["name"])


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> SQLSource:
    url = {"sqlite": f"sqlite:///{tmp_path / 'app.db'}"}.get(request.param) or request.getfixturevalue(
        {"postgresql": "postgres_url", "mariadb": "mariadb_url"}[request.param]
    )
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS item")
        connection.exec_driver_sql(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(9), n BIGINT, tenant INTEGER)"
        )
        mark = "?" if request.param == "sqlite" else "%s"
        connection.exec_driver_sql(f"INSERT INTO item VALUES ({', '.join([mark] * 4)})", ROWS)
    return SQLSource(url)


def ids(source: SQLSource, shape: Shape = OWN, **part: Any) -> list[Any]:
    return [key and key[0] for key, _ in source.subset(shape, **{"limit": 100} | part).rows]


def test_a_subset_is_of_the_shape_and_has_its_columns_and_keys(source: SQLSource) -> None:
    subset = source.subset(OWN, where="n > :n", params={"n": 5}, limit=10)
    assert subset.rows == [((4,), {"name": "a"})]
    assert ids(source) == [1, 2, 3, 4]
    assert ids(source, where="tenant = 8 OR n = 1") == []


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ([Order("n")], [1, 3, 4, 2]),
        ([Order("n", nulls_first=True)], [2, 1, 3, 4]),
        ([Order("n", descending=True)], [4, 1, 3, 2]),
        ([Order("n", descending=True, nulls_first=True)], [2, 4, 1, 3]),
        ([Order("name"), Order("n", descending=True)], [4, 2, 1, 3]),
        ([Order("name"), Order("id", descending=True)], [4, 2, 1, 3]),
        ([Order("name")], [2, 4, 1, 3]),
    ],
)
def test_its_order_puts_null_where_it_was_asked_for_and_ends_with_the_key(
    source: SQLSource, order_by: list[Order], expected: list[int]
) -> None:
    assert ids(source, order_by=order_by) == expected
    pages = [ids(source, order_by=order_by, limit=1, offset=offset) for offset in range(5)]
    assert pages == [*([one] for one in expected), []]


def test_a_condition_cannot_learn_about_rows_that_are_not_of_the_shape(source: SQLSource) -> None:
    assert ids(source, where="10 / (n - 1) > 0 AND abs(n) > 0") == [1, 3, 4]
    with pytest.raises(InvalidShapeError):
        ids(source, where="n = 1) OR (1 = 1")


def test_names_that_are_not_columns_are_refused(source: SQLSource) -> None:
    with pytest.raises(UnknownColumnError):
        ids(source, where="nope = 1")
    with pytest.raises(UnknownColumnError):
        ids(source, order_by=[Order('n"; DROP TABLE item')])


# --- as of when


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, tenant)")
    return path


def test_it_tells_as_of_which_change_it_was_read_where_changes_are_captured(path: Path) -> None:
    source = SQLSource(f"sqlite:///{path}")
    assert source.subset(OWN_OF_ANY, limit=1).moment.seq is None
    install(str(path), "item")
    seq = source.subset(OWN_OF_ANY, limit=1).moment.seq
    with opened(str(path)) as database:
        database.execute("INSERT INTO item VALUES (1, 7)")
    subset = source.subset(OWN_OF_ANY, limit=1)
    assert seq is not None
    assert (subset.moment.seq, subset.rows) == (seq + 1, [((1,), {"id": 1, "tenant": 7})])


OWN_OF_ANY = Shape("item", where="tenant = 7")
