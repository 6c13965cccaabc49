"""What headers say."""

from __future__ import annotations

import time

import pytest

from shapestore.http import response


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> int:
    """A moment, in seconds since cursors began to count, that is not on the edge of an interval."""
    monkeypatch.setattr(time, "time", lambda: 1_728_432_000 + 67_283_571.5)
    return 67_283_571


@pytest.mark.parametrize(
    ("length", "asked", "expected"),
    [
        (20, None, 67_283_580),
        (20, "67283560", 67_283_580),
        (20, "", 67_283_580),
        (20, "x", 67_283_580),
        (20, "9" * 40, 67_283_580),
        (60, None, 67_283_580),
        (0.2, None, 67_283_572),
    ],
)
def test_a_cursor_is_the_end_of_the_present_interval(now: int, length: float, asked: str | None, expected: int) -> None:
    assert response.cursor(asked, length) == str(expected)


@pytest.mark.parametrize("ahead", [0, 20, 10_000])
def test_a_cursor_always_grows(now: int, ahead: int) -> None:
    asked = 67_283_580 + ahead
    for _ in range(20):
        assert asked < int(response.cursor(str(asked), 20)) <= asked + 3_600


def test_an_etag_names_the_part_of_the_log() -> None:
    assert response.etag("h~0", "0_0", "7_12") == '"h~0:0_0:7_12"'
    unique = {response.etag("h~0", "now", "7_12", unique=True) for _ in range(3)}
    assert len(unique) == 3


def test_an_answer_that_is_refused_says_when_to_try_again_in_whole_seconds() -> None:
    for seconds, header in [(None, None), (0.01, "1"), (1.2, "2"), (30, "30")]:
        assert response.refused(503, "busy", retry_after=seconds).response().headers.get("retry-after") == header
