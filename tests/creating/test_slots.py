from __future__ import annotations

import random

from shapestore.creating.slots import Slots


class Request:
    """A request for a slot."""

    def __init__(self, slots: Slots) -> None:
        self.has_slot = slots.take(self.granted)

    def granted(self) -> None:
        assert not self.has_slot
        self.has_slot = True


def give_up(slots: Slots, request: Request) -> None:
    if request.has_slot:
        slots.release()
    else:
        slots.withdraw(request.granted)


def test_slots_are_taken_at_once_while_there_are_some() -> None:
    slots = Slots(2)
    assert [Request(slots).has_slot for _ in range(3)] == [True, True, False]


def test_a_released_slot_goes_to_the_earliest_request() -> None:
    slots = Slots(1)
    _, second, third = (Request(slots) for _ in range(3))
    slots.release()
    assert (second.has_slot, third.has_slot) == (True, False)
    slots.release()
    assert third.has_slot


def test_a_withdrawn_request_is_passed_over() -> None:
    slots = Slots(1)
    _, second, third = (Request(slots) for _ in range(3))
    slots.withdraw(second.granted)
    slots.release()
    assert (second.has_slot, third.has_slot) == (False, True)


def test_a_repeated_request_keeps_its_turn_and_is_granted_one_slot() -> None:
    slots = Slots(1)
    first, second = Request(slots), Request(slots)
    third = Request(slots)
    assert not slots.take(second.granted)
    assert len(slots) == 2
    give_up(slots, first)
    assert (second.has_slot, third.has_slot) == (True, False)
    give_up(slots, second)
    give_up(slots, third)
    assert [Request(slots).has_slot for _ in range(2)] == [True, False]


def test_random_requests_and_releases_do_as_a_plain_list_does() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        count = chance.randint(1, 4)
        slots = Slots(count)
        in_order: list[Request] = []  # the model: of the requests not given up, the first `count` hold a slot
        granted: set[Request] = set()
        for _ in range(60):
            if in_order and chance.random() < 0.5:
                request = in_order.pop(chance.randrange(len(in_order)))
                granted.discard(request)
                give_up(slots, request)
            else:
                in_order.append(Request(slots))
            for request in in_order:
                if len(granted) < count:
                    granted.add(request)
            assert {request for request in in_order if request.has_slot} == granted
            assert len(slots) == len(in_order) - len(granted)
        for request in in_order:
            give_up(slots, request)
        assert [Request(slots).has_slot for _ in range(count + 1)] == [True] * count + [False]
