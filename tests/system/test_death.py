"""A process may be killed at any moment: what it was doing is taken over or undone, and nobody waits for the dead."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from file_rows import add_lock, add_owner
from processes import (
    PATIENCE,
    Gone,
    Refused,
    Workers,
    assert_sound,
    attempt_of,
    edited,
    handles_with_rows,
    kept,
    lock_of,
    outcomes,
    owner_files,
    read,
    rows_of,
    together,
    until,
)

from shapestore import Shape
from shapestore.storage.log.chunks import CHUNK_ROWS

# So many that some are in the file long before the attempt ends.
MANY = CHUNK_ROWS + 500


# A leader that dies


def test_a_killed_leader_is_taken_over_by_a_follower_of_another_process(workers: Workers, path: str) -> None:
    leader, follower = workers.open(path, 2)
    leader.lead("key", rows=MANY)
    dead = attempt_of(path, "key")
    until(lambda: rows_of(path, dead) == CHUNK_ROWS, "half of the rows are in the file")
    waiting = follower.follow("key", callers=50)
    leader.kill()
    [(handle, callers)] = waiting.result(PATIENCE).items()
    assert callers == 50
    assert follower.call("get", key="key") == handle
    assert {row["process"] for row in follower.call("rows", handle=handle)} == {follower.pid}
    stats = follower.call("stats")
    assert (stats["takeovers"], stats["leaders"], stats["created"], stats["timeouts"]) == (1, 1, 1, 0)
    assert outcomes(path) == [(dead, "died"), (handle, "created")]
    until(lambda: rows_of(path, dead) == 0, "the rows of the dead are deleted")
    assert_sound(path)


def test_a_zombie_is_dead(workers: Workers, path: str) -> None:
    leader, follower = workers.open(path, 2)
    leader.lead("key")
    waiting = follower.follow("key")
    leader.kill_without_reaping()
    handle = waiting.result(PATIENCE)
    assert leader.process.returncode is None
    assert follower.call("stats")["takeovers"] == 1
    assert [outcome for _, outcome in outcomes(path)] == ["died", "created"]
    assert follower.call("get", key="key") == handle


def test_a_leader_whose_creator_blocks_a_thread_dies_like_any_other(workers: Workers, path: str) -> None:
    leader, follower = workers.open(path, 2)
    leader.lead("key", in_thread=True)
    waiting = follower.follow("key", in_thread=True)
    leader.kill()
    assert waiting.result(PATIENCE) == follower.call("get", key="key")


def test_a_death_is_seen_by_who_comes_after_it_too(workers: Workers, path: str) -> None:
    leader, other = workers.open(path, 2)
    leader.lead("key")
    leader.kill()
    other.call("get_or_create", key="key")
    assert other.call("stats")["takeovers"] == 1


def test_leaders_that_die_one_after_another_leave_the_key_to_the_last(workers: Workers, path: str) -> None:
    alive = workers.open(path, 4)
    waiting = {worker: worker.send("get_or_create", key="key", until=f"{path}-go", callers=20) for worker in alive}
    while len(alive) > 1:
        [leader] = until(lambda: [worker for worker in alive if worker.creations], "one of them leads")
        assert [worker.creations for worker in alive].count(1) == 1
        leader.kill()
        alive.remove(leader)
    alive[0].wait_for_creations()
    Path(f"{path}-go").touch()
    assert list(waiting[alive[0]].result(PATIENCE).values()) == [20]
    assert [outcome for _, outcome in outcomes(path)] == ["died"] * 3 + ["created"]


def test_rival_followers_take_a_dead_attempt_over_once(workers: Workers, path: str) -> None:
    leader, *rivals = workers.open(path, 4)
    leader.lead("key")
    waiting = [rival.follow("key", callers=20, seconds=0.05) for rival in rivals]
    leader.kill()
    assert len({handle for answer in waiting for handle in answer.result(PATIENCE)}) == 1
    stats = together(rivals, "stats")
    assert [sum(each[name] for each in stats) for name in ("takeovers", "leaders", "created")] == [1, 1, 1]


def test_a_refresh_whose_leader_dies_is_taken_over_while_the_old_shape_is_served(workers: Workers, path: str) -> None:
    leader, follower = workers.open(path, 2)
    old = leader.call("get_or_create", key="key")
    leader.lead("key", rows=MANY, refresh=True)
    waiting = follower.follow("key", refresh=True)
    leader.kill()
    new = waiting.result(PATIENCE)
    assert new != old
    assert follower.call("get", key="key") == new
    until(lambda: handles_with_rows(path) == sorted([old, new]), "the rows of the dead are deleted")
    assert kept(path) == [old]
    assert [outcome for _, outcome in outcomes(path)] == ["created", "died", "created"]


def test_a_refresh_that_dies_leaves_the_old_shape_as_it_is(workers: Workers, path: str) -> None:
    leader, other = workers.open(path, 2)
    old = leader.call("get_or_create", key="key")
    leader.lead("key", rows=MANY, refresh=True)
    leader.kill()
    assert other.call("get_or_create", key="key") == old
    assert len(other.call("rows", handle=old)) == 3
    assert other.call("get_or_create", key="key", refresh=True) != old


# A death at every statement


def test_a_publication_killed_at_any_statement_happened_wholly_or_not_at_all(workers: Workers, path: str) -> None:
    """Six statements: BEGIN, the shape, the lock row, the rows, the record, and COMMIT."""
    [other, *doomed] = workers.open(path, 7)
    for nth, leader in enumerate(doomed, 1):
        key = f"key {nth}"
        answer = leader.lead(key, until=f"{path}-{nth}")
        dead = attempt_of(path, key)
        leader.call("signal_at", nth=nth)
        Path(f"{path}-{nth}").touch()
        with pytest.raises(Gone):
            answer.result(PATIENCE)
        assert attempt_of(path, key) == dead
        assert rows_of(path, dead) == 0
        handle = other.call("get_or_create", key=key)
        assert [row["n"] for row in other.call("rows", handle=handle)] == [0, 1, 2]
    assert other.call("stats")["takeovers"] == len(doomed)
    assert [outcome for _, outcome in outcomes(path)] == ["died", "created"] * len(doomed)
    assert_sound(path)


def test_a_takeover_killed_at_any_statement_happened_wholly_or_not_at_all(workers: Workers, path: str) -> None:
    """Six statements: BEGIN, the lock row, its rows, the record, the new lock row, and COMMIT."""
    [leader, survivor, *doomed] = workers.open(path, 8)
    leader.lead("key", rows=MANY)
    dead = attempt_of(path, "key")
    until(lambda: rows_of(path, dead) == CHUNK_ROWS, "half of the rows are in the file")
    leader.kill()
    for nth, heir in enumerate(doomed, 1):
        heir.call("signal_at", nth=nth)
        with pytest.raises(Gone):
            heir.call("get_or_create", key="key")
        assert attempt_of(path, "key") == dead
        assert outcomes(path) == []
        assert read(path, "SELECT number FROM discarded") == []
    handle = survivor.call("get_or_create", key="key")
    assert outcomes(path) == [(dead, "died"), (handle, "created")]
    until(lambda: rows_of(path, dead) == 0, "the rows of the dead are deleted")
    assert_sound(path)


def test_an_opening_killed_at_any_statement_is_finished_by_the_next(workers: Workers, path: str) -> None:
    """Ten statements: BEGIN, the owners; of one who is dead five, and its row; the new owner's row, and COMMIT."""
    [dead] = workers.open(path)
    dead.lead("key")
    attempt = attempt_of(path, "key")
    dead.kill()
    for nth, opening in enumerate(workers.start(10), 1):
        opening.call("signal_at", nth=nth)
        with pytest.raises(Gone):
            opening.call("open", path=path)
        assert attempt_of(path, "key") == attempt
        assert read(path, "SELECT pid FROM owners") == [dead.pid]
    [heir] = workers.open(path)
    assert set(read(path, "SELECT owner FROM owners")) == owner_files(path)
    assert len(owner_files(path)) == 1
    handle = heir.call("get_or_create", key="key")
    assert outcomes(path) == [(attempt, "died"), (handle, "created")]
    assert heir.call("stats")["takeovers"] == 0


