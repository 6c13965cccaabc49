"""The log page by page, as HTTP serves it: what clients put together is what there is, whatever happens meanwhile."""

from __future__ import annotations

import json
import sqlite3
from functools import partial
from pathlib import Path

import msgspec
import pytest
from file_rows import insert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import HANDLE, ModelledLog, Rows, copy_of, key, row, transact

from shapestore.storage.log import chunks, compact, compact_queries, pages
from shapestore.storage.log.pages import BEGINNING, LAST, End, Page, Part, Place, Refused, RowLines, SnapshotRange
from shapestore.storage.log.positions import pack
from shapestore.storage.transaction import Transaction

keys = st.integers(1, 12).map(key)
values = st.integers(0, 3).map(lambda n: row(n=n, text="ä" * n)) | st.none()
rounds = st.lists(st.dictionaries(keys, values, min_size=1, max_size=6), max_size=8)
snapshots = st.integers(0, 9).map(lambda count: {key(n): row(n=n, text="first") for n in range(1, count + 1)})


def page(connection: sqlite3.Connection, place: Place, most_bytes: int = 10_000) -> Page:
    found = pages.page(connection, HANDLE, place, most_bytes)
    assert isinstance(found, Page)
    return found


class Client:
    """What somebody holds who goes through the log, page by page, and begins again where he has to."""

    def __init__(self, log: ModelledLog, most_bytes: int) -> None:
        self.log = log
        self.most_bytes = most_bytes
        self.rows: Rows = {}
        self.place: Place = BEGINNING
        self.begun_again = 0

    def step(self) -> bool:
        """Take the next page. Whether it was the last."""
        found = pages.page(self.log.connection, HANDLE, self.place, self.most_bytes)
        assert found is not None
        if isinstance(found, Refused):
            self.rows, self.place = {}, BEGINNING
            self.begun_again += 1
            return False
        if self.place == found.log.end:  # so those who know the end need not read
            assert found == pages.end_of(found.log)
        if found.rows is not None and found.rows.row_count:
            assert found.rows.keys is not None
            lines = zip(found.rows.keys.decode().split("\n"), found.rows.values.decode().split("\n"), strict=True)
            new = dict(lines)
            assert not self.rows.keys() & new.keys()
            self.rows |= new
        for change in found.changes:
            assert self.rows.get(change.key) == change.old
            if change.row is None:
                del self.rows[change.key]
            else:
                self.rows[change.key] = change.row
        self.place = found.end
        return found.is_end


def check_that_what_a_range_names_stays_the_same(log: ModelledLog, seen: dict[SnapshotRange, RowLines]) -> None:
    """Go through the snapshot as it is now; its rows are also named alike by those who do not read them."""
    place: Place = BEGINNING
    while (found := page(log.connection, place, 1)).range is not None:
        assert found.rows is not None
        assert seen.setdefault(found.range, found.rows) == found.rows
        assert isinstance(place, Part)
        assert pages.rows_behind(HANDLE, found.log, place, 1) == (found.range, found.end)
        place = found.end


def compact_to(log: ModelledLog, moment: int) -> None:
    """Forget all before a moment."""
    position, round_ = log.moments[moment].position, log.moments[moment].round
    raise_floor(log, position, round_)


