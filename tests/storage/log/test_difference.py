"""What a creator gives, compared with what is stored: the least difference, whatever the order; or all of it again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from file_rows import add_shape
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from logs import HANDLE, ModelledLog, copy_of, key, row, transact

from shapestore.errors import InvalidRowError
from shapestore.storage.log import difference as module
from shapestore.storage.log import queries
from shapestore.storage.log.chunks import Chunk
from shapestore.storage.log.difference import Comparison, Run
from shapestore.storage.log.positions import locate
from shapestore.storage.log.wanted import append_difference

Given = list[tuple[str, str]]
"""Keys and rows, in the order in which a creator gives them."""


def chunks(given: Given, sizes: Sequence[int], *, keyed: bool = True) -> Iterator[Chunk]:
    """The rows in chunks of these sizes, one after the other and again."""
    position, turn = 0, 0
    while position < len(given):
        size = sizes[turn % len(sizes)]
        chunk = Chunk("new", position + 1, keyed=keyed)
        for name, value in given[position : position + size]:
            chunk.add(value, len(value.encode()), name)
        yield chunk
        position, turn = position + size, turn + 1


def compared(connection: sqlite3.Connection, given: Given, sizes: Sequence[int], *, keyed: bool = True) -> Comparison:
    """A comparison with all of these, as far as it goes."""
    log = locate(connection, HANDLE)
    assert log is not None
    comparison = Comparison(log, keyed=keyed)
    for chunk in chunks(given, sizes, keyed=keyed):
        comparison.add(connection, chunk)
        if comparison.is_too_different:
            return comparison
    comparison.finish(connection)
    return comparison


def replayed(connection: sqlite3.Connection, comparison: Comparison) -> list[tuple[int, str]]:
    """The rows that a comparison gives back, each with its number in the creator's order."""
    rows: list[tuple[int, str]] = []
    for part in comparison.replay():
        if isinstance(part, Run):
            parameters = {"number": comparison.number, "after": part.after, "limit": part.count}
            stored = connection.execute(queries.KEYED_ROWS, parameters).fetchall()
            assert len(stored) == part.count
            assert stored[-1][0] == part.last
            rows += enumerate((value for _, _, value in stored), part.first)
        else:
            rows += enumerate(part.rows, part.first)
    assert list(comparison.replay()) == [], "it is forgotten on the way"
    return rows


# --- any difference


keys = st.integers(1, 12).map(key)
values = st.integers(0, 2).map(lambda n: row(n=n, text="ä" * n))
stored_rows = st.dictionaries(keys, values, max_size=10)
sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(stored_rows, stored_rows, st.randoms(use_true_random=False), sizes, st.booleans())
def test_the_difference_of_any_two_sets_of_rows_is_the_least_whatever_their_order(
    empty_store: Path, old: dict[str, str], new: dict[str, str], random: object, sizes: list[int], shuffled: bool
) -> None:
    given = list(new.items())
    if shuffled:
        random.shuffle(given)  # type: ignore[attr-defined]
    with copy_of(empty_store) as connection:
        add_shape(connection, "before it", "another", rows=["{}"] * 3)
        log = ModelledLog(connection, old)
        add_shape(connection, "behind it", "a third", rows=["{}"] * 3)
        comparison = compared(connection, given, sizes)
        assert not comparison.is_too_different
        difference = comparison.difference
        least = [(name, new.get(name), old.get(name)) for name in old | new if new.get(name) != old.get(name)]
        changes = [(change.key, change.new, change.old) for change in difference.changes]
        assert sorted(changes, key=repr) == sorted(least, key=repr)
        assert difference.bytes == sum(len((text or "").encode()) for _, *texts in least for text in texts)
        transact(connection, lambda tx: append_difference(tx, log.number, difference.changes))
        sizes_of = connection.execute("SELECT row_count, bytes, log_bytes FROM shapes WHERE number = ?", (log.number,))
        superseded = sum(len(was.encode()) for _, _, was in least if was is not None)
        assert sizes_of.fetchall() == [(len(new), sum(len(value.encode()) for value in new.values()), superseded)]
        found = connection.execute(
            "SELECT key, value FROM shape_rows WHERE shape = ? ORDER BY id", (log.number,)
        ).fetchall()
        assert dict(found) == new
        kept = [name for name in old if name in new]
        assert [name for name, _ in found][: len(kept)] == kept, "updated rows keep their place"
        assert [name for name, _ in found][len(kept) :] == [name for name, _ in given if name not in old]
        again = compared(connection, found, sizes)
        assert not again.is_too_different
        assert again.difference.changes == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(stored_rows, st.lists(st.tuples(keys, values), max_size=12), sizes)