def test_a_death_inside_a_transaction_leaves_the_gate_free_for_others(workers: Workers, path: str) -> None:
    leader, other = workers.open(path, 2)
    leader.call("signal_at", statement="COMMIT")
    with pytest.raises(Gone):
        leader.call("get_or_create", key="key")
    assert lock_of(path, "key") is None
    assert other.call("get_or_create", key="key")
    assert other.call("stats")["takeovers"] == 0


# What the dead leave behind


def test_a_failure_whose_owner_died_is_claimable_at_once(workers: Workers, path: str) -> None:
    owner, other = workers.open(path, 2, failure_grace=3600)
    for asked in (owner, other):
        with pytest.raises(Refused, match="CreateFailedError: ValueError: no such luck"):
            asked.call("get_or_create", key="key", fails="no such luck")
    assert other.creations == 0
    owner.kill()
    handle = other.call("get_or_create", key="key")
    assert other.call("stats")["takeovers"] == 1
    assert [outcome for _, outcome in outcomes(path)] == ["failed", "created"]
    assert other.call("get", key="key") == handle


def test_a_failure_whose_owner_closed_is_no_more(workers: Workers, path: str) -> None:
    owner, other = workers.open(path, 2, failure_grace=3600)
    with pytest.raises(Refused, match="no such luck"):
        owner.call("get_or_create", key="key", fails="no such luck")
    assert lock_of(path, "key") is not None
    owner.end()
    assert lock_of(path, "key") is None
    other.call("get_or_create", key="key")


