from __future__ import annotations

import asyncio
import random

from shapestore.slots import Slots

Place = asyncio.Future[None]


async def test_places_are_granted_at_once_while_there_are_some() -> None:
    slots = Slots(2)
    assert [slots.ask().done() for _ in range(3)] == [True, True, False]


async def test_a_place_given_back_goes_to_who_asked_first() -> None:
    slots = Slots(1)
    first, second, third = slots.ask(), slots.ask(), slots.ask()
    slots.give_back(first)
    assert (second.done(), third.done()) == (True, False)
    slots.give_back(second)
    assert third.done()


async def test_a_question_taken_back_is_passed_over() -> None:
    slots = Slots(1)
    first, second, third = slots.ask(), slots.ask(), slots.ask()
    slots.give_back(second)
    slots.give_back(first)
    assert (second.done(), third.done()) == (False, True)


async def test_asking_and_giving_back_at_random_does_as_a_plain_list_does() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        count = chance.randint(1, 4)
        slots = Slots(count)
        in_order: list[Place] = []  # the model: of those who have asked and not given back, the first so many hold one
        granted: set[Place] = set()
        for _ in range(60):
            if in_order and chance.random() < 0.5:
                place = in_order.pop(chance.randrange(len(in_order)))
                granted.discard(place)
                slots.give_back(place)
            else:
                in_order.append(slots.ask())
            for place in in_order:
                if len(granted) < count:
                    granted.add(place)
            assert {place for place in in_order if place.done()} == granted
        for place in in_order:
            slots.give_back(place)
        assert [slots.ask().done() for _ in range(count + 1)] == [True] * count + [False]
