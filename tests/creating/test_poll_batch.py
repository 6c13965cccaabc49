"""Polls of one turn of the event loop: each is made, whatever becomes of the others."""

from __future__ import annotations

import pytest
from inspections import eventually

from shapestore import ShapeStore

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
