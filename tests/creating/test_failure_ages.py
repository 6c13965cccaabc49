from __future__ import annotations

from shapestore.creating.failure_ages import FailureAges


class Clock:
    """A monotonic clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_failure_is_as_old_as_its_first_sight() -> None:
    clock = Clock()
    seen = FailureAges(clock=clock)
    assert seen.age_ms("a") == 0
    clock.now += 1.5
    assert seen.age_ms("a") == 1500
    assert seen.age_ms("b") == 0
    clock.now += 0.25
    assert (seen.age_ms("a"), seen.age_ms("b")) == (1750, 250)


def test_looking_again_does_not_make_a_failure_younger() -> None:
    clock = Clock()
    seen = FailureAges(clock=clock)
    ages = []
    for _ in range(10):
        ages.append(seen.age_ms("a"))
        clock.now += 1.0
    assert ages == [1000.0 * second for second in range(10)]


def test_the_earliest_seen_is_forgotten_beyond_the_bound_and_only_begins_again() -> None:
    clock = Clock()
    seen = FailureAges(bound=3, clock=clock)
    for handle in "abcd":
        seen.age_ms(handle)
    clock.now += 1.0
    assert [seen.age_ms(handle) for handle in "bcd"] == [1000, 1000, 1000]
    assert seen.age_ms("a") == 0


def test_a_bound_of_one_still_knows_the_latest() -> None:
    clock = Clock()
    seen = FailureAges(bound=1, clock=clock)
    for handle in map(str, range(100)):
        assert seen.age_ms(handle) == 0
    clock.now += 1.0
    assert seen.age_ms("99") == 1000
