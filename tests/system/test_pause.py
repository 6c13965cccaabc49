"""A process that is stopped is alive, however long: nobody takes over from it, and it does no harm when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import (
    NEVER,
    PATIENCE,
    Refused,
    Worker,
    Workers,
    assert_sound,
    attempt_of,
    edit,
    handles_with_rows,
    lock_of,
    outcomes,
    rows_of,
    until,
)

from shapestore.storage.log.chunks import CHUNK_ROWS

MANY = CHUNK_ROWS + 500


# A leader that is stopped


@pytest.mark.parametrize("seconds", [1.5, pytest.param(15.0, marks=pytest.mark.slow)])
def test_a_stopped_leader_is_not_taken_over_for_longer_than_any_interval(
    workers: Workers, path: str, seconds: float
) -> None:
    leader, follower = workers.open(path, 2)
    kept = follower.call("get_or_create", key="kept")
    answer = leader.lead("key", rows=MANY, until=f"{path}-go")
    attempt = attempt_of(path, "key")
    leader.stop()
    waiting = follower.send("get_or_create", key="key", timeout=seconds)
    assert follower.call("get_or_create", key="kept") == kept
    assert follower.call("get_or_create", key="another")
    with pytest.raises(Refused, match=r"WaitTimeoutError: .*another store is still creating it"):
        waiting.result(PATIENCE)
    assert lock_of(path, "key") == (attempt, "in_progress")
    assert follower.call("stats")["takeovers"] == 0
    assert follower.creations == 2
    Path(f"{path}-go").touch()
    leader.go_on()
    assert answer.result(PATIENCE) == attempt
    assert follower.call("get_or_create", key="key") == attempt
    assert leader.call("stats")["superseded"] == 0


def test_opening_clears_away_nothing_of_a_stopped_store(workers: Workers, path: str) -> None:
    [leader] = workers.open(path)
    answer = leader.lead("key", rows=MANY, until=f"{path}-go")
    attempt = attempt_of(path, "key")
    until(lambda: rows_of(path, attempt) == CHUNK_ROWS, "half of the rows are in the file")
    leader.stop()
    workers.open(path)[0].end()
    assert lock_of(path, "key") == (attempt, "in_progress")
    assert rows_of(path, attempt) == CHUNK_ROWS
    Path(f"{path}-go").touch()
    leader.go_on()
    handle = answer.result(PATIENCE)
    assert len(leader.call("rows", handle=handle)) == MANY + 3


def release_and_lead_anew(stopped: Worker, other: Worker, path: str) -> tuple[str, str]:
    """Have ``other`` free the key that a stopped leader holds, and create its shape; the handles of both attempts."""
    late = attempt_of(path, "key")
    stopped.stop()
    assert other.call("release_lock", key="key")
    return late, other.call("get_or_create", key="key")


def test_a_late_leader_is_refused_and_its_callers_are_given_the_winners_shape(workers: Workers, path: str) -> None:
    leader, other = workers.open(path, 2)
    answers = [leader.lead("key", until=f"{path}-go"), leader.send("get_or_create", key="key", callers=20)]
    late, winner = release_and_lead_anew(leader, other, path)
    Path(f"{path}-go").touch()
    leader.go_on()
    assert [answer.result(PATIENCE) for answer in answers] == [winner, {winner: 20}]
    stats = leader.call("stats")
    assert (stats["superseded"], stats["created"], stats["failed"]) == (1, 0, 0)
    assert outcomes(path) == [(late, "released"), (winner, "created")]
    assert handles_with_rows(path) == [winner]
    assert {row["process"] for row in leader.call("rows", handle=winner)} == {other.pid}
    assert_sound(path)


def test_a_late_leaders_further_rows_are_refused_and_those_it_wrote_are_deleted(workers: Workers, path: str) -> None:
    leader, other = workers.open(path, 2)
    answer = leader.lead("key", rows=MANY, until=f"{path}-go")
    until(lambda: rows_of(path, attempt_of(path, "key")) == CHUNK_ROWS, "half of the rows are in the file")
    _, winner = release_and_lead_anew(leader, other, path)
    Path(f"{path}-go").touch()
    leader.go_on()
    assert answer.result(PATIENCE) == winner
    assert leader.call("stats")["superseded"] == 1
    until(lambda: handles_with_rows(path) == [winner], "the late rows are deleted")
    assert_sound(path)


def test_a_late_failure_is_void(workers: Workers, path: str) -> None:
    leader, other = workers.open(path, 2)
    answer = leader.lead("key", until=f"{path}-go", fails="too late to matter")
    late, winner = release_and_lead_anew(leader, other, path)
    Path(f"{path}-go").touch()
    leader.go_on()
    assert answer.result(PATIENCE) == winner
    assert leader.call("stats")["superseded"] == 1
    assert outcomes(path) == [(late, "released"), (winner, "created")]
    assert lock_of(path, "key") is None


def test_a_creator_whose_time_ran_out_while_it_was_stopped_fails_only_if_it_still_leads(
    workers: Workers, path: str
) -> None:
    leader, other = workers.open(path, 2, create_timeout=3)
    answer = leader.lead("key")
    _, winner = release_and_lead_anew(leader, other, path)
    leader.go_on()
    assert answer.result(PATIENCE) == winner
    [hasty] = workers.open(path, create_timeout=0.5)
    answer = hasty.lead("another")
    hasty.stop()
    hasty.go_on()
    with pytest.raises(Refused, match=r"CreateFailedError: TimeoutError: .* 0\.5 s"):
        answer.result(PATIENCE)


def test_a_late_leader_waits_for_another_that_leads_now(workers: Workers, path: str) -> None:
    leader, other = workers.open(path, 2)
    answer = leader.lead("key", until=f"{path}-go")
    leader.stop()
    other.call("release_lock", key="key")
    others_answer = other.lead("key", until=f"{path}-go too")
    Path(f"{path}-go").touch()
    leader.go_on()
    until(lambda: leader.call("stats")["superseded"] == 1, "the late leader is refused")
    Path(f"{path}-go too").touch()
    assert answer.result(PATIENCE) == others_answer.result(PATIENCE)


def test_what_is_invalidated_while_its_reader_is_stopped_is_read_again(workers: Workers, path: str) -> None:
    leader, other = workers.open(path, 2)
    answer = leader.lead("key", until=f"{path}-go")
    late = attempt_of(path, "key")
    leader.stop()
    assert other.call("invalidate", table="key") == 0
    Path(f"{path}-go").touch()
    leader.go_on()
    handle = answer.result(PATIENCE)
    assert handle != late
    assert leader.creations == 2
    assert outcomes(path) == [(late, "invalidated"), (handle, "created")]


# A process that is stopped inside its own write transaction, with the gate in its hand


def stopped_in_a_transaction(workers: Workers, path: str) -> tuple[Worker, Worker]:
    """One that was stopped when about to commit the publication of "key", and another whose patience is short."""
    [stopped, other] = workers.start(2)
    [kept] = workers.open(path)
    stopped.call("open", path=path)
    other.call("open", path=path, gate_wait=0.2)
    kept.call("get_or_create", key="kept", rows=5)
    kept.end()
    stopped.lead("key", until=f"{path}-go")
    stopped.call("signal_at", statement="COMMIT", signal="SIGSTOP")
    Path(f"{path}-go").touch()
    stopped.wait_until_stopped()
    return stopped, other


def test_while_one_is_stopped_in_its_transaction_others_read_and_their_writes_are_refused(
    workers: Workers, path: str
) -> None:
    stopped, other = stopped_in_a_transaction(workers, path)
    for _ in range(2):
        for refused in (
            other.send("get_or_create", key="new"),
            other.send("delete", handle="none"),
            other.send("invalidate", table="none"),
            other.send("release_lock", key="key"),
        ):
            with pytest.raises(Refused, match=r"StoreBusyError: could not acquire the write gate .* 0\.2 s"):
                refused.result(PATIENCE)
        assert other.creations == 0
        handle = other.call("get_or_create", key="kept", until=NEVER)
        assert [row["n"] for row in other.call("rows", handle=handle)] == [0, 1, 2, 3, 4]
        assert other.call("count") == 1
        assert other.call("get", key="key") is None
    stopped.go_on()
    other.call("wait_for_gate", seconds=PATIENCE)
    until(lambda: other.call("get", key="key"), "the publication is committed")
    assert other.call("get_or_create", key="new")
    assert other.call("stats")["created"] == 1
    assert_sound(path)


def test_a_leader_whose_outcome_finds_the_gate_held_lands_it_when_the_gate_is_free(workers: Workers, path: str) -> None:
    [stopped, leader] = workers.start(2)
    leader.call("open", path=path, gate_wait=0.2)
    stopped.call("open", path=path)
    answer = leader.lead("key", until=f"{path}-go")
    attempt = attempt_of(path, "key")
    stopped.call("signal_at", statement="COMMIT", signal="SIGSTOP")
    stopped.send("delete", handle="none")
    stopped.wait_until_stopped()
    Path(f"{path}-go").touch()
    with pytest.raises(Refused, match="StoreBusyError"):
        answer.result(PATIENCE)
    leader.call("wait_for_gate", seconds=PATIENCE)
    stopped.go_on()
    assert leader.call("get_or_create", key="key") == attempt
    assert leader.creations == 1


def test_one_that_is_killed_after_it_was_stopped_in_its_transaction_has_changed_nothing(
    workers: Workers, path: str
) -> None:
    stopped, other = stopped_in_a_transaction(workers, path)
    attempt = attempt_of(path, "key")
    stopped.kill()
    other.call("wait_for_gate", seconds=PATIENCE)
    handle = other.call("get_or_create", key="key")
    assert outcomes(path)[1:] == [(attempt, "died"), (handle, "created")]
    assert_sound(path)


def test_opening_is_refused_while_another_is_stopped_in_its_transaction(workers: Workers, path: str) -> None:
    stopped, _ = stopped_in_a_transaction(workers, path)
    [late] = workers.start()
    with pytest.raises(Refused, match=r"StoreBusyError: could not acquire the write gate"):
        late.call("open", path=path, gate_wait=0.2)
    stopped.go_on()
    late.call("open", path=path)
    assert late.call("get_or_create", key="key") == stopped.call("get_or_create", key="key")


def test_closing_ends_though_the_gate_is_held_by_one_who_is_stopped(workers: Workers, path: str) -> None:
    stopped, other = stopped_in_a_transaction(workers, path)
    other.end()
    stopped.go_on()
    [heir] = workers.open(path)
    until(lambda: heir.call("get", key="key"), "the publication is committed")
    assert heir.call("get_or_create", key="new")


# A failure whose owner is stopped before its sweep


def failure_of_a_stopped_owner(owner: Worker, path: str, window_ms: int) -> str:
    with pytest.raises(Refused, match="no such luck"):
        owner.call("get_or_create", key="key", fails="no such luck")
    owner.stop()
    edit(path, "UPDATE create_locks SET retry_after_ms = ?", window_ms)
    return attempt_of(path, "key")


def test_a_failure_whose_owner_is_stopped_blocks_nobody_longer_than_its_window(workers: Workers, path: str) -> None:
    owner, other = workers.open(path, 2, failure_grace=3600)
    failed = failure_of_a_stopped_owner(owner, path, window_ms=80)

    def ask() -> str | None:
        try:
            return str(other.call("get_or_create", key="key"))
        except Refused as refused:
            assert "CreateFailedError: ValueError: no such luck" in str(refused)
            return None

    assert ask() is None  # its window begins when it is first seen
    handle = until(ask, "the window is over")
    assert other.call("stats")["takeovers"] == 1
    owner.go_on()
    assert owner.call("get_or_create", key="key") == handle
    assert outcomes(path) == [(failed, "failed"), (handle, "created")]


def test_a_late_sweep_leaves_a_newer_failure_alone(workers: Workers, path: str) -> None:
    owner, other = workers.open(path, 2, failure_grace=3600)
    old = failure_of_a_stopped_owner(owner, path, window_ms=0)

    def fail_again() -> bool:
        with pytest.raises(Refused, match=r"no such luck|worse luck"):
            other.call("get_or_create", key="key", fails="worse luck")
        return other.creations == 1

    until(fail_again, "the window is over")
    new = attempt_of(path, "key")
    assert new != old
    owner.go_on()
    owner.call("sweep", handle=old)
    until(lambda: old in owner.call("swept"), "the late sweep is done")
    assert lock_of(path, "key") == (new, "failed")
    with pytest.raises(Refused, match="worse luck"):
        owner.call("get_or_create", key="key")


def test_a_follower_that_is_stopped_is_given_the_shape_when_it_goes_on(workers: Workers, path: str) -> None:
    leader, follower = workers.open(path, 2)
    answer = leader.lead("key", until=f"{path}-go")
    waiting = follower.follow("key", callers=20)
    follower.stop()
    Path(f"{path}-go").touch()
    handle = answer.result(PATIENCE)
    follower.go_on()
    assert waiting.result(PATIENCE) == {handle: 20}
