"""What commands about refreshes, kept handles and readers do to the file, each by itself.

What those of an attempt do is held against a model of all transitions, in tests/system/test_transitions.py.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest
from file_rows import add_kept, add_lock, add_rows, add_shape, insert
from logs import HANDLE, ModelledLog, key, row, transact
from processes import assert_sound, handles_with_rows, kept, outcomes, read

from shapestore import Shape
from shapestore.storage import queries
from shapestore.storage.commands import (
    Command,
    CopyRows,
    Delete,
    Evict,
    ForgetKept,
    PublishDifference,
    Register,
    Void,
)
from shapestore.storage.commands.shapes import drop
from shapestore.storage.log import compact
from shapestore.storage.log.difference import Difference, RowChange, Run
from shapestore.storage.log.live.followed import Followed
from shapestore.storage.log.live.refreshed import Refreshed
from shapestore.storage.log.positions import locate

T = TypeVar("T")

KEY = "the shape"
"""Of ModelledLog's shape."""


@pytest.fixture
def file(empty_path: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(empty_path, isolation_level=None)) as connection:
        yield connection
    assert_sound(empty_path)


def done(file: sqlite3.Connection, *commands: Command[T]) -> list[T]:
    """The answers of commands of one kind, in one transaction."""
    answers: list[T] = []
    transact(file, lambda tx: answers.extend(type(commands[0]).apply(list(commands), tx)))
    return answers


def dump(file: sqlite3.Connection) -> list[str]:
    return list(file.iterdump())


# --- a refresh by difference


def difference(*changes: RowChange) -> Difference:
    made = Difference()
    for change in changes:
        made.add(change)
    return made


def an_update() -> Difference:
    return difference(RowChange(1, key(1), row(n=10), row(n=1)))


def refreshing(file: sqlite3.Connection, handle: str = "attempt", **columns: Any) -> int:
    """An attempt that refreshes the shape; it claimed at a moment that is known again."""
    times: dict[str, Any] = {"started_boot": "b", "started_at_boot_ms": 7, "started_at_ms": 8_000}
    return add_lock(file, handle, KEY, refreshes=HANDLE, **times | columns)


def publish(log: ModelledLog, changes: Difference, handle: str = "attempt") -> PublishDifference:
    return PublishDifference(handle, log.number, changes, duration_ms=5, followers=3)


def test_a_difference_is_appended_and_ends_the_attempt(file: sqlite3.Connection, empty_path: str) -> None:
    log = ModelledLog(file, {key(1): row(n=1), key(2): row(n=2)})
    refreshing(file)
    [stored] = done(file, publish(log, an_update()))
    found = locate(file, HANDLE)
    assert found is not None
    assert (found.row_count, found.position, found.round) == (2, 3, 2)
    columns = "confirmed_by, confirmed_boot, confirmed_at_boot_ms, confirmed_at_ms, stale, created_at_ms"
    assert read(empty_path, f"SELECT {columns} FROM shapes") == [("attempt", "b", 7, 8_000, 0, 0)]
    assert read(empty_path, f"SELECT {queries.STORED} FROM shapes") == [stored]
    assert read(empty_path, "SELECT count(*) FROM create_locks") == [0]
    columns = "handle, outcome, duration_ms, row_count, changes, followers"
    assert read(empty_path, f"SELECT {columns} FROM creations") == [("attempt", "refreshed", 5, 2, 1, 3)]


def test_where_nothing_has_changed_nothing_is_written_but_who_confirmed_it(
    file: sqlite3.Connection, empty_path: str
) -> None:
    log = ModelledLog(file, {key(1): row(n=1)})
    refreshing(file)
    assert done(file, publish(log, difference())) != [Void.SUPERSEDED]
    assert read(empty_path, "SELECT confirmed_by, position, round FROM shapes") == [("attempt", 1, 0)]
    for table in ("rounds", "shape_changes", "create_locks"):
        assert read(empty_path, f"SELECT count(*) FROM {table}") == [0]
    assert read(empty_path, "SELECT round FROM log_state") == [1]
    assert outcomes(empty_path) == [("attempt", "refreshed")]


def test_what_was_touched_while_it_was_read_counts_as_stale(file: sqlite3.Connection, empty_path: str) -> None:
    log = ModelledLog(file, {key(1): row(n=1)})
    refreshing(file, touched=1)
    done(file, publish(log, difference()))
    assert read(empty_path, "SELECT stale FROM shapes") == [1]


