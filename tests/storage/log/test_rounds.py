"""A round is appended whole, under a number that no copy of the file can have given out for anything else."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from file_rows import insert
from logs import HANDLE, ModelledLog, key, row, transact
from processes import assert_sound

from shapestore.storage.log import queries, rounds
from shapestore.storage.log.difference import RowChange
from shapestore.storage.log.positions import locate
from shapestore.storage.log.rounds import next_round
from shapestore.storage.log.wanted import append_difference
from shapestore.storage.queries import SET_JUMP_DUE
from shapestore.storage.transaction import Transaction

FAR = 1 << 20
"""A jump goes at least so far."""


def state(connection: sqlite3.Connection) -> tuple[int, int, int]:
    (found,) = connection.execute("SELECT round, jump_due, gaps_known_from FROM log_state").fetchall()
    assert isinstance(found, tuple)
    return found


def gaps(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    return connection.execute("SELECT first, last FROM gaps ORDER BY first").fetchall()


def a_round(connection: sqlite3.Connection, newest_round: int = 0) -> int:
    return transact(connection, next_round, newest_round=newest_round).newest_round


def test_a_round_changes_rows_log_and_shape_together(connection: sqlite3.Connection, empty_path: str) -> None:
    log = ModelledLog(connection, {key(n): row(n=n) for n in (1, 2, 3)})
    log.advance({key(2): row(n=20, text="größer"), key(3): None, key(4): row(n=4)})
    number = log.number
    assert connection.execute("SELECT position, value, key FROM shape_rows ORDER BY id").fetchall() == [
        (1, row(n=1), key(1)),
        (2, row(n=20, text="größer"), key(2)),
        (6, row(n=4), key(4)),
    ]
    columns = "position, round, operation, row_id & 268435455, key, old"
    assert connection.execute(f"SELECT {columns} FROM shape_changes ORDER BY id").fetchall() == [
        (4, 2, "update", 2, key(2), row(n=2)),
        (5, 2, "delete", 3, key(3), row(n=3)),
        (6, 2, "insert", 6, key(4), None),
    ]
    found = locate(connection, HANDLE)
    assert found is not None
    assert (found.row_count, found.snapshot, found.position, found.written, found.round) == (3, 3, 6, 6, 2)
    assert connection.execute("SELECT log_bytes FROM shapes").fetchall() == [(len(row(n=2)) + len(row(n=3)),)]
    assert connection.execute("SELECT number, finished FROM rounds").fetchall() == [(2, 1)]
    assert number == found.number
    assert_sound(empty_path)


def test_a_key_that_went_and_comes_again_comes_at_the_end(connection: sqlite3.Connection) -> None:
    log = ModelledLog(connection, {key(1): row(n=1), key(2): row(n=2)})
    log.advance({key(1): None})
    log.advance({key(1): row(n=10)})
    assert list(log.rows) == [key(2), key(1)]
    assert connection.execute("SELECT position, key FROM shape_rows ORDER BY id").fetchall() == [
        (2, key(2)),
        (4, key(1)),
    ]


def test_what_is_so_already_is_not_changed_again(connection: sqlite3.Connection) -> None:
    log = ModelledLog(connection, {key(1): row(n=1)})
    before = list(connection.iterdump())
    changes = [RowChange(1, key(1), row(n=1), row(n=0)), RowChange(7, key(7), None, row(n=7))]
    transact(connection, lambda tx: append_difference(tx, log.number, changes))
    assert list(connection.iterdump()) == before


# --- the counter of rounds


def test_rounds_are_counted_from_two_and_one_by_one_for_all_shapes(connection: sqlite3.Connection) -> None:
    assert [a_round(connection) for _ in range(3)] == [2, 3, 4]
    assert (state(connection), gaps(connection)) == ((4, 0, 0), [])


def test_the_first_round_after_a_copy_may_have_been_put_back_jumps_once(connection: sqlite3.Connection) -> None:
    assert a_round(connection) == 2
    connection.execute(SET_JUMP_DUE)
    far = a_round(connection)
    assert far > 2 + FAR
    assert (state(connection), gaps(connection)) == ((far, 0, 0), [(3, far - 1)])
    assert a_round(connection) == far + 1
    assert gaps(connection) == [(3, far - 1)]


def test_a_writer_that_has_seen_a_newer_round_than_the_file_knows_jumps(connection: sqlite3.Connection) -> None:
    newest = a_round(connection)
    assert a_round(connection, newest) == newest + 1
    far = a_round(connection, newest + 2)
    assert far > newest + 1 + FAR
    assert gaps(connection) == [(newest + 2, far - 1)]


def test_two_copies_of_one_file_never_give_out_the_same_round(tmp_path: Path, connection: sqlite3.Connection) -> None:
    a_round(connection)
    given = set()
    for copy in range(20):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{copy}.db", isolation_level=None)) as copied:
            connection.backup(copied)
            copied.execute(SET_JUMP_DUE)
            given |= {a_round(copied) for _ in range(3)}
    assert len(given) == 60


def test_a_round_that_was_rolled_back_is_not_given_out_again_by_the_same_writer(connection: sqlite3.Connection) -> None:
    """Its transaction was not committed, as far as it knows: the disk reported an error."""

    def fail(tx: Transaction) -> None:
        next_round(tx)
        raise OSError("the disk is gone")

    transaction = Transaction(connection, "me")
    with pytest.raises(OSError, match="the disk is gone"):
        transaction.commit(fail)
    assert state(connection) == (1, 0, 0)
    assert transaction.newest_round == 2
    assert a_round(connection, transaction.newest_round) > FAR


def test_only_the_last_thousand_gaps_are_known(connection: sqlite3.Connection) -> None:
    for number in range(queries.KEPT_GAPS + 2):
        insert(connection, "gaps", first=10 * number, last=10 * number + 5)
    connection.execute("UPDATE log_state SET round = 20000, jump_due = 1")
    far = a_round(connection)
    known = gaps(connection)
    assert len(known) == queries.KEPT_GAPS
    assert (known[0], known[-1]) == ((30, 35), (20001, far - 1))
    assert state(connection) == (far, 0, 26)


def test_the_rounds_that_are_recorded_are_bounded_but_one_that_goes_on_stays(connection: sqlite3.Connection) -> None:
    log = ModelledLog(connection, {key(1): row(n=1)})
    log.advance({key(1): row(n=2)})
    connection.execute(
        "WITH RECURSIVE numbers (number) AS (SELECT 3 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?) "
        "INSERT INTO rounds (number, finished, ended_boot, ended_at_boot_ms, ended_at_ms) "
        "SELECT number, 1, '', 0, 0 FROM numbers",
        (queries.KEPT_ROUNDS + 998,),
    )
    insert(connection, "sources", number=1, name="app.db", unfinished_round=2)
    connection.execute("UPDATE log_state SET round = ?", (queries.KEPT_ROUNDS + 998,))
    for n, oldest in ((3, 3), (4, 1001), (5, 1001)):
        log.advance({key(1): row(n=n)})
        found = connection.execute("SELECT number FROM rounds ORDER BY number LIMIT 2").fetchall()
        assert found == [(2,), (oldest,)]


def test_a_jump_leaves_what_is_recorded_of_the_rounds_before_it(connection: sqlite3.Connection) -> None:
    """Else another store would find that the round it has seen last is not there, and jump too, and so on."""
    log = ModelledLog(connection, {key(1): row(n=1)})
    log.advance({key(1): row(n=2)})
    connection.execute("UPDATE log_state SET jump_due = 1")
    log.advance({key(1): row(n=3)})
    assert a_round(connection, newest_round=log.moments[1].round) == log.moments[2].round + 1


def test_a_jump_is_random(connection: sqlite3.Connection) -> None:
    low, high = rounds._JUMP
    assert (low, high) == (1 << 20, 1 << 31)
    jumps = set()
    for _ in range(10):
        connection.execute("UPDATE log_state SET jump_due = 1")
        before, _, _ = state(connection)
        jumps.add(a_round(connection) - before)
    assert len(jumps) == 10
    assert all(low < jump <= high + 1 for jump in jumps)
