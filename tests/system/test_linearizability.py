"""The checker of histories is checked itself: by histories whose verdict is known, and against trying every order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations, product
from random import Random

import pytest
from linearizability import Call, Outcome, is_linearizable, unexplained

UNKNOWN = Outcome.UNKNOWN


def held(result: str | Outcome | None, position: int) -> tuple[str, int] | Outcome | None:
    return (result, position) if isinstance(result, str) else result


def create(invoked: int, returned: int, result: str | Outcome, at: int = 1, key: str = "key") -> Call:
    return Call(key, "get_or_create", invoked, returned, held(result, at))


def refresh(invoked: int, returned: int, result: str | Outcome, at: int = 1, key: str = "key") -> Call:
    return Call(key, "refresh", invoked, returned, held(result, at))


def get(invoked: int, returned: int, result: str | None, at: int = 1, key: str = "key") -> Call:
    return Call(key, "get", invoked, returned, held(result, at))


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
    "two keys have nothing to do with each other": [create(1, 2, "a", key="one"), create(3, 4, "b", key="two")],
    "a refresh moves the position": [create(1, 2, "a"), refresh(3, 4, "a", 2), get(5, 6, "a", 2)],
    "a refresh finds nothing new": [create(1, 2, "a"), refresh(3, 4, "a", 1), get(5, 6, "a", 1)],
    "a refresh makes what is missing": [refresh(1, 2, "a"), create(3, 4, "a")],
    "a look beside a refresh may miss it": [
        create(1, 2, "a"),
        refresh(3, 10, "a", 2),
        get(4, 5, "a"),
        get(6, 7, "a", 2),
    ],
    "two refreshes are one": [create(1, 2, "a"), refresh(3, 9, "a", 2), refresh(4, 8, "a", 2), get(10, 11, "a", 2)],
    "two refreshes at once, in the other order": [create(1, 2, "a"), refresh(3, 9, "a", 3), refresh(4, 8, "a", 2)],
    "a refresh beside a deletion makes a new one": [
        create(1, 2, "a"),
        refresh(3, 9, "b", 1),
        delete(4, 8, "a", True),
        get(10, 11, "b"),
    ],
    "a refresh of unknown outcome, done": [
        create(1, 2, "a"),
        refresh(3, 9, UNKNOWN),
        get(4, 5, "a"),
        get(6, 7, "a", 5),
    ],
    "a refresh of unknown outcome, not done": [create(1, 2, "a"), refresh(3, 9, UNKNOWN), get(10, 11, "a")],
    "a refresh of unknown outcome, and one after it": [
        create(1, 2, "a"),
        refresh(3, 4, UNKNOWN),
        refresh(5, 6, "a", 2),
        get(7, 8, "a", 2),
    ],
    "a refresh of unknown outcome made one": [refresh(1, 9, UNKNOWN), get(2, 3, None), create(4, 5, "a", 7)],
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
    "a lost refresh": [create(1, 2, "a"), refresh(3, 4, "a", 2), get(5, 6, "a", 1)],
    "a position going backwards": [create(1, 2, "a", 2), refresh(3, 4, "a", 1)],
    "a position that moved without a refresh": [create(1, 2, "a"), get(3, 4, "a", 2)],
    "a refresh seen, then not": [create(1, 2, "a"), refresh(3, 10, "a", 2), get(4, 5, "a", 2), get(6, 7, "a")],
    "a refresh seen before it was asked for": [create(1, 2, "a"), get(3, 4, "a", 2), refresh(5, 6, "a", 2)],
    "a refresh as of before its call": [create(1, 2, "a"), refresh(3, 4, "a", 3), refresh(5, 6, "a", 2)],
    "a refresh that gives another handle": [create(1, 2, "a"), refresh(3, 4, "b", 2)],
    "a refresh that uses a handle again": [create(1, 2, "a"), delete(3, 4, "a", True), refresh(5, 6, "a", 2)],
    "a refresh brings back what was deleted": [
        create(1, 2, "a"),
        refresh(3, 10, "a", 2),
        delete(4, 5, "a", True),
        get(11, 12, "a", 2),
    ],
    "an unknown refresh seen, then not": [create(1, 2, "a"), refresh(3, 9, UNKNOWN), get(4, 5, "a", 2), get(6, 7, "a")],
    "an unknown refresh after its time": [create(1, 2, "a"), refresh(3, 4, UNKNOWN), get(5, 6, "a"), get(7, 8, "a", 2)],
    "one unknown refresh, two positions": [
        create(1, 2, "a"),
        refresh(3, 9, UNKNOWN),
        get(4, 5, "a", 2),
        get(6, 7, "a", 3),
    ],
    "one good key and a bad one": [
        create(1, 2, "a", key="one"),
        create(1, 2, "b", key="two"),
        get(3, 4, None, key="two"),
    ],
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


POSITIONS = (1, 2, 3)
State = tuple[tuple[str, int] | None, frozenset[str]]


def results_are_right(order: tuple[Call, ...]) -> bool:
    """What an unknown call makes is some handle or position: any of those that are spoken of, or another."""
    states: set[State] = {(None, frozenset())}
    for call in order:
        states = {after for held, gone in states for after in states_after(held, gone, call)}
    return bool(states)


def states_after(held: tuple[str, int] | None, gone: frozenset[str], call: Call) -> Iterator[State]:
    if call.kind == "get":
        if call.result == held:
            yield held, gone
    elif call.kind == "delete":
        is_held = held is not None and held[0] == call.handle
        if call.result in (is_held, UNKNOWN):
            yield (None, gone | {held[0]}) if held and is_held else (held, gone)
    else:
        for then in held_after(held, gone, call.kind == "refresh"):
            if call.result in (then, UNKNOWN):
                yield then, gone


def held_after(held: tuple[str, int] | None, gone: frozenset[str], is_refresh: bool) -> list[tuple[str, int]]:
    """All that may be held after a call that makes what is missing."""
    if held is None:
        return list(product({"a", "b", "another"} - gone, (*POSITIONS, POSITIONS[-1] + 1)))
    return [(held[0], position) for position in range(held[1], POSITIONS[-1] + 2)] if is_refresh else [held]


def random_history(random: Random) -> list[Call]:
    history = []
    for _ in range(random.randint(1, 6)):
        invoked = random.randint(0, 12)
        returned = invoked + random.randint(0, 6)
        handle, at = random.choice("ab"), random.choice(POSITIONS)
        unknown = random.random() < 0.3
        history.append(
            random.choice(
                [
                    create(invoked, returned, UNKNOWN if unknown else handle, at),
                    refresh(invoked, returned, UNKNOWN if unknown else handle, at),
                    get(invoked, returned, random.choice([handle, None]), at),
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
    handles = position = 0
    for moment in range(0, 20 * calls, 20):
        invoked, returned = moment - random.randint(0, 100), moment + random.randint(0, 100)
        chance = random.random()
        if held and chance < 0.2:
            history.append(delete(invoked, returned, held, True))
            held = None
        elif held and chance < 0.4:
            position += random.randint(0, 1)
            history.append(refresh(invoked, returned, held, position))
        elif held or chance < 0.5:
            handles += held is None
            held = held or f"h{handles}"
            history.append(create(invoked, returned, held, position))
        else:
            history.append(get(invoked, returned, None))
    return history


def test_a_long_history_with_ten_calls_at_once_is_judged_quickly() -> None:
    history = long_history(2000)
    assert is_linearizable(history)
    assert not is_linearizable([*history, get(50_000, 50_001, "h1")])
    killed = [kind(call.invoked, call.returned, UNKNOWN) for call in history[::20] for kind in (create, refresh)]
    assert is_linearizable(history + killed)