def raise_floor(log: ModelledLog, position: int, round_: int) -> None:
    def work(tx: Transaction) -> None:
        if tx.change(compact_queries.RAISE_FLOOR, number=log.number, position=position, round=round_):
            compact._add_part_ends(tx, log.number, position)

    transact(log.connection, work)
    while last := compact.next_trim(log.connection, log.number):
        transact(log.connection, partial(compact.trim, number=log.number, last=last))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    snapshot=snapshots,
    rounds=rounds,
    most=st.sampled_from([1, 60, 200, 10_000]),
    part=st.sampled_from([1, 300, 10_000]),
    steps=st.lists(st.integers(0, 3), max_size=12),
    floors=st.lists(st.booleans(), max_size=8),
)
def test_a_client_that_pages_while_the_log_grows_and_is_compacted_comes_to_hold_what_there_is(
    empty_path: str,
    snapshot: Rows,
    rounds: list[dict[str, str | None]],
    most: int,
    part: int,
    steps: list[int],
    floors: list[bool],
) -> None:
    with pytest.MonkeyPatch.context() as patch, copy_of(Path(empty_path)) as connection:
        patch.setattr(compact, "PART_BYTES", part)
        log = ModelledLog(connection, snapshot)
        ends = list(range(2, len(snapshot), 2))
        connection.execute("UPDATE shapes SET chunk_ends = ?", (json.dumps(ends),))
        client = Client(log, most)
        seen: dict[SnapshotRange, RowLines] = {}
        for number, changes in enumerate(rounds):
            for _ in range(steps[number] if number < len(steps) else 0):
                client.step()
            check_that_what_a_range_names_stays_the_same(log, seen)
            log.advance(changes)
            if number < len(floors) and floors[number] and log.moments[-1].position > log.moments[0].position:
                compact_to(log, len(log.moments) - 1)
        check_that_what_a_range_names_stays_the_same(log, seen)
        while not client.step():
            pass
        assert client.rows == log.rows
        assert client.begun_again <= sum(floors)


# --- the parts of a snapshot


def parted(connection: sqlite3.Connection, count: int, ends: list[int]) -> ModelledLog:
    log = ModelledLog(connection, {key(n): row(n=n) for n in range(1, count + 1)})
    connection.execute("UPDATE shapes SET chunk_ends = ?", (json.dumps(ends),))
    return log


def part_ends(connection: sqlite3.Connection) -> tuple[int, ...]:
    return page(connection, End.NOW).log.part_ends


@pytest.mark.parametrize(
    ("count", "ends", "all_ends"),
    [(0, [], (0,)), (3, [], (3,)), (3, [3], (3,)), (5, [2, 4], (2, 4, 5)), (4, [2, 4], (2, 4))],
)
def test_the_last_part_ends_where_the_snapshot_does(
    connection: sqlite3.Connection, count: int, ends: list[int], all_ends: tuple[int, ...]
) -> None:
    parted(connection, count, ends)
    assert part_ends(connection) == all_ends


def test_the_first_page_is_one_part_and_is_never_the_end(connection: sqlite3.Connection) -> None:
    parted(connection, 5, [2, 4])
    first = page(connection, BEGINNING, 1)
    assert (first.rows and first.rows.row_count, first.end, first.is_end) == (2, Part(0, 0), False)
    empty = page(connection, Part(2, 0))
    assert (empty.rows, empty.changes, empty.end, empty.is_end) == (None, (), Part(2, 0), True)


def test_several_parts_are_one_page_where_there_is_room_and_offsets_do_not_change_by_it(
    connection: sqlite3.Connection,
) -> None:
    parted(connection, 6, [1, 2, 3, 4, 5])
    size = chunks.PART_BYTES
    for room, end in [(1, 0), (size, 0), (2 * size, 1), (4 * size + 1, 3), (100 * size, 5)]:
        assert page(connection, BEGINNING, room).end == Part(end, 0)
        assert page(connection, Part(0, 0), room).end == Part(min(5, max(end, 0) + 1), 0)


def test_a_part_of_another_floor_is_refused_so_that_no_rows_are_lost(connection: sqlite3.Connection) -> None:
    """300 rows in two parts; rows of the first moved into the second meanwhile: 50 of them were lost once."""
    log = parted(connection, 300, [150])
    first = page(connection, BEGINNING, 1)
    for n in range(1, 51):
        log.advance({key(n): None})
        log.advance({key(n): row(n=-n)})
    compact_to(log, len(log.moments) - 1)
    assert isinstance(pages.page(connection, HANDLE, first.end, 10_000), Refused)
    client = Client(log, 1)
    while not client.step():
        pass
    assert (client.rows, client.begun_again) == (log.rows, 0)


