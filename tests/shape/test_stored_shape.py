"""What callers are given for a stored shape, and for a change of one: plain values."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shapestore import Change, Shape, StoredShape
from shapestore.shape.stored_shape import newly_stored

STORED = newly_stored("h1", Shape("Track", where=" a = 1"), 3, 1_700_000_000_123)
CHANGE = Change(2**70, "update", (1, "a"), {"id": 1})


def test_a_shape_that_never_changed_is_at_the_position_of_its_last_row() -> None:
    assert (
        StoredShape(
            handle="h1",
            shape=Shape("Track", where="a = 1"),
            row_count=3,
            created_at=datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC),
            refreshed_at=datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC),
            position=3,
            live=False,
        )
        == STORED
    )
    assert STORED.etag == "h1-3"


def test_a_position_may_exceed_64_bits() -> None:
    stored = msgspec.structs.replace(STORED, position=2**40 << 28 | 7)
    assert stored.etag == f"h1-{2**68 + 7}"
    assert pickle.loads(pickle.dumps(stored)) == stored


def test_it_is_not_a_tuple_and_does_not_change() -> None:
    assert not isinstance(STORED, tuple)
    with pytest.raises(TypeError):
        iter(STORED)  # type: ignore[call-overload]
    for value in (STORED, CHANGE):
        with pytest.raises(AttributeError):
            value.position = 1  # type: ignore[misc]
        with pytest.raises(AttributeError):
            value.more = 1  # type: ignore[union-attr]


@pytest.mark.parametrize("field", ["handle", "shape", "row_count", "created_at", "refreshed_at", "position", "live"])
def test_two_that_differ_in_any_field_are_different(field: str) -> None:
    values = {"handle": "h2", "shape": Shape("t"), "row_count": 4, "position": 4, "live": True}
    other = msgspec.structs.replace(STORED, **{field: values.get(field, datetime(2026, 1, 1, tzinfo=UTC))})
    assert other != STORED
    assert len({other, STORED, copy.copy(STORED)}) == 2


@pytest.mark.parametrize("value", [STORED, CHANGE, Change(1, "delete", (None,), None)])
def test_it_survives_copying_and_pickling(value: Any) -> None:
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert other == value
        assert type(other) is type(value)
        assert repr(other) == repr(value)
    assert value.__class__.__module__.startswith("shapestore.shape.")


def test_the_where_as_written_goes_with_it() -> None:
    assert pickle.loads(pickle.dumps(STORED)).shape.where_as_written == " a = 1"
