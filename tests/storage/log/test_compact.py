"""What is forgotten goes in bounded pieces, and never what somebody still needs."""

from __future__ import annotations

import sqlite3
from functools import partial

import pytest
from file_rows import add_lock, add_rows, add_shape, discard, insert
from logs import HANDLE, ModelledLog, entries, key, materialized, row, rows_as_of, transact
from processes import assert_sound

from shapestore.locking import boot_clock
from shapestore.storage.commands import Compact, DeletePiece, TrimLog
from shapestore.storage.log import compact
from shapestore.storage.log.positions import locate

LONG = 120
"""More rounds of one change than a log of one row may have."""


def counted(connection: sqlite3.Connection, table: str) -> int:
    ((count,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


# --- deletion


def delete_all(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    """Delete all that is pending, piece by piece; how many rows, and bytes of them, each piece had."""

    def left() -> tuple[int, int]:
        sizes = [
            connection.execute(
                f"SELECT count(*), sum(coalesce(length(CAST({text} AS BLOB)), 0)) FROM {table}"
            ).fetchone()
            for table, text in (("shape_rows", "value"), ("shape_changes", "old"))
        ]
        return sum(count for count, _ in sizes), sum(size or 0 for _, size in sizes)

    pieces = []
    while piece := compact.next_piece(connection):
        before = left()
        transact(connection, partial(DeletePiece.apply, [DeletePiece(piece)]))
        after = left()
        pieces.append((before[0] - after[0], before[1] - after[1]))
    return pieces


@pytest.mark.parametrize(
    ("sizes", "pieces"),
    [
        ([], [0]),
        ([10] * 9, [9]),
        ([10] * 10, [10]),
        ([10] * 11, [10, 1]),
        ([10] * 25, [10, 10, 5]),
        ([400] * 7, [2, 2, 2, 1]),
        ([1_000] * 3, [1, 1, 1]),
        ([999, 1, 1, 5_000, 1, 1], [2, 1, 1, 2]),
    ],
)
def test_rows_are_deleted_in_pieces_that_are_bounded_in_number_and_in_bytes(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, sizes: list[int], pieces: list[int]
) -> None:
    """A piece has one row at least: one that is larger than a piece has to go too."""
    monkeypatch.setattr(compact, "PIECE_ROWS", 10)
    monkeypatch.setattr(compact, "PIECE_BYTES", 1_000)
    add_rows(connection, 5, ["ä" * (size // 2) + "x" * (size % 2) for size in sizes])
    discard(connection, 5)
    assert [count for count, _ in delete_all(connection)] == pieces
    assert counted(connection, "discarded") == counted(connection, "shape_rows") == 0


def test_a_log_is_deleted_with_its_rows_and_its_neighbours_are_not(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, empty_path: str
) -> None:
    monkeypatch.setattr(compact, "PIECE_ROWS", 4)
    before = add_shape(connection, "before it", "another", rows=["{}"] * 3)
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, 8)})
    behind = add_shape(connection, "behind it", "a third", rows=["{}"] * 3)
    for n in range(5):
        log.advance({key(1): row(n=n, text="new"), key(20 + n): row(n=n)})
    connection.execute("DELETE FROM shapes WHERE number = ?", (log.number,))
    discard(connection, log.number)
    assert [count for count, _ in delete_all(connection)] == [4, 4, 2, 4, 4, 4]
    assert counted(connection, "shape_changes") == counted(connection, "discarded") == 0
    assert {shape for (shape,) in connection.execute("SELECT shape FROM shape_rows")} == {before, behind}
    assert_sound(empty_path)


def test_many_numbers_of_a_few_rows_each_go_together(connection: sqlite3.Connection) -> None:
    """Where shapes come and go by the thousand, a transaction for each would never keep up."""
    for number in range(1, 2_501):
        discard(connection, number)
        add_rows(connection, number, number % 3)
    add_shape(connection, "stays", "key", rows=["{}"] * 3, number=2_600)
    assert len(delete_all(connection)) == 3
    assert (counted(connection, "shape_rows"), counted(connection, "discarded")) == (3, 0)


def follow_tables(connection: sqlite3.Connection, count: int) -> None:
    connection.execute("DELETE FROM source_tables")
    for number in range(1, count + 1):
        insert(connection, "source_tables", number=number, source=1, name=f"t{number}")


def steps_of_deletion(connection: sqlite3.Connection) -> int:
    """Of all that is pending, in thousands of SQLite's own."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    connection.set_progress_handler(count, 1_000)
    delete_all(connection)
    connection.set_progress_handler(None, 0)
    return taken


def test_members_go_in_as_many_steps_however_many_tables_are_followed(connection: sqlite3.Connection) -> None:
    def steps(tables: int) -> int:
        """Of a live shape of 500 rows."""
        follow_tables(connection, tables)
        shape = tables
        add_rows(connection, shape, 500, keyed=True)
        for position in range(1, 501):
            insert(connection, "members", source_table=tables, key=f"[{position}]", shape=shape, position=position)
        insert(connection, "members", source_table=1, key="[1]", shape=9_999, position=1)
        discard(connection, shape)
        taken = steps_of_deletion(connection)
        assert connection.execute("SELECT source_table, shape FROM members").fetchall() == [(1, 9_999)]
        connection.execute("DELETE FROM members")
        return taken

    assert steps(500) < 3 * steps(2)


def test_members_are_looked_for_only_of_what_a_piece_deletes(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "PIECE_ROWS", 10)

    def steps(tables: int) -> int:
        """Of 100 shapes, each of which is a piece."""
        follow_tables(connection, tables)
        for number in range(100 * tables, 100 * tables + 100):
            add_rows(connection, number, 10, keyed=True)
            discard(connection, number)
        return steps_of_deletion(connection)

    assert steps(100) < 2 * steps(5)


def test_the_more_tables_are_followed_the_fewer_shapes_a_piece_is_of(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each of the tables members are looked for: by the reader, since the writer took 0.7 s for 10,000 of them."""
    monkeypatch.setattr(compact, "PIECE_LOOKS", 100)
    follow_tables(connection, 20)
    for number in range(1, 13):
        add_rows(connection, number, 2, keyed=True)
        discard(connection, number)
    sizes = [size for size, _ in delete_all(connection)]
    assert sizes == [10, 10, 4]
    follow_tables(connection, 200)
    for number in (1, 2):
        add_rows(connection, number, 2, keyed=True)
        discard(connection, number)
    assert [size for size, _ in delete_all(connection)] == [2, 2]


def test_a_piece_that_was_measured_before_a_copy_was_put_back_takes_no_rows_of_what_is_stored_there(
    connection: sqlite3.Connection,
) -> None:
    add_rows(connection, 5, 3, keyed=True)
    add_rows(connection, 6, 3, keyed=True)
    for number in (5, 6):
        insert(connection, "members", source_table=1, key="[1]", shape=number, position=1)
    insert(connection, "source_tables", number=1, source=1, name="t")
    discard(connection, 5, 6)
    piece = compact.next_piece(connection)
    assert piece is not None
    connection.execute("DELETE FROM discarded WHERE number = 5")  # as it is in the copy
    transact(connection, partial(DeletePiece.apply, [DeletePiece(piece)]))
    assert connection.execute("SELECT DISTINCT id >> 28 FROM shape_rows").fetchall() == [(5,)]
    assert counted(connection, "shape_rows") == 3
    assert connection.execute("SELECT shape FROM members").fetchall() == [(5,)]


def test_the_pieces_are_of_the_sizes_that_were_measured() -> None:
    assert (compact.PIECE_ROWS, compact.PIECE_BYTES) == (5_000, 1024 * 1024)


def test_rows_of_an_attempt_in_progress_are_not_pending(connection: sqlite3.Connection) -> None:
    add_rows(connection, add_lock(connection, "h1", "key"), 3)
    assert compact.next_piece(connection) is None


# --- the floor


def a_long_log(connection: sqlite3.Connection, rounds: int = LONG) -> ModelledLog:
    """A log of as many rounds, each of two changes; all of them ended long ago."""
    log = ModelledLog(connection, {key(1): row(n=0), key(2): row(n=0)})
    for n in range(1, rounds + 1):
        log.advance({key(1): row(n=n), key(2): row(n=-n)})
    connection.execute("UPDATE rounds SET ended_at_boot_ms = 1")
    return log


def floor_of(connection: sqlite3.Connection) -> tuple[int, int]:
    log = locate(connection, HANDLE)
    assert log is not None
    return log.floor, log.floor_round


def compacted(connection: sqlite3.Connection, number: int, keep_ms: int = 60_000) -> bool:
    answers: list[bool] = []
    transact(connection, lambda tx: answers.extend(Compact.apply([Compact(number, keep_ms)], tx)))
    return answers[0]


def trim_all(connection: sqlite3.Connection, number: int) -> list[int]:
    """Delete what is below the floor; how many changes each piece had."""
    pieces = []
    while last := compact.next_trim(connection, number):
        before = counted(connection, "shape_changes")
        transact(connection, partial(TrimLog.apply, [TrimLog(number, last)]))
        pieces.append(before - counted(connection, "shape_changes"))
    return pieces


def test_a_log_is_compacted_only_once_it_is_long_beside_its_rows(connection: sqlite3.Connection) -> None:
    log = a_long_log(connection, 52)
    assert not compact.long_logs(connection, [log.number])
    assert not compacted(connection, log.number)
    log.advance({key(1): row(n=1_000)})
    assert compact.long_logs(connection, [log.number])
    assert compacted(connection, log.number)


def test_a_log_of_few_but_large_rows_is_long_too(connection: sqlite3.Connection) -> None:
    log = ModelledLog(connection, {key(1): row(text="x" * 1_100_000)})
    log.advance({key(1): row(text="")})
    assert compact.long_logs(connection, [log.number])


def test_the_floor_is_the_end_of_the_last_round_that_is_old_enough(connection: sqlite3.Connection) -> None:
    log = a_long_log(connection)
    young = log.moments[-3].round
    connection.execute("UPDATE rounds SET ended_at_boot_ms = 10 * 1000000000 WHERE number > ?", (young,))
    assert compacted(connection, log.number)
    assert floor_of(connection) == (log.moments[-3].position, young)
    assert not compacted(connection, log.number), "it is not long any more"


def test_what_was_superseded_lately_is_kept(connection: sqlite3.Connection) -> None:
    log = a_long_log(connection)
    connection.execute("UPDATE rounds SET ended_at_boot_ms = 10 * 1000000000")
    assert not compacted(connection, log.number)
    assert floor_of(connection) == (0, 0)


def test_a_round_that_has_ended_late_is_not_cut_with_those_that_began_after_it(connection: sqlite3.Connection) -> None:
    """It went on in several parts, and its readers have seen nothing of it until lately."""
    log = a_long_log(connection)
    late = log.moments[-1].round
    connection.execute("UPDATE rounds SET ended_at_boot_ms = 10 * 1000000000 WHERE number = ?", (late,))
    boot = boot_clock.now().boot
    insert(connection, "rounds", number=late + 1, finished=1, ended_boot=boot, ended_at_boot_ms=1, ended_at_ms=0)
    assert compacted(connection, log.number)
    assert floor_of(connection) == (log.moments[-2].position, log.moments[-2].round)


def test_a_round_that_is_not_noted_any_more_is_old(connection: sqlite3.Connection) -> None:
    """Else no log would be cut where more rounds than are noted end within that time."""
    log = a_long_log(connection)
    connection.execute("UPDATE rounds SET ended_at_boot_ms = 10 * 1000000000")
    assert not compacted(connection, log.number)
    oldest = log.moments[60]
    connection.execute("DELETE FROM rounds WHERE number <= ?", (oldest.round,))
    assert compacted(connection, log.number)
    assert floor_of(connection) == (oldest.position, oldest.round)


def test_rounds_of_another_start_of_the_machine_are_old(connection: sqlite3.Connection) -> None:
    log = a_long_log(connection)
    connection.execute("UPDATE rounds SET ended_at_boot_ms = 10 * 1000000000, ended_boot = 'another'")
    assert compacted(connection, log.number)
    assert floor_of(connection)[0] == log.moments[-1].position


@pytest.mark.parametrize("moment", [0, 1, 7, LONG // 2, LONG])
def test_the_floor_is_never_above_what_a_registered_reader_reads(connection: sqlite3.Connection, moment: int) -> None:
    log = a_long_log(connection)
    position = log.moments[moment].position
    for reading, other in ((1, position), (2, log.moments[-1].position)):
        insert(connection, "readers", owner="o", reading=reading, shape=log.number, position=other, registered_at_ms=0)
    insert(connection, "readers", owner="o", reading=3, shape=log.number + 1, position=0, registered_at_ms=0)
    assert compacted(connection, log.number) == (moment > 0)
    assert floor_of(connection) == ((position, log.moments[moment].round) if moment else (0, 0))
    trim_all(connection, log.number)
    for page in (1, 3, 1_000):
        assert rows_as_of(connection, log.public(log.moments[moment]), page) == list(log.moments[moment].rows.values())


def test_a_reader_that_stands_within_no_round_holds_the_floor_back(connection: sqlite3.Connection) -> None:
    """No reader can stand there: the floor is the end of a round in any case."""
    log = a_long_log(connection)
    insert(connection, "readers", owner="o", reading=1, shape=log.number, position=6, registered_at_ms=0)
    compacted(connection, log.number)
    floor, round_ = floor_of(connection)
    assert (floor, round_) in {(0, 0), *((moment.position, moment.round) for moment in log.moments)}
    assert floor <= 6


def test_what_is_below_the_floor_is_trimmed_in_pieces_and_all_above_it_stays(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, empty_path: str
) -> None:
    monkeypatch.setattr(compact, "PIECE_ROWS", 50)
    add_shape(connection, "before it", "another", rows=["{}"] * 3)
    log = a_long_log(connection)
    another = another_log(connection, "another log")
    connection.execute(
        "UPDATE rounds SET ended_at_boot_ms = 10 * 1000000000 WHERE number > ?", (log.moments[-11].round,)
    )
    assert compacted(connection, log.number)
    assert trim_all(connection, log.number) == [50, 50, 50, 50, 20]
    left = connection.execute("SELECT position, old FROM shape_changes WHERE shape = ? ORDER BY id", (log.number,))
    rows = left.fetchall()
    assert [position for position, _ in rows] == list(
        range(log.moments[-11].position + 1, log.moments[-1].position + 1)
    )
    ((log_bytes,),) = connection.execute("SELECT log_bytes FROM shapes WHERE number = ?", (log.number,)).fetchall()
    assert log_bytes == sum(len(old) for _, old in rows)
    for moment in log.moments[-11:]:
        assert rows_as_of(connection, log.public(moment), 3) == list(moment.rows.values())
        assert materialized(entries(connection, log.public(moment), 3), moment.rows) == log.rows
    assert connection.execute("SELECT count(*) FROM shape_changes WHERE shape = ?", (another,)).fetchall() == [(1,)]
    assert_sound(empty_path)


def another_log(connection: sqlite3.Connection, handle: str) -> int:
    """Another shape with a log of one change; its number."""
    number = add_shape(connection, handle, handle, row_count=1, bytes=2, snapshot=0, position=1, written=1)
    add_rows(connection, number, 1)
    insert(
        connection,
        "shape_changes",
        id=number << 28 | 1,
        round=2,
        operation="insert",
        row_id=number << 28 | 1,
        key="[1]",
    )
    return number


def test_a_log_counts_as_long_until_all_below_its_floor_is_trimmed(connection: sqlite3.Connection) -> None:
    log = a_long_log(connection)
    assert compacted(connection, log.number)
    assert compact.long_logs(connection, [log.number, 7]) == [log.number]
    trim_all(connection, log.number)
    assert compact.long_logs(connection, [log.number, 7]) == []


def test_nothing_is_trimmed_above_a_floor_that_has_not_been_raised(connection: sqlite3.Connection) -> None:
    log = a_long_log(connection)
    assert compact.next_trim(connection, log.number) is None
    before = counted(connection, "shape_changes")
    transact(connection, partial(TrimLog.apply, [TrimLog(log.number, (log.number + 1) << 28)]))
    assert counted(connection, "shape_changes") == before


def test_a_shape_that_is_gone_has_nothing_to_be_compacted(connection: sqlite3.Connection) -> None:
    assert compact.long_logs(connection, [7]) == []
    assert compact.next_trim(connection, 7) is None
    assert not compacted(connection, 7)
