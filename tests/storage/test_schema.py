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
from inspections import eventually
from processes import Workers

from shapestore import CreateFailedError, Shape, ShapeStore
from shapestore.locking.create_lock import State
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
    connection.execute(
        "INSERT INTO create_locks VALUES (?, 'tracks', 'in_progress', 'nobody', 'h1', ?, NULL, NULL, NULL, NULL)",
        (TRACKS.comparable, (time.time() - 90) * 1000 // 1),
    )
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


def test_no_age_is_less_than_nought_though_a_clock_was_set_back(
    empty_path: str, connection: sqlite3.Connection
) -> None:
    tomorrow = int(time.time() + 86_400) * 1000
    connection.execute("INSERT INTO owners VALUES ('o', 1, 'host', 'app', ?)", (tomorrow,))
    connection.execute("INSERT INTO shapes VALUES ('h1', '{}', 't', 0, ?, 0, 1)", (tomorrow,))
    connection.execute(
        "INSERT INTO create_locks VALUES ('{}', 't', 'in_progress', 'o', 'h2', ?, NULL, NULL, NULL, NULL)", (tomorrow,)
    )
    assert in_words(empty_path, "owners_in_words", "age") == [("0 s",)]
    assert in_words(empty_path, "shapes_in_words", "age") == [("0 s",)]
    assert in_words(empty_path, "create_locks_in_words", "what") == [("being created for 0 s",)]


# --- what the tables refuse


LOCK = "INSERT INTO create_locks VALUES (?, 't', ?, 'o', ?, 0, ?, ?, ?, ?)"


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
        connection.execute(LOCK, ("key", state, "h1", *failure))


def test_every_state_that_the_code_knows_is_one_that_the_table_takes(connection: sqlite3.Connection) -> None:
    for state in State:
        failure = (0, "E", "m", 1) if state is State.FAILED else (None,) * 4
        connection.execute(LOCK, (f"key {state}", state, f"h {state}", *failure))


def test_a_key_has_one_lock_row_and_one_shape_and_a_handle_is_one_attempts_only(
    connection: sqlite3.Connection,
) -> None:
    connection.execute(LOCK, ("key", "in_progress", "h1", *(None,) * 4))
    connection.execute("INSERT INTO shapes VALUES ('h1', 'key', 't', 0, 0, 0, 1)")
    connection.execute(
        "INSERT INTO creations (handle, comparable, outcome, finished_at_ms) VALUES ('h1', '', 'died', 0)"
    )
    for statement in (
        "INSERT INTO create_locks SELECT comparable, table_name, state, owner, 'h2', 0, NULL, NULL, NULL, NULL"
        " FROM create_locks",
        "INSERT INTO create_locks SELECT 'key 2', table_name, state, owner, handle, 0, NULL, NULL, NULL, NULL"
        " FROM create_locks",
        "INSERT INTO shapes SELECT 'h2', comparable, 't', 0, 0, 0, 1 FROM shapes",
        "INSERT INTO shapes SELECT handle, 'key 2', 't', 0, 0, 0, 1 FROM shapes",
        "INSERT INTO creations (handle, comparable, outcome, finished_at_ms) VALUES ('h1', '', 'created', 0)",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE constraint failed"):
            connection.execute(statement)


def test_every_table_is_strict(connection: sqlite3.Connection) -> None:
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    strict = {name for name, is_strict in tables if is_strict}
    assert strict >= set(schema.metadata.tables)


def test_an_outcome_is_one_of_the_words_that_are_known(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed: creations_outcome"):
        connection.execute(
            "INSERT INTO creations (handle, comparable, outcome, finished_at_ms) VALUES ('h1', '', 'lost', 0)"
        )
