"""The views say in words what the tables hold, for rows in every state; the tables refuse what makes no sense."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest
from file_rows import add_kept, add_lock, add_outcome, add_owner, add_rows, add_shape, discard, insert
from inspections import eventually
from processes import Workers

from shapestore import CreateFailedError, Shape, ShapeStore
from shapestore.locking.create_lock import Failure, State
from shapestore.storage import schema

pytestmark = pytest.mark.usefixtures("untroubled")

TRACKS = Shape("tracks", where="album = :album", params={"album": 1}, columns=["id", "name"])


@pytest.fixture
def connection(empty_path: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(empty_path, isolation_level=None)) as connection:
        yield connection


def in_words(path: str, view: str, *columns: str) -> list[tuple[Any, ...]]:
    """The rows of a view, as the shell of an operator shows them."""
    named = ", ".join(f'"{column}"' for column in columns)
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(f"SELECT {named} FROM {view}").fetchall()


class Source:
    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.creations = 0

    async def create(self, _: Shape) -> list[dict[str, Any]]:
        self.creations += 1
        await self.go.wait()
        return [{"id": 1, "name": "one"}] * 3


def this_process() -> str:
    return rf"process {os.getpid()} \(.+\) on {re.escape(socket.gethostname())}"


# --- lock rows, in every state


async def test_a_creation_under_way_says_who_is_at_it_and_since_when(empty_path: str) -> None:
    source = Source()
    async with ShapeStore(empty_path, create=source.create) as store:
        creating = asyncio.create_task(store.get_or_create(TRACKS))
        await eventually(lambda: source.creations)
        [lock] = await store.locks()
        columns = ("table", "where", "params", "what", "who", "started_at", "handle", "owner")
        [(table, where, params, what, who, started_at, handle, owner)] = in_words(
            empty_path, "create_locks_in_words", *columns
        )
        source.go.set()
        await creating
    assert (table, where, params) == ("tracks", '"album" = :album', '{"album":1}')
    assert re.fullmatch(r"being created for \d+ s", what)
    assert re.fullmatch(this_process(), who)
    assert started_at == lock.started_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (handle, owner) == (lock.handle, lock.owner)
    assert in_words(empty_path, "create_locks_in_words", "what") == []


async def test_a_failure_says_what_went_wrong_and_when(empty_path: str) -> None:
    def no_luck(_: Shape) -> list[dict[str, Any]]:
        raise ValueError('no luck: it\'s "Friday" & 13% off')

    async with ShapeStore(empty_path, create=no_luck, failure_grace=3600) as store:
        with pytest.raises(CreateFailedError):
            await store.get_or_create(TRACKS)
        [(what, who)] = in_words(empty_path, "create_locks_in_words", "what", "who")
    assert re.fullmatch(r"failed \d+ s ago: ValueError: no luck: it's \"Friday\" & 13% off", what)
    assert re.fullmatch(this_process(), who)


async def test_the_lock_row_of_a_store_that_is_gone_says_so(empty_path: str, connection: sqlite3.Connection) -> None:
    add_lock(connection, "h1", TRACKS, started_at_ms=int((time.time() - 90) * 1000))
    [(what, who)] = in_words(empty_path, "create_locks_in_words", "what", "who")
    assert re.fullmatch(r"being created for (89|9\d) s", what)
    assert who == "a store that is gone"


async def test_the_lock_row_of_a_killed_process_names_it_until_the_next_one_has_cleared_it_away(
    empty_path: str, workers: Workers
) -> None:
    """Whether a process lives is not for a view to know: `shapestore locks` asks the operating system."""
    [worker] = workers.open(empty_path)
    worker.lead("tracks")
    worker.kill()
    [(what, who)] = in_words(empty_path, "create_locks_in_words", "what", "who")
    assert what.startswith("being created for ")
    assert who.startswith(f"process {worker.pid} (")
    async with ShapeStore(empty_path):
        assert in_words(empty_path, "create_locks_in_words", "what") == []
        [(who,)] = in_words(empty_path, "owners_in_words", "who")
        assert re.fullmatch(this_process(), who)


# --- shapes, owners, outcomes


async def test_a_shape_says_what_it_is_and_how_old(empty_path: str) -> None:
    async with ShapeStore(empty_path, create=lambda _: [{"id": 1}] * 7) as store:
        stored = await store.get_or_create(TRACKS)
        whole = await store.get_or_create(Shape("albums"))
        columns = ("handle", "table", "where", "params", "columns", "rows", "created_at", "last_read_at", "age")
        found = {row[0]: row[1:] for row in in_words(empty_path, "shapes_in_words", *columns)}
    created_at = stored.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    *rest, age = found[stored.handle]
    assert rest == ["tracks", '"album" = :album', '{"album":1}', '["id","name"]', 7, created_at, created_at]
    assert re.fullmatch(r"\d+ s", age)
    assert found[whole.handle][:4] == ("albums", None, "{}", "all")


async def test_every_open_store_is_listed_and_every_closed_one_is_not(empty_path: str) -> None:
    async with ShapeStore(empty_path):
        async with ShapeStore(empty_path):
            listed = in_words(empty_path, "owners_in_words", "who", "age")
            assert len(listed) == 2
            for who, age in listed:
                assert re.fullmatch(this_process(), who)
                assert re.fullmatch(r"\d+ s", age)
        assert len(in_words(empty_path, "owners_in_words", "owner")) == 1
    assert in_words(empty_path, "owners_in_words", "owner") == []


async def test_the_outcomes_are_told_latest_first(empty_path: str) -> None:
    def no_luck(_: Shape) -> list[dict[str, Any]]:
        raise ValueError("no luck")

    async with ShapeStore(empty_path, create=lambda _: [{"id": 1}] * 7) as store:
        stored = await store.get_or_create(TRACKS)
        with pytest.raises(CreateFailedError):
            await store.get_or_create(Shape("albums"), no_luck)
    columns = ("outcome", "table", "where", "rows", "followers_served", "error", "handle", "took", "finished_at")
    failed, created = in_words(empty_path, "creations_in_words", *columns)
    assert failed[:6] == ("failed", "albums", None, None, 0, "ValueError: no luck")
    assert created[:7] == ("created", "tracks", '"album" = :album', 7, 0, None, stored.handle)
    for *_, took, finished_at in (failed, created):
        assert re.fullmatch(r"\d+ ms", took)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", finished_at)


async def test_a_handle_that_is_kept_for_its_readers_says_what_it_was_and_how_long_it_has_gone(empty_path: str) -> None:
    async with ShapeStore(empty_path, create=lambda _: [{"id": 1}] * 7) as store:
        older = await store.get_or_create(TRACKS)
        newer = await store.get_or_create(Shape("albums"))
        for stored in (older, newer):
            await store.delete(stored.handle)
    columns = ("handle", "table", "where", "params", "rows", "bytes", "readers", "gone")
    latest, earlier = in_words(empty_path, "kept_in_words", *columns)
    assert latest[:3] == (newer.handle, "albums", None)
    assert earlier[:7] == (older.handle, "tracks", '"album" = :album', '{"album":1}', 7, 7 * len('{"id":1}'), 0)
    assert re.fullmatch(r"\d+ s ago", earlier[7])


def test_the_changes_of_a_shape_are_told_with_their_rounds(empty_path: str, connection: sqlite3.Connection) -> None:
    number = add_shape(connection, "h1", TRACKS, rows=["{}"], position=3, written=3, round=5)
    insert(connection, "rounds", number=5, ended_boot="", ended_at_boot_ms=0, ended_at_ms=1_000)
    for position, round_, operation, old in ((2, 4, "insert", None), (3, 5, "update", '{"n":1}')):
        id_ = number << 28 | position
        insert(connection, "shape_changes", id=id_, round=round_, operation=operation, row_id=id_, key="[1]", old=old)
    columns = ("handle", "position", "round", "changed_at", "operation", "key", "old")
    assert in_words(empty_path, "changes_in_words", *columns) == [
        ("h1", 2, 4, None, "insert", "[1]", None),  # a round that is forgotten
        ("h1", 3, 5, "1970-01-01T00:00:01Z", "update", "[1]", '{"n":1}'),
    ]
    [(changes, rows)] = in_words(empty_path, "shapes_in_words", "changes_in_log", "rows")
    assert (changes, rows) == (2, 1)


def test_what_is_left_behind_is_told_by_its_number(empty_path: str, connection: sqlite3.Connection) -> None:
    add_shape(connection, "h1", TRACKS, rows=["{}"], number=3)
    add_kept(connection, "h2", TRACKS, rows=["{}"], number=5)
    add_lock(connection, "h3", TRACKS, number=7)
    add_lock(connection, "h4", "failed", number=9, failure=Failure("E", "m", 1))
    discard(connection, 9, 11)
    for number in (7, 9, 11, 13, 15):
        add_rows(connection, number, 2)
    add_owner(connection, "nobody")
    assert in_words(empty_path, "left_behind", "what", "number") == [
        ("rows pending deletion", 9),
        ("rows pending deletion", 11),
        ("rows that belong to no shape", 13),
        ("rows that belong to no shape", 15),
    ]


def test_no_age_is_less_than_nought_though_a_clock_was_set_back(
    empty_path: str, connection: sqlite3.Connection
) -> None:
    tomorrow = int(time.time() + 86_400) * 1000
    add_owner(connection, "o", opened_at_ms=tomorrow)
    add_shape(connection, "h1", "{}", created_at_ms=tomorrow)
    add_lock(connection, "h2", "{}", owner="o", started_at_ms=tomorrow)
    add_kept(connection, "h3", "{}", gone_at_ms=tomorrow)
    assert in_words(empty_path, "owners_in_words", "age") == [("0 s",)]
    assert in_words(empty_path, "shapes_in_words", "age") == [("0 s",)]
    assert in_words(empty_path, "create_locks_in_words", "what") == [("being created for 0 s",)]
    assert in_words(empty_path, "kept_in_words", "gone") == [("0 s ago",)]


# --- what the tables refuse


def lock_row(connection: sqlite3.Connection, comparable: str, handle: str, state: str, failure: Any) -> None:
    """A lock row as it is asked for, whether it makes sense or not."""
    columns = zip(("failed_at_ms", "error_type", "error_message", "retry_after_ms"), failure, strict=True)
    add_lock(connection, handle, comparable, state=state, **dict(columns))


@pytest.mark.parametrize(
    ("state", "failure"),
    [
        ("in_progress", (0, "E", "m", 1)),
        ("failed", (None, None, None, None)),
        ("failed", (None, "E", "m", 1)),
        ("failed", (0, None, "m", 1)),
        ("failed", (0, "E", None, 1)),
        ("failed", (0, "E", "m", None)),
        ("done", (None, None, None, None)),
    ],
)
def test_a_lock_row_is_in_progress_or_has_failed_with_all_that_belongs_to_it(
    connection: sqlite3.Connection, state: str, failure: tuple[Any, ...]
) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
        lock_row(connection, "key", "h1", state, failure)


def test_every_state_that_the_code_knows_is_one_that_the_table_takes(connection: sqlite3.Connection) -> None:
    for state in State:
        failure = (0, "E", "m", 1) if state is State.FAILED else (None,) * 4
        lock_row(connection, f"key {state}", f"h {state}", state, failure)


def test_a_key_has_one_lock_row_and_one_shape_and_a_handle_is_one_attempts_only(
    connection: sqlite3.Connection,
) -> None:
    number = add_lock(connection, "h1", "key")
    add_shape(connection, "h1", "key", number=number)
    add_kept(connection, "h0", "key", number=0)
    add_outcome(connection, "h1", outcome="died")
    for add in (
        lambda: add_lock(connection, "h2", "key"),
        lambda: add_lock(connection, "h1", "key 2"),
        lambda: add_lock(connection, "h2", "key 2", number=number),
        lambda: add_shape(connection, "h2", "key"),
        lambda: add_shape(connection, "h1", "key 2"),
        lambda: add_shape(connection, "h2", "key 2", number=number),
        lambda: add_kept(connection, "h0", "key"),
        lambda: add_kept(connection, "h2", "key", number=0),
        lambda: add_outcome(connection, "h1"),
    ):
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE constraint failed"):
            add()
    add_kept(connection, "h2", "key")  # a key has as many kept handles as come


@pytest.mark.parametrize(
    "columns",
    [
        {"floor": 4},
        {"position": 5, "written": 4},
        {"position": 1 << 28, "written": 1 << 28},
        {"written": 1 << 28},
    ],
)
def test_the_positions_of_a_shape_are_in_order_and_fit_into_their_bits(
    connection: sqlite3.Connection, columns: dict[str, Any]
) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed: shapes_positions_in_order"):
        add_shape(connection, "h1", "key", row_count=3, **columns)
    add_shape(connection, "h1", "key", row_count=3, floor=3, position=3, written=(1 << 28) - 1)


@pytest.mark.parametrize(
    ("operation", "old", "refused"),
    [
        ("insert", None, ""),
        ("update", "{}", ""),
        ("delete", "{}", ""),
        ("insert", "{}", "shape_changes_old"),
        ("update", None, "shape_changes_old"),
        ("delete", None, "shape_changes_old"),
        ("upsert", "{}", "shape_changes_operation"),
    ],
)
def test_a_change_keeps_the_row_before_it_but_for_an_insert(
    connection: sqlite3.Connection, operation: str, old: str | None, refused: str
) -> None:
    change = {"round": 2, "operation": operation, "row_id": 1, "key": "[1]", "old": old}
    if not refused:
        insert(connection, "shape_changes", id=1, **change)
        return
    with pytest.raises(sqlite3.IntegrityError, match=f"CHECK constraint failed: {refused}"):
        insert(connection, "shape_changes", id=1, **change)


def test_shape_and_position_of_a_row_are_told_beside_its_id(connection: sqlite3.Connection) -> None:
    number = add_shape(connection, "h1", "key", rows=["{}", "{}"])
    assert connection.execute("SELECT id, shape, position FROM shape_rows").fetchall() == [
        ((number << 28) + position, number, position) for position in (1, 2)
    ]


def test_there_is_one_counter_of_rounds_and_it_starts_with_one(connection: sqlite3.Connection) -> None:
    """So the first round is 2 or later, and 1 stands for a moment before all rounds."""
    columns = "id, round, jump_due, gaps_known_from"
    assert connection.execute(f"SELECT {columns} FROM log_state").fetchall() == [(1, 1, 0, 0)]
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed: log_state_is_one_row"):
        insert(connection, "log_state", id=2, round=1, jump_due=0, gaps_known_from=0)


def test_the_totals_follow_what_comes_goes_and_grows(connection: sqlite3.Connection) -> None:
    def totals() -> dict[str, int]:
        return dict(connection.execute("SELECT name, value FROM totals"))

    assert totals() == {"shapes": 0, "bytes": 0, "kept": 0, "kept_bytes": 0}
    add_shape(connection, "h1", "a", rows=['{"n":1}'], log_bytes=10)
    add_shape(connection, "h2", "b", rows=["{}", "{}"])
    add_kept(connection, "h3", rows=["{}"], log_bytes=5)
    assert totals() == {"shapes": 2, "bytes": 21, "kept": 1, "kept_bytes": 7}
    connection.execute("UPDATE shapes SET bytes = bytes + 100, log_bytes = 0 WHERE handle = 'h1'")
    connection.execute("UPDATE shapes SET read_order = 7")
    assert totals() == {"shapes": 2, "bytes": 111, "kept": 1, "kept_bytes": 7}
    connection.execute("DELETE FROM kept")
    connection.execute("DELETE FROM shapes WHERE handle = 'h1'")
    assert totals() == {"shapes": 1, "bytes": 4, "kept": 0, "kept_bytes": 0}
    connection.execute("DELETE FROM shapes")
    assert totals() == {"shapes": 0, "bytes": 0, "kept": 0, "kept_bytes": 0}


def test_every_table_is_strict(connection: sqlite3.Connection) -> None:
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    strict = {name for name, is_strict in tables if is_strict}
    assert strict >= set(schema.metadata.tables)


def test_an_outcome_is_one_of_the_words_that_are_known(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed: creations_outcome"):
        add_outcome(connection, "h1", outcome="lost")
