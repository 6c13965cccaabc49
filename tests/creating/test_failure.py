from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapestore.creating.failure import MAX_MESSAGE, SHOWN_AGAIN_SECONDS, FailureAges, FailureLog, describe
from shapestore.errors import RetryLater
from shapestore.locking.create_lock import Failure


def test_a_failure_is_published_as_its_class_and_message_with_the_grace_as_its_ttl() -> None:
    assert describe(ValueError("no such album"), grace=1.5) == Failure("ValueError", "no such album", 1500)


def test_an_exception_without_a_message_has_an_empty_one() -> None:
    assert describe(KeyboardInterrupt(), grace=1.0) == Failure("KeyboardInterrupt", "", 1000)


def test_retry_later_makes_the_ttl_longer_than_the_grace_but_never_shorter() -> None:
    assert describe(RetryLater(30, "slow down"), grace=1.0) == Failure("RetryLater", "slow down", 30_000)
    assert describe(RetryLater(0.2, "slow down"), grace=1.0).retry_after_ms == 1000


def test_retry_later_without_a_message_says_what_was_asked_for() -> None:
    assert describe(RetryLater(30), grace=1.0).message == "the creator asked for 30 s without another attempt"


def test_retry_later_from_an_error_publishes_that_error() -> None:
    later = RetryLater(30)
    later.__cause__ = ConnectionError("refused")
    assert describe(later, grace=1.0) == Failure("ConnectionError", "refused", 30_000)


def test_retry_later_raised_while_another_error_was_handled_publishes_itself() -> None:
    later = RetryLater(30, "slow down")
    later.__context__ = ConnectionError("refused")
    assert describe(later, grace=1.0).error_type == "RetryLater"


def test_an_error_whose_message_cannot_be_read_is_published_all_the_same() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    failure = describe(BrokenError(), grace=1.0)
    assert failure == Failure("BrokenError", "(its message could not be read: RuntimeError)", 1000)


def test_a_long_message_is_cut_and_says_how_long_it_was() -> None:
    assert describe(ValueError("x" * MAX_MESSAGE), grace=0).message == "x" * MAX_MESSAGE
    message = describe(ValueError("x" * (MAX_MESSAGE + 1)), grace=0).message
    assert message == "x" * MAX_MESSAGE + f"... ({MAX_MESSAGE + 1} characters)"


def test_a_long_class_name_is_cut_too() -> None:
    kind = type("E" * 10_000, (Exception,), {})
    assert len(describe(kind(), grace=0).error_type) < MAX_MESSAGE + 100


@given(st.text(st.characters(), max_size=MAX_MESSAGE + 100) | st.text("\0\ud800\udfffa", max_size=50))
def test_any_message_becomes_a_text_that_sqlite_and_json_hold_unchanged(message: str) -> None:
    text = describe(ValueError(message), grace=0).message
    assert json.loads(json.dumps(text)) == text
    with closing(sqlite3.connect(":memory:")) as database:
        held = database.execute("SELECT :text, length(:text)", {"text": text}).fetchone()
    assert held == (text, len(text))


@pytest.mark.parametrize("seconds", [0, 1e-9, 0.0004, 86_400.0, 1e9, 1e17, 1e19, 1e300])
def test_any_ttl_fits_its_column(seconds: float) -> None:
    """As an integer of 64 bits: if it did not fit, the failure would never be published."""
    for failure in (describe(RetryLater(seconds), grace=0), describe(ValueError(), grace=seconds)):
        assert type(failure.retry_after_ms) is int
        assert 0 <= failure.retry_after_ms < 2**62
        assert failure.retry_after_ms == min(round(seconds * 1000), failure.retry_after_ms)


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_traceback_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = FailureLog(limit=2, clock=lambda: now)

    def shows_traceback(error: Exception) -> bool:
        caplog.clear()
        log.log("key", describe(error, grace=1.0), error)
        [record] = caplog.records
        assert f"ValueError: {error}; callers" in record.getMessage()
        return record.exc_info is not None

    assert [shows_traceback(ValueError("a")) for _ in range(3)] == [True, False, False]
    assert shows_traceback(ValueError("b"))
    now = SHOWN_AGAIN_SECONDS
    assert [shows_traceback(ValueError("a")) for _ in range(2)] == [True, False]
    assert shows_traceback(ValueError("c")), "there is room for it, since b is forgotten"
    assert shows_traceback(ValueError("b"))
    assert shows_traceback(ValueError("a"))


def test_a_failure_ages_from_when_it_was_first_seen() -> None:
    clock = Clock()
    ages = FailureAges(clock=clock)
    assert ages.age_ms("a") == 0
    clock.now += 1.5
    assert ages.age_ms("a") == 1500
    assert ages.age_ms("b") == 0
    clock.now += 0.25
    assert (ages.age_ms("a"), ages.age_ms("b")) == (1750, 250)


def test_asking_again_does_not_make_a_failure_younger() -> None:
    clock = Clock()
    ages = FailureAges(clock=clock)
    seen = []
    for _ in range(10):
        seen.append(ages.age_ms("a"))
        clock.now += 1.0
    assert seen == [1000.0 * second for second in range(10)]


def test_beyond_the_limit_the_earliest_is_forgotten_and_only_begins_again() -> None:
    clock = Clock()
    ages = FailureAges(limit=3, clock=clock)
    for handle in "abcd":
        ages.age_ms(handle)
    clock.now += 1.0
    assert [ages.age_ms(handle) for handle in "bcd"] == [1000, 1000, 1000]
    assert ages.age_ms("a") == 0


def test_a_limit_of_one_still_knows_the_latest() -> None:
    clock = Clock()
    ages = FailureAges(limit=1, clock=clock)
    for handle in map(str, range(100)):
        assert ages.age_ms(handle) == 0
    clock.now += 1.0
    assert ages.age_ms("99") == 1000