def test_parts_do_not_become_more_and_more_where_rows_come_and_go(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a table that is a queue: who came after some days had to ask for thousands of parts without a row."""
    monkeypatch.setattr(compact, "PART_BYTES", 10 * (len(row(n=100)) + chunks.MESSAGE_BYTES))
    log = parted(connection, 20, [10])
    for n in range(100, 1_000, 100):
        for value in (row(n=n), None):
            log.advance({key(m): value for m in range(n, n + 100)})
            compact_to(log, len(log.moments) - 1)
    assert len(part_ends(connection)) <= 5
    client = Client(log, 1)
    while not client.step():
        pass
    assert client.rows == log.rows


def test_parts_whose_rows_have_grown_are_divided(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a table of stubs that are filled in later: a page had all that they hold by then."""
    most = 10 * (len(row(n=100)) + chunks.MESSAGE_BYTES)
    monkeypatch.setattr(compact, "PART_BYTES", most)
    log = parted(connection, 40, [10, 20, 30])
    log.advance({key(n): row(n=n, text="x" * most) for n in range(1, 41)})
    compact_to(log, 1)
    assert len(part_ends(connection)) >= 40
    client = Client(log, 1)
    while not client.step():
        pass
    assert client.rows == log.rows


def test_compaction_stores_the_ends_of_further_parts(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(row(n=10)) + chunks.MESSAGE_BYTES
    monkeypatch.setattr(compact, "PART_BYTES", 2 * size)
    log = parted(connection, 3, [])
    log.advance({key(n): row(n=n) for n in range(10, 17)})
    compact_to(log, 1)
    ends = part_ends(connection)
    assert (len(ends), ends[-1]) == (5, 10)
    log.advance({key(n): row(n=n) for n in range(20, 27)})
    compact_to(log, 2)
    assert part_ends(connection)[: len(ends) - 1] == ends[:-1]
    assert part_ends(connection)[-1] == 17
    assert len(part_ends(connection)) > len(ends)


@pytest.mark.parametrize("part", [Part(3, 0), Part(0, 1), Part(0, pack(2, 1)), Part(LAST - 1, 0), Part(LAST, 1)])
def test_a_part_that_was_not_given_out_is_refused(connection: sqlite3.Connection, part: Part) -> None:
    parted(connection, 5, [2, 4])
    assert isinstance(pages.page(connection, HANDLE, part, 1), Refused)


def test_the_last_part_can_be_named_without_its_number(connection: sqlite3.Connection) -> None:
    log = parted(connection, 5, [2, 4])
    log.advance({key(1): None})
    assert [change.key for change in page(connection, Part(LAST, 0)).changes] == [key(1)]


# --- changes


def changes(connection: sqlite3.Connection, place: Place, most_bytes: int) -> list[tuple[str, bool]]:
    return [(change.key, change.is_last) for change in page(connection, place, most_bytes).changes]


def test_changes_are_cut_between_rounds(connection: sqlite3.Connection) -> None:
    two = 2 * chunks.MESSAGE_BYTES
    log = parted(connection, 0, [])
    log.advance({key(1): row(n=1)})
    log.advance({key(2): row(n=2), key(3): row(n=3)})
    log.advance({key(4): row(n=4), key(5): row(n=5), key(6): row(n=6)})
    first = page(connection, Part(0, 0), two)
    assert [(change.key, change.is_last) for change in first.changes] == [(key(1), True)]
    second = page(connection, first.end, two)
    assert [(change.key, change.is_last) for change in second.changes] == [(key(2), False), (key(3), True)]
    assert not second.is_end
    third = page(connection, second.end, two)
    assert [(change.key, change.is_last) for change in third.changes] == [(key(4), False), (key(5), False)]
    last = page(connection, third.end, two)
    assert ([(change.key, change.is_last) for change in last.changes], last.is_end) == ([(key(6), True)], True)


def test_the_end_of_a_round_stands_for_all_that_was_logged_up_to_it(connection: sqlite3.Connection) -> None:
    log = parted(connection, 2, [])
    log.advance({key(1): row(n=7)})
    log.advance({key(2): None})
    first, second = (moment.round for moment in log.moments[1:])
    assert changes(connection, pack(first, 0), 1) == [(key(2), True)]
    assert page(connection, pack(second, 0), 1).is_end
    assert changes(connection, pack(first - 1, 0), 1_000) == [(key(1), True), (key(2), True)]
    assert isinstance(pages.page(connection, HANDLE, pack(second + 1, 0), 1), Refused)


def test_what_is_forgotten_is_refused_and_what_comes_behind_the_floor_is_not(connection: sqlite3.Connection) -> None:
    log = parted(connection, 2, [])
    for n in range(3):
        log.advance({key(1): row(n=10 + n), key(2): row(n=20 + n)})
    compact_to(log, 2)
    publics = [log.public(moment) for moment in log.moments]
    assert isinstance(pages.page(connection, HANDLE, publics[1], 1_000), Refused)
    assert isinstance(pages.page(connection, HANDLE, publics[2] - 1, 1_000), Refused)
    assert changes(connection, publics[2], 1_000) == [(key(1), False), (key(2), True)]
    assert page(connection, End.NOW).end == publics[3]


def test_the_end_is_that_of_the_last_part_while_nothing_has_changed_since(connection: sqlite3.Connection) -> None:
    log = parted(connection, 3, [1])
    assert page(connection, End.NOW).end == Part(1, 0)
    log.advance({key(1): row(n=7)})
    assert page(connection, End.NOW).end == log.public(log.moments[-1])
    compact_to(log, 1)
    assert page(connection, End.NOW).end == Part(1, log.public(log.moments[-1]))


def test_no_shape_has_a_handle_that_is_gone_though_its_rows_are_kept(connection: sqlite3.Connection) -> None:
    parted(connection, 3, [])
    assert pages.page(connection, "another", BEGINNING, 1) is None


def test_changes_bear_what_their_round_had_read_of_the_source(connection: sqlite3.Connection) -> None:
    log = parted(connection, 1, [])
    log.advance({key(1): row(n=5)})
    log.advance({key(1): row(n=6)})
    known, unknown = (moment.round for moment in log.moments[1:])
    connection.execute("UPDATE rounds SET seq = 70, markers = '[61,65]' WHERE number = ?", (known,))
    assert page(connection, Part(0, 0)).seqs == {known: [70, 61, 65]}
    connection.execute("UPDATE rounds SET seq = 80, markers = '[80]' WHERE number = ?", (unknown,))
    assert page(connection, Part(0, 0)).seqs == {known: [70, 61, 65], unknown: [80]}


# --- what a page says of the whole file


def test_a_shape_has_seen_the_newest_round_of_the_file_but_not_one_that_its_source_has_not_finished(
    connection: sqlite3.Connection,
) -> None:
    parted(connection, 1, [])
    assert page(connection, End.NOW).log.last_seen == 1
    connection.execute("UPDATE log_state SET round = 9")
    assert page(connection, End.NOW).log.last_seen == 9
    connection.execute("INSERT INTO sources (number, name, unfinished_round) VALUES (1, 'a', 7), (2, 'b', NULL)")
    for number in (5, 7, 9):
        insert(connection, "rounds", number=number, ended_boot="b", ended_at_boot_ms=0, ended_at_ms=0)
    for source, seen in [(1, 5), (2, 9)]:
        connection.execute("UPDATE shapes SET source = ?", (source,))
        assert page(connection, End.NOW).log.last_seen == seen


def test_rows_without_keys_are_served_in_their_order(connection: sqlite3.Connection) -> None:
    parted(connection, 2, [])
    connection.execute("UPDATE shapes SET key_columns = NULL")
    connection.execute("UPDATE shape_rows SET key = NULL")
    rows = page(connection, BEGINNING).rows
    assert rows is not None
    assert (rows.keys, [msgspec.json.decode(line) for line in rows.values.split(b"\n")]) == (None, [{"n": 1}, {"n": 2}])
