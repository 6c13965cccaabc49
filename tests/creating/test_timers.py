from __future__ import annotations

import random

from skipping_loop import SkippingLoop, in_skipping_loop

from shapestore.creating.timers import Timer, Timers


@in_skipping_loop
async def test_each_is_told_at_its_time_and_once(loop: SkippingLoop) -> None:
    deadlines, told = Timers(), list[str]()
    now = loop.time()
    for name, seconds in (("c", 300), ("a", 100), ("b", 200)):
        deadlines.at(now + seconds, lambda name=name: told.append(name))  # type: ignore[misc]
    await loop.skip(99)
    assert told == []
    await loop.skip(102)
    assert told == ["a", "b"]
    await loop.skip(1_000)
    assert told == ["a", "b", "c"]
    assert len(deadlines) == 0


@in_skipping_loop
async def test_a_moment_that_is_past_is_told_at_once_though_never_from_within(loop: SkippingLoop) -> None:
    deadlines, told = Timers(), list[str]()
    deadlines.at(loop.time() - 1, lambda: told.append("a"))
    assert told == []
    await loop.skip(0)
    assert told == ["a"]


@in_skipping_loop
async def test_who_is_told_may_set_and_cancel_others(loop: SkippingLoop) -> None:
    deadlines, told = Timers(), list[str]()
    now = loop.time()

    def first() -> None:
        told.append("first")
        deadlines.cancel(second)
        deadlines.at(now + 150, lambda: told.append("third"))

    deadlines.at(now + 100, first)
    second = deadlines.at(now + 101, lambda: told.append("second"))
    await loop.skip(120)
    assert told == ["first"]
    await loop.skip(40)
    assert told == ["first", "third"]


@in_skipping_loop
async def test_cancelling_what_was_told_or_cancelled_does_no_harm(loop: SkippingLoop) -> None:
    deadlines, told = Timers(), list[str]()
    past = deadlines.at(loop.time() + 1, lambda: told.append("past"))
    cancelled = deadlines.at(loop.time() + 2, lambda: told.append("cancelled"))
    await loop.skip(1.5)
    for _ in range(3):
        deadlines.cancel(past)
        deadlines.cancel(cancelled)
    assert len(deadlines) == 0
    deadlines.at(loop.time() + 1, lambda: told.append("next"))
    assert len(deadlines) == 1
    await loop.skip(2)
    assert told == ["past", "next"]


@in_skipping_loop
async def test_nobody_is_told_after_the_closing(loop: SkippingLoop) -> None:
    deadlines, told = Timers(), list[str]()
    deadlines.at(loop.time() + 1, lambda: told.append("a"))
    deadlines.close()
    await loop.skip(2)
    assert told == []


@in_skipping_loop
async def test_setting_cancelling_and_waiting_at_random_does_as_a_plain_list_does(loop: SkippingLoop) -> None:
    chance = random.Random(7)
    deadlines, told = Timers(), list[int]()
    expected: list[int] = []
    waiting: dict[int, tuple[float, Timer]] = {}
    for number in range(20_000):
        act = chance.random()
        if act < 0.55:
            when = loop.time() + chance.randint(1, 1_000)
            waiting[number] = when, deadlines.at(when, lambda number=number: told.append(number))  # type: ignore[misc]
        elif act < 0.995 and waiting:
            # Mostly the latest, as callers who are answered at once do; so the many cancelled are cleared away too.
            chosen = next(reversed(waiting)) if chance.random() < 0.9 else chance.choice(list(waiting)[:50])
            deadlines.cancel(waiting.pop(chosen)[1])
        else:
            await loop.skip(chance.randint(1, 20))
            due = [key for _, key in sorted((when, key) for key, (when, _) in waiting.items() if when <= loop.time())]
            expected += due
            for key in due:
                del waiting[key]
            assert told == expected
        assert len(deadlines) == len(waiting)
    await loop.skip(5_000)
    assert told == expected + [key for _, key in sorted((when, key) for key, (when, _) in waiting.items())]
    assert len(deadlines) == 0


@in_skipping_loop
async def test_one_that_is_called_now_is_called_once(loop: SkippingLoop) -> None:
    deadlines, told = Timers(), list[str]()
    deadline = deadlines.at(loop.time() + 100, lambda: told.append("a"))
    deadlines.call_now(deadline)
    assert (told, len(deadlines)) == (["a"], 0)
    deadlines.call_now(deadline)
    await loop.skip(200)
    assert told == ["a"]
