"""An age holds for all processes: one of them refreshes, in the background, and no caller of any waits for it."""

from __future__ import annotations

import time

import pytest
from processes import Workers, together

CALLERS = 100


@pytest.mark.parametrize(
    ("max_age", "seconds"), [(0.5, 1.2), pytest.param(1.0, 8.0, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_processes_full_of_callers_refresh_once_an_age_and_nobody_waits(
    path: str, workers: Workers, max_age: float, seconds: float
) -> None:
    both = workers.open(path, 2, max_age=max_age, stale_while_revalidate=3600.0)
    began = time.monotonic()
    both[0].call("get_or_create", key="Track", seconds=0)
    while sum(worker.creations for worker in both) < 3:  # until it was refreshed, and again
        answers = together(both, "ask_for", key="Track", callers=CALLERS, seconds=seconds, creating=0.1)
        assert all(answer["calls"] >= CALLERS for answer in answers)
        assert [answer["followers"] for answer in answers] == [0, 0], "no caller has joined a flight"
    assert sum(worker.creations for worker in both) <= 1 + (time.monotonic() - began) / max_age