@pytest.mark.parametrize("lost", ["no lock row", "another attempt's", "failed"])
def test_a_difference_of_an_attempt_that_has_lost_its_fencing_token_is_void(
    file: sqlite3.Connection, lost: str
) -> None:
    log = ModelledLog(file, {key(1): row(n=1)})
    if lost != "no lock row":
        number = refreshing(file, "attempt" if lost == "failed" else "another")
        if lost == "failed":
            file.execute(
                "UPDATE create_locks SET state = 'failed', failed_at_ms = 0, error_type = 'E', error_message = 'm',"
                " retry_after_ms = 1 WHERE number = ?",
                (number,),
            )
    before = dump(file)
    assert done(file, publish(log, an_update())) == [Void.SUPERSEDED]
    assert dump(file) == before


@pytest.mark.parametrize("replaced", [False, True], ids=["dropped", "replaced"])
def test_a_difference_to_a_shape_that_has_gone_is_void_and_ends_the_attempt(
    file: sqlite3.Connection, empty_path: str, replaced: bool
) -> None:
    log = ModelledLog(file, {key(1): row(n=1)})
    refreshing(file)
    transact(file, lambda tx: drop(tx, [log.number]))
    if replaced:
        add_shape(file, "h2", KEY, rows=["{}"])
    assert done(file, publish(log, an_update())) == [Void.SUPERSEDED]
    assert outcomes(empty_path) == [("attempt", "abandoned")]
    assert read(empty_path, "SELECT count(*) FROM create_locks") == [0]
    assert read(empty_path, "SELECT count(*) FROM shape_changes") == [0]
    assert read(empty_path, "SELECT value FROM shape_rows WHERE shape = ?", log.number) == [row(n=1)]


def make_live(file: sqlite3.Connection, log: ModelledLog) -> None:
    """Let a shape follow the table t of app.db, which rounds have read up to change 9."""
    insert(file, "sources", number=1, name="app.db", followed_seq=9)
    insert(file, "source_tables", number=1, source=1, name="t")
    file.execute("UPDATE shapes SET live = 1, source = 1, source_table = 1, source_signature = 's'")
    for position, name in enumerate(log.rows, 1):
        insert(file, "members", source_table=1, key=name, shape=log.number, position=position)


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_live_shape_is_read_again_where_keys_that_rounds_have_asked_for_meanwhile_are_forgotten(
    file: sqlite3.Connection, forgotten: bool
) -> None:
    """The refresh might publish what is older under one of these keys."""
    log = ModelledLog(file, {key(1): row(n=1)})
    make_live(file, log)
    refreshing(file, touched_keys_from=4)
    insert(file, "touched_keys", number=6 if forgotten else 5, source=1, table_name="t", key=key(2), seq=9)
    refresh = publish(log, an_update())
    refresh.refreshed = Refreshed(position=1, seq=2, nonce=7, signature="s")
    [stored] = done(file, refresh)
    assert (stored is Void.OVERTAKEN) == forgotten
    rows = [row(n=1 if forgotten else 10)]
    assert [value for (value,) in file.execute("SELECT value FROM shape_rows").fetchall()] == rows


@pytest.mark.parametrize("compacted", [False, True])
def test_a_refresh_takes_back_what_a_round_read_before_it_or_begins_again_where_that_is_forgotten(
    file: sqlite3.Connection, compacted: bool
) -> None:
    """The refresh has found nothing different; then a round that had read its source earlier is written."""
    log = ModelledLog(file, {key(1): row(n=1)})
    make_live(file, log)
    refreshing(file)
    for n in range(100, 204):
        log.advance({key(1): row(n=n)})
    if compacted:
        transact(file, lambda tx: compact.raise_floor(tx, log.number, keep_ms=0))
        last = compact.next_trim(file, log.number)
        assert last is not None
        transact(file, lambda tx: compact.trim(tx, log.number, last))
    refresh = publish(log, difference())
    refresh.refreshed = Refreshed(position=1, seq=2, nonce=7, signature="s")
    [stored] = done(file, refresh)
    assert (stored is Void.OVERTAKEN) == compacted
    rows = [row(n=203 if compacted else 1)]
    assert [value for (value,) in file.execute("SELECT value FROM shape_rows").fetchall()] == rows


def test_of_what_rounds_have_read_since_a_refresh_nothing_is_read_to_take_it_back(file: sqlite3.Connection) -> None:
    """It may be a thousand times more than the refresh brings: here, more than one text can hold."""
    log = ModelledLog(file, {key(n): row(n=n) for n in range(50)})
    make_live(file, log)
    refreshing(file)
    large = {key(n): row(n="x" * 10_000) for n in range(49)}
    for change in (large, {key(49): row(n=100)}, {name: row(n="y") for name in large}):
        log.advance(change)
    for name in large:
        insert(file, "touched_keys", source=1, table_name="t", key=name, seq=9)
    refresh = publish(log, difference())
    refresh.refreshed = Refreshed(position=50 + len(large), seq=2, nonce=7, signature="s")
    file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
    [stored] = done(file, refresh)
    assert stored is not None
    rows = [row(n="y")] * 49 + [row(n=49)]
    assert [value for (value,) in file.execute("SELECT value FROM shape_rows ORDER BY id").fetchall()] == rows


