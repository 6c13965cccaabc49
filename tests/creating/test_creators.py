"""A creator is any callable that returns rows, in any of the usual ways, on the loop or in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

import pytest
from inspections import PATIENCE, eventually, gate_held, lost_rows, rows_of, settled, shapes
from processes import read

from shapestore import CreateFailedError, InvalidCreatorError, Shape, ShapeStore, SQLSource
from shapestore.source.creator import Creator
from shapestore.storage.log.chunks import CHUNK_BYTES, CHUNK_ROWS

pytestmark = pytest.mark.usefixtures("untroubled")

Row = dict[str, Any]

ROWS: list[Row] = [{"n": 1}, {"n": 2}, {"n": 3}]


@pytest.fixture
def path(empty_path: str) -> str:
    return empty_path


# The forms


async def coroutine(shape: Shape) -> list[Row]:
    await asyncio.sleep(0)
    return ROWS


async def coroutine_of_an_iterator(shape: Shape) -> Iterator[Row]:
    return iter(ROWS)


async def coroutine_of_a_generator(shape: Shape) -> Iterator[Row]:
    return generator(shape)


async def coroutine_of_an_async_generator(shape: Shape) -> AsyncIterator[Row]:
    return async_generator(shape)


async def coroutine_of_an_async_iterable(shape: Shape) -> AsyncRows:
    return AsyncRows(shape)


async def async_generator(shape: Shape) -> AsyncIterator[Row]:
    for row in ROWS:
        await asyncio.sleep(0)
        yield row


def function(shape: Shape) -> tuple[Row, ...]:
    return tuple(ROWS)


def generator(shape: Shape) -> Iterator[Row]:
    yield from ROWS


def called(creator: Callable[[Shape], Any]) -> Callable[[Shape], Any]:
    """A plain function: what it returns is not known before it is called."""
    return lambda shape: creator(shape)  # noqa: PLW0108 - for the sake of being a plain function


def decorated(creator: Callable[[Shape], Any]) -> Callable[[Shape], Any]:
    """Wrapped by a decorator that does not know coroutines."""

    @functools.wraps(creator)
    def wrapper(shape: Shape) -> Any:
        return creator(shape)

    return wrapper


class Awaited:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def __await__(self) -> Generator[Any, None, list[Row]]:
        return coroutine(self._shape).__await__()


class AsyncRows:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def __aiter__(self) -> AsyncIterator[Row]:
        return async_generator(self._shape)


class Items:
    def __init__(self, shape: Shape) -> None:
        self._left = list(ROWS)

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Row:
        if not self._left:
            raise StopIteration
        return self._left.pop(0)


class Calls:
    def __call__(self, shape: Shape) -> list[Row]:
        return ROWS

    def method(self, shape: Shape) -> list[Row]:
        return ROWS

    async def coroutine_method(self, shape: Shape) -> list[Row]:
        return await coroutine(shape)

    async def async_generator_method(self, shape: Shape) -> AsyncIterator[Row]:
        async for row in async_generator(shape):
            yield row

    @classmethod
    async def coroutine_of_the_class(cls, shape: Shape) -> list[Row]:
        return await coroutine(shape)

    @staticmethod
    def generator_of_the_class(shape: Shape) -> Iterator[Row]:
        return generator(shape)


class AsyncCalls:
    async def __call__(self, shape: Shape) -> list[Row]:
        return await coroutine(shape)


class AsyncGeneratorCalls:
    async def __call__(self, shape: Shape) -> AsyncIterator[Row]:
        async for row in async_generator(shape):
            yield row


class IterableWhoseItemsCall:
    """Made by a call of the class; its instances can be called as well, which must not matter."""

    def __init__(self, shape: Shape) -> None:
        pass

    def __iter__(self) -> Iterator[Row]:
        return iter(ROWS)

    async def __call__(self) -> None:
        raise AssertionError("it must not be called")


ON_THE_LOOP: dict[str, Creator] = {
    "coroutine function": coroutine,
    "coroutine function of an iterator": coroutine_of_an_iterator,
    "coroutine function of a generator": coroutine_of_a_generator,
    "coroutine function of an async generator": coroutine_of_an_async_generator,
    "coroutine function of an async iterable": coroutine_of_an_async_iterable,
    "async generator function": async_generator,
    "partial of a coroutine function": functools.partial(coroutine),
    "partial of an async generator function": functools.partial(async_generator),
    "coroutine method": Calls().coroutine_method,
    "async generator method": Calls().async_generator_method,
    "coroutine class method": Calls.coroutine_of_the_class,
    "object with a coroutine __call__": AsyncCalls(),
    "object with an async generator __call__": AsyncGeneratorCalls(),
}

IN_A_THREAD: dict[str, Creator] = {
    "function": function,
    "generator function": generator,
    "function of a generator": called(generator),
    "function of a coroutine": called(coroutine),
    "function of an async generator": called(async_generator),
    "function of a coroutine of an async generator": called(coroutine_of_an_async_generator),
    "partial of a function": functools.partial(function),
    "partial of a generator function": functools.partial(generator),
    "partial of an object with a coroutine __call__": functools.partial(AsyncCalls()),
    "decorated coroutine function": decorated(coroutine),
    "decorated async generator function": decorated(async_generator),
    "method": Calls().method,
    "static method": Calls.generator_of_the_class,
    "object with a __call__": Calls(),
    "class of awaitables": Awaited,
    "class of async iterables": AsyncRows,
    "class of iterators": Items,
    "class of iterables whose items have a coroutine __call__": IterableWhoseItemsCall,
}

ALL = ON_THE_LOOP | IN_A_THREAD


def each(creators: dict[str, Creator]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("create", creators.values(), ids=creators.keys())


@each(ALL)
async def test_every_form_of_creator_gives_its_rows(path: str, create: Creator) -> None:
    async with ShapeStore(path, create=create) as store:
        stored = await store.get_or_create(Shape("Track"))
        assert stored.row_count == 3
        assert await rows_of(store, stored) == ROWS


async def test_the_creator_is_given_the_shape(path: str) -> None:
    shape = Shape("Track", where="AlbumId = :album", params={"album": 1}, columns=["TrackId"])
    async with ShapeStore(path, create=lambda given: [{"is it": given is shape}]) as store:
        assert await rows_of(store, await store.get_or_create(shape)) == [{"is it": True}]


async def test_what_is_asynchronous_runs_on_the_loop_and_what_may_block_in_a_thread(path: str) -> None:
    seen: dict[str, str] = {}
    loop_thread = threading.current_thread()

    def note(step: str) -> None:
        seen[step] = "on the loop" if threading.current_thread() is loop_thread else "in a thread"

    async def coroutine(shape: Shape) -> list[Row]:
        note("coroutine")
        return ROWS

    async def async_generator(shape: Shape) -> AsyncIterator[Row]:
        note("async generator")
        yield ROWS[0]

    def function(shape: Shape) -> list[Row]:
        note("function")
        return ROWS

    def generator(shape: Shape) -> Iterator[Row]:
        note("generator")
        yield ROWS[0]

    def function_of_a_coroutine(shape: Shape) -> Awaitable[list[Row]]:
        note("function of a coroutine")

        async def coroutine() -> list[Row]:
            note("its coroutine")
            return ROWS

        return coroutine()

    async with ShapeStore(path) as store:
        creators: list[Creator] = [coroutine, async_generator, function, generator, function_of_a_coroutine]
        for shape, create in zip(shapes(5), creators, strict=True):
            await store.get_or_create(shape, create)
    assert seen == {
        "coroutine": "on the loop",
        "async generator": "on the loop",
        "function": "in a thread",
        "generator": "in a thread",
        "function of a coroutine": "in a thread",
        "its coroutine": "on the loop",
    }


request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


async def reads_context(shape: Shape) -> list[Row]:
    return [{"request": request_id.get()}]


async def async_generator_reads_context(shape: Shape) -> AsyncIterator[Row]:
    await asyncio.sleep(0)
    yield {"request": request_id.get()}


def generator_reads_context(shape: Shape) -> Iterator[Row]:
    yield {"request": request_id.get()}


@each(
    {
        "coroutine function": reads_context,
        "async generator function": async_generator_reads_context,
        "function": lambda shape: [{"request": request_id.get()}],
        "generator function": generator_reads_context,
        "function of a coroutine": called(reads_context),
    }
)
async def test_the_creator_sees_the_context_of_the_first_caller(path: str, create: Creator) -> None:
    async with ShapeStore(path, create=create) as store:

        async def ask(name: str) -> list[object]:
            request_id.set(name)
            return await rows_of(store, await store.get_or_create(Shape("Track")))

        for answer in await asyncio.gather(ask("first"), ask("second")):
            assert answer == [{"request": "first"}]


async def test_a_creator_starts_under_a_task_factory_that_takes_no_context(path: str) -> None:
    def factory(loop: asyncio.AbstractEventLoop, work: Any, *, name: str | None = None) -> asyncio.Task[Any]:
        return asyncio.Task(work, loop=loop, name=name)  # a name is given to factories from Python 3.13.3 on

    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("uvloop gives a context to every task factory")
    loop.set_task_factory(factory)
    try:
        async with ShapeStore(path, create=reads_context) as store:
            request_id.set("first")
            assert await rows_of(store, await store.get_or_create(Shape("Track"))) == [{"request": "first"}]
    finally:
        loop.set_task_factory(None)


# Large and small


def numbers(count: int) -> Iterator[Row]:
    return ({"n": number} for number in range(count))


async def async_numbers(count: int) -> AsyncIterator[Row]:
    for row in numbers(count):
        yield row


@pytest.mark.parametrize("form", ["on the loop", "in a thread", "at once"])
async def test_a_snapshot_of_any_size_has_all_its_rows_in_order(path: str, form: str) -> None:
    def create(shape: Shape) -> Any:
        count = int(shape.table)
        if form == "at once":
            return list(numbers(count))
        return numbers(count) if form == "in a thread" else async_numbers(count)

    async with ShapeStore(path, create=create) as store:
        for chunks, rows in ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1), (2, 0), (10, 7)):
            count = chunks * CHUNK_ROWS + rows
            stored = await store.get_or_create(Shape(str(count)))
            assert stored.row_count == count
            assert [row["n"] async for row in store.rows(stored.handle)] == list(range(count))
        await settled(store, path)


@pytest.mark.parametrize("form", ["on the loop", "in a thread"])
@pytest.mark.parametrize(("count", "size"), [(200_000, 10), (400, 50_000)], ids=["many rows", "large rows"])
async def test_a_creator_that_is_faster_than_the_store_waits_for_it(
    path: str, form: str, count: int, size: int
) -> None:
    produced = 0
    go = threading.Event()

    def in_a_thread(shape: Shape) -> Iterator[Row]:
        nonlocal produced
        assert go.wait(PATIENCE)
        for produced in range(1, count + 1):
            yield {"n": produced, "text": "x" * size}

    async def on_the_loop(shape: Shape) -> AsyncIterator[Row]:
        await eventually(go.is_set)
        for row in in_a_thread(shape):
            yield row

    async with ShapeStore(path, create=on_the_loop if form == "on the loop" else in_a_thread) as store:
        creating = asyncio.create_task(store.get_or_create(Shape("Track")))
        await eventually(lambda: read(path, "SELECT handle FROM create_locks"))
        async with gate_held(path):
            go.set()
            # One chunk is on its way to the file, and the next one is full.
            two_chunks = 2 * min(CHUNK_ROWS, CHUNK_BYTES // size + 1)
            await eventually(lambda: produced >= two_chunks)
            await asyncio.sleep(0.1)  # in which it might go on
            assert produced == two_chunks
            assert store.stats.queue_depth <= 1
        stored = await creating
        assert stored.row_count == produced == count
        assert [row["n"] async for row in store.rows(stored.handle)] == list(range(1, count + 1))


async def test_half_of_a_large_snapshot_is_invisible(path: str) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> AsyncIterator[Row]:
        for row in numbers(3 * CHUNK_ROWS):
            yield row
        await go.wait()

    async with ShapeStore(path, create=create) as store:
        creating = asyncio.create_task(store.get_or_create(Shape("Track")))
        await eventually(lambda: read(path, "SELECT count(*) FROM shape_rows") == [3 * CHUNK_ROWS])
        [handle] = read(path, "SELECT handle FROM create_locks")
        assert await store.get(Shape("Track")) is None
        assert await store.get_by_handle(handle) is None
        assert [stored async for stored in store.shapes()] == []
        assert await store.count() == 0
        go.set()
        assert (await creating).handle == handle


# Generators are closed


async def test_a_generator_left_half_way_is_closed_in_its_own_thread(path: str) -> None:
    threads = []

    def create(shape: Shape) -> Iterator[Any]:
        threads.append(threading.current_thread())
        try:
            yield {"n": 1}
            yield "no row"
        finally:
            threads.append(threading.current_thread())

    async with ShapeStore(path, create=create) as store:
        with pytest.raises(CreateFailedError, match="row 2"):
            await store.get_or_create(Shape("Track"))
        begun, closed = threads
        assert begun is closed is not threading.current_thread()


@pytest.mark.parametrize("form", ["async generator", "coroutine of a generator"])
async def test_a_generator_left_half_way_is_closed_on_the_loop(path: str, form: str) -> None:
    closed = []

    async def async_generator(shape: Shape) -> AsyncIterator[object]:
        try:
            yield {"n": 1}
            yield "no row"
        finally:
            await asyncio.sleep(0)
            closed.append(threading.current_thread())

    async def coroutine_of_a_generator(shape: Shape) -> Iterator[object]:
        def generator() -> Iterator[object]:
            try:
                yield {"n": 1}
                yield "no row"
            finally:
                closed.append(threading.current_thread())

        return generator()

    async with ShapeStore(path) as store:
        create: Any = async_generator if form == "async generator" else coroutine_of_a_generator
        with pytest.raises(CreateFailedError, match="row 2"):
            await store.get_or_create(Shape("Track"), create)
        assert closed == [threading.current_thread()]


async def test_a_generator_is_closed_when_its_time_is_up_whatever_it_was_doing(path: str) -> None:
    closed = []

    async def waits(shape: Shape) -> AsyncIterator[Row]:
        try:
            yield {"n": 1}
            await asyncio.Event().wait()
        finally:
            closed.append(shape.table)

    async def never_ends(shape: Shape) -> AsyncIterator[Row]:
        try:
            while True:
                yield {"n": 1}
        finally:
            closed.append(shape.table)

    def never_ends_in_a_thread(shape: Shape) -> Iterator[Row]:
        try:
            while True:
                yield {"n": 1}
        finally:
            closed.append(shape.table)

    async with ShapeStore(path, create_timeout=0.05) as store:
        for create in (waits, never_ends, never_ends_in_a_thread):
            with pytest.raises(CreateFailedError, match="TimeoutError"):
                await store.get_or_create(Shape(create.__name__), create)
        await eventually(lambda: len(closed) == 3)
        await eventually(lambda: not lost_rows(path))


async def test_a_coroutine_that_comes_from_a_thread_too_late_is_closed_unawaited(path: str) -> None:
    go, left = threading.Event(), threading.Event()

    def create(shape: Shape) -> Awaitable[list[Row]]:
        go.wait()
        left.set()
        return coroutine(shape)

    async with ShapeStore(path, create=create, create_timeout=0.01, failure_grace=0) as store:
        with pytest.raises(CreateFailedError, match="TimeoutError"):
            await store.get_or_create(Shape("Track"))
        go.set()
        await eventually(left.is_set)
        await settled(store, path)
    gc.collect()  # a coroutine that was never awaited warns when it is collected, and warnings are errors


# Rows


GOOD: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (-(2**63), -(2**63)),
    (2**64, 2**64),
    (10**40, 10**40),
    (1.0, 1.0),
    (-0.0, -0.0),
    (5e-324, 5e-324),
    (1.7976931348623157e308, 1.7976931348623157e308),
    ("", ""),
    ("a\0b \U0001f600 \u2028", "a\0b \U0001f600 \u2028"),
    ([1, [2, ()]], [1, [2, []]]),
    ({"a": {"": None}}, {"a": {"": None}}),
    (MappingProxyType({"a": 1}), {"a": 1}),
    (date(2024, 2, 29), "2024-02-29"),
    (datetime(2024, 2, 29, 12, 30, 1, 500_000, tzinfo=UTC), "2024-02-29T12:30:01.500000Z"),
    (time(12, 30), "12:30:00"),
    (timedelta(days=1, seconds=1), "P1DT1S"),
    (Decimal("1.10"), "1.10"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (b"\x00\xff", "AP8="),
]


async def test_a_value_that_json_can_hold_comes_back(path: str) -> None:
    async with ShapeStore(path) as store:
        stored = await store.get_or_create(Shape("Track"), lambda shape: [{"value": value} for value, _ in GOOD])
        # By their repr, for 1 == 1.0 == True and 0.0 == -0.0.
        assert list(map(repr, await rows_of(store, stored))) == [repr({"value": kept}) for _, kept in GOOD]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


BAD: list[tuple[Any, str]] = [
    (None, "must be a mapping of str to values; got "),
    ("text", "must be a mapping of str to values; got "),
    (1, "must be a mapping of str to values; got "),
    ([("n", 1)], "must be a mapping of str to values; got "),
    ({1: "one"}, "the key 1 (int)"),
    ({None: "none"}, "the key None (NoneType)"),
    ({"a": {1: 2}}, "row 3, 'a' has the key 1 (int)"),
    ({"a": float("nan")}, "row 3, 'a' is nan"),
    ({"a": float("inf")}, "row 3, 'a' is inf"),
    ({"a": [0, {"b": float("-inf")}]}, "row 3, 'a'[1], 'b' is -inf"),
    ({"a": {1, 2}}, "row 3, 'a' is of type set"),
    ({"a": object()}, "row 3, 'a' is of type object"),
    ({"a": 1j}, "row 3, 'a' is of type complex"),
    ({"a": "\ud800"}, "row 3, 'a' cannot be held as JSON"),
    ({"\ud800": 1}, "cannot be held as JSON"),
    ({"a": nested(200)}, "is nested deeper than 100 levels"),
]


@pytest.mark.parametrize("form", ["on the loop", "in a thread"])
async def test_a_row_that_cannot_be_stored_is_named(path: str, form: str) -> None:
    def in_a_thread(shape: Shape) -> list[Any]:
        return [*ROWS[:2], BAD[int(shape.table)][0]]

    async def on_the_loop(shape: Shape) -> list[Any]:
        return in_a_thread(shape)

    async with ShapeStore(path, create=on_the_loop if form == "on the loop" else in_a_thread) as store:
        for number, (_, reason) in enumerate(BAD):
            with pytest.raises(CreateFailedError) as raised:
                await store.get_or_create(Shape(str(number)))
            assert raised.value.error_type == "InvalidRowError"
            assert "row 3" in raised.value.message
            assert reason in raised.value.message


@pytest.mark.parametrize("form", ["on the loop", "in a thread"])
async def test_a_bad_row_far_down_leaves_nothing_of_those_before_it(path: str, form: str) -> None:
    far = 2 * CHUNK_ROWS + 5

    def in_a_thread(shape: Shape) -> Iterator[Any]:
        yield from numbers(far - 1)
        yield {"n": {far}}

    async def on_the_loop(shape: Shape) -> AsyncIterator[Any]:
        for row in in_a_thread(shape):
            yield row

    create = on_the_loop if form == "on the loop" else in_a_thread
    async with ShapeStore(path, create=create, failure_grace=0) as store:
        with pytest.raises(CreateFailedError, match=f"row {far}, 'n' is of type set"):
            await store.get_or_create(Shape("Track"))
        assert await store.get(Shape("Track")) is None
        await settled(store, path)


@pytest.mark.parametrize("form", ["on the loop", "in a thread"])
async def test_a_creator_that_returns_something_else_than_rows_fails(path: str, form: str) -> None:
    no_rows: dict[str, Any] = {type(given).__name__: given for given in (None, "rows", b"rows", {"n": 1}, 7, object())}

    def in_a_thread(shape: Shape) -> Any:
        return no_rows[shape.table]

    async def on_the_loop(shape: Shape) -> Any:
        return in_a_thread(shape)

    async with ShapeStore(path, create=on_the_loop if form == "on the loop" else in_a_thread) as store:
        for kind in no_rows:
            with pytest.raises(
                CreateFailedError, match=f"returned an object of type {kind}, not an iterable of rows"
            ) as raised:
                await store.get_or_create(Shape(kind))
            assert raised.value.error_type == "InvalidRowError"


async def test_a_coroutine_in_place_of_rows_is_refused_without_a_warning(path: str) -> None:
    async def gives_a_coroutine(shape: Shape) -> Any:
        return coroutine(shape)

    async with ShapeStore(path, create=gives_a_coroutine) as store:
        with pytest.raises(CreateFailedError, match="returned an object of type coroutine, not an iterable of rows"):
            await store.get_or_create(Shape("Track"))
    gc.collect()  # which would warn, and warnings are errors


async def test_a_creator_that_does_not_take_a_shape_fails(path: str) -> None:
    async with ShapeStore(path) as store:
        with pytest.raises(CreateFailedError, match="takes 0 positional arguments") as raised:
            await store.get_or_create(Shape("Track"), lambda: ROWS)  # type: ignore[misc,arg-type]
        assert raised.value.error_type == "TypeError"


# No creator


@pytest.mark.parametrize("create", [7, "rows", ROWS, object()], ids=lambda create: type(create).__name__)
async def test_what_cannot_be_called_is_refused_as_a_creator(path: str, create: Any) -> None:
    with pytest.raises(InvalidCreatorError, match=f"not {type(create).__name__}"):
        ShapeStore(path, create=create)
    async with ShapeStore(path) as store:
        for ask in (store.get_or_create, store.refresh):
            with pytest.raises(InvalidCreatorError, match=f"not {type(create).__name__}"):
                await ask(Shape("Track"), create)
        assert await store.locks() == []
        assert store.stats.commands == 0


async def test_the_class_of_sources_is_refused_as_a_creator(path: str) -> None:
    """It is callable, and each creation failed by a TypeError about an argument of a method that nobody has called."""
    with pytest.raises(InvalidCreatorError, match=r"SQLSource is a class: give an object of it, as SQLSource\(url\)"):
        ShapeStore(path, create=cast("Any", SQLSource))
    async with ShapeStore(path) as store:
        with pytest.raises(InvalidCreatorError, match="SQLSource is a class"):
            await store.get_or_create(Shape("Track"), cast("Any", SQLSource))
        assert store.stats.commands == 0


async def test_a_coroutine_is_refused_as_a_creator(path: str) -> None:
    called = coroutine(Shape("Track"))
    async with ShapeStore(path) as store:
        with pytest.raises(InvalidCreatorError, match="not coroutine"):
            await store.get_or_create(Shape("Track"), called)  # type: ignore[arg-type]
    called.close()


async def test_a_missing_shape_needs_a_creator_and_a_stored_one_does_not(path: str) -> None:
    async with ShapeStore(path) as store:
        for ask in (store.get_or_create, store.refresh):
            with pytest.raises(InvalidCreatorError, match="give create="):
                await ask(Shape("Track"))
        stored = await store.get_or_create(Shape("Track"), coroutine)
        assert await store.get_or_create(Shape("Track")) == stored
        with pytest.raises(InvalidCreatorError):
            await store.refresh(Shape("Track"))


async def test_the_creator_of_a_call_takes_precedence_over_that_of_the_store(path: str) -> None:
    def rows(shape: Shape) -> list[Row]:
        raise AssertionError("not asked for")

    async with ShapeStore(path, create=rows) as store:
        assert (await store.get_or_create(Shape("Track"), coroutine)).row_count == 3


async def an_answer_later(shape: Shape) -> list[str]:
    return ["n"]


@pytest.mark.parametrize(
    "key_columns",
    [
        lambda _: "n",
        lambda _: b"n",
        lambda _: 5,
        lambda _: [],
        lambda _: [5],
        lambda _: ["n", "n"],
        lambda _: (name for name in ["n"]),
        lambda _: {"n"},
        an_answer_later,
        ["n"],
    ],
)
async def test_the_columns_of_a_key_are_names_each_once_in_their_order(path: str, key_columns: Any) -> None:
    """A generator of names was read to its end by its check: each row had the key of no values."""

    class Source:
        def __call__(self, shape: Shape) -> list[Row]:
            return ROWS

    source = Source()
    vars(source)["key_columns"] = key_columns
    async with ShapeStore(path, create=source) as store:
        with pytest.raises(
            CreateFailedError, match="InvalidCreatorError: key_columns of a creator is a plain function"
        ):
            await store.get_or_create(Shape("t"))
