"""A position that was given out is accepted as long as the log reaches back to it, and none that was not ever is."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from file_rows import add_kept, add_shape, insert
from hypothesis import given
from hypothesis import strategies as st

from shapestore.storage.log.positions import MAX_POSITION, Standing, accepted, locate, pack, pack_row, unpack

FAR = 2**40


@given(st.integers(0, 2**200), st.integers(0, MAX_POSITION))
def test_round_and_position_are_packed_and_unpacked(round_: int, position: int) -> None:
    assert unpack(pack(round_, position)) == (round_, position)


@given(
    st.tuples(st.integers(0, 2**70), st.integers(0, MAX_POSITION)), st.tuples(st.integers(0, 2**70), st.integers(0, 9))
)
def test_packed_positions_are_in_the_order_of_rounds_and_then_of_positions(one: Any, other: Any) -> None:
    assert (pack(*one) < pack(*other)) == (one < other)


def test_the_public_position_of_a_fresh_snapshot_is_its_number_of_rows() -> None:
    assert pack(0, 3_503) == 3_503


# --- the rule of acceptance (LIVE, L3), told a second time


class Log:
    """A log as a file may hold it: the round of each change, what readers see, and what was forgotten."""

    def __init__(self, *, snapshot: int, rounds: list[int], hidden: int = 0, floor: int = 0, before: int = 0) -> None:
        self.snapshot = snapshot
        self.changes = {snapshot + n: before + round_ for n, round_ in enumerate(rounds, 1)}
        self.position = snapshot + len(rounds) - hidden
        """Up to there it is visible: behind it a round is unfinished."""
        self.floor = floor
        self.floor_round = self.changes[floor] if floor else 0
        self.newest = before + 30
        """The newest round of the file."""
        self.gaps = [(before + 11, before + 14), (before + 22, before + 25)]
        self.gaps_known_from = before + 3

    def accepts(self, round_: int, position: int) -> int | None:
        if (round_, position) == (0, 0):
            return 0
        if position > max(self.floor, self.snapshot):
            is_it = position <= self.position and self.changes.get(position) == round_
            return position if is_it else None
        if position > 0:
            end = self.floor or position  # rows as of a floor have positions of their own
            return position if (round_, position) == (self.floor_round, end) else None
        if not self.floor_round <= round_ <= self.newest or round_ < self.gaps_known_from:
            return None
        if any(first <= round_ <= last for first, last in self.gaps):
            return None
        earlier = [p for p, logged in self.changes.items() if p <= self.position and logged <= round_]
        return max([self.floor or self.snapshot, *earlier])

    def write(self, connection: sqlite3.Connection, *, kept: bool) -> None:
        log: dict[str, Any] = {
            "row_count": self.snapshot,
            "snapshot": self.snapshot,
            "position": self.position,
            "written": self.snapshot + len(self.changes),
            "round": self.changes.get(self.position, 0),
            "floor": self.floor,
            "floor_round": self.floor_round,
        }
        number = (add_kept if kept else add_shape)(connection, "h1", "key", **log)
        for position, round_ in self.changes.items():
            id_ = number << 28 | position
            change = {"round": round_, "operation": "insert", "row_id": id_, "key": "[1]"}
            insert(connection, "shape_changes", id=id_, **change)
        for first, last in self.gaps:
            insert(connection, "gaps", first=first, last=last)
        connection.execute("UPDATE log_state SET round = ?, gaps_known_from = ?", (self.newest, self.gaps_known_from))


LOGS: dict[str, dict[str, Any]] = {
    "a fresh snapshot": {"snapshot": 3, "rounds": []},
    "an empty one": {"snapshot": 0, "rounds": []},
    "a log": {"snapshot": 3, "rounds": [5, 5, 7, 9, 9, 16, 28]},
    "a log of an empty snapshot": {"snapshot": 0, "rounds": [5, 5, 7, 9]},
    "a compacted log": {"snapshot": 3, "rounds": [5, 5, 7, 9, 9, 16, 28], "floor": 6},
    "a log compacted to its end": {"snapshot": 3, "rounds": [5, 5, 7], "floor": 6},
    "a log whose last round is unfinished": {"snapshot": 2, "rounds": [5, 5, 7, 9, 9], "hidden": 2},
    "the same, compacted": {"snapshot": 2, "rounds": [5, 5, 7, 9, 9], "hidden": 2, "floor": 5},
}


def standing(connection: sqlite3.Connection) -> Standing:
    log = locate(connection, "h1")
    assert log is not None
    return log


@pytest.mark.parametrize("kept", [False, True], ids=["stored", "kept"])
@pytest.mark.parametrize("before", [0, FAR], ids=["new file", "counter at 2^40"])
@pytest.mark.parametrize("name", LOGS)
def test_exactly_what_the_rule_says_is_accepted(
    connection: sqlite3.Connection, name: str, before: int, kept: bool
) -> None:
    log = Log(before=before, **LOGS[name])
    log.write(connection, kept=kept)
    rounds = {0, 1, FAR, 2**100, *(before + n for n in range(40))}
    positions = range(log.position + 5)
    found = {
        (round_, position): accepted(connection, standing(connection), pack(round_, position))
        for round_ in rounds
        for position in positions
    }
    assert found == {(round_, position): log.accepts(round_, position) for round_, position in found}
    of_rows = {p: accepted(connection, standing(connection), pack_row(standing(connection), p)) for p in positions[1:]}
    assert of_rows == {p: p if p <= standing(connection).base else None for p in of_rows}
    ends = {log.snapshot or 0, log.floor, log.position} if not log.floor else {log.floor, log.position}
    for end in ends - {0}:
        assert found[(log.changes.get(end, 0), end)] == end, "what was given out for its end"


def test_a_position_with_more_bits_than_any_is_no_error(connection: sqlite3.Connection) -> None:
    add_shape(connection, "h1", "key", rows=["{}"])
    for public in (2**64, 2**64 + 1, 2**1000, MAX_POSITION, (1 << 28) + 1):
        assert accepted(connection, standing(connection), public) is None


def test_a_handle_that_is_gone_is_nowhere(connection: sqlite3.Connection) -> None:
    assert locate(connection, "h1") is None


def test_where_a_log_stands_says_whether_it_is_kept_and_what_its_keys_are(connection: sqlite3.Connection) -> None:
    add_shape(connection, "h1", "key", rows=["{}"], key_columns='["id","größe"]')
    add_kept(connection, "h2", rows=["{}", "{}"])
    stored, kept = (locate(connection, handle) for handle in ("h1", "h2"))
    assert stored is not None
    assert kept is not None
    assert (stored.kept, stored.row_count, stored.base, stored.public) == (0, 1, 1, 1)
    assert (kept.kept, kept.row_count, kept.base, kept.public) == (1, 2, 2, 2)
    assert stored.has_key_columns(["id", "größe"])
    assert not any(stored.has_key_columns(names) for names in (None, [], ["größe", "id"], ["id"]))
    assert kept.has_key_columns(None)
