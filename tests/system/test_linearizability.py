"""The checker of histories is checked itself: by histories whose verdict is known, and against trying every order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations
from random import Random

import pytest
from linearizability import Call, Outcome, is_linearizable, unexplained

UNKNOWN = Outcome.UNKNOWN


def create(invoked: int, returned: int, result: str | Outcome, key: str = "key") -> Call:
    return Call(key, "get_or_create", invoked, returned, result)


def get(invoked: int, returned: int, result: str | None, key: str = "key") -> Call:
    return Call(key, "get", invoked, returned, result)


def delete(invoked: int, returned: int, handle: str, result: bool | Outcome, key: str = "key") -> Call:
    return Call(key, "delete", invoked, returned, result, handle)


GOOD = {
    "nothing happened": [],
    "one creation, and those who find it": [create(1, 2, "a"), create(3, 4, "a"), get(5, 6, "a")],
    "a herd": [create(n, 100 - n, "a") for n in range(50)],
    "looks before and after": [get(1, 2, None), create(3, 4, "a"), get(5, 6, "a")],
    "a look beside a creation may see it": [create(1, 10, "a"), get(2, 3, "a")],
    "a look beside a creation may miss it": [create(1, 10, "a"), get(2, 3, None)],
    "two looks beside a creation, in order": [create(1, 10, "a"), get(2, 3, None), get(4, 5, "a")],
    "deleted and created anew": [create(1, 2, "a"), delete(3, 4, "a", True), get(5, 6, None), create(7, 8, "b")],
    "deleted twice, the second time in vain": [create(1, 2, "a"), delete(3, 4, "a", True), delete(5, 6, "a", False)],
    "two delete it at once, one of them does": [create(1, 2, "a"), delete(3, 9, "a", False), delete(4, 8, "a", True)],
    "one is given what another deletes": [create(1, 2, "a"), delete(3, 9, "a", True), create(4, 8, "a")],
    "one makes a new one beside the deletion": [create(1, 2, "a"), delete(3, 9, "a", True), create(4, 8, "b")],
    "deleted beside its own creation": [create(1, 9, "a"), delete(2, 8, "a", True), create(10, 11, "b")],
    "a creation of unknown outcome, made": [create(1, 9, UNKNOWN), create(2, 3, "a"), create(10, 11, "a")],
    "a creation of unknown outcome, found later": [create(1, 2, UNKNOWN), get(1, 2, None), create(3, 4, "a")],
    "one killed after it created, seen by a look": [create(1, 9, UNKNOWN), get(2, 3, None), get(4, 5, "a")],
    "a deletion of unknown outcome, done": [create(1, 2, "a"), delete(3, 9, "a", UNKNOWN), create(4, 5, "b")],
    "a deletion of unknown outcome, not done": [create(1, 2, "a"), delete(3, 9, "a", UNKNOWN), create(10, 11, "a")],
    "a deletion of unknown outcome, before one in vain": [
        create(1, 2, "a"),
        delete(3, 4, "a", UNKNOWN),
        create(5, 20, "b"),
        delete(10, 11, "x", False),
    ],
    "two keys have nothing to do with each other": [create(1, 2, "a", "one"), create(3, 4, "b", "two")],
    "the unknown made one, and it was deleted": [
        create(1, 9, UNKNOWN),
        get(2, 3, "a"),
        delete(4, 5, "a", True),
        create(6, 7, "b"),
    ],
}

BAD = {
    "two handles, one after the other": [create(1, 2, "a"), create(3, 4, "b")],
    "two handles at once": [create(1, 4, "a"), create(2, 3, "b")],
    "lost": [create(1, 2, "a"), get(3, 4, None)],
    "seen before it was asked for": [get(1, 2, "a"), create(3, 4, "a")],
    "seen, then not": [create(1, 10, "a"), get(2, 3, "a"), get(4, 5, None)],
    "a handle used again": [create(1, 2, "a"), delete(3, 4, "a", True), create(5, 6, "a")],
    "given after it was deleted": [create(1, 9, "a"), delete(2, 3, "a", True), create(4, 5, "b"), get(6, 7, "a")],
    "deleted twice": [create(1, 2, "a"), delete(3, 9, "a", True), delete(4, 8, "a", True)],
    "deleted before it was there": [delete(1, 2, "a", True), create(3, 4, "a")],
    "not deleted, though it was there": [create(1, 2, "a"), delete(3, 4, "a", False)],
    "still there after the deletion": [create(1, 2, "a"), delete(3, 4, "a", True), get(5, 6, "a")],
    "made by nobody": [get(1, 2, "a")],
    "made by one who was dead by then": [create(1, 2, UNKNOWN), get(3, 4, None), get(5, 6, "a")],
    "one unknown creation, two handles": [create(1, 9, UNKNOWN), get(2, 3, "a"), get(4, 5, "b")],
    "an unknown deletion after its time": [
        create(1, 2, "a"),
        delete(3, 4, "a", UNKNOWN),
        get(5, 6, "a"),
        get(7, 8, None),
    ],
    "one good key and a bad one": [create(1, 2, "a", "one"), create(1, 2, "b", "two"), get(3, 4, None, "two")],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_some_order_explains_is_linearizable(name: str) -> None:
    assert is_linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_no_order_explains_is_not(name: str) -> None:
    assert not is_linearizable(BAD[name])


def test_the_keys_that_are_to_blame_are_named() -> None:
    assert unexplained(BAD["one good key and a bad one"]) == ["two"]


def explained_by_some_order(calls: list[Call]) -> bool:
    """The definition itself, for a few calls: any of unknown outcome may be left out, all others are in some order."""
    known = [call for call in calls if call.result is not UNKNOWN]
    unknown = [call for call in calls if call.result is UNKNOWN]
    return any(
        respects_time(order) and results_are_right(order)
        for how_many in range(len(unknown) + 1)
        for some in combinations(unknown, how_many)
        for order in permutations([*known, *some])
    )


def respects_time(order: tuple[Call, ...]) -> bool:
    return not any(later.returned < call.invoked for place, call in enumerate(order) for later in order[place + 1 :])


def results_are_right(order: tuple[Call, ...]) -> bool:
    """What an unknown creation makes is some handle: any of those that are spoken of, or another."""
    states: set[tuple[str | None, frozenset[str]]] = {(None, frozenset())}
    for call in order:
        states = {after for held, gone in states for after in states_after(held, gone, call)}
    return bool(states)


def states_after(held: str | None, gone: frozenset[str], call: Call) -> Iterator[tuple[str | None, frozenset[str]]]:
    if call.kind == "get":
        if call.result == held:
            yield held, gone
    elif call.kind == "get_or_create":
        for handle in [held] if held else {"a", "b", "another"} - gone:
            if call.result in (handle, UNKNOWN):
                yield handle, gone
    elif call.result in (held == call.handle, UNKNOWN):
        yield (None, gone | {held}) if held and held == call.handle else (held, gone)


def random_history(random: Random) -> list[Call]:
    history = []
    for _ in range(random.randint(1, 6)):
        invoked = random.randint(0, 12)
        returned = invoked + random.randint(0, 6)
        handle = random.choice("ab")
        unknown = random.random() < 0.3
        history.append(
            random.choice(
                [
                    create(invoked, returned, UNKNOWN if unknown else handle),
                    get(invoked, returned, random.choice([handle, None])),
                    delete(invoked, returned, handle, UNKNOWN if unknown else random.random() < 0.7),
                ]
            )
        )
    return history


def test_the_search_says_what_trying_every_order_says() -> None:
    random = Random(4585)
    verdicts = []
    for _ in range(1500):
        history = random_history(random)
        verdicts.append(is_linearizable(history))
        assert verdicts[-1] == explained_by_some_order(history), history
    assert 100 < verdicts.count(True) < 1400


def long_history(calls: int) -> list[Call]:
    """One that is linearizable: each call takes its effect at a moment of its own, and lasts a while around that."""
    random = Random(1)
    history: list[Call] = []
    held = None
    handles = 0
    for moment in range(0, 20 * calls, 20):
        invoked, returned = moment - random.randint(0, 100), moment + random.randint(0, 100)
        if held and random.random() < 0.2:
            history.append(delete(invoked, returned, held, True))
            held = None
        elif held or random.random() < 0.5:
            handles += held is None
            held = held or f"h{handles}"
            history.append(create(invoked, returned, held))
        else:
            history.append(get(invoked, returned, None))
    return history


def test_a_long_history_with_ten_calls_at_once_is_judged_quickly() -> None:
    history = long_history(2000)
    assert is_linearizable(history)
    assert not is_linearizable([*history, get(50_000, 50_001, "h1")])
    killed = [create(call.invoked, call.returned, UNKNOWN) for call in history[::20]]
    assert is_linearizable(history + killed)
