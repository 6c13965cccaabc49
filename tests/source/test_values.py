"""What the values of drivers become in JSON, and what NaN becomes. Real servers: test_types.py."""

from __future__ import annotations

import datetime
import ipaddress
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from shapestore import InvalidRowError
from shapestore.source.values import Values, key_part

AMSTERDAM = datetime.timezone(datetime.timedelta(minutes=19, seconds=32))


def converted(value: Any, *, nan_as_null: bool = False, time_is_timedelta: bool = False) -> Any:
    values = Values(["a", "b"], nan_as_null=nan_as_null, time_is_timedelta=time_is_timedelta)
    first, second = values.convert(["as it is", value])
    assert first == "as it is"
    return second


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 1, 2**70, 1.5, "x", b"\0", UUID(int=1), datetime.date(2024, 1, 2)),
        *(Decimal("9.50"), Decimal("1E+400"), Decimal("-1E+400")),
    ],
)
def test_values_that_a_row_can_hold_stay_as_they_are(value: Any) -> None:
    assert converted(value) is value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            datetime.datetime(2024, 1, 2, tzinfo=AMSTERDAM),
            datetime.datetime(2024, 1, 1, 23, 40, 28, tzinfo=datetime.UTC),
        ),
        (datetime.datetime(1, 1, 1, tzinfo=AMSTERDAM), datetime.datetime(1, 1, 1, tzinfo=AMSTERDAM)),
        (datetime.datetime(2024, 1, 2), datetime.datetime(2024, 1, 2)),
        (datetime.timedelta(hours=1), datetime.timedelta(hours=1)),
        (ipaddress.ip_interface("10.0.0.1/8"), "10.0.0.1/8"),
        (ipaddress.ip_network("::/0"), "::/0"),
        ([Decimal("1.0"), [ipaddress.ip_address("::1")], None], [Decimal("1.0"), ["::1"], None]),
        ({"a": (1, ipaddress.ip_address("::1"))}, {"a": [1, "::1"]}),
        ({"b", "a"}, "a,b"),
    ],
)
def test_other_values_are_converted(value: Any, expected: Any) -> None:
    assert repr(converted(value)) == repr(expected)  # moments are equal whatever their time zone


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "00:00:00"), (1.5, "00:00:01.500000"), (3_020_399, "838:59:59"), (-1, "-00:00:01"), (-93_600, "-26:00:00")],
)
def test_the_time_of_mariadb_is_written_as_mariadb_writes_it(seconds: float, expected: str) -> None:
    assert converted(datetime.timedelta(seconds=seconds), time_is_timedelta=True) == expected


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")])
def test_what_is_not_finite_is_refused_and_said_how_to_be_had(value: Any) -> None:
    values = Values(["a", "b"], nan_as_null=False, time_is_timedelta=False)
    values.convert([1, 2.0])
    for row in ([0, value], [0, [value]], [0, {"x": value}]):
        with pytest.raises(InvalidRowError, match=r'row \d, column "b" is .*; SQLSource\(\.\.\., nan="null"\)'):
            values.convert(row)
    assert converted(value, nan_as_null=True) is None
    assert converted([1.5, value], nan_as_null=True) == [1.5, None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, 1),
        (7, 7),
        (1.0, 1.0),
        ("7", "7"),
        (b"7", b"7"),
        (memoryview(b"7"), b"7"),
        (Decimal("9.50"), "9.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), "2024-01-02T00:00:00Z"),
        ([1, "b"], '[1,"b"]'),
    ],
)
def test_a_part_of_a_key_is_a_number_text_or_bytes(value: Any, expected: Any) -> None:
    assert (key_part(value), type(key_part(value))) == (expected, type(expected))