# --- rows of the old handle in the new one


def test_rows_are_copied_with_their_keys_and_numbered_anew(file: sqlite3.Connection, empty_path: str) -> None:
    log = ModelledLog(file, {key(n): row(n=n) for n in range(1, 9)})
    log.advance({key(3): None, key(20): row(n=20)})
    number = refreshing(file)
    add_rows(file, number, 2)
    runs = (Run(3, 1, 7, 5, 500), Run(8, 8, 10, 1, 7))
    copies = [CopyRows("attempt", run, log.number, position=100) for run in runs]
    assert [copy.size for copy in copies] == [500, 7], "a transaction takes so many bytes"
    assert done(file, *copies) == [5, 1]
    found = read(empty_path, "SELECT position, value, key FROM shape_rows WHERE shape = ? ORDER BY id", number)
    assert found == [
        (1, "{}", None),
        (2, "{}", None),
        *((position, row(n=n), key(n)) for position, n in enumerate((2, 4, 5, 6, 7, 20), 3)),
    ]


def test_rows_that_are_copied_into_a_live_shape_are_found_by_their_keys(file: sqlite3.Connection) -> None:
    log = ModelledLog(file, {key(n): row(n=n) for n in range(1, 4)})
    number = refreshing(file)
    followed = Followed("app.db", "t", seq=1, nonce=2, signature="s")
    assert done(file, CopyRows("attempt", Run(1, 1, 3, 2, 14), log.number, position=100, followed=followed)) == [2]
    found = file.execute("SELECT key, shape, position FROM members ORDER BY position").fetchall()
    assert found == [(key(2), number, 1), (key(3), number, 2)]


def test_nothing_is_copied_into_an_attempt_that_has_lost_its_fencing_token_nor_from_what_is_gone(
    file: sqlite3.Connection,
) -> None:
    log = ModelledLog(file, {key(1): row(n=1)})
    before = dump(file)
    assert done(file, CopyRows("attempt", Run(1, 0, 1, 1, 7), log.number, position=100)) == [0]
    assert dump(file) == before
    refreshing(file)
    assert done(file, CopyRows("attempt", Run(1, 1, 9, 8, 56), log.number, position=100)) == [0]
    assert done(file, CopyRows("attempt", Run(1, 0, 9, 9, 63), 77, position=100)) == [0]


# --- kept handles


def shapes_of(file: sqlite3.Connection, count: int, **columns: Any) -> list[int]:
    """Stored shapes, the first of them the least recently read."""
    return [
        add_shape(file, f"h{n}", Shape(f"t{n}"), rows=[row(n=n, text="x" * 90)], read_order=n, **columns)
        for n in range(1, count + 1)
    ]


def test_what_is_dropped_is_kept_as_it_was(file: sqlite3.Connection, empty_path: str) -> None:
    log = ModelledLog(file, {key(1): row(n=1)})
    log.advance({key(1): row(n=10)})
    copied = "number, handle, comparable, table_name, row_count, snapshot, position, written, round, floor, floor_round"
    copied += ", bytes, log_bytes, key_columns, created_at_ms, refreshed_at_ms"
    before = read(empty_path, f"SELECT {copied} FROM shapes")
    assert done(file, Delete(HANDLE)) == [True]
    assert read(empty_path, f"SELECT {copied} FROM kept") == before
    assert handles_with_rows(empty_path) == [HANDLE]
    assert read(empty_path, "SELECT count(*) FROM discarded") == [0]
    assert done(file, Delete(HANDLE)) == [False]


def test_of_two_who_delete_a_shape_at_once_one_has_done_it(file: sqlite3.Connection) -> None:
    shapes_of(file, 1)
    assert done(file, Delete("h1"), Delete("h1"), Delete("h2")) == [True, False, False]


def drop_one_of(file: sqlite3.Connection, handle: str, comparable: str, ago_ms: int) -> None:
    """A shape that went so long ago."""
    number = add_shape(file, handle, comparable, rows=["{}"])
    transact(file, lambda tx: drop(tx, [number]))
    file.execute("UPDATE kept SET gone_at_boot_ms = gone_at_boot_ms - ? WHERE number = ?", (ago_ms, number))


def test_two_handles_a_key_are_kept_at_most_and_those_that_went_just_now(
    file: sqlite3.Connection, empty_path: str
) -> None:
    """A reader that began before a handle went is registered within a second."""
    for n in range(1, 5):
        drop_one_of(file, f"h{n}", "key", ago_ms=2_000)
        drop_one_of(file, f"other {n}", f"another key {n}", ago_ms=2_000)
    assert kept(empty_path) == ["other 1", "other 2", "h3", "other 3", "h4", "other 4"]
    for n in range(5, 8):
        drop_one_of(file, f"h{n}", "key", ago_ms=500)
    assert [handle for handle in kept(empty_path) if handle.startswith("h")] == ["h5", "h6", "h7"]
    assert len(read(empty_path, "SELECT number FROM discarded")) == 4


