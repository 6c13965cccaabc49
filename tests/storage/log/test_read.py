"""Rows as of any moment, and the log from any position, by pages of any size, against a model of all moments."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from file_rows import add_rows, add_shape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import HANDLE, ModelledLog, copy_of, entries, key, materialized, row, rows_as_of, transact

from shapestore.errors import ShapeGoneError
from shapestore.storage.commands.shapes import drop
from shapestore.storage.log import compact, compact_queries, read
from shapestore.storage.log.positions import pack, unpack

PAGES = (1, 3, 1000)

keys = st.integers(1, 8).map(key)
values = st.integers(0, 3).map(lambda n: row(n=n, text="ä" * n)) | st.none()
rounds = st.lists(st.dictionaries(keys, values, min_size=1, max_size=5), max_size=8)
snapshots = st.integers(0, 6).map(lambda count: {key(n): row(n=n, text="first") for n in range(1, count + 1)})


def cut(log: ModelledLog, floor: int) -> None:
    """Forget all before a moment, as compaction does."""
    position, round_ = log.moments[floor].position, log.moments[floor].round
    transact(
        log.connection,
        lambda tx: tx.change(compact_queries.RAISE_FLOOR, number=log.number, position=position, round=round_),
    )
    while last := compact.next_trim(log.connection, log.number):
        transact(log.connection, partial(compact.trim, number=log.number, last=last))


def check(log: ModelledLog, since: int = 0) -> None:
    """All that can be read is as the model says; what was before the moment ``since`` is forgotten."""
    base = log.moments[since]
    for page in PAGES:
        for number, moment in enumerate(log.moments):
            public = log.public(moment)
            if number < since:
                if public:  # the end of an empty snapshot is the beginning of the log
                    with pytest.raises(ShapeGoneError):
                        rows_as_of(log.connection, public, page)
                continue
            if public or not since:
                assert rows_as_of(log.connection, public, page) == list(moment.rows.values()), (number, page)
            assert materialized(entries(log.connection, public, page), moment.rows if public else {}) == log.rows
        assert rows_as_of(log.connection, None, page) == list(log.rows.values())
        told = entries(log.connection, 0, page)
        count = len(base.rows)
        assert [(entry.operation, entry.key, entry.row) for entry in told[:count]] == [
            ("insert", key, value.encode()) for key, value in base.rows.items()
        ]
        assert [
            (entry.position, entry.operation, entry.key, entry.row and entry.row.decode()) for entry in told[count:]
        ] == [
            (pack(round_, position), operation, key, value)
            for round_, position, operation, key, value in log.changes
            if position > base.position
        ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(snapshots, rounds, st.data())
def test_every_moment_is_read_as_it_was_until_it_is_forgotten(
    empty_store: Path, snapshot: dict[str, str], told: list[dict[str, str | None]], data: st.DataObject
) -> None:
    with copy_of(empty_store) as connection:
        add_shape(connection, "before it", "another", rows=["{}"] * 3)
        log = ModelledLog(connection, snapshot)
        add_shape(connection, "behind it", "a third", rows=["{}"] * 3)
        for new in told:
            log.advance(new)
        check(log)
        if len(log.moments) > 1:
            floor = data.draw(st.integers(1, len(log.moments) - 1), "the moment that is the floor")
            cut(log, floor)
            check(log, floor)
            transact(connection, lambda tx: drop(tx, [log.number]))
            check(log, floor)


def test_a_client_that_is_in_the_middle_of_a_snapshot_begins_again_once_it_was_compacted(
    connection: sqlite3.Connection,
) -> None:
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, 6)})
    log.advance({key(2): row(n=20)})
    log.advance({key(9): row(n=9)})
    [*_, second] = read.log_entries(connection, HANDLE, 0, 2)
    assert second.position == 2
    cut(log, 1)
    with pytest.raises(ShapeGoneError):
        read.log_entries(connection, HANDLE, second.position, 2)
    [*_, second] = read.log_entries(connection, HANDLE, 0, 2)
    assert unpack(second.position) == (log.moments[1].round, 2)
    assert second.row == row(n=20).encode()
    assert materialized(entries(connection, second.position, 2), {key(1): row(n=1), key(2): row(n=20)}) == log.rows


def test_a_client_that_is_in_the_middle_of_a_round_begins_again_once_that_is_the_floor(
    connection: sqlite3.Connection,
) -> None:
    """Else it would go on from the middle of the snapshot as of that round, and miss its other changes."""
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, 4)})
    log.advance({key(1): row(n=10), key(2): row(n=20), key(8): row(n=8), key(9): row(n=9)})
    middles = [entry.position for entry in read.log_entries(connection, HANDLE, log.public(log.moments[0]), 3)]
    assert entries(connection, middles[0], 1)[-1].key == key(9)
    cut(log, 1)
    for position in middles:
        with pytest.raises(ShapeGoneError):
            read.log_entries(connection, HANDLE, position, 1)
    assert read.log_entries(connection, HANDLE, log.public(log.moments[1]), 1) == []
    assert materialized(entries(connection, 0, 1), {}) == log.rows, (
        "its rows that came in with that round have their own"
    )


def test_the_rows_of_an_empty_shape_as_of_its_beginning_are_gone_once_that_is_forgotten(
    connection: sqlite3.Connection,
) -> None:
    """The log from 0 is another thing: it begins with the rows as of the floor."""
    log = ModelledLog(connection, {})
    log.advance({key(1): row(n=1)})
    assert rows_as_of(connection, 0, 10) == []
    cut(log, 1)
    with pytest.raises(ShapeGoneError):
        rows_as_of(connection, 0, 10)
    assert materialized(entries(connection, 0, 10), {}) == log.rows


def test_rows_that_are_much_larger_than_is_usual_come_in_smaller_batches(connection: sqlite3.Connection) -> None:
    large, small = row(text="x" * read.BATCH_BYTES), row(n=1)
    rows = [small] * 5_000 + [large] * 9 + [small] * 10 + [row(text="y" * (2 * read.MOST_BATCH_BYTES)), small]
    add_shape(connection, HANDLE, "key", rows=rows)
    found, batches = [], []
    for text, count, _, _ in read.RowsReading(HANDLE, None, 0, 10_000, "\n").all(connection):
        found += text.decode().split("\n") if count else []
        batches.append((count, len(text)))
    assert found == rows
    assert all(size <= read.MOST_BATCH_BYTES or count == 1 for count, size in batches)
    assert len(batches) < 100


def test_an_old_moment_of_many_rows_is_read_in_large_batches_though_few_are_left(
    connection: sqlite3.Connection,
) -> None:
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, 2_001)})
    log.advance({key(n): None for n in range(1, 2_001)})
    counts = [
        batch.row_count
        for batch in read.RowsReading(HANDLE, log.public(log.moments[0]), 0, 10_000, ",").all(connection)
    ]
    assert counts == [2_000]


@pytest.mark.parametrize("separator", [",", "\n"])
def test_rows_that_lie_far_between_are_read_in_few_batches_of_which_none_is_too_large(
    connection: sqlite3.Connection, separator: str
) -> None:
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, 2_001)})
    log.advance({key(n): None for n in range(1, 2_001) if n % 100 or 500 < n < 1_500})
    found, batches = [], 0
    for text, count, _, _ in read.RowsReading(HANDLE, None, 0, 4, separator).all(connection):
        assert count <= 4
        found += text.decode().split(separator) if count else []
        batches += 1
    assert found == list(log.rows.values())
    assert batches <= len(found) // 4 + 2


def test_a_reading_is_of_one_moment_and_leaves_no_transaction(connection: sqlite3.Connection) -> None:
    log = ModelledLog(connection, {key(1): row(n=1)})
    for call in (
        lambda: read.standing(connection, HANDLE, None),
        lambda: read.RowsReading(HANDLE, None, 0, 10, ",").first(connection),
        lambda: read.log_entries(connection, HANDLE, 0, 10),
    ):
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        call()
        connection.set_trace_callback(None)
        assert (statements[0], statements[-1]) == ("BEGIN", "COMMIT")
        assert not connection.in_transaction
    connection.execute("DELETE FROM shapes WHERE number = ?", (log.number,))
    for call in (
        lambda: read.standing(connection, HANDLE, None),
        lambda: read.RowsReading(HANDLE, None, 0, 10, ",").first(connection),
        lambda: read.log_entries(connection, HANDLE, 0, 10),
    ):
        with pytest.raises(ShapeGoneError, match=HANDLE):
            call()
        assert not connection.in_transaction


class Interrupted(sqlite3.Connection):
    """A person interrupts the program when a transaction has just begun."""

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        cursor = super().execute(statement, *parameters)
        if statement == "BEGIN":
            raise KeyboardInterrupt
        return cursor


def test_an_interrupted_reading_leaves_no_transaction(empty_path: str) -> None:
    """All that is read later would be of its moment."""
    with closing(sqlite3.connect(empty_path, factory=Interrupted, isolation_level=None)) as connection:
        with pytest.raises(KeyboardInterrupt), read.one_moment(connection):
            pass
        assert not connection.in_transaction


def test_rows_of_a_shape_without_key_columns_have_no_keys_though_some_are_stored(
    connection: sqlite3.Connection,
) -> None:
    """Those that came before the first row that had none."""
    number = add_shape(connection, HANDLE, "key", row_count=3)
    add_rows(connection, number, 2, keyed=True)
    add_rows(connection, number, 1, first=3)
    assert [(entry.key, entry.row) for entry in entries(connection, 0, 10)] == [(None, b"{}")] * 3


def test_a_page_of_a_log_is_bounded_in_bytes(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ModelledLog(connection, {key(n): row(n=n, text="x" * 400) for n in range(1, 11)})
    log.advance({key(n): row(n=n, text="y" * 400) for n in range(1, 11)})
    monkeypatch.setattr(read, "MOST_PAGE_BYTES", 1_000)
    pages = []
    after = 0
    while page := read.log_entries(connection, HANDLE, after, 1_000):
        pages.append(len(page))
        after = page[-1].position
    assert pages == [3, 3, 3, 3, 3, 3, 2]
    monkeypatch.setattr(read, "MOST_PAGE_BYTES", 0)
    assert len(read.log_entries(connection, HANDLE, 0, 1_000)) == 1
    assert entries(connection, 0, 1_000) == entries(connection, 0, 7)


@pytest.mark.parametrize("goes_on", [False, True], ids=["nothing changes", "the log goes on meanwhile"])
def test_batches_that_are_asked_for_ahead_are_of_one_moment_and_end(
    connection: sqlite3.Connection, goes_on: bool
) -> None:
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, 11)})
    reading = read.RowsReading(HANDLE, None, 0, 4, "\n")
    _, position, batch = reading.first(connection)
    found = [*batch.text.decode().split("\n")]
    if goes_on:
        log.advance({key(n): row(n=-n) for n in range(5, 9)})
    while not batch.is_last:
        batch = reading.following(connection)
        found += batch.text.decode().split("\n")
    assert position == 10
    assert found == list(log.moments[0].rows.values())
    assert reading.following(connection) == (b"", 0, 10 if goes_on else 12, True), "there is no more"


def test_nothing_comes_after_an_error_though_it_was_asked_for_ahead(connection: sqlite3.Connection) -> None:
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, 11)})
    reading = read.RowsReading(HANDLE, None, 0, 4, ",")
    _, _, batch = reading.first(connection)
    connection.execute("DELETE FROM shapes WHERE number = ?", (log.number,))
    with pytest.raises(ShapeGoneError, match=HANDLE):
        reading.following(connection)
    assert reading.following(connection) == (b"", 0, batch.last, True)


def test_a_reader_is_not_given_the_rows_of_another_shape_in_a_copy_that_was_put_back(
    connection: sqlite3.Connection,
) -> None:
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, 11)})
    reading = read.RowsReading(HANDLE, None, 0, 4, ",")
    reading.first(connection)
    connection.execute("UPDATE shapes SET handle = 'another' WHERE number = ?", (log.number,))
    with pytest.raises(ShapeGoneError, match=HANDLE):
        reading.following(connection)
