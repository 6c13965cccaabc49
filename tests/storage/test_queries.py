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
from file_rows import add_kept, add_lock, add_outcome, add_owner, add_rows, add_shape, discard, insert

from shapestore import Shape
from shapestore.storage import drop_queries, migrations, queries, reader, schema
from shapestore.storage.commands import touched_queries as touched
from shapestore.storage.log import compact_queries
from shapestore.storage.log import queries as log
from shapestore.storage.log import wanted_queries as wanted
from shapestore.storage.log.live import queries as following

# Parts of statements, not whole ones.
PARTS = {"STORED", "CONFIRMED", "MARK", "ROWS_OF_SMALL"}

STATEMENTS = {
    name: value
    for module in (queries, drop_queries, log, compact_queries, touched)
    for name, value in vars(module).items()
    if name.isupper() and not name.startswith("_") and isinstance(value, str) and name not in PARTS
} | {
    name + aged: statements[n]
    for name, statements in (("SERVED", reader.SERVED), ("FETCH", reader.FETCH))
    for n, aged in enumerate(("", "_WITH_AGE"))
}

# Those of rounds: how many steps they take depends on what is changed, and is in temporary tables.
OF_ROUNDS = {
    name: value
    for module in (wanted, following)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}
PLANNED = STATEMENTS | OF_ROUNDS

ATTEMPTS_OF_NOW = "there are as many as there are creations and failures now"

# Statements that may scan, what they may scan, and why that is right.
SCANS = {
    "LIVE_SOURCES": ("sources", "there are a few"),
    "TOTALS": ("totals", "it has four rows"),
    "DISCARDED": ("discarded", "in the order of its key, and no further than a limit"),
    "LEAST_READ": ("shapes", "in the order of an index, and no further than a limit"),
    "LEAST_READ_OF_THOSE_WAITED_FOR": ("readers", "there are as many as there are readers now"),
    "OLDEST_KEPT": ("kept", "in the order of its key, and no further than a limit and those that are read"),
    "WITH_MEMBERS": ("source_tables", "there are as many as there are tables that are followed"),
    "ANY_REFRESHED": ("create_locks", ATTEMPTS_OF_NOW),
    "IN_PROGRESS_OF_OWNER": ("create_locks", ATTEMPTS_OF_NOW),
    "RELEASE_OWNER": ("create_locks", ATTEMPTS_OF_NOW),
    "ATTEMPTS": ("create_locks", ATTEMPTS_OF_NOW),
    "MARK_ATTEMPTS_TOUCHED": ("create_locks", ATTEMPTS_OF_NOW),
    "REFRESHED_SINCE": ("lock", ATTEMPTS_OF_NOW),
    "LOCKS": ("create_locks", "it is asked for all of them; there are as many as there are creations and failures now"),
    "OWNERS": (
        "owners, create_locks, readers",
        "now and then; there are as many as there are stores, creations and readers",
    ),
    "HAS_LITESTREAM": ("sqlite_schema", "once at a checkpoint; there are as many rows as tables, indexes and triggers"),
    "LOG_STATE": ("log_state", "it has one row"),
    "NEXT_ROUND": ("log_state", "it has one row"),
    "FORGET_GAPS_BEFORE": ("log_state", "it has one row"),
    "SET_JUMP_DUE": ("log_state", "it has one row"),
    "END_EMPTY_ROUNDS": ("sources", "where live shapes are dropped; there are as many as there are sources"),
    "TRIM_GAPS": ("gaps", "from its end, and no further than those that are kept"),
    "TRIM_ROUNDS": (
        "rounds, sources",
        "at each thousandth, from its end, and no further than those that are kept; there are a few sources",
    ),
}

# Releases of SQLite that read some of these in their order.
NEEDS_FEWER_SORTS = (3, 41)

