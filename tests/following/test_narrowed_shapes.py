"""Live shapes that were narrowed: they are routed by what is behind their guard too."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from shapestore import Shape, ShapeStore, SQLSource
from shapestore.following.template import template_of
from shapestore.shape.narrowed import narrowed

OWN = Shape("item", where="tenant = :t", params={"t": 7})
SCHEMA = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER, tenant INTEGER);
    CREATE INDEX item_n ON item (n);
    INSERT INTO item VALUES (1, -10, 7), (2, 10, 7);
"""


def test_shapes_are_told_apart_by_the_values_behind_the_guard_too() -> None:
    template, values = template_of(narrowed(OWN, "n = :n AND id > 1", {"n": 5}), 1)
    assert [(column, values[place]) for column, place in template.filters] == [("tenant", 7), ("n", 5)]
    for where in ("n = 5 OR id = 1", "CASE WHEN n = 5 THEN id = 1 ELSE TRUE END", "NOT n = 5"):
        template, _ = template_of(narrowed(OWN, where), 1)
        assert [column for column, _ in template.filters] == ["tenant"]


async def test_a_narrowed_shape_follows_its_source_whatever_is_written_to_rows_that_it_excludes(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA)
        shape = narrowed(OWN, "n < -5 AND abs(n) > :least", {"least": 0})
        async with ShapeStore(tmp_path / "shapes.db", create=SQLSource(f"sqlite:///{path}", follow=True)) as store:
            stored = await store.get_or_create(shape)
            for row in ((3, -9223372036854775808, 8), (4, -20, 7), (5, 20, 7)):
                with database:
                    database.execute("INSERT INTO item VALUES (?, ?, ?)", row)
            await store.followed(timeout=60)
            now = await store.get(shape)
            assert now is not None
            assert (now.handle, now.live) == (stored.handle, True)
            assert [row["id"] async for row in store.rows(now)] == [1, 4]
