from __future__ import annotations

import json
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapestore.creating.failure import MAX_MESSAGE, describe
from shapestore.errors import RetryLater
from shapestore.locking.create_lock import Failure


def test_a_failure_is_told_by_the_class_and_the_message_and_held_for_the_grace_window() -> None:
    assert describe(ValueError("no such album"), grace=1.5) == Failure("ValueError", "no such album", 1500)


def test_an_exception_without_a_message_has_an_empty_one() -> None:
    assert describe(KeyboardInterrupt(), grace=1.0) == Failure("KeyboardInterrupt", "", 1000)


def test_retry_later_holds_its_failure_for_longer_than_the_grace_window_but_never_for_less() -> None:
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


def test_an_error_whose_message_cannot_be_had_is_published_all_the_same() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    failure = describe(BrokenError(), grace=1.0)
    assert failure == Failure("BrokenError", "(its message cannot be had: RuntimeError)", 1000)


def test_a_long_message_is_cut_and_says_how_long_it_was() -> None:
    assert describe(ValueError("x" * MAX_MESSAGE), grace=0).message == "x" * MAX_MESSAGE
    message = describe(ValueError("x" * (MAX_MESSAGE + 1)), grace=0).message
    assert message == "x" * MAX_MESSAGE + f"... ({MAX_MESSAGE + 1} characters)"


def test_a_long_class_name_is_cut_too() -> None:
    kind = type("E" * 10_000, (Exception,), {})
    assert len(describe(kind(), grace=0).error_type) < MAX_MESSAGE + 100


@given(st.text(st.characters(), max_size=MAX_MESSAGE + 100) | st.text("\0\ud800\udfffa", max_size=50))
def test_whatever_the_message_the_text_is_one_that_sqlite_and_json_hold_as_it_is(message: str) -> None:
    text = describe(ValueError(message), grace=0).message
    assert json.loads(json.dumps(text)) == text
    assert sqlite3.connect(":memory:").execute("SELECT ?1, length(?1)", (text,)).fetchone() == (text, len(text))


@pytest.mark.parametrize("seconds", [0, 1e-9, 0.0004, 86_400.0, 1e9, 1e17, 1e19, 1e300])
def test_any_window_fits_the_column_that_it_is_written_in(seconds: float) -> None:
    """As an integer of 64 bits: one that did not fit would keep the failure from ever being published."""
    for failure in (describe(RetryLater(seconds), grace=0), describe(ValueError(), grace=seconds)):
        assert type(failure.retry_after_ms) is int
        assert 0 <= failure.retry_after_ms < 2**62
        assert failure.retry_after_ms == min(round(seconds * 1000), failure.retry_after_ms)
