"""No statement reads a table from end to end: each finds what it wants by an index, however many shapes there are."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shapestore import Shape
from shapestore.storage import migrations, queries

STATEMENTS = {name: value for name, value in vars(queries).items() if name.isupper() and isinstance(value, str)}

# Statements that may scan, what they may scan, and why that is right.
SCANS = {
    "NEXT_DISCARDED": ("discarded", "it takes the first row that comes"),
    "DELETE_ROWS": ("discarded", "in the order of its key, and no further than a limit"),
    "FORGET_DISCARDED": ("discarded", "in the order of its key, and no further than a limit"),
    "DELETE_LEAST_READ": ("shapes", "in the order of an index, and no further than a limit and those that are spared"),
    "LOCKS": ("create_locks", "it is asked for all of them; there are as many as there are creations and failures now"),
    "OWNERS": ("owners, create_locks", "once at each opening; there are as many as there are stores and creations"),
    "HAS_LITESTREAM": ("sqlite_schema", "once at a checkpoint; there are as many rows as tables, indexes and triggers"),
}

# What SQLite calls a scan, though it is of no table: of the values asked for, or of a subquery that has one row or few.
OF_NO_TABLE = re.compile(r"VIRTUAL TABLE|SCAN CONSTANT ROW|SCAN (asked|newest|first)$")


@contextlib.contextmanager
def migrated(path: Path) -> Iterator[sqlite3.Connection]:
    migrations.upgrade(str(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Without statistics (ANALYZE), as a store's file is: the plan depends on nothing but the schema."""
    with migrated(tmp_path / "shapes.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'").fetchall() == []
        yield connection


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    numbered = re.findall(r"\?(\d+)", statement)
    parameters = [None] * (max(map(int, numbered)) if numbered else statement.count("?"))
    return [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def scanned(steps: list[str]) -> set[str]:
    return {step.split()[1] for step in steps if step.startswith("SCAN ") and not OF_NO_TABLE.search(step)}


def test_the_statements_are_found_and_every_exception_is_of_one_of_them() -> None:
    assert {"FIND", "LOOK", "CLAIM", "UNLOCK", "FAIL", "ADD_ROWS", "PUBLISH", "SWEEP"} <= STATEMENTS.keys()
    assert SCANS.keys() <= STATEMENTS.keys()


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_scans_no_table_but_for_a_reason(connection: sqlite3.Connection, name: str) -> None:
    tables, _ = SCANS.get(name, ("", ""))
    assert scanned(plan(connection, STATEMENTS[name])) == set(filter(None, tables.split(", ")))


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - {"LOCKS", "OWNERS"}))
def test_a_statement_sorts_nothing(connection: sqlite3.Connection, name: str) -> None:
    """What is wanted in an order is read in that order."""
    assert not [step for step in plan(connection, STATEMENTS[name]) if "TEMP B-TREE" in step]


def test_a_scan_would_be_seen(connection: sqlite3.Connection) -> None:
    for statement, table in [
        ("SELECT * FROM shapes WHERE row_count = ?1", "shapes"),
        ("DELETE FROM creations WHERE outcome = ?", "creations"),
        ("SELECT owner FROM create_locks WHERE state = 'failed'", "create_locks"),
        ("SELECT count(*) FROM shape_rows", "shape_rows"),
    ]:
        assert scanned(plan(connection, statement)) == {table}


def test_the_triggers_find_their_row_by_its_key(connection: sqlite3.Connection) -> None:
    triggers = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    assert len(triggers) == 2
    for (sql,) in triggers:
        update = re.search(r"BEGIN (.*); END", sql)
        assert update is not None
        assert [step.split(" USING ")[0] for step in plan(connection, update[1])] == ["SEARCH totals"]


# --- and indeed: the steps of SQLite's machine do not grow with the file


def key(number: int) -> str:
    return Shape("albums", where="id = :id", params={"id": number}).comparable


def handle(number: int) -> str:
    return f"{number:032x}"


