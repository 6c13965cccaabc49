from __future__ import annotations

import concurrent.futures
import copy
import inspect
import multiprocessing
import pickle
import traceback
from datetime import timedelta
from typing import Any

import pytest

import shapestore
from shapestore import errors
from shapestore.errors import (
    CorruptStoreError,
    CreateFailedError,
    ForkedStoreError,
    InvalidCreatorError,
    InvalidRowError,
    InvalidShapeError,
    InvalidSourceError,
    MigrationRequiredError,
    RetryLater,
    ShapeGoneError,
    ShapeStoreError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
    SupersededError,
    UnknownColumnError,
    UnknownTableError,
    WaitTimeoutError,
    fresh,
)

EXAMPLES: list[ShapeStoreError] = [
    ShapeStoreError("something"),
    InvalidShapeError("what and where"),
    InvalidRowError("what and where"),
    InvalidCreatorError("what and where"),
    InvalidSourceError("what and where"),
    UnknownTableError("what and where"),
    UnknownColumnError("what and where"),
    CreateFailedError("ValueError", "no such album", 1.5, "track where id = :id"),
    WaitTimeoutError("no answer within 1 s"),
    StoreBusyError("the queue is full", 0.1),
    StoreClosedError("closed"),
    ShapeGoneError("h1"),
    SupersededError("h1"),
    MigrationRequiredError("run this"),
    CorruptStoreError("no database"),
    ForkedStoreError("open your own"),
    StorageError("the disk is full"),
]


def error_classes() -> set[type[Exception]]:
    classes = {value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)}
    return {kind for kind in classes if kind.__module__ == errors.__name__}


def facts(error: Exception) -> tuple[type, str, dict[str, object]]:
    return type(error), str(error), vars(error)


def test_every_error_is_under_the_one_root_but_the_creators_own_word() -> None:
    assert {kind for kind in error_classes() if not issubclass(kind, ShapeStoreError)} == {RetryLater}
    assert {type(example) for example in EXAMPLES} == error_classes() - {RetryLater}


def test_every_error_is_exported_and_says_when_it_is_raised() -> None:
    for kind in error_classes():
        assert getattr(shapestore, kind.__name__) is kind
        assert kind.__name__ in shapestore.__all__
        assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (InvalidShapeError, ValueError),
        (InvalidRowError, ValueError),
        (InvalidCreatorError, TypeError),
        (InvalidSourceError, ValueError),
        (UnknownTableError, LookupError),
        (UnknownColumnError, LookupError),
        (WaitTimeoutError, TimeoutError),
        (ShapeGoneError, LookupError),
    ],
)
def test_where_python_has_a_word_for_it_the_error_is_that_too(kind: type, builtin: type) -> None:
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("error", [*EXAMPLES, RetryLater(30), RetryLater(0.5, "slow down")], ids=repr)
def test_an_error_survives_pickling_and_copying_with_its_facts(error: Exception) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert facts(pickle.loads(pickle.dumps(error, protocol))) == facts(error)
    assert facts(copy.copy(error)) == facts(error)
    assert facts(copy.deepcopy(error)) == facts(error)


def _ask_for_time() -> None:
    raise RetryLater(30, "slow down")


def test_a_creators_word_reaches_it_from_a_pool_of_processes() -> None:
    context = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(RetryLater, match="slow down") as caught,
    ):
        pool.submit(_ask_for_time).result()
    assert caught.value.seconds == 30


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_a_fresh_error_has_the_facts_and_the_cause_but_a_traceback_of_its_own(error: ShapeStoreError) -> None:
    cause = OSError("the reason")
    try:
        raise error from cause
    except ShapeStoreError:
        another = fresh(error)
    assert another is not error
    assert facts(another) == facts(error)
    assert another.__cause__ is cause
    assert another.__traceback__ is None
    lines = len(traceback.extract_tb(error.__traceback__))
    for _ in range(3):
        with pytest.raises(ShapeStoreError):
            raise fresh(error)
    assert len(traceback.extract_tb(error.__traceback__)) == lines


def test_a_creation_that_failed_without_a_message_is_called_by_its_class() -> None:
    assert str(CreateFailedError("KeyError", "", 1.0)) == "KeyError"
    assert str(CreateFailedError("KeyError", "'x'", 1.0)) == "KeyError: 'x'"
    assert str(CreateFailedError("KeyError", "", 1.0, "t")) == "KeyError (while creating t)"


@pytest.mark.parametrize("seconds", [-1, -0.001, float("inf"), float("nan"), "30", None, timedelta(seconds=30)])
def test_retry_later_takes_a_finite_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(ValueError, match="finite number of seconds"):
        RetryLater(seconds)
