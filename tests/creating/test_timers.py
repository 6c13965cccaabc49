from __future__ import annotations

import random

import pytest
from skipping_loop import SkippingLoop, in_skipping_loop

from shapestore.creating.timers import Timer, Timers


@in_skipping_loop
async def test_each_is_called_at_its_time_and_once(loop: SkippingLoop) -> None:
    timers, called = Timers(), list[str]()
    for name, seconds in (("c", 300), ("a", 100), ("b", 200)):
        timers.after(seconds, called.append, name)
    await loop.skip(99)
    assert called == []
    await loop.skip(102)
    assert called == ["a", "b"]
    await loop.skip(1_000)
    assert called == ["a", "b", "c"]
    assert len(timers) == 0


@in_skipping_loop
async def test_a_moment_in_the_past_is_due_at_once_though_never_within_the_call(loop: SkippingLoop) -> None:
    timers, called = Timers(), list[str]()
    timers.after(-1, called.append, "a")
    assert called == []
    await loop.skip(0)
    assert called == ["a"]


@in_skipping_loop
async def test_a_callback_may_set_and_cancel_others(loop: SkippingLoop) -> None:
    timers, called = Timers(), list[str]()

    def first() -> None:
        called.append("first")
        timers.cancel(second)
        timers.after(50, called.append, "third")

    timers.after(100, first)
    second = timers.after(101, called.append, "second")
    await loop.skip(120)
    assert called == ["first"]
    await loop.skip(60)
    assert called == ["first", "third"]


@in_skipping_loop
async def test_cancelling_one_that_was_called_or_cancelled_does_nothing(loop: SkippingLoop) -> None:
    timers, called = Timers(), list[str]()
    past = timers.after(1, called.append, "past")
    cancelled = timers.after(2, called.append, "cancelled")
    await loop.skip(1.5)
    for _ in range(3):
        timers.cancel(past)
        timers.cancel(cancelled)
    assert len(timers) == 0
    timers.after(1, called.append, "next")
    assert len(timers) == 1
    await loop.skip(2)
    assert called == ["past", "next"]


@in_skipping_loop
async def test_none_is_called_after_the_closing(loop: SkippingLoop) -> None:
    timers, called = Timers(), list[str]()
    timers.cancel(timers.after(1, called.append, "a"))
    timers.after(1, called.append, "b")
    timers.close()
    assert len(timers) == 0
    await loop.skip(2)
    assert called == []


@in_skipping_loop
async def test_one_that_raises_what_ends_the_program_does_not_hold_up_the_others(loop: SkippingLoop) -> None:
    timers, called = Timers(), list[str]()

    def exit_program() -> None:
        raise SystemExit

    timers.after(1, exit_program)
    timers.after(1, called.append, "later")
    loop._now += 2
    with pytest.raises(SystemExit):
        timers._ring()
    await loop.skip(0)
    assert called == ["later"]


@in_skipping_loop
async def test_random_use_does_as_a_plain_list_does(loop: SkippingLoop) -> None:
    chance = random.Random(7)
    timers, called = Timers(), list[int]()
    expected: list[int] = []
    waiting: dict[int, tuple[float, Timer]] = {}
    for number in range(20_000):
        act = chance.random()
        if act < 0.55:
            seconds = chance.randint(1, 1_000)
            timer = timers.after(seconds, called.append, number)
            waiting[number] = loop.time() + seconds, timer
        elif act < 0.995 and waiting:
            # Mostly the latest, as of callers who are answered at once; so many cancelled ones are cleared away too.
            chosen = next(reversed(waiting)) if chance.random() < 0.9 else chance.choice(list(waiting)[:50])
            timers.cancel(waiting.pop(chosen)[1])
        else:
            await loop.skip(chance.randint(1, 20))
            due = [key for _, key in sorted((when, key) for key, (when, _) in waiting.items() if when <= loop.time())]
            expected += due
            for key in due:
                del waiting[key]
            assert called == expected
        assert len(timers) == len(waiting)
    await loop.skip(5_000)
    assert called == expected + [key for _, key in sorted((when, key) for key, (when, _) in waiting.items())]
    assert len(timers) == 0


@in_skipping_loop
async def test_one_that_is_called_now_is_called_once(loop: SkippingLoop) -> None:
    timers, called = Timers(), list[str]()
    timer = timers.after(100, called.append, "a")
    timers.call_now(timer)
    assert (called, len(timers)) == (["a"], 0)
    timers.call_now(timer)
    await loop.skip(200)
    assert called == ["a"]
