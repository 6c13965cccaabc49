"""A function as the creator of shapes: one for each set of its arguments."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from shapestore import CreateFailedError, InvalidCreatorError, InvalidShapeError, Shape, ShapeStore

pytestmark = pytest.mark.usefixtures("untroubled")


async def test_the_same_arguments_are_one_shape_and_one_call(path: str) -> None:
    calls: list[tuple[int, str]] = []
    store = ShapeStore(path)

    @store.cached(table="report")
    async def report(year: int, region: str = "north") -> list[dict[str, Any]]:
        """The report of a year."""
        calls.append((year, region))
        return [{"year": year, "region": region}]

    assert inspect.iscoroutinefunction(report)
    assert (report.__name__, report.__doc__) == ("report", "The report of a year.")
    async with store:
        answers = await asyncio.gather(report(2024), report(2024, "north"), report(region="north", year=2024))
        assert list(answers) == [[{"year": 2024, "region": "north"}]] * 3
        assert await report(2025) == [{"year": 2025, "region": "north"}]
        assert calls == [(2024, "north"), (2025, "north")]
        shape = Shape("report", where="region = :region AND year = :year", params={"year": 2024, "region": "north"})
        assert await store.get(shape) is not None
        assert await store.invalidate("report") == 2
        await report(2024)
        assert len(calls) == 3


async def test_every_kind_of_function_is_a_creator(path: str) -> None:
    threads: list[bool] = []
    store = ShapeStore(path)

    def note() -> None:
        threads.append(threading.current_thread() is threading.main_thread())

    @store.cached(table="async")
    async def coroutine(n: int) -> list[dict[str, int]]:
        note()
        return [{"n": n}]

    @store.cached(table="async generator")
    async def agenerator(n: int) -> AsyncIterator[dict[str, int]]:
        note()
        yield {"n": n}

    @store.cached(table="plain")
    def plain(n: int) -> list[dict[str, int]]:
        note()
        return [{"n": n}]

    @store.cached(table="generator")
    def generator(n: int) -> Iterator[dict[str, int]]:
        note()
        yield {"n": n}

    async with store:
        for function in (coroutine, agenerator, plain, generator):
            assert await function(7) == [{"n": 7}]
    assert threads == [True, True, False, False]


async def test_a_function_without_arguments_is_the_whole_table(path: str) -> None:
    store = ShapeStore(path)

    @store.cached(table="all")
    async def everything() -> list[dict[str, int]]:
        return [{"n": 1}]

    async with store:
        assert await everything() == [{"n": 1}]
        assert await store.get(Shape("all")) is not None


async def test_an_age_is_given_with_the_function(path: str) -> None:
    calls = 0
    store = ShapeStore(path)

    @store.cached(table="count", max_age=0)
    async def counted() -> list[dict[str, int]]:
        nonlocal calls
        calls += 1
        return [{"n": calls}]

    async with store:
        assert [await counted(), await counted()] == [[{"n": 1}], [{"n": 2}]]


class Reports:
    def of_year(self, year: int) -> list[dict[str, Any]]:
        return [{"year": year}]

    def __call__(self, year: int) -> list[dict[str, Any]]:
        return self.of_year(year)


async def test_arguments_of_every_kind_are_params(path: str) -> None:
    def by_place(year: int, /, *, region: str = "north") -> list[dict[str, Any]]:
        return [{"year": year, "region": region}]

    async with ShapeStore(path) as store:
        report = store.cached(table="by place")(by_place)
        assert await report(2024, region="south") == [{"year": 2024, "region": "south"}]
        assert await report(2024) == await report(2024, region="north") == [{"year": 2024, "region": "north"}]
        creators: dict[str, Any] = {"method": Reports().of_year, "object": Reports()}
        for table, create in creators.items():
            assert await store.cached(table=table)(create)(2024) == [{"year": 2024}]
        values: list[Any] = [1, 1.0, True, "1", None]
        for value in values:  # equal to Python, some of them, and different shapes
            [row] = await store.cached(table="typed")(lambda year: [{"year": year}])(value)
            assert (type(row["year"]), row["year"]) == (type(value), value)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (eval("lambda größe: []"), "takes größe: .* ASCII"),
        (lambda *years: [], r"takes \*years"),
        (lambda **options: [], r"takes \*\*options"),
        (functools.partial(lambda *years: []), r"partial takes \*years"),
        (Reports.of_year, r"Reports.of_year takes self.* bound method"),
        (dict, "tells its arguments, and <class 'dict'>"),
        (5, r"tells its arguments, and 5 \(int\) does not"),
    ],
)
def test_a_function_that_cannot_be_cached_is_refused_where_it_is_decorated(path: str, function: Any, why: str) -> None:
    with pytest.raises(InvalidCreatorError, match=why):
        ShapeStore(path).cached(table="t")(function)


@pytest.mark.parametrize(
    "options", [{"table": ""}, {"table": "a\0"}, {"max_age": -1}, {"max_age": "1"}, {"timeout": -1}]
)
def test_wrong_options_are_refused_where_it_is_decorated(path: str, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, InvalidShapeError), match=next(iter(options))):
        ShapeStore(path).cached(**{"table": "t"} | options)(lambda year: [])


async def test_wrong_use_is_said_to_be(path: str) -> None:
    store = ShapeStore(path, failure_grace=0)

    @store.cached(table="t")
    async def report(year: Any) -> list[dict[str, Any]]:
        return [{"year": 1 / year}]

    async with store:
        with pytest.raises(InvalidShapeError, match="params"):
            await report([2024])
        with pytest.raises(TypeError, match="year"):
            await report()  # type: ignore[call-arg]
        with pytest.raises(CreateFailedError, match="ZeroDivisionError"):
            await report(0)
