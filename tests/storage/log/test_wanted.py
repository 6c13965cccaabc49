"""What is wanted of many shapes becomes one round of their logs, and nothing else does."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_rows import add_rows, add_shape
from hypothesis import given, settings
from hypothesis import strategies as st
from live_logs import SOURCE, add_live_shape, add_source, assert_members_match, members
from logs import copy_of, entries, key, materialized, row, rows_as_of, transact
from processes import assert_sound

from shapestore.storage.log.pages import served_log
from shapestore.storage.log.positions import accepted, locate, pack, pack_row
from shapestore.storage.log.read import ends_behind
from shapestore.storage.log.rounds import begin_round, finish_round, show_alone
from shapestore.storage.log.wanted import Appended, WantedRow, append_wanted
from shapestore.storage.log.wanted_queries import FEW_POSITIONS
from shapestore.storage.queries import SET_JUMP_DUE
from shapestore.storage.transaction import Transaction


@pytest.fixture
def connection(empty_path: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(empty_path, isolation_level=None)) as connection:
        add_source(connection)
        yield connection
        assert_members_match(connection)
    assert_sound(empty_path)


def want(
    connection: sqlite3.Connection, *wanted: tuple[int, str, str | None], finished: bool = True
) -> Appended | None:
    answers: list[Appended | None] = []
    rows = [WantedRow(*each) for each in wanted]

    def append(tx: Transaction) -> None:
        if not finished:
            begin_round(tx, SOURCE, finished=False)
        answers.append(append_wanted(tx, rows, source=SOURCE))

    transact(connection, append)
    return answers[0]


def finish(connection: sqlite3.Connection) -> set[int]:
    answers: list[set[int]] = []
    transact(connection, lambda tx: answers.append(finish_round(tx, SOURCE, seq=9, markers=[7])))
    return answers[0]


def log_of(connection: sqlite3.Connection, number: int) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT position, round, operation, row_id & 268435455, key, old FROM shape_changes WHERE shape = ?", (number,)
    ).fetchall()


def test_all_shapes_of_a_round_change_together(connection: sqlite3.Connection) -> None:
    first = add_live_shape(connection, "a", {key(n): row(n=n) for n in (1, 2, 3)})
    second = add_live_shape(connection, "b", {key(2): row(n=2)})
    appended = want(
        connection,
        (second, key(2), None),
        (first, key(9), row(n=9)),
        (first, key(3), row(n=30, text="größer")),
        (first, key(2), None),
        (first, key(1), row(n=1)),  # as it is
        (second, key(8), None),  # not there anyway
    )
    assert appended == ((2, True), {first, second}, set())
    assert log_of(connection, first) == [
        (4, 2, "delete", 2, key(2), row(n=2)),
        (5, 2, "update", 3, key(3), row(n=3)),
        (6, 2, "insert", 6, key(9), None),
    ]
    assert log_of(connection, second) == [(2, 2, "delete", 1, key(2), row(n=2))]
    assert rows_as_of(connection, None, 10, "a") == [row(n=1), row(n=30, text="größer"), row(n=9)]
    assert members(connection) == [(first, key(1), 1), (first, key(3), 3), (first, key(9), 6)]
    assert connection.execute("SELECT number, source, finished FROM rounds").fetchall() == [(2, SOURCE, 1)]


def test_where_nothing_is_different_nothing_is_written(connection: sqlite3.Connection) -> None:
    number = add_live_shape(connection, "a", {key(1): row(n=1)})
    before = list(connection.iterdump())
    assert want(connection, (number, key(1), row(n=1)), (number, key(2), None), (number + 1, key(1), row(n=5))) is None
    assert want(connection) is None
    assert list(connection.iterdump()) == before


def test_of_two_rows_for_one_key_the_last_counts(connection: sqlite3.Connection) -> None:
    number = add_live_shape(connection, "a", {key(1): row(n=1)})
    want(connection, (number, key(1), row(n=2)), (number, key(1), row(n=3)))
    assert rows_as_of(connection, None, 10, "a") == [row(n=3)]


def test_rows_of_a_shape_that_is_not_live_are_found_too(connection: sqlite3.Connection) -> None:
    number = add_shape(connection, "a", "a", row_count=2, bytes=2 * len(row(n=1)), key_columns='["id"]')
    add_rows(connection, number, [row(n=1), row(n=2)], keys=[key(1), key(2)])
    want(connection, (number, key(2), row(n=20)), (number, key(1), None), (number, key(3), row(n=3)))
    assert rows_as_of(connection, None, 10, "a") == [row(n=20), row(n=3)]
    assert members(connection) == []


def test_shapes_whose_logs_have_hardly_any_positions_left_are_told(connection: sqlite3.Connection) -> None:
    full, other = (add_live_shape(connection, handle, {key(1): row(n=1)}) for handle in "ab")
    last = (1 << 28) - 1 - FEW_POSITIONS
    for number, written in ((full, last), (other, last - 1)):
        connection.execute(
            "UPDATE shapes SET written = :at, position = :at WHERE number = :number", {"at": written, "number": number}
        )
    appended = want(connection, *((number, key(1), row(n=2)) for number in (full, other)))
    assert appended is not None
    assert appended.full == {full}


# --- a round that goes on


def test_an_unfinished_round_is_not_visible_until_it_is_finished(connection: sqlite3.Connection) -> None:
    number = add_live_shape(connection, "a", {key(n): row(n=n) for n in (1, 2)})
    other = add_live_shape(connection, "b", {})
    assert want(connection, (number, key(1), None), (number, key(3), row(n=3)), finished=False) == (
        (2, False),
        {number},
        set(),
    )
    # What is appended meanwhile belongs to it, whatever it comes from.
    want(connection, (number, key(2), row(n=20)), (other, key(1), row(n=1)))
    log = locate(connection, "a")
    assert log is not None
    assert (log.row_count, log.position, log.written, log.round) == (2, 2, 5, 0)
    assert rows_as_of(connection, None, 1, "a") == [row(n=1), row(n=2)]
    assert rows_as_of(connection, None, 1, "b") == []
    assert len(entries(connection, 0, 10, "a")) == 2

    assert finish(connection) == {number, other}
    assert rows_as_of(connection, None, 1, "a") == [row(n=20), row(n=3)]
    assert rows_as_of(connection, None, 1, "b") == [row(n=1)]
    assert [entry.operation for entry in entries(connection, 2, 1, "a")] == ["delete", "insert", "update"]
    assert connection.execute("SELECT number, seq, markers, finished FROM rounds").fetchall() == [(2, 9, "[7]", 1)]
    assert finish(connection) == set()
    assert want(connection, (number, key(2), None)) == ((3, True), {number}, set())


def test_a_round_goes_on_behind_a_jump_under_another_number(connection: sqlite3.Connection) -> None:
    """A copy of the file may have finished it, with other contents, and given its positions out."""
    number = add_live_shape(connection, "a", {key(1): row(n=1)})
    want(connection, (number, key(1), row(n=2)))
    want(connection, (number, key(1), row(n=3)), finished=False)
    transact(connection, lambda tx: tx.run(SET_JUMP_DUE))
    want(connection, (number, key(2), row(n=2)))
    finish(connection)
    ((new,),) = connection.execute("SELECT number FROM rounds WHERE number > 2").fetchall()
    assert new > 1 << 20
    assert [(position, round_) for position, round_, *_ in log_of(connection, number)] == [(2, 2), (3, new), (4, new)]
    assert connection.execute("SELECT first, last FROM gaps ORDER BY first").fetchall() == [(3, 3), (4, new - 1)]


def test_nothing_follows_the_last_row_of_a_snapshot_before_a_round_has_ended(connection: sqlite3.Connection) -> None:
    """Who has read it waits for more: there is a row behind it, which no reader may see yet."""
    number = add_live_shape(connection, "a", {key(1): row(n=1), key(2): row(n=2)})
    want(connection, (number, key(2), None))
    connection.execute("UPDATE shapes SET floor = position, floor_round = round")
    log = locate(connection, "a")
    assert log is not None
    last = pack_row(log, 1)
    want(connection, (number, key(3), row(n=3)), finished=False)
    assert ends_behind(connection, "a", last) == (locate(connection, "a"), False)
    finish(connection)
    assert ends_behind(connection, "a", last) == (locate(connection, "a"), True)


@pytest.mark.parametrize("jumps", [False, True])
def test_a_shape_is_shown_alone_and_the_round_goes_on_for_the_others_under_another_number(
    connection: sqlite3.Connection, jumps: bool
) -> None:
    shown, hidden = (add_live_shape(connection, handle, {key(1): row(n=1)}) for handle in "ab")
    want(connection, *((number, key(1), row(n=2)) for number in (shown, hidden)), finished=False)
    transact(connection, lambda tx: begin_round(tx, SOURCE, seq=5))
    if jumps:
        transact(connection, lambda tx: tx.run(SET_JUMP_DUE))
    for _ in range(2):
        transact(connection, lambda tx: show_alone(tx, SOURCE, shown, seq=5))  # again does nothing
    (ended,), (new,) = connection.execute("SELECT number FROM rounds ORDER BY number").fetchall()
    assert (new, ended > 1 << 20) == (ended + 1, jumps)
    assert connection.execute("SELECT number, finished FROM rounds").fetchall() == [(ended, 1), (new, 0)]
    assert [log_of(connection, number)[0][1] for number in (shown, hidden)] == [ended, new]
    log, other = locate(connection, "a"), locate(connection, "b")
    assert log is not None
    assert other is not None
    assert (log.position, log.round, other.position, other.written) == (2, ended, 1, 2)
    want(connection, (shown, key(1), row(n=3)))
    assert finish(connection) == {shown, hidden}
    assert [(position, round_) for position, round_, *_ in log_of(connection, shown)] == [(2, ended), (3, new)]
    assert rows_as_of(connection, None, 1, "b") == [row(n=2)]


def test_a_round_of_another_source_is_visible_meanwhile(connection: sqlite3.Connection) -> None:
    number = add_live_shape(connection, "a", {})
    want(connection, (number, key(1), row(n=1)), finished=False)
    rounds = []
    transact(connection, lambda tx: rounds.append(begin_round(tx)))
    assert rounds == [(3, True)]


# --- any shapes, any rounds

KEYS = st.sampled_from([key(n) for n in range(5)])
ROWS = st.none() | st.sampled_from([row(n=1), row(n=2), row(text="ß")])
ROUNDS = st.lists(
    st.tuples(st.lists(st.tuples(st.sampled_from([0, 1, 2]), KEYS, ROWS), max_size=8), st.booleans()), max_size=6
)


@settings(max_examples=40)
@given(rounds=ROUNDS)
def test_any_rounds_make_the_shapes_what_was_wanted(
    empty_store: Path, rounds: list[tuple[list[tuple[int, str, str | None]], bool]]
) -> None:
    with copy_of(empty_store) as connection:
        add_source(connection)
        numbers = [add_live_shape(connection, f"h{n}", {key(n): row(n=n)}) for n in range(3)]
        models: list[dict[str, str]] = [{key(n): row(n=n)} for n in range(3)]
        for wanted, finished in rounds:
            want(connection, *((numbers[shape], key, row) for shape, key, row in wanted), finished=finished)
            if finished:
                finish(connection)
            for shape, wanted_key, value in wanted:
                if value is None:
                    models[shape].pop(wanted_key, None)
                else:
                    models[shape][wanted_key] = value
        finish(connection)
        for n, model in enumerate(models):
            stored = connection.execute("SELECT key, value FROM shape_rows WHERE shape = ?", (numbers[n],)).fetchall()
            assert dict(stored) == model
            assert materialized(entries(connection, 0, 3, f"h{n}"), {}) == model
        assert_members_match(connection)
        ((file,),) = connection.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchall()
        assert_sound(file)


@pytest.mark.parametrize("jumps", [False, True])
@pytest.mark.parametrize("before", [0, 3])
def test_what_a_reader_was_told_that_it_has_seen_is_accepted_while_a_round_goes_on(
    connection: sqlite3.Connection, before: int, jumps: bool
) -> None:
    """Also if the round has jumped: the number before its own was never a round."""
    number = add_live_shape(connection, "a", {key(1): row(n=0)})
    for n in range(1, before + 1):
        want(connection, (number, key(1), row(n=n)))
    if jumps:
        transact(connection, lambda tx: tx.run(SET_JUMP_DUE))
    want(connection, (number, key(1), row(n=9)), finished=False)
    log, standing = served_log(connection, "a"), locate(connection, "a")
    assert log is not None
    assert standing is not None
    assert accepted(connection, standing, pack(log.last_seen, 0)) == standing.position
    finish(connection)
    standing = locate(connection, "a")
    assert standing is not None
    assert accepted(connection, standing, pack(log.last_seen, 0)) == standing.position - 1
