from __future__ import annotations

import random

from shapestore.creating.slots import Slots


class Asking:
    """One who asks for a place."""

    def __init__(self, slots: Slots) -> None:
        self.has_place = slots.ask(self.granted)

    def granted(self) -> None:
        assert not self.has_place
        self.has_place = True


def give_back(slots: Slots, one: Asking) -> None:
    if one.has_place:
        slots.give_back()
    else:
        slots.take_back(one.granted)


def test_places_are_taken_at_once_while_there_are_some() -> None:
    slots = Slots(2)
    assert [Asking(slots).has_place for _ in range(3)] == [True, True, False]


def test_a_place_given_back_goes_to_who_asked_first() -> None:
    slots = Slots(1)
    _, second, third = (Asking(slots) for _ in range(3))
    slots.give_back()
    assert (second.has_place, third.has_place) == (True, False)
    slots.give_back()
    assert third.has_place


def test_a_question_taken_back_is_passed_over() -> None:
    slots = Slots(1)
    _, second, third = (Asking(slots) for _ in range(3))
    slots.take_back(second.granted)
    slots.give_back()
    assert (second.has_place, third.has_place) == (False, True)


def test_who_asks_again_keeps_the_turn_and_is_granted_one_place() -> None:
    slots = Slots(1)
    first, second = Asking(slots), Asking(slots)
    third = Asking(slots)
    assert not slots.ask(second.granted)
    assert len(slots) == 2
    give_back(slots, first)
    assert (second.has_place, third.has_place) == (True, False)
    give_back(slots, second)
    give_back(slots, third)
    assert [Asking(slots).has_place for _ in range(2)] == [True, False]


def test_asking_and_giving_back_at_random_does_as_a_plain_list_does() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        count = chance.randint(1, 4)
        slots = Slots(count)
        in_order: list[Asking] = []  # the model: of those who have asked and not given back, the first so many hold one
        granted: set[Asking] = set()
        for _ in range(60):
            if in_order and chance.random() < 0.5:
                one = in_order.pop(chance.randrange(len(in_order)))
                granted.discard(one)
                give_back(slots, one)
            else:
                in_order.append(Asking(slots))
            for one in in_order:
                if len(granted) < count:
                    granted.add(one)
            assert {one for one in in_order if one.has_place} == granted
            assert len(slots) == len(in_order) - len(granted)
        for one in in_order:
            give_back(slots, one)
        assert [Asking(slots).has_place for _ in range(count + 1)] == [True] * count + [False]
