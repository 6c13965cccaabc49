"""Whether a history of calls is linearizable: whether each call may have taken its effect at one moment of its own.

The way of Wing and Gong, with Lowe's memory of what was tried already (as Porcupine does it), for one model: a key
holds a handle with its position, or nothing, and

    get_or_create   gives what is held; or makes a handle that the key never held before, holds and gives it
    refresh         moves the position of the handle that is held forward, or leaves it, and gives both; if nothing is
                    held it does as get_or_create
    get             gives what is held, or None
    delete(handle)  gives True and leaves nothing, if that handle is held; else it gives False and changes nothing

Keys are independent of each other, so each is judged by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate
from operator import or_
from typing import Literal


class Outcome(Enum):
    UNKNOWN = "unknown"
    """The call failed, or its process was killed: it may have taken its effect, or may never."""


Held = tuple[str, int]
"""A handle and its position."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the history. Times are those of one monotonic clock, whatever its unit."""

    key: str
    kind: Literal["get_or_create", "refresh", "get", "delete"]
    invoked: int
    returned: int
    """When it returned; for an unknown outcome, until when it may still take its effect."""
    result: Held | bool | Outcome | None
    handle: str | None = None
    """What was to be deleted."""


# A handle that some call of unknown outcome has made, and that no known call was given yet.
_SOMETHING = "?"


@dataclass(frozen=True, slots=True)
class _Key:
    """What the model knows of a key."""

    held: str | None = None
    position: int = 0
    moved: bool = False
    """Whether calls of unknown outcome have moved the position, to one that is not known but greater."""
    gone: frozenset[str] = frozenset()
    """What it held before."""
    other_than: frozenset[str] = frozenset()
    """What the something that is held is known not to be."""

    def emptied(self) -> _Key:
        assert self.held is not None
        return _Key(gone=self.gone | {self.held})

    def made(self, handle: str, position: int) -> _Key:
        return _Key(handle, position, gone=self.gone)

    def named(self, handle: str) -> _Key | None:
        """This state, if ``handle`` is, or may be, what is held."""
        if self.held == handle:
            return self
        if self.held == _SOMETHING and handle not in self.gone | self.other_than:
            return _Key(handle, self.position, self.moved, self.gone)
        return None

    def seen(self, held: Held) -> _Key | None:
        """This state, if this is, or may be, what is held."""
        key, position = self.named(held[0]), held[1]
        if key is None or (position <= key.position if key.moved else position != key.position):
            return None
        return key.made(*held)

    def refreshed(self, held: Held) -> _Key | None:
        """The state after a refresh, if it may have ended with this."""
        key, position = self.named(held[0]), held[1]
        if key is None or position < key.position + key.moved:
            return None
        return key.made(*held)


# Less than any position of a shape: something of which only this is known may be at any.
_BEFORE_ALL = -1


def _after(key: _Key, call: Call) -> Iterator[_Key]:
    """The states in which ``call`` may leave a key, if it takes its effect now: none, if it cannot."""
    match call.kind, call.result:
        case "get_or_create" | "refresh", (handle, position) if key.held is None:
            if handle not in key.gone:
                yield key.made(handle, position)
        case "get_or_create" | "refresh", Outcome.UNKNOWN if key.held is None:
            yield replace(key.made(_SOMETHING, _BEFORE_ALL), moved=True)
        case "refresh", Outcome.UNKNOWN:
            yield replace(key, moved=True)
        case "get_or_create", Outcome.UNKNOWN:
            pass
        case "refresh", (handle, position):
            if found := key.refreshed((handle, position)):
                yield found
        case "get_or_create" | "get", (handle, position):
            if found := key.seen((handle, position)):
                yield found
        case "get", None:
            if key.held is None:
                yield key
        case "delete", True | Outcome.UNKNOWN:
            assert call.handle is not None
            if found := key.named(call.handle):
                yield found.emptied()
        case "delete", False:
            assert call.handle is not None
            if key.held == _SOMETHING:
                yield replace(key, other_than=key.other_than | {call.handle})
            elif key.held != call.handle:
                yield key
        case _:
            raise AssertionError(f"no such call: {call}")


def is_linearizable(history: Iterable[Call]) -> bool:
    return not unexplained(history)


def unexplained(history: Iterable[Call]) -> list[str]:
    """The keys whose calls have no order that explains their results."""
    by_key: defaultdict[str, list[Call]] = defaultdict(list)
    for call in history:
        if not (call.kind == "get" and call.result is Outcome.UNKNOWN):
            by_key[call.key].append(call)
    return [key for key, calls in by_key.items() if not _has_an_order(calls)]


def _has_an_order(calls: list[Call]) -> bool:
    """Search, depth first, for an order of the calls of one key."""
    search = _Search(calls)
    to_try = [(0, _Key())]
    seen = set(to_try)
    while to_try:
        done, key = to_try.pop()
        if search.is_complete(done):
            return True
        for step in search.steps(done, key):
            if step not in seen:
                seen.add(step)
                to_try.append(step)
    return False


class _Search:
    """The calls of one key, numbered by the time of their invocation; a set of them is the bits of an int.

    A call may be next if none that is still to come returned before it was invoked. One of unknown outcome may be left
    out; it counts as done as soon as its time is over, so that it makes no difference any more whether it was.
    """

    def __init__(self, calls: list[Call]) -> None:
        self._calls = sorted(calls, key=lambda call: call.invoked)
        self._needed = sum(1 << n for n, call in enumerate(self._calls) if call.result is not Outcome.UNKNOWN)
        unknown = sorted((call.returned, n) for n, call in enumerate(self._calls) if call.result is Outcome.UNKNOWN)
        self._times = [time for time, _ in unknown]
        self._over = list(accumulate((1 << n for _, n in unknown), or_, initial=0))
        """By how many unknown calls' times are over: which these are."""

    def is_complete(self, done: int) -> bool:
        return done & self._needed == self._needed

    def steps(self, done: int, key: _Key) -> list[tuple[int, _Key]]:
        """Where the search may go on; what is last is to be tried first.

        A call that changes nothing, and lets nobody's time run out, may as well be next as later, so that nothing else
        need be tried. Of several that would hold the same, the first may stand for all: the others then find it.
        Calls of unknown outcome come in only where the others do not explain everything.
        """
        steps = []
        made: set[_Key] = set()
        for number in self._may_be_next(done):
            call, is_needed = self._calls[number], bool(self._needed >> number & 1)
            for after in _after(key, call):
                done_then = self._with_those_over(done | 1 << number)
                if after == key and done_then == done | 1 << number:
                    return [(done_then, after)]
                if call.kind != "delete" and is_needed:
                    if after in made:
                        continue
                    made.add(after)
                steps.append((is_needed, (done_then, after)))
        return [step for _, step in sorted(steps, key=lambda entry: entry[0])]

    def _may_be_next(self, done: int) -> Iterator[int]:
        number = (~done & (done + 1)).bit_length() - 1  # the first that is not done
        first_return: int | None = None
        while number < len(self._calls):
            call = self._calls[number]
            if first_return is not None and call.invoked > first_return:
                return
            if not done >> number & 1:
                yield number
                if call.result is not Outcome.UNKNOWN:
                    first_return = call.returned if first_return is None else min(first_return, call.returned)
            number += 1

    def _with_those_over(self, done: int) -> int:
        now = self._calls[done.bit_length() - 1].invoked  # that of the latest
        return done | self._over[bisect_left(self._times, now)]
