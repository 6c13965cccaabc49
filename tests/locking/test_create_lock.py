"""``decide`` as a table, and what must hold for every combination of what a poll can see."""

from __future__ import annotations

from itertools import product

import pytest

from shapestore.errors import CreateFailedError
from shapestore.locking.create_lock import (
    Failure,
    Follow,
    KeyState,
    Lead,
    LockState,
    Raise,
    ReleaseOwn,
    Serve,
    State,
    Step,
    decide,
)

ME, OTHER = "me", "other"
TTL_MS = 1000
FAILURE = Failure("ValueError", "no such album", TTL_MS)
EARLIER = Failure("OSError", "the attempt that was followed", TTL_MS)


def in_progress(owner: str, handle: str = "h1") -> LockState:
    return LockState(handle, State.IN_PROGRESS, owner, None)


def failed(owner: str = OTHER, handle: str = "h1") -> LockState:
    return LockState(handle, State.FAILED, owner, FAILURE)


def step(
    lock: LockState | None = None,
    *,
    stored: str | None = None,
    awaited_failure: Failure | None = None,
    alive: bool = True,
    seen_ms: float = 0.0,
    awaited: str | None = None,
    older: str | None = None,
) -> Step:
    seen = KeyState(stored, lock, awaited_failure)
    return decide(seen, me=ME, owner_alive=alive, failure_seen_ms=seen_ms, awaited=awaited, older=older)


# --- the table


@pytest.mark.parametrize("lock", [None, in_progress(ME), in_progress(OTHER), failed()])
@pytest.mark.parametrize("awaited_failure", [None, EARLIER])
def test_a_shape_is_an_answer_whatever_else_is_seen(lock: LockState | None, awaited_failure: Failure | None) -> None:
    assert step(lock, stored="s1", awaited_failure=awaited_failure) == Serve()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [("old", Lead(over=None)), ("new", Serve()), (None, Lead(over=None))],
    ids=["not yet replaced", "replaced", "dropped"],
)
def test_a_refresh_takes_any_shape_for_its_answer_but_the_one_to_be_replaced(stored: str, expected: Step) -> None:
    assert step(stored=stored, older="old") == expected


@pytest.mark.parametrize(
    ("lock", "alive", "expected"),
    [
        (in_progress(OTHER), True, Follow("h1")),
        (in_progress(OTHER), False, Lead(over="h1")),
        (in_progress(ME), True, ReleaseOwn("h1")),
        (failed(), True, Raise(FAILURE)),
    ],
)
def test_a_refresh_does_about_a_lock_row_what_a_creation_does(lock: LockState, alive: bool, expected: Step) -> None:
    assert step(lock, alive=alive) == expected
    assert step(lock, alive=alive, stored="old", older="old") == expected


def test_nothing_there_is_claimed() -> None:
    assert step() == Lead(over=None)


def test_the_attempt_of_a_living_store_is_followed_however_long_it_takes() -> None:
    assert step(in_progress(OTHER), seen_ms=1e12) == Follow("h1")
    assert step(in_progress(OTHER), awaited="h1") == Follow("h1")


def test_an_attempt_that_took_over_the_followed_one_is_followed_in_turn() -> None:
    assert step(in_progress(OTHER, "h2"), awaited="h1") == Follow("h2")


def test_the_attempt_of_a_dead_store_is_taken_over() -> None:
    assert step(in_progress(OTHER), alive=False) == Lead(over="h1")
    assert step(in_progress(OTHER), alive=False, awaited="h1") == Lead(over="h1")


def test_an_attempt_of_our_own_that_no_flight_leads_is_released_and_not_followed() -> None:
    assert step(in_progress(ME)) == ReleaseOwn("h1")


@pytest.mark.parametrize("lock", [None, in_progress(OTHER, "h2"), in_progress(ME, "h2"), failed(handle="h2")])
def test_the_failure_of_the_followed_attempt_is_the_answer_though_its_row_is_gone(lock: LockState | None) -> None:
    assert step(lock, awaited_failure=EARLIER, awaited="h1") == Raise(EARLIER)


@pytest.mark.parametrize("seen_ms", [0.0, TTL_MS - 1.0, float(TTL_MS)])
def test_a_failure_is_shared_for_its_ttl(seen_ms: float) -> None:
    assert step(failed(), seen_ms=seen_ms) == Raise(FAILURE)


