"""Polls of one turn of the event loop: each is made, whatever becomes of the others. Some are repeated."""

from __future__ import annotations

from functools import partial

import pytest
from inspections import eventually

from shapestore import ShapeStore
from shapestore.creating import poll_batch

pytestmark = pytest.mark.usefixtures("untroubled")


async def test_polls_that_an_interruption_has_left_are_made_in_the_next_turn(empty_path: str) -> None:
    """As by a person who interrupts a notebook, whose loop goes on: the callers of the other keys wait for them."""
    made: list[int] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    async with ShapeStore(empty_path) as store:
        polls = store._live().coalescer.services.polls
        for poll in (interrupted, lambda: made.append(1), lambda: made.append(2)):
            polls.add(poll)
        with pytest.raises(KeyboardInterrupt):
            polls._poll_all()
        await eventually(lambda: made == [1, 2])


async def test_polls_are_repeated_in_turns_until_they_are_withdrawn(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_batch, "_PAUSE", 0.001)
    monkeypatch.setattr(poll_batch, "_AT_A_TIME", 2)
    made: list[str] = []
    repeated = {name: partial(made.append, name) for name in "abc"}
    async with ShapeStore(empty_path) as store:
        polls = store._live().coalescer.services.polls
        for poll in (*repeated.values(), repeated["a"]):  # once more: it keeps its turn
            polls.repeat(poll)
        await eventually(lambda: len(made) >= 9)
        assert made[:9] == list("abcabcabc")
        polls.withdraw(repeated["b"])
        made.clear()
        await eventually(lambda: len(made) >= 8)
        assert sorted(made[2:6]) == list("aacc")
        for poll in repeated.values():
            polls.withdraw(poll)
        assert polls._timer is not None
        await eventually(lambda: polls._timer is None)
        made.clear()
        polls.repeat(repeated["c"])
        await eventually(lambda: len(made) >= 2)
        assert set(made) == {"c"}
        polls.withdraw(repeated["c"])
