"""The memory of what was read: its size in bytes is bounded, whatever is read."""

from __future__ import annotations

import gc
import threading
import tracemalloc

import pytest

from shapestore.errors import InvalidShapeError
from shapestore.shape.where import where
from shapestore.shape.where.cache import BoundedCache


class Computed:
    """What is computed from a text, and how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, text: str) -> list[str]:
        self.count += 1
        if text == "bad":
            raise ValueError(text)
        return [text]


def weigh(value: list[str]) -> int:
    return len(value[0])


def test_a_text_is_computed_once_while_it_is_remembered() -> None:
    compute = Computed()
    cache = BoundedCache(compute, weigh, 100)
    assert cache.get("a") is cache.get("a")
    assert compute.count == 1


def test_texts_that_are_asked_for_stay_and_others_go() -> None:
    compute = Computed()
    cache = BoundedCache(compute, weigh, 100)
    for number in range(200):
        cache.get("asked for again and again")
        cache.get(f"{number:010}")
    assert compute.count == 201
    cache.get(f"{0:010}")
    assert compute.count == 202


def test_an_error_is_raised_and_not_remembered() -> None:
    compute = Computed()
    cache = BoundedCache(compute, weigh, 100)
    for count in (1, 2):
        with pytest.raises(ValueError, match="bad"):
            cache.get("bad")
        assert compute.count == count


def test_a_value_larger_than_the_limit_is_remembered_alone() -> None:
    compute = Computed()
    cache = BoundedCache(compute, weigh, 100)
    for text in ("small", "x" * 1_000, "x" * 1_000, "y" * 1_000, "z" * 1_000):
        assert cache.get(text) == [text]
    assert compute.count == 4
    cache.get("small")
    assert compute.count == 5


def test_threads_share_a_cache() -> None:
    cache = BoundedCache(Computed(), weigh, 100)
    wrong: list[str] = []

    def ask(first: int) -> None:
        for number in range(2_000):
            text = str((first + number) % 50)
            if cache.get(text) != [text]:
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "a IN (" + ",".join(f"1{number}" for number in range(1_000)) + ",{0})",
        "a IN (" + ",".join(["''"] * 1_000) + ",{0})",
        "a{0} = '" + "\U0001f600" * 10_000 + "'",
        "a{0} = '" + "x" * 30_000 + "'",
        " OR ".join(f"c{{0}}x{number}" for number in range(500)),
        "a{0} IN (" + ",".join(f":p{number}" for number in range(1_000)) + ")",
    ],
    ids=["numbers", "strings", "wide text", "text", "columns", "parameters"],
)
def test_large_wheres_are_remembered_in_a_bounded_number_of_bytes(text: str) -> None:
    """The largest took 380 MB together, a thousand of them."""
    remembered = BoundedCache(where._read, lambda read: read.weight, 500_000)
    tracemalloc.start()
    try:
        for number in range(12):
            remembered.get(text.format(number))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_is_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(InvalidShapeError):
            where.parse_where("a = ")