def test_two_rows_of_one_key_are_refused_whatever_is_stored_and_whatever_comes_between_them(
    empty_store: Path, old: dict[str, str], given: Given, sizes: list[int]
) -> None:
    assume(len({name for name, _ in given}) < len(given))
    with copy_of(empty_store) as connection:
        ModelledLog(connection, old)
        with pytest.raises(InvalidRowError, match=r"two rows have the key \["):
            compared(connection, given, sizes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(stored_rows, stored_rows, sizes, st.randoms(use_true_random=False), st.sampled_from(["changes", "waiting"]))
def test_what_is_too_different_is_given_back_whole_and_in_the_creators_order(
    empty_store: Path, old: dict[str, str], new: dict[str, str], sizes: list[int], random: object, bound: str
) -> None:
    given = list(new.items())
    random.shuffle(given)  # type: ignore[attr-defined]
    with copy_of(empty_store) as connection, pytest.MonkeyPatch.context() as patch:
        ModelledLog(connection, old)
        patch.setattr(module, "MAX_CHANGES" if bound == "changes" else "MAX_WAITING", 2)
        log = locate(connection, HANDLE)
        assert log is not None
        comparison = Comparison(log, keyed=True)
        taken = 0
        for chunk in chunks(given, sizes):
            comparison.add(connection, chunk)
            taken += len(chunk.rows)
            if comparison.is_too_different:
                break
        else:
            comparison.finish(connection)
        changes = len(old.keys() ^ new.keys()) + sum(old[name] != new[name] for name in old.keys() & new.keys())
        if bound == "changes":
            assert comparison.is_too_different == (changes > 2)
        assert replayed(connection, comparison) == list(enumerate((value for _, value in given[:taken]), 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(values, max_size=8), st.lists(values, max_size=8), st.booleans(), sizes)
def test_rows_without_keys_are_the_same_sequence_or_too_different(
    empty_store: Path, old: list[str], new: list[str], same: bool, sizes: list[int]
) -> None:
    new = old if same else new
    with copy_of(empty_store) as connection:
        add_shape(connection, HANDLE, "key", rows=old)
        add_shape(connection, "behind it", "a third", rows=["{}"] * 3)
        comparison = compared(connection, [("", value) for value in new], sizes, keyed=False)
        assert comparison.is_too_different == (old != new)
        assert comparison.difference.changes == []
        found = replayed(connection, comparison)
        assert found == list(enumerate(new[: len(found)], 1))
        if old[: len(new)] == new:
            assert len(found) == len(new), "all of it came before the difference was seen"


# --- its bounds


def test_an_unchanged_shape_holds_nothing_and_is_one_run(connection: sqlite3.Connection) -> None:
    rows = {key(n): row(n=n) for n in range(1, 101)}
    ModelledLog(connection, rows)
    comparison = compared(connection, list(rows.items()), [7])
    assert comparison._held_bytes == 0
    [run] = comparison.replay()
    assert isinstance(run, Run)
    assert (run.first, run.after, run.last, run.count) == (1, 0, 100, 100)


@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_held_is_bounded_in_bytes(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, backwards: bool
) -> None:
    rows = {key(n): row(n=n, text="x" * 100) for n in range(1, 51)}
    ModelledLog(connection, rows)
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 2_000)
    given = list(rows.items())[:: -1 if backwards else 1]
    assert compared(connection, given, [5]).is_too_different is backwards


def test_stored_rows_are_read_no_further_than_they_can_be_held(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were huge are tiny now: as many as fill a chunk had more bytes than SQLite, or memory, takes."""
    ModelledLog(connection, {key(n): row(n=n, text="x" * 10_000) for n in range(1, 101)})
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 50_000)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 20_000)
    given = [(key(-n), row(n=n)) for n in range(1, 101)]
    comparison = compared(connection, given, [100])
    assert comparison.is_too_different
    assert len(comparison._old) < 10
    assert replayed(connection, comparison) == list(enumerate((value for _, value in given), 1))
    assert compared(connection, [], [1]).is_too_different


@pytest.mark.parametrize("in_order", [True, False])
def test_a_run_of_stored_rows_is_no_larger_than_a_chunk(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, in_order: bool
) -> None:
    """It is copied in one transaction."""
    rows = {key(n): row(n=n, text="ä" * 40) for n in range(1, 101)}
    ModelledLog(connection, rows)
    given = list(rows.items())
    if not in_order:  # so each row is paired by itself
        given = [*given[:50], (key(200), row(n=200)), *given[50:]]
    for bound, value in (("CHUNK_ROWS", 5), ("CHUNK_BYTES", 5 * len(rows[key(99)].encode()) + 5)):
        with monkeypatch.context() as patch:
            patch.setattr(module, bound, value)
            comparison = compared(connection, given, [2])
            runs = [part for part in comparison.replay() if isinstance(part, Run)]
        assert sum(run.count for run in runs) == 100
        assert max(run.count for run in runs) <= 5
        assert len(runs) < 40, "those that fit are joined"
        for run in runs:
            stored = list(rows.values())[run.after : run.last]
            assert (run.count, run.size) == (len(stored), sum(len(value.encode()) for value in stored))


def test_one_transaction_is_bounded_in_bytes(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    ModelledLog(connection, {key(1): row(n=1)})
    monkeypatch.setattr(module, "MAX_BYTES", 1_000)
    assert not compared(connection, [(key(1), row(n="x" * 900))], [1]).is_too_different
    assert compared(connection, [(key(1), row(n="x" * 1_000))], [1]).is_too_different


def test_a_log_that_is_nearly_full_makes_a_new_handle(connection: sqlite3.Connection) -> None:
    log = ModelledLog(connection, {key(1): row(n=1)})
    for written, full in ((2**28 - 1 - 20_000, False), (2**28 - 20_000, True)):
        connection.execute("UPDATE shapes SET written = ? WHERE number = ?", (written, log.number))
        found = locate(connection, HANDLE)
        assert found is not None
        assert Comparison(found, keyed=True).is_too_different is full


def test_keys_of_other_types_are_other_keys(connection: sqlite3.Connection) -> None:
    stored = {"[1]": row(n=1), '["1"]': row(n=2), "[1.0]": row(n=3), '[{"bytes":"31"}]': row(n=4), "[true]": row(n=5)}
    ModelledLog(connection, stored)
    assert compared(connection, list(stored.items()), [5]).difference.changes == []
    [change] = compared(connection, [*list(stored.items())[:4], ("[2]", row(n=5))], [5]).difference.changes[:1]
    assert (change.new, change.key) == (None, "[true]")


def test_rows_that_lose_their_keys_half_way_are_too_different(connection: sqlite3.Connection) -> None:
    """As where one of the values of a key turns out to be NULL."""
    rows = {key(n): row(n=n) for n in range(1, 7)}
    ModelledLog(connection, rows)
    log = locate(connection, HANDLE)
    assert log is not None
    comparison = Comparison(log, keyed=True)
    first, second = chunks(list(rows.items()), [3])
    comparison.add(connection, first)
    second.keys = None
    comparison.add(connection, second)
    assert comparison.is_too_different
    assert replayed(connection, comparison) == list(enumerate(rows.values(), 1))


def test_rows_that_lie_far_between_are_compared_as_text_too(connection: sqlite3.Connection) -> None:
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, 301)})
    log.advance({key(n): None for n in range(1, 301) if n % 3})
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    comparison = compared(connection, list(log.rows.items()), [40])
    connection.set_trace_callback(None)
    assert comparison.difference.changes == []
    one_by_one = [statement for statement in statements if "id & 268435455, key, value" in statement]
    assert len(one_by_one) == 1, "only to see that no more rows are stored"