# Statements that may sort, and why that is right.
SORTS = {
    "LOCKS": "there are as many as there are creations and failures now",
    "OWNERS": "there are as many as there are stores, creations and readers",
    "MORE_THAN_TWO_OF_A_KEY": "the few handles that are kept of one key",
    "LEAST_READ_OF_THOSE_WAITED_FOR": "there are as many as there are readers now",
    "REPEATED_KEY": "the rows of one attempt, only where they did not come in the order of their keys",
    "COPY_ROWS": "one chunk, whose order must be certain",
    "COMPARE_WANTED": "the changes of one round, in the order of the rows of each shape",
    "ROWS_CHANGED_SINCE": "what was appended to one log while its shape was refreshed",
    "ADD_TO_ROUND": "the few markers of one round",
    "FURTHER_PART_ENDS": "the rows that came since the last compaction, to be grouped into parts",
}

# What SQLite calls a scan, though it is of no table: of the values asked for, also in a temporary table, or of a
# subquery that is searched itself.
OF_NO_TABLE = re.compile(
    r"VIRTUAL TABLE|SCAN CONSTANT ROW"
    r"|SCAN (temp\.\w+|others|asked|claim|published|chunk|newest|first|\(subquery-\d+\))$"
)


@contextlib.contextmanager
def migrated(path: Path) -> Iterator[sqlite3.Connection]:
    migrations.upgrade(str(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """Without statistics (ANALYZE), as a store's file is: the plan depends on nothing but the schema."""
    with migrated(tmp_path_factory.mktemp("planned") / "shapes.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'").fetchall() == []
        for table in (wanted.MAKE_WANTED, wanted.MAKE_WANTED_ROWS, wanted.MAKE_APPENDED):
            connection.execute(table)
        yield connection


def named(statement: str) -> set[str]:
    """The names of its parameters."""
    return set(re.findall(r":([a-z_]+)", statement))


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    parameters = dict.fromkeys(named(statement)) or [None] * statement.count("?")
    return [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def scanned(steps: list[str]) -> set[str]:
    return {step.split()[1] for step in steps if step.startswith("SCAN ") and not OF_NO_TABLE.search(step)}


def test_the_statements_are_found_and_every_exception_is_of_one_of_them() -> None:
    assert {"FIND", "POLL", "CLAIM", "UNLOCK", "FAIL", "ADD_ROWS", "PUBLISH", "SWEEP", "LOG"} <= STATEMENTS.keys()
    assert SCANS.keys() | SORTS.keys() <= PLANNED.keys()
    for part in PARTS:
        assert any(hasattr(module, part) for module in (queries, log))


@pytest.mark.parametrize("name", ["ROWS", "ROWS_AS_LINES", "ROWS_FAR_BETWEEN", "COMPARE_ROWS", "PART", "FETCH"])
def test_rows_are_joined_as_a_range_of_ids_is_read_which_is_in_their_order(
    connection: sqlite3.Connection, name: str
) -> None:
    steps = plan(connection, STATEMENTS[name])
    assert "SEARCH shape_rows USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in steps
    assert not any("TEMP B-TREE" in step or "CO-ROUTINE" in step for step in steps)


@pytest.mark.parametrize("name", PLANNED)
def test_a_statement_scans_no_table_but_for_a_reason(connection: sqlite3.Connection, name: str) -> None:
    tables, _ = SCANS.get(name, ("", ""))
    assert scanned(plan(connection, PLANNED[name])) == set(filter(None, tables.split(", ")))


@pytest.mark.parametrize("name", PLANNED)
def test_a_statement_sorts_nothing_but_for_a_reason(connection: sqlite3.Connection, name: str) -> None:
    """What is wanted in an order is read in that order."""
    sorts = [step for step in plan(connection, PLANNED[name]) if "TEMP B-TREE" in step]
    if name in SORTS and sqlite3.sqlite_version_info >= NEEDS_FEWER_SORTS:
        return
    assert bool(sorts) == (name in SORTS), sorts


@pytest.mark.parametrize("name", PLANNED)
def test_no_index_is_made_for_one_statement(connection: sqlite3.Connection, name: str) -> None:
    assert not [step for step in plan(connection, PLANNED[name]) if "AUTOMATIC" in step]


def test_who_holds_a_key_is_found_by_the_key_and_not_by_going_through_the_shapes(
    connection: sqlite3.Connection,
) -> None:
    steps = plan(connection, wanted.WANT_REMOVALS)
    assert [step.split(" (")[0] for step in steps[2:3]] == ["SEARCH members USING PRIMARY KEY"]
    assert len(steps) == 4


def test_a_scan_would_be_seen(connection: sqlite3.Connection) -> None:
    for statement, table in [
        ("SELECT * FROM shapes WHERE row_count = ?", "shapes"),
        ("DELETE FROM creations WHERE outcome = ?", "creations"),
        ("SELECT owner FROM create_locks WHERE state = 'failed'", "create_locks"),
        ("SELECT count(*) FROM shape_rows", "shape_rows"),
    ]:
        assert scanned(plan(connection, statement)) == {table}


def test_the_triggers_find_their_row_by_its_key(connection: sqlite3.Connection) -> None:
    triggers = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    assert len(triggers) == len(schema.TRIGGERS) == 6
    updates = [update for (sql,) in triggers for update in re.findall(r"UPDATE totals SET [^;]+;", sql)]
    assert len(updates) == 10
    for update in updates:
        without_row = re.sub(r"\b(new|old)\.\w+", "1", update)
        assert [step.split(" USING ")[0] for step in plan(connection, without_row)] == ["SEARCH totals"]


# --- and indeed: the steps of SQLite's machine do not grow with the file

ANY = 3
LARGE = 2_000


def shape_of(number: int) -> Shape:
    return Shape("albums", where="id = :id", params={"id": number})


def key(number: int) -> str:
    return shape_of(number).comparable


def handle(number: int) -> str:
    return f"{number:032x}"


def lock_number(number: int) -> int:
    """Of the lock row whose handle is ``handle(-number)``. They lie behind the shapes of the largest file."""
    return 2 * LARGE + number


MOMENT = {"boot": "b", "boot_ms": 10**6, "wall_ms": 0, "owner": f"owner {ANY}"}
OF_SHAPE = {"number": ANY, "after": 2, "limit": 5, "position": 12, "separator": ","}
COMPARED = OF_SHAPE | {"values": "{}", "keys": "[1]", "keyed": True}
COPIED = {"number": lock_number(ANY), "first": 50, "source": ANY, "after": 2, "last": 9, "limit": 5, "position": 12}

CALLS: dict[str, dict[str, Any]] = {
    "FIND": {"?": (key(ANY),)},
    "FIND_WITH_AGE": {"?": (key(ANY),)},
    "SERVED": {"?": (key(ANY),)},
    "SERVED_WITH_AGE": {"?": (key(ANY),)},
    "FETCH": {"?": (10**6, key(ANY))},
    "FETCH_WITH_AGE": {"?": (10**6, key(ANY))},
    "LIVE_SOURCES": {},
    "SOURCE_OF": {"?": (key(ANY),)},
    "READ_TOO_EARLY": {"?": (key(ANY), key(ANY))},
    "HAS_REACHED": {"source": 1, "seq": 5},
    "FIND_BY_HANDLE_WITH_AGE": {"?": (handle(ANY),)},
    "FIND_BY_HANDLE": {"?": (handle(ANY),)},
    "IS_KNOWN": {"?": (key(ANY), key(ANY), handle(ANY))},
    "POLL": {"comparable": key(ANY), "awaited": handle(ANY)},
    "TOTALS": {},
    "DISCARDED": {"limit": 3},
    "SHAPES": {"namespace": "", "after": ANY, "limit": 5},
    "SHAPES_OF_TABLE": {"namespace": "", "table": "albums", "after": ANY, "limit": 5},
    "HAS_LITESTREAM": {},
    "CLAIM": {"claims": json.dumps({"new": [key(-1), "", "albums", "id = 1", None]})},
    "STILL_LEADING": {"handles": json.dumps([handle(-ANY)])},
    "LACK_ROWS": {"firsts": json.dumps({handle(-ANY): 2})},
    "PUBLISH": {"published": json.dumps({handle(-ANY): [1, 2, None, "[]"]})},
    "REFRESHED_BY": {"handle": handle(-ANY)},
    "CONFIRM": {"handle": handle(-ANY), "number": ANY},
    "UNLOCK": {"handles": json.dumps([handle(-ANY)])},
    "FAIL": {"failures": json.dumps({handle(-ANY): ["E", "m", 1]})},
    "ABANDON": {"handle": handle(-ANY)},
    "SWEEP": {"handles": json.dumps([handle(-ANY)])},
    "RELEASE": {"handles": json.dumps([handle(-ANY)])},
    "RELEASE_KEY": {"comparable": key(-ANY)},
    "RELEASE_KEY_IN_PROGRESS": {"comparable": key(-ANY)},
    "NUMBER_OF_KEY": {"comparable": key(ANY)},
    "NUMBER_OF_HANDLE": {"handle": handle(ANY)},
    "REPLACED": {"handles": json.dumps([handle(-ANY)])},
    "NUMBERS_OF_TABLE": {"namespace": "", "table": "albums", "limit": 2},
    "LEAST_READ": {"limit": 2},
    "KEEP": {"numbers": json.dumps([ANY])},
    "DROP_SHAPES": {"numbers": json.dumps([ANY])},
    "NOTE_READS": {"handles": json.dumps([handle(ANY)])},
    "EXPIRED": {"oldest": 5, "limit": 10},
    "OLDEST_KEPT": {"limit": 2},
    "KEPT_SINCE": {"seen": 3 * LARGE + ANY, "oldest": 1, "limit": 3},
    "MORE_THAN_TWO_OF_A_KEY": {"numbers": json.dumps([3 * LARGE + ANY])},
    "FORGET_KEPT": {"numbers": json.dumps([3 * LARGE + ANY])},
    "ADD_READERS": {"readers": json.dumps({"7": [ANY, 10]})},
    "FORGET_READERS": {"readings": json.dumps([1])},
    "FORGET_READERS_OF_OWNER": {},
    "ADD_ENDED": {"ended": json.dumps([["new", key(-1), "failed", "E", "m", 1, 1, 0]])},
    "ADD_CREATED": {"created": json.dumps({handle(1): [1, 0]})},
    "ADD_REFRESHED": {"handle": "new", "number": ANY, "duration_ms": 1, "changes": 3, "followers": 0},
    "NOTE_FOLLOWERS": {"followers": json.dumps({handle(ANY): 1})},
    "TRIM_CREATIONS": {"newest": ANY + queries.KEPT_CREATIONS},
    "ADD_OWNER": {"owner": "new", "pid": 1, "hostname": "host", "program": "app.py"},
    "FORGET_OWNER": {},
    "SET_JUMP_DUE": {},
    # --- what was touched
    "MARK_SHAPES_STALE": {"namespace": "", "table": "albums", "after": 0, "limit": 2},
    "MARK_ATTEMPT_TOUCHED": {"handle": handle(-ANY)},
    "TOUCHED_SINCE_CLAIM": {"handle": handle(-ANY)},
    "MARK_THESE_STALE": {"numbers": json.dumps([ANY])},
    "NEWEST_TOUCHED_KEY": {},
    "SHAPES_OF_TOUCHED_TABLE": {"namespace": "", "table": "albums", "after": 0, "limit": 2},
    "PUBLISHED_SINCE": {"since": 10**6, "namespace": "", "table": "albums", "keys": "[]"},
    "ADD_TOUCHED_KEYS": {"namespace": "", "table": "albums", "keys": json.dumps(["[1]"])},
    # --- rows and changes
    "ENDS": {"numbers": json.dumps([ANY, 10**6])},
    "LOCATE": {"handle": handle(ANY)},
    "LOCATE_KEY": {"comparable": key(ANY)},
    "LOCATE_SERVED": {"handle": handle(ANY)},
    "PART": OF_SHAPE | {"last": 8},
    "PART_AS_OF": OF_SHAPE | {"last": 8},
    "ROUNDS": {"rounds": "[2,3]"},
    "ROWS": OF_SHAPE | {"round": 4},
    "ROWS_AS_LINES": OF_SHAPE | {"round": 4},
    "ROWS_FAR_BETWEEN": OF_SHAPE,
    "KEYED_ROWS": OF_SHAPE,
    "COMPARE_ROWS": COMPARED,
    "COMPARE_ROWS_FAR_BETWEEN": COMPARED,
    "WRITTEN": OF_SHAPE,
    "KEYED_ROWS_AS_OF": OF_SHAPE,
    "COMPARE_ROWS_AS_OF": COMPARED,
    "STORED_KEYS": {"number": ANY, "position": 12, "keys": json.dumps(["[1]", "[99]"])},
    "REPEATED_KEY": {"handle": handle(-ANY)},
    "ROWS_AS_OF": OF_SHAPE,
    "LOG": OF_SHAPE | {"after": 10},
    "ANY_ROW_BEHIND": {"number": ANY, "after": 3, "position": 5},
    "ROUND_AT": OF_SHAPE,
    "LAST_POSITION_OF_ROUND": {"number": ANY, "round": 2},
    "GAP_AT": {"round": 15},
    "HAS_ROUND": {"round": 2},
    "LOG_STATE": {},
    "ADD_ROWS": {"number": lock_number(ANY), "first": 50, "keyed": 0, "rows": "[{}]"},
    "ADD_SMALL_CHUNKS": {"chunks": json.dumps([[lock_number(ANY), 50, 1, {"[1]": {}}]])},
    "COPY_ROWS": COPIED,
    "NEXT_ROUND": {"gap": 0},
    "ADD_GAP": {"first": 10**6, "last": 10**6 + 5},
    "FORGET_GAPS_BEFORE": {"round": 5},
    "ADD_ROUND": {"round": 10**6, "source": None, "seq": None, "markers": None, "finished": 1},
    "TRIM_ROUNDS": {"round": 10**6 + 1},
    "LONG_LOG": {"number": ANY},
    "LONG_LOGS": {"numbers": "[1, 2]"},
    "SHAPES_BEHIND": {"number": 1, "limit": 5},
    "IS_YOUNG": {"number": ANY, "position": 12, "oldest": 10**6},
    "RAISE_FLOOR": {"number": ANY, "position": 12, "round": 3},
    "PART_ENDS": {"number": ANY, "beside": 1},
    "FURTHER_PART_ENDS": {"number": ANY, "after": 2, "last": 12, "size": 10, "beside": 1},
    "SET_PART_ENDS": {"number": ANY, "ends": "[5]"},
    "OLDEST_READER": {"number": ANY},
    "BELOW_FLOOR": {"number": ANY, "limit": 5},
    "TRIM_LOG": {"number": ANY, "last": (ANY << 28) + 12},
    "SHORTEN_LOG": {"number": ANY, "size": 1},
    "DISCARD": {"numbers": json.dumps([10**6])},
    "STILL_DISCARDED": {"numbers": json.dumps([10**6])},
    "FORGET_DISCARDED": {"numbers": f"[{5 * LARGE + ANY}]"},
    "ROWS_LEFT": {"numbers": f"[{ANY}]"},
    "CHANGES_LEFT": {"numbers": f"[{ANY}]"},
    "DELETE_ROWS": {"numbers": f"[{ANY}]", "last": (ANY << 28) + 5},
    "DELETE_CHANGES": {"numbers": f"[{ANY}]", "last": (ANY << 28) + 12},
}

# These grow, and why that is right.
GROW = {
    "LOCKS": "it is asked for all of them",
    "OWNERS": "it is asked for all of them",
    "IN_PROGRESS_OF_OWNER": ATTEMPTS_OF_NOW,
    "RELEASE_OWNER": ATTEMPTS_OF_NOW,
    "ATTEMPTS": ATTEMPTS_OF_NOW,
    "MARK_ATTEMPTS_TOUCHED": ATTEMPTS_OF_NOW,
    "REFRESHED_SINCE": ATTEMPTS_OF_NOW,
    "LEAST_READ_OF_THOSE_WAITED_FOR": "there are as many as there are readers now",
    "TRIM_GAPS": "as far as the last gap that is kept, at each jump: once after a copy was put back",
}


def test_every_statement_is_called_with_the_parameters_that_it_names() -> None:
    assert CALLS.keys() == STATEMENTS.keys() - GROW.keys()
    for name, parameters in CALLS.items():
        assert named(STATEMENTS[name]) <= parameters.keys() | MOMENT.keys(), name


@contextlib.contextmanager
def filled(path: Path, count: int) -> Iterator[sqlite3.Connection]:
    """A file with so many of everything: shapes of ten rows and a log, lock rows, outcomes, kept handles, readers."""
    with migrated(path) as connection:
        connection.execute("BEGIN")
        for n in range(1, count + 1):
            table = "albums" if n <= 4 or n > count - 4 else "between"
            log_columns: dict[str, Any] = {"position": 13, "written": 13, "round": 4, "floor": 11, "floor_round": 2}
            add_shape(
                connection,
                handle(n),
                shape_of(n),
                number=n,
                row_count=10,
                table_name=table,
                read_order=n,
                **log_columns,
            )
            add_rows(connection, n, 10, keyed=True)
            for position in (11, 12, 13):
                change = {"operation": "update", "row_id": n << 28 | 3, "key": "[3]", "old": "{}"}
                insert(connection, "shape_changes", id=n << 28 | position, round=position - 9, **change)
            if 1 < n < queries.KEPT_CREATIONS:
                add_outcome(connection, handle(n), shape_of(n))
            number = lock_number(n)
            add_lock(connection, handle(-n), shape_of(-n), owner=f"owner {n}", number=number)
            add_rows(connection, number, 3, keyed=True)
            add_kept(connection, f"kept {n}", shape_of(n), number=3 * LARGE + n, gone_boot="b", gone_at_boot_ms=n * 10)
            add_owner(connection, f"owner {n}")
            insert(connection, "readers", owner=f"owner {n}", reading=1, shape=n, position=13, registered_at_ms=0)
            insert(connection, "rounds", number=n, ended_boot="b", ended_at_boot_ms=0, ended_at_ms=0)
            insert(connection, "gaps", first=10 * n, last=10 * n + 6)
            discard(connection, 5 * LARGE + n)
        connection.execute("DELETE FROM create_locks WHERE handle = ?", (handle(-1),))
        connection.execute("UPDATE log_state SET round = ?", (count,))
        connection.execute("COMMIT")
        yield connection


def steps(connection: sqlite3.Connection, statement: str, parameters: dict[str, Any]) -> int:
    """How many steps SQLite's machine takes; what they did is undone."""
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1

    connection.execute("BEGIN")
    connection.set_progress_handler(step, 1)
    connection.execute(statement, parameters.get("?", MOMENT | parameters)).fetchall()
    connection.set_progress_handler(None, 1)
    connection.execute("ROLLBACK")
    return taken


def test_a_statement_takes_no_more_steps_in_a_large_file_than_in_a_small_one(tmp_path: Path) -> None:
    with filled(tmp_path / "small.db", 10) as small, filled(tmp_path / "large.db", LARGE) as large:
        few = {name: steps(small, STATEMENTS[name], parameters) for name, parameters in CALLS.items()}
        many = {name: steps(large, STATEMENTS[name], parameters) for name, parameters in CALLS.items()}
    assert all(few.values())
    assert {name: (few[name], many[name]) for name in CALLS if many[name] > few[name] + 20} == {}
