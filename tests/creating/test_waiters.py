from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from skipping_loop import SkippingLoop, in_skipping_loop

from shapestore import Shape
from shapestore.creating.timers import Timers
from shapestore.creating.waiters import Answer, Waiters
from shapestore.errors import StorageError, WaitTimeoutError
from shapestore.shape.stored_shape import newly_stored

ANSWER = Answer(newly_stored("h1", Shape("albums"), 3, 0), "the attempt")


class Flight:
    """What waiters need of a flight: it makes the error of a time-out, and is called when the last caller has gone."""

    def __init__(self) -> None:
        self.deserted = 0
        self.timers = Timers()
        self.waiters = Waiters(self.timers, self.timed_out, self.all_gone)

    def timed_out(self, timeout: float) -> WaitTimeoutError:
        return WaitTimeoutError(f"no answer within {timeout:g} s")

    def all_gone(self) -> None:
        self.deserted += 1


@in_skipping_loop
async def test_all_are_given_the_same_shape(loop: SkippingLoop) -> None:
    flight = Flight()
    waiting = [flight.waiters.add(30) for _ in range(3)]
    assert len(flight.waiters) == 3
    flight.waiters.answer(ANSWER)
    assert len(flight.waiters) == 0
    answers = await asyncio.gather(*waiting)
    assert all(answer is ANSWER for answer in answers)


@in_skipping_loop
async def test_each_is_given_an_error_of_its_own(loop: SkippingLoop) -> None:
    flight = Flight()
    waiting = [flight.waiters.add(30) for _ in range(3)]
    error = StorageError("the disk is full")
    error.__cause__ = OSError("no space left")
    flight.waiters.refuse(error)
    given = await asyncio.gather(*waiting, return_exceptions=True)
    assert len({*map(id, given), id(error)}) == 4
    for one in given:
        assert isinstance(one, StorageError)
        assert (str(one), one.__cause__) == (str(error), error.__cause__)


@in_skipping_loop
async def test_each_waits_for_its_own_timeout_and_the_others_wait_on(loop: SkippingLoop) -> None:
    flight = Flight()
    late, early, middle = (flight.waiters.add(timeout) for timeout in (300, 100, 200))
    await loop.skip(99)
    assert len(flight.waiters) == 3
    await loop.skip(2)
    with pytest.raises(WaitTimeoutError, match="within 100 s"):
        early.result()
    assert (middle.done(), late.done(), len(flight.waiters), flight.deserted) == (False, False, 2, 0)
    await loop.skip(100)
    with pytest.raises(WaitTimeoutError, match="within 200 s"):
        middle.result()
    flight.waiters.answer(ANSWER)
    assert await late is ANSWER


@in_skipping_loop
async def test_a_later_caller_with_a_shorter_timeout_is_timed_out_first(loop: SkippingLoop) -> None:
    flight = Flight()
    patient = flight.waiters.add(1000)
    await loop.skip(10)
    hasty = flight.waiters.add(1)
    await loop.skip(2)
    assert (hasty.done(), patient.done()) == (True, False)


@in_skipping_loop
async def test_a_timeout_of_zero_is_up_at_once(loop: SkippingLoop) -> None:
    flight = Flight()
    waiter = flight.waiters.add(0)
    await loop.skip(0)
    assert isinstance(waiter.exception(), WaitTimeoutError)
    assert flight.deserted == 1


@in_skipping_loop
async def test_the_flight_is_called_when_the_last_has_gone_and_not_before(loop: SkippingLoop) -> None:
    flight = Flight()
    first, second, third = (flight.waiters.add(timeout) for timeout in (100, 200, 300))
    flight.waiters.remove(first)
    await loop.skip(201)
    assert second.done()
    assert flight.deserted == 0
    flight.waiters.remove(third)
    assert (flight.deserted, len(flight.waiters)) == (1, 0)


@in_skipping_loop
async def test_a_caller_who_has_gone_is_neither_answered_nor_timed_out(loop: SkippingLoop) -> None:
    flight = Flight()
    gone, stays = flight.waiters.add(100), flight.waiters.add(200)
    gone.cancel()
    flight.waiters.remove(gone)
    await loop.skip(101)
    flight.waiters.answer(ANSWER)
    assert gone.cancelled()
    assert await stays is ANSWER


@in_skipping_loop
async def test_a_caller_cancelled_at_this_very_moment_does_not_affect_the_others(loop: SkippingLoop) -> None:
    """Its future is cancelled, but its task has not run since."""
    flight = Flight()
    for error in (None, StorageError("full")):
        cancelled, stays = flight.waiters.add(100), flight.waiters.add(100)
        cancelled.cancel()
        if error is None:
            flight.waiters.answer(ANSWER)
        else:
            flight.waiters.refuse(error)
        assert stays.done()
        flight.waiters.remove(cancelled)
    cancelled = flight.waiters.add(100)
    cancelled.cancel()
    await loop.skip(101)
    assert len(flight.waiters) == 0


@in_skipping_loop
async def test_an_error_that_is_not_retrieved_is_not_reported(loop: SkippingLoop) -> None:
    flight = Flight()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    flight.waiters.add(100)
    flight.waiters.refuse(StorageError("full"))
    flight.waiters.add(100)
    await loop.skip(101)
    gc.collect()
    assert complaints == []


@in_skipping_loop
async def test_an_answer_without_waiters_does_nothing_and_new_ones_can_come(loop: SkippingLoop) -> None:
    flight = Flight()
    flight.waiters.answer(ANSWER)
    flight.waiters.refuse(StorageError("full"))
    waiter = flight.waiters.add(100)
    await loop.skip(101)
    assert isinstance(waiter.exception(), WaitTimeoutError)


@in_skipping_loop
async def test_nothing_is_kept_of_many_who_came_and_went(loop: SkippingLoop) -> None:
    flight = Flight()
    stays = flight.waiters.add(10_000)
    for _ in range(5_000):
        flight.waiters.remove(flight.waiters.add(10_000))
    assert sum(isinstance(kept, asyncio.Future) for kept in gc.get_objects()) < 500
    assert len(flight.timers) == 1
    await loop.skip(10_001)
    assert isinstance(stays.exception(), WaitTimeoutError)


@in_skipping_loop
async def test_many_are_timed_out_each_at_its_own_time(loop: SkippingLoop) -> None:
    flight = Flight()
    waiting = [(100 + number % 7, flight.waiters.add(100 + number % 7)) for number in range(1_000)]
    await loop.skip(99.5)
    for passed in range(100, 107):
        await loop.skip(1)
        assert {timeout for timeout, waiter in waiting if waiter.done()} == set(range(100, passed + 1))
    assert flight.deserted == 1


@in_skipping_loop
async def test_all_callers_of_a_flight_share_a_timer(loop: SkippingLoop) -> None:
    flight = Flight()
    waiting = [flight.waiters.add(200 - number) for number in range(100)]
    assert len(flight.timers) == 1
    flight.waiters.remove(waiting.pop())  # whose time would have been up first
    await loop.skip(101)
    assert not any(waiter.done() for waiter in waiting)
    await loop.skip(2)
    assert [waiter.done() for waiter in waiting] == [False] * 97 + [True] * 2
    flight.waiters.answer(ANSWER)
    assert len(flight.timers) == 0