def test_a_failure_seen_for_longer_than_its_ttl_is_taken_over_though_it_was_not_swept() -> None:
    assert step(failed(), seen_ms=TTL_MS + 1.0) == Lead(over="h1")


def test_the_failure_of_a_dead_store_which_will_not_sweep_it_is_taken_over() -> None:
    assert step(failed(), alive=False) == Lead(over="h1")


def test_a_failure_of_our_own_is_shared_like_any_other() -> None:
    assert step(failed(ME)) == Raise(FAILURE)
    assert step(failed(ME), seen_ms=TTL_MS + 1.0) == Lead(over="h1")


@pytest.mark.parametrize("alive", [True, False])
def test_a_flight_that_followed_an_attempt_gets_its_failure_out_of_date_or_not(alive: bool) -> None:
    assert step(failed(), awaited="h1", alive=alive, seen_ms=1e12) == Raise(FAILURE)


# --- what must hold of every combination

HANDLES = ["h1", "h2"]
LOCKS: list[LockState | None] = [None]
LOCKS += [in_progress(owner, handle) for owner, handle in product([ME, OTHER], HANDLES)]
LOCKS += [failed(owner, handle) for owner, handle in product([ME, OTHER], HANDLES)]


def every_combination() -> list[tuple[KeyState, bool, float, str | None, str | None]]:
    return [
        (KeyState(stored, lock, awaited_failure), alive, seen_ms, awaited, older)
        for stored, lock, awaited, alive, seen_ms, older in product(
            [None, "s1", "s2"], LOCKS, [None, *HANDLES], [True, False], [0.0, TTL_MS + 1.0], [None, "s1"]
        )
        for awaited_failure in ([None] if awaited is None else [None, EARLIER])
        if alive or lock is None or lock.owner != ME  # the store that polls is alive
    ]


def test_every_combination_keeps_to_the_rules() -> None:
    combinations = every_combination()
    assert len(combinations) > 800
    for seen, alive, seen_ms, awaited, older in combinations:
        lock = seen.lock
        taken = decide(seen, me=ME, owner_alive=alive, failure_seen_ms=seen_ms, awaited=awaited, older=older)
        case = (seen, alive, seen_ms, awaited, older, taken)
        is_answer = seen.stored is not None and seen.stored != older
        # A flight that can be answered is answered, and no other.
        assert isinstance(taken, Serve) == is_answer, case
        if seen.awaited_failure is not None and not is_answer:
            assert taken == Raise(seen.awaited_failure), case
        match taken:
            case Lead(over=None):
                assert lock is None, case
            case Lead(over):
                assert lock is not None, case
                assert over == lock.handle, case
                if lock.state is State.IN_PROGRESS:
                    assert lock.owner != ME, case
                    assert not alive, case  # only death ends another's attempt
                else:
                    assert lock.failure is not None, case
                    assert not alive or seen_ms > lock.failure.retry_after_ms, case
                    assert awaited != lock.handle, case  # a flight that followed it gets the failure
            case Follow(handle):
                assert lock == in_progress(OTHER, handle), case
                assert alive, case  # a dead owner is not followed
            case ReleaseOwn(handle):
                assert lock == in_progress(ME, handle), case
            case Raise(failure):
                assert failure is seen.awaited_failure or (lock is not None and failure is lock.failure), case
            case Serve():
                pass


def test_the_length_of_a_wait_ends_no_attempt() -> None:
    """No decision about an attempt in progress depends on a clock."""
    for seen, alive, _, awaited, older in every_combination():
        if seen.lock is not None and seen.lock.state is State.IN_PROGRESS:
            early, late = (
                decide(seen, me=ME, owner_alive=alive, failure_seen_ms=ms, awaited=awaited, older=older)
                for ms in (0.0, 1e15)
            )
            assert early == late


def test_each_waiter_gets_an_error_of_its_own_with_the_facts_and_the_cause() -> None:
    cause = ValueError("no such album")
    one, another = FAILURE.as_error("t", cause), FAILURE.as_error("t")
    assert one is not another
    assert isinstance(one, CreateFailedError)
    assert (one.error_type, one.message, one.retry_after) == ("ValueError", "no such album", 1.0)
    assert one.__cause__ is cause
    assert another.__cause__ is None