def half_written(path: str, key: str) -> bool:
    return rows_of(path, attempt_of(path, key)) >= CHUNK_ROWS


def test_the_next_open_clears_away_the_dead_with_all_they_left(workers: Workers, path: str) -> None:
    dead = workers.open(path, 3, failure_grace=3600)
    kept = dead[0].call("get_or_create", key="kept")
    dead[0].lead("kept", rows=2 * MANY, refresh=True)  # each chunk is compared while the next one is made
    dead[1].lead("new", rows=MANY)
    with pytest.raises(Refused, match="no such luck"):
        dead[2].call("get_or_create", key="failed", fails="no such luck")
    for key in ("kept", "new"):
        until(partial(half_written, path, key), "half of the rows are in the file")
    for worker in dead:
        worker.kill()
    assert len(owner_files(path)) == read(path, "SELECT count(*) FROM owners")[0] == 3
    [heir] = workers.open(path)
    assert set(read(path, "SELECT owner FROM owners")) == owner_files(path)
    assert read(path, "SELECT pid FROM owners") == [heir.pid]
    assert heir.call("locks") == []
    assert heir.call("get", key="kept") == kept
    until(lambda: handles_with_rows(path) == [kept], "the rows of the dead are deleted")
    assert read(path, "SELECT number FROM discarded") == []
    assert sorted(outcome for _, outcome in outcomes(path)) == ["created", "died", "died", "failed"]
    for key in ("new", "failed"):
        heir.call("get_or_create", key=key)
    heir.end()
    assert owner_files(path) == set()
    assert read(path, "SELECT count(*) FROM owners") == [0]
    assert_sound(path)


def test_an_owner_file_without_a_row_and_a_row_without_a_file_are_both_of_the_dead(workers: Workers, path: str) -> None:
    [living] = workers.open(path)
    Path(f"{path}-owners", "0123456789abcdef").touch()
    with edited(path) as file:
        add_owner(file, "fedcba9876543210")
        add_lock(file, "h", Shape("key"), owner="00000000ffffffff")
    workers.open(path)
    assert set(read(path, "SELECT owner FROM owners")) == owner_files(path)
    assert len(owner_files(path)) == 2
    assert lock_of(path, "key") is None
    assert living.call("get_or_create", key="key")


def test_a_waiter_that_slept_through_the_window_still_learns_the_outcome(workers: Workers, path: str) -> None:
    leader, follower = workers.open(path, 2, failure_grace=0.05)
    waiting_too = leader.lead("key", until=f"{path}-go", fails="no such luck")
    waiting = follower.follow("key")
    follower.stop()
    Path(f"{path}-go").touch()
    with pytest.raises(Refused, match="no such luck"):
        waiting_too.result(PATIENCE)
    until(lambda: lock_of(path, "key") is None, "the failure is swept")
    follower.go_on()
    with pytest.raises(Refused, match="CreateFailedError: ValueError: no such luck"):
        waiting.result(PATIENCE)
    assert follower.creations == 0
