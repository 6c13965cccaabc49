"""keyed(): a creator that says which of its columns are the key, and stays what it was."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from shapestore import InvalidCreatorError, Shape, ShapeStore, keyed

SHAPE = Shape("album")
ROWS = [{"id": 1}, {"id": 2}]


def plain(_shape: Shape) -> list[dict[str, Any]]:
    return ROWS


def generator(_shape: Shape) -> Iterator[dict[str, Any]]:
    yield from ROWS


async def coroutine(_shape: Shape) -> list[dict[str, Any]]:
    return ROWS


async def async_generator(_shape: Shape) -> AsyncIterator[dict[str, Any]]:
    for row in ROWS:
        yield row


class Callables:
    def __call__(self, shape: Shape) -> list[dict[str, Any]]:
        return plain(shape)

    async def method(self, _shape: Shape) -> list[dict[str, Any]]:
        return ROWS


class AsyncCallable:
    async def __call__(self, _shape: Shape) -> list[dict[str, Any]]:
        return ROWS


CREATORS = [
    plain,
    generator,
    coroutine,
    async_generator,
    partial(coroutine),
    Callables(),
    Callables().method,
    AsyncCallable(),
]
KINDS = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)


@pytest.mark.parametrize("creator", CREATORS)
async def test_a_keyed_creator_names_its_key_and_stays_what_it_was(creator: Any, path: str) -> None:
    with_key = keyed(creator, "id")
    assert with_key.key_columns(SHAPE) == ("id",)
    looked_at = creator if inspect.isroutine(creator) or isinstance(creator, partial) else type(creator).__call__
    assert [kind(with_key) for kind in KINDS] == [kind(looked_at) for kind in KINDS]
    async with ShapeStore(path, create=with_key) as store:
        stored = await store.get_or_create(SHAPE)
        assert [row async for row in store.rows(stored.handle)] == ROWS


def test_a_keyed_creator_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(keyed(plain, "id")))
    assert (again(SHAPE), again.key_columns(SHAPE)) == (ROWS, ("id",))


@pytest.mark.parametrize(
    ("creator", "columns", "message"),
    [
        (7, ["id"], "7 is not callable"),
        (plain, [], r"each once: not \(\)$"),
        (plain, [""], "each once"),
        (plain, [1], "each once"),
        (plain, ["id", "id"], "each once"),
        (plain, [["id"]], "each once"),
    ],
)
def test_what_is_no_key_is_refused(creator: Any, columns: Any, message: str) -> None:
    with pytest.raises(InvalidCreatorError, match=message):
        keyed(creator, *columns)