ANY = 3
CALLS: dict[str, tuple[Any, ...]] = {
    "FIND": (key(ANY),),
    "FIND_BY_HANDLE": (handle(ANY),),
    "LOOK": (key(ANY), handle(ANY)),
    "COUNT": (),
    "ROWS": (handle(ANY), 2, 5),
    "SHAPES": (handle(ANY), 5),
    "SHAPES_OF_TABLE": (handle(ANY), 5, "albums"),
    "CLAIM": (json.dumps({"new": key(-1)}), "me", 0),
    "CLAIM_REFRESH": (key(ANY), "me", 0, "new", handle(ANY)),
    "STILL_LEADING": (json.dumps([handle(-ANY)]),),
    "UNLOCK": (json.dumps([handle(-ANY)]),),
    "ABANDON": (json.dumps([handle(-ANY)]), "owner 3"),
    "FAIL": (json.dumps({handle(-ANY): ["E", "m", 1]}), 0),
    "SWEEP": (json.dumps([handle(-ANY)]),),
    "RELEASE": (json.dumps([handle(-ANY)]),),
    "RELEASE_KEY": (key(-ANY),),
    "ADD_ROWS": ("new", 1, "[{}]"),
    "PUBLISH": (json.dumps({handle(-ANY): 1}), 0),
    "DELETE_REPLACED": (json.dumps([handle(-ANY)]),),
    "ADD_SMALL_CHUNKS": (json.dumps([["new", 1, [{}]]]),),
    "ADD_ENDED": (json.dumps([["new", key(-1), "failed", "E", "m", 1, 1, 0]]), 0),
    "ADD_CREATED": (json.dumps({handle(1): [1, 0]}), 0),
    "DISCARD": (json.dumps(["new"]),),
    "DELETE_SHAPES": (json.dumps([handle(ANY)]),),
    "DELETE_SHAPES_OF_TABLE": ("albums", 2),
    "DELETE_LEAST_READ": (2, json.dumps([handle(ANY)])),
    "NOTE_READS": (json.dumps([handle(ANY)]), 0),
    "NOTE_FOLLOWERS": (json.dumps({handle(ANY): 1}),),
    "DELETE_ROWS": (2, 10),
    "FORGET_DISCARDED": (2,),
    "LOCKS_OF_OWNER": ("owner 3",),
    "IN_PROGRESS_OF_OWNER": ("owner 3",),
}


@contextlib.contextmanager
def filled(path: Path, count: int) -> Iterator[sqlite3.Connection]:
    """A file with so many shapes of ten rows each, lock rows, outcomes and discarded handles."""
    with migrated(path) as connection:
        numbers = range(1, count + 1)
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO shapes VALUES (?, ?, ?, 10, 0, 0, ?)",
            [(handle(n), key(n), "albums" if n <= 4 or n > count - 4 else "between", n) for n in numbers],
        )
        connection.executemany(
            "INSERT INTO shape_rows VALUES (?, ?, '{}')", [(handle(n), p) for n in numbers for p in range(1, 11)]
        )
        connection.executemany(
            "INSERT INTO create_locks VALUES (?, 'tracks', 'in_progress', ?, ?, 0, NULL, NULL, NULL, NULL)",
            [(key(-n), f"owner {n}", handle(-n)) for n in numbers if n > 1],
        )
        connection.executemany(
            "INSERT INTO creations (handle, comparable, outcome, finished_at_ms) VALUES (?, ?, 'created', 0)",
            [(handle(n), key(n)) for n in numbers if n > 1],
        )
        connection.executemany("INSERT INTO discarded VALUES (?)", [(handle(n),) for n in numbers])
        connection.execute("COMMIT")
        yield connection


def steps(connection: sqlite3.Connection, statement: str, parameters: tuple[Any, ...]) -> int:
    """How many steps SQLite's machine takes; what they did is undone."""
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1

    connection.execute("BEGIN")
    connection.set_progress_handler(step, 1)
    connection.execute(statement, parameters).fetchall()
    connection.set_progress_handler(None, 1)
    connection.execute("ROLLBACK")
    return taken


def test_a_statement_takes_no_more_steps_in_a_large_file_than_in_a_small_one(tmp_path: Path) -> None:
    with filled(tmp_path / "small.db", 10) as small, filled(tmp_path / "large.db", 2_000) as large:
        few = {name: steps(small, STATEMENTS[name], parameters) for name, parameters in CALLS.items()}
        many = {name: steps(large, STATEMENTS[name], parameters) for name, parameters in CALLS.items()}
    assert all(few.values())
    assert {name for name in CALLS if many[name] > few[name] + 20} == set()