def test_a_handle_that_is_read_is_kept_beyond_two_of_its_key(file: sqlite3.Connection, empty_path: str) -> None:
    drop_one_of(file, "h0", "key", ago_ms=5_000)
    [number] = read(empty_path, "SELECT number FROM kept")
    done(file, Register({"1": (number, 1)}, []))
    for n in range(1, 5):
        drop_one_of(file, f"h{n}", "key", ago_ms=5_000)
    assert kept(empty_path) == ["h0", "h3", "h4"]
    done(file, Register({}, [1]))
    assert kept(empty_path) == ["h3", "h4"]
    drop_one_of(file, "h5", "key", ago_ms=5_000)
    assert kept(empty_path) == ["h4", "h5"]


def test_a_kept_handle_that_somebody_reads_is_not_forgotten(file: sqlite3.Connection, empty_path: str) -> None:
    numbers = [add_kept(file, f"h{n}", rows=["{}"]) for n in range(3)]
    done(file, Register({"7": (numbers[1], 1)}, []))
    done(file, ForgetKept([*numbers, 10_000]))
    assert kept(empty_path) == ["h1"]
    assert read(empty_path, "SELECT number FROM discarded") == [numbers[0], numbers[2]]
    done(file, Register({}, [7]), Register({}, []))
    done(file, ForgetKept(numbers), ForgetKept(numbers))
    assert kept(empty_path) == []


def test_all_readers_that_are_not_told_of_are_forgotten_and_the_others_keep_what_they_read(
    file: sqlite3.Connection, empty_path: str
) -> None:
    """As after an error, of which it is not known what it has left."""
    for n in range(2):
        drop_one_of(file, f"h{n}", "key", ago_ms=5_000)
    first, second = read(empty_path, "SELECT number FROM kept ORDER BY number")
    done(file, Register({"1": (first, 1), "2": (second, 1), "3": (second, 1)}, []))
    for n in range(2, 5):
        drop_one_of(file, f"h{n}", "key", ago_ms=5_000)
    assert kept(empty_path) == ["h0", "h1", "h3", "h4"]
    done(file, Register({"1": (first, 1), "4": (first, 2)}, None))
    assert kept(empty_path) == ["h0", "h3", "h4"]
    assert read(empty_path, "SELECT reading FROM readers ORDER BY reading") == [1, 4]


def test_readers_are_of_their_owner_and_registering_twice_does_no_harm(
    file: sqlite3.Connection, empty_path: str
) -> None:
    begun = {"1": (5, 10), "2": (6, 0)}
    done(file, Register(begun, []), Register(begun, []), Register({}, [2, 3]))
    assert read(empty_path, "SELECT owner, reading, shape, position FROM readers") == [("me", 1, 5, 10)]
    file.execute("UPDATE readers SET owner = 'another'")
    done(file, Register({}, [1]))
    assert len(read(empty_path, "SELECT 1 FROM readers")) == 1


# --- eviction


@pytest.mark.parametrize(
    ("max_shapes", "max_bytes", "gone"),
    [
        (None, None, 0),
        (5, None, 0),
        (3, None, 2),
        (0, None, 5),
        (None, 500, 0),
        (None, 499, 1),
        (None, 400, 1),
        (None, 399, 2),
        (None, 1, 5),
        (4, 250, 3),
        (1, 499, 4),
    ],
)
def test_the_least_recently_read_are_evicted_until_both_limits_are_kept(
    file: sqlite3.Connection, max_shapes: int | None, max_bytes: int | None, gone: int
) -> None:
    for n in range(1, 6):
        text = row(n=n, text="x" * 83)
        assert len(text) == 100
        add_shape(file, f"h{n}", Shape(f"t{n}"), rows=[text], read_order=n)
    [evicted] = done(file, Evict(max_shapes, max_bytes))
    assert sorted(evicted) == [f"h{n}" for n in range(1, gone + 1)]
    assert done(file, Evict(max_shapes, max_bytes)) == [[]]


def test_the_bytes_of_logs_count_too(file: sqlite3.Connection) -> None:
    shapes_of(file, 3, log_bytes=1_000)
    [evicted] = done(file, Evict(None, 2_500))
    assert evicted == ["h1"]


def test_an_eviction_is_bounded_and_goes_on_in_the_next_one(
    file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evict, "AT_ONCE", 2)
    shapes_of(file, 7)
    turns = []
    while gone := done(file, Evict(max_shapes=2, max_bytes=None))[0]:
        turns.append(sorted(gone))
    assert turns == [["h1", "h2"], ["h3", "h4"], ["h5"]]
