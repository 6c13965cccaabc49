"""What a client may not see makes no difference to any answer: not another table, nor a column, nor a row."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shapestore import Shape, SQLSource
from shapestore.http.request import parse
from shapestore.http.response import Refusal
from shapestore.shape.column_description import Description
from shapestore.shape.narrowed import narrowed
from shapestore.shape.order import Order
from shapestore.shape.where.where import where_columns

MAY_SEE = Shape("item", where="tenant = 7", columns=["id", "title", "n"])
ALLOWED = ["id", "title", "n"]
SCHEMA = """
    CREATE TABLE item (id INTEGER PRIMARY KEY, title TEXT, n BIGINT, tenant INTEGER, passphrase TEXT);
    CREATE INDEX item_n ON item (n);
    CREATE INDEX item_title ON item (title);
    CREATE INDEX item_passphrase ON item (passphrase);
    CREATE TABLE vault (id INTEGER PRIMARY KEY, passphrase TEXT);
    INSERT INTO item VALUES (1, 'a', 5, 7, NULL), (2, 'b', NULL, 7, NULL), (3, 'ab', -1, 7, NULL);
"""
HIDDEN = [
    "INSERT INTO item VALUES (4, 'a', -9223372036854775808, 8, 'x'), (5, 'b', -9223372036854775808, 8, 'y')",
    "INSERT INTO item VALUES (6, 'z', 0, 8, NULL); INSERT INTO vault VALUES (1, 'a');"
    "UPDATE item SET passphrase = 'a' WHERE tenant = 7",
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[SQLSource]:
    """Two databases that differ in what the client may not see, and in nothing else."""
    folder = tmp_path_factory.mktemp("reach")
    return [made(folder / f"{number}.db", hidden) for number, hidden in enumerate(HIDDEN)]


def made(path: Path, hidden: str) -> SQLSource:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA + hidden)
    return SQLSource(f"sqlite:///{path}")


def answers(sources: list[SQLSource], query: list[tuple[str, str]]) -> list[object]:
    return [answer(source, query) for source in sources]


def answer(source: SQLSource, query: list[tuple[str, str]]) -> object:
    """What the client learns: the rows of its shape and subset; what is wrong with its request; or that it failed."""

    async def describe(table: str) -> Description:
        return source.describe(Shape(table))

    try:
        asked = asyncio.run(parse(query, None, {"item": ALLOWED}, describe))
    except Refusal as error:
        return error.body
    assert asked.shape.table == "item"
    assert set(asked.shape.columns or ()) <= set(ALLOWED)
    assert where_columns(asked.shape.where_as_written or "TRUE") <= set(ALLOWED)
    shape = narrowed(MAY_SEE, asked.shape.where_as_written, asked.shape.params)
    part: dict[str, Any] = {"limit": 10}
    if asked.subset is not None:
        part = {
            "where": asked.subset.where,
            "params": asked.subset.params,
            "order_by": asked.subset.order_by,
            "limit": 2,
        }
    try:
        rows = source.subset(shape, **part).rows
    except sqlite3.Error:
        return "failed"
    assert all(set(row) <= set(ALLOWED) for _, row in rows)
    return rows


WORDS = """
    id title n "title" tenant passphrase "passphrase" item.title item.passphrase vault.passphrase vault "item" rowid
    sqlite_master 0 1 -1 5 7 'a' 'b' '' NULL true -9223372036854775808 '-9223372036854775808' $1 $1::int8 $2
    ( ( ) ) , . = <> < > + - * / % || and or not in between like ilike is distinct from null escape any( all( array[ ]
    abs( length( lower( coalesce( concat( greatest( substr( case when then else end :: ::text ::int8
    -- /* */ ; select union exists( limit order by ' " ` \\ \0 : @ ? {} \u2019 \u02bc \uff07 \xa0
"""
texts = st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=14).map(" ".join)
FIELDS = ["where", "subset__where", "subset__order_by", "columns", "table"]


@given(st.sampled_from(FIELDS), texts)
@example("where", "n < -5 and abs(n) > 0")
@example("subset__where", "n < '-5' and abs(n) > 0")
@example("where", "abs(n) > 0 or true")
@example("where", "greatest(abs(n), 0) = 5")
@example("where", "true) or (true")
@example("where", "title = 'a' or passphrase = 'a'")
@example("subset__where", "passphrase is null")
@example("subset__where", 'item."passphrase" is null')
@example("subset__order_by", "passphrase desc")
@example("columns", "id,passphrase")
@example("columns", 'id,"passphrase"')
@example("table", "vault")
@example("table", 'item" JOIN "vault')
def test_no_text_in_any_field_tells_about_what_is_hidden(sources: list[SQLSource], field: str, text: str) -> None:
    query = {"offset": "-1", "table": "item", "params[1]": "-9223372036854775808", "subset__order_by": "n"} | {
        field: text
    }
    first, second = answers(sources, list(query.items()))
    assert first == second
    if isinstance(first, dict):  # what is wrong: in the client's own words
        assert all(name in text for name in ("tenant", "passphrase", "vault") if name in str(first))


def test_the_two_databases_would_tell_if_nothing_was_guarded(sources: list[SQLSource]) -> None:
    """So that the test above can fail."""
    plain = Shape("item", where="(tenant = 7) AND (n < -5 AND abs(n) > 0)", columns=ALLOWED)
    with pytest.raises(sqlite3.Error):
        sources[0].subset(plain, order_by=[Order("n")], limit=10)
    assert sources[1].subset(plain, order_by=[Order("n")], limit=10).rows == []
