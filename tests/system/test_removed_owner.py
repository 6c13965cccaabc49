"""A cleaner removes the owner file of a living store: that proves nothing, and nobody takes over from it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from processes import PATIENCE, Refused, Worker, Workers, attempt_of, lock_of, outcomes, owner_files, read, until


def remove_owner_files(path: str) -> None:
    for name in owner_files(path):
        os.unlink(f"{path}-owners/{name}")


def owner_of(path: str, worker: Worker) -> str:
    [owner] = read(path, "SELECT owner FROM owners WHERE pid = ?", worker.pid)
    return str(owner)


def wait_for_a_poll(follower: Worker) -> None:
    polls = follower.call("stats")["polls"]
    until(lambda: follower.call("stats")["polls"] > polls, "the follower has polled again")


def test_a_store_whose_owner_file_was_removed_makes_it_again(workers: Workers, path: str) -> None:
    one, other = workers.open(path, 2)
    shutil.rmtree(f"{path}-owners")
    expected = {owner_of(path, one), owner_of(path, other)}
    until(lambda: os.path.exists(f"{path}-owners") and owner_files(path) == expected, "their files are there again")
    one.end()
    other.end()
    assert owner_files(path) == set()


def test_two_stores_whose_owner_files_are_removed_all_the_time_make_each_shape_once(
    workers: Workers, path: str
) -> None:
    both = workers.open(path, 2)
    for number in range(10):
        key = f"key {number}"
        leader, follower = both[number % 2], both[1 - number % 2]
        answer = leader.lead(key, until=f"{path}-{number}")
        waiting = follower.follow(key)
        for _ in range(5):
            remove_owner_files(path)
            wait_for_a_poll(follower)
        Path(f"{path}-{number}").touch()
        assert waiting.result(PATIENCE) == answer.result(20)
    assert [outcome for _, outcome in outcomes(path)] == ["created"] * 10
    assert [worker.call("stats")["takeovers"] for worker in both] == [0, 0]


def test_a_stopped_leader_whose_owner_file_was_removed_is_not_taken_over(workers: Workers, path: str) -> None:
    """It cannot make its file again while it is stopped."""
    leader, follower = workers.open(path, 2)
    answer = leader.lead("key", until=f"{path}-go")
    attempt = attempt_of(path, "key")
    leader.stop()
    shutil.rmtree(f"{path}-owners")
    with pytest.raises(Refused, match=r"WaitTimeoutError: .*another store is still creating it"):
        follower.call("get_or_create", key="key", timeout=1.5)
    workers.open(path)  # which clears away what dead owners left
    assert lock_of(path, "key") == (attempt, "in_progress")
    assert owner_of(path, leader)
    Path(f"{path}-go").touch()
    leader.go_on()
    assert answer.result(PATIENCE) == attempt
    assert outcomes(path) == [(attempt, "created")]


def test_a_killed_leader_whose_owner_file_was_removed_is_taken_over_at_once(workers: Workers, path: str) -> None:
    leader, follower = workers.open(path, 2)
    leader.lead("key")
    waiting = follower.follow("key")
    leader.stop()
    os.unlink(f"{path}-owners/{owner_of(path, leader)}")
    leader.kill()
    assert waiting.result(PATIENCE)
    assert follower.call("stats")["takeovers"] == 1


def test_a_copy_of_the_file_has_nobody_who_creates_though_the_original_has(workers: Workers, path: str) -> None:
    [leader] = workers.open(path)
    leader.lead("key")
    copy = f"{path}-copy"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (copy,))
    shutil.copytree(f"{path}-owners", f"{copy}-owners")
    [other] = workers.open(copy)
    assert other.call("get_or_create", key="key")
    assert lock_of(path, "key") is not None
