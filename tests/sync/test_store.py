"""The synchronous store, used from threads."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import pickle
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from itertools import islice
from typing import Any

import pytest
from processes import owner_files, until

from shapestore import (
    CreateFailedError,
    CreateLock,
    InvalidShapeError,
    Shape,
    ShapeGoneError,
    StorageError,
    StoreClosedError,
    WaitTimeoutError,
)
from shapestore.events import Created, Event
from shapestore.sync import ShapeStore
from shapestore.sync.loop_thread import LoopThread

KEY = Shape("key")


def three_rows(_: Shape) -> list[dict[str, Any]]:
    return [{"n": n} for n in range(3)]


async def three_rows_async(shape: Shape) -> list[dict[str, Any]]:
    return three_rows(shape)


@pytest.fixture(name="store")
def open_store(empty_path: str) -> Iterator[ShapeStore]:
    with ShapeStore(empty_path, create=three_rows) as store:
        yield store


def loop_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("shapestore loop")]


def test_every_method_does_what_its_asynchronous_like_does(store: ShapeStore) -> None:
    stored = store.get_or_create(KEY)
    assert store.get_or_create(KEY) == store.get(KEY) == store.get_by_handle(stored.handle) == stored
    assert list(store.rows(stored.handle)) == three_rows(KEY)
    assert list(store.rows(stored.handle, after=1, batch_size=1)) == three_rows(KEY)[1:]
    assert list(store.shapes()) == list(store.shapes(table="key")) == [stored]
    assert list(store.shapes(table="another")) == []
    assert store.explain(KEY).nearest == stored
    assert store.fetch(KEY) == three_rows(KEY)
    assert store.fetch_json(KEY) == b"".join(store.stream_json(stored)) == b'[{"n":0},{"n":1},{"n":2}]'
    assert [change.row for change in store.read_log(stored)] == three_rows(KEY)
    fresh = store.refresh(KEY, lambda _: [{"n": 9}])
    assert list(store.rows(fresh.handle)) == [{"n": 9}]
    assert list(store.rows(stored)) == three_rows(KEY)  # kept for those who read it
    with pytest.raises(ShapeGoneError):
        next(store.rows("no such handle"))
    assert (store.count(), store.stats.created) == (1, 2)
    assert store.delete(fresh.handle)
    assert not store.delete(fresh.handle)
    store.get_or_create(KEY)
    assert store.invalidate("key") == 1
    assert store.locks() == []
    assert not store.release_lock(KEY)


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_decorated_function_fetches_its_rows(store: ShapeStore, kind: str) -> None:
    called = []

    def report(year: int, region: str) -> list[dict[str, Any]]:
        called.append((year, region))
        return [{"year": year, "region": region}]

    async def report_async(year: int, region: str) -> list[dict[str, Any]]:
        return report(year, region)

    cached = store.cached("report")(report if kind == "plain" else report_async)
    for _ in range(2):
        assert cached(2024, region="north") == [{"year": 2024, "region": "north"}]
    assert called == [(2024, "north")]


def test_fifty_threads_on_one_missing_shape_make_one_creation(empty_path: str) -> None:
    called = []
    everyone_waits = threading.Event()

    def create(shape: Shape) -> list[dict[str, Any]]:
        called.append(shape)
        everyone_waits.wait()
        return three_rows(shape)

    def tell(_: Event) -> None:
        if store.stats.followers == 49:
            everyone_waits.set()

    with ShapeStore(empty_path, create=create, on_event=tell) as store, ThreadPoolExecutor(50) as threads:
        handles = {stored.handle for stored in threads.map(store.get_or_create, [KEY] * 50)}
        assert (len(handles), called) == (1, [KEY])


def test_each_thread_of_a_herd_gets_an_error_of_its_own(empty_path: str) -> None:
    everyone_waits = threading.Event()

    def create(_: Shape) -> list[dict[str, Any]]:
        everyone_waits.wait()
        raise OSError("the archive is down")

    def tell(_: Event) -> None:
        if store.stats.followers == 9:
            everyone_waits.set()

    def error_of(_: int) -> BaseException | None:
        with pytest.raises(CreateFailedError, match="the archive is down") as caught:
            store.get_or_create(KEY)
        assert isinstance(caught.value.__cause__, OSError)
        return caught.value

    with ShapeStore(empty_path, create=create, on_event=tell) as store, ThreadPoolExecutor(10) as threads:
        errors = list(threads.map(error_of, range(10)))
        assert len(set(map(id, errors))) == 10


# --- opening and closing


def test_an_open_store_has_one_daemon_thread_which_ends_with_it(empty_path: str) -> None:
    store = ShapeStore(empty_path)
    assert loop_threads() == []
    with store:
        store.open()
        assert loop_threads() == [f"shapestore loop {empty_path}"]
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == loop_threads()[0])
    assert loop_threads() == []
    store.close()


def test_a_closed_store_can_be_opened_again_and_goes_on_counting(empty_path: str) -> None:
    store = ShapeStore(empty_path, create=three_rows)
    for _ in range(3):
        with store:
            store.get_or_create(KEY)
    with store:
        assert (store.stats.created, store.stats.hits) == (1, 2)


def test_a_store_that_is_not_open_says_how_to_open_it(empty_path: str) -> None:
    store = ShapeStore(empty_path, create=three_rows)
    for _ in range(2):
        for use in (store.count, lambda: store.get_or_create(KEY), lambda: next(store.rows("h")), lambda: store.stats):
            with pytest.raises(StoreClosedError, match="use `with ShapeStore"):
                use()
        with store:
            pass


def test_a_store_that_cannot_be_opened_leaves_no_thread_and_can_be_opened_later(empty_path: str) -> None:
    store = ShapeStore(empty_path + "/nowhere/shapes.db")
    for _ in range(2):
        with pytest.raises(StorageError):
            store.open()
    store.close()
    assert loop_threads() == []


def test_options_are_checked_when_the_store_is_made(empty_path: str) -> None:
    with pytest.raises(ValueError, match="wait_timeout"):
        ShapeStore(empty_path, wait_timeout=-1)
    with pytest.raises(TypeError, match="wait_timout"):
        ShapeStore(empty_path, wait_timout=1)  # type: ignore[call-arg]


def test_threads_that_open_and_close_at_once_leave_one_loop_or_none(empty_path: str) -> None:
    store = ShapeStore(empty_path, create=three_rows)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.open(), range(8)))
        assert len(loop_threads()) == 1
        list(threads.map(lambda n: store.close() if n % 2 else store.open(), range(40)))
        list(threads.map(lambda _: store.close(), range(8)))
    assert loop_threads() == []


def test_callers_who_wait_at_the_closing_are_told(empty_path: str) -> None:
    creating = threading.Event()
    over = threading.Event()

    def create(_: Shape) -> list[dict[str, Any]]:
        creating.set()
        over.wait()
        return []

    with ThreadPoolExecutor(1) as threads:
        with ShapeStore(empty_path, create=create) as store:
            waiting = threads.submit(store.get_or_create, KEY)
            creating.wait()
        with pytest.raises(StoreClosedError):
            waiting.result()
        over.set()


def test_calls_that_come_while_the_store_closes_are_answered(empty_path: str) -> None:
    """Whatever falls between the end of the loop and its closing is refused, not lost."""

    def hits() -> None:
        while True:
            store.get_or_create(KEY)

    for _ in range(20):
        with ThreadPoolExecutor(4) as threads:
            with ShapeStore(empty_path, create=three_rows) as store:
                store.get_or_create(KEY)
                waiting = [threads.submit(hits) for _ in range(4)]
                while store.stats.hits < 20:
                    store.count()
            assert all(isinstance(each.exception(), StoreClosedError) for each in waiting)


def test_a_call_that_the_closing_leaves_without_an_answer_is_refused(empty_path: str) -> None:
    started = threading.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as threads:
        with ShapeStore(empty_path) as store:
            waiting = threads.submit(store._wait, hang)
            started.wait()
        with pytest.raises(StoreClosedError, match="closed during this call"):
            waiting.result()


def test_a_call_that_comes_after_the_last_turn_of_the_loop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is posted, for the loop is not closed yet, but nothing runs it any more."""
    posted = threading.Event()
    late: list[Future[None]] = []

    async def nothing() -> None: ...

    def call() -> None:
        loop_thread.call(nothing)

    class LoopThatIsCalledLate(asyncio.SelectorEventLoop):
        def close(self) -> None:
            if not self.is_closed():
                late.append(threads.submit(call))
                posted.wait()
            super().close()

        def _write_to_self(self) -> None:  # the last step of a post
            super()._write_to_self()  # type: ignore[misc]
            if threading.current_thread().name.startswith("late"):
                posted.set()

    monkeypatch.setattr(asyncio, "new_event_loop", LoopThatIsCalledLate)
    with ThreadPoolExecutor(1, thread_name_prefix="late") as threads:
        loop_thread = LoopThread("shapestore loop")
        loop_thread.start()
        loop_thread.close_soon()
        loop_thread.join()
        for refused in (late[0].result, call):
            with pytest.raises(StoreClosedError):
                refused()


def test_an_opening_that_was_posted_before_the_closing_comes_first_however_late_the_loop_begins(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_to_close = threading.Event()

    class LoopThatBeginsLate(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            asked_to_close.wait()
            super().run_forever()

    monkeypatch.setattr(asyncio, "new_event_loop", LoopThatBeginsLate)
    store = ShapeStore(empty_path)
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(store.open)
        until(lambda: store._thread, "the loop has its thread")
        loop_thread: Any = store._thread
        until(lambda: loop_thread._unanswered and len(loop_thread._loop._ready) == 2, "the opening is posted")
        loop_thread.close_soon()
        asked_to_close.set()
        opening.result()
    loop_thread.join()
    assert loop_thread.error is None
    assert owner_files(empty_path) == set()


def test_an_open_store_that_is_collected_closes_with_a_warning(empty_path: str) -> None:
    store = ShapeStore(empty_path, create=three_rows)
    store.open()
    [thread] = [thread for thread in threading.enumerate() if thread.name in loop_threads()]
    with pytest.warns(ResourceWarning, match="was not closed"):
        del store
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        store = ShapeStore(empty_path)
        with store:
            pass
        del store
        gc.collect()


def test_a_store_cannot_be_pickled_or_copied(store: ShapeStore) -> None:
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="open a store in each process"):
            duplicate(store)


# --- creators


def test_a_plain_creator_runs_in_a_thread_and_may_use_the_store(empty_path: str) -> None:
    threads = []

    def create(shape: Shape) -> list[dict[str, Any]]:
        threads.append(threading.current_thread())
        parts = store.get_or_create(Shape("part"), three_rows)
        return list(store.rows(parts.handle))

    with ShapeStore(empty_path, create=create) as store:
        assert store.get_or_create(KEY).row_count == 3
    assert {thread.name for thread in threads}.isdisjoint({threading.current_thread().name, *loop_threads()})


def test_an_async_creator_runs_on_the_loop_where_the_store_refuses_to_wait(empty_path: str) -> None:
    async def create(shape: Shape) -> AsyncIterator[dict[str, Any]]:
        assert loop_threads() == [threading.current_thread().name]
        for use in (store.count, store.open, lambda: next(store.rows("h"))):
            with pytest.raises(RuntimeError, match="its store's own event loop"):
                use()
        assert store.stats.leaders == 1
        for row in three_rows(shape):
            await asyncio.sleep(0)
            yield row

    with ShapeStore(empty_path, create=create) as store:
        assert store.get_or_create(KEY).row_count == 3


def test_an_async_creator_may_close_the_store_which_only_begins_the_closing(empty_path: str) -> None:
    async def create(_: Shape) -> list[dict[str, Any]]:
        store.close()
        await asyncio.Event().wait()
        return []

    store = ShapeStore(empty_path, create=create)
    store.open()
    with pytest.raises(StoreClosedError):
        store.get_or_create(KEY)
    store.close()
    assert loop_threads() == []


def test_opening_on_the_loop_of_a_store_that_another_thread_closes_is_refused_and_does_not_hang(
    empty_path: str,
) -> None:
    refused: list[bool] = []
    creating = threading.Event()

    async def create(_: Shape) -> list[dict[str, Any]]:
        try:
            creating.set()
            await asyncio.Event().wait()
        finally:
            with pytest.raises(RuntimeError, match="its store's own event loop"):
                store.open()
            refused.append(True)
        return []

    with ThreadPoolExecutor(1) as threads:
        with ShapeStore(empty_path, create=create) as store:
            waiting = threads.submit(store.get_or_create, KEY)
            creating.wait()
        assert isinstance(waiting.exception(), StoreClosedError)
    assert refused == [True]


COLOUR: ContextVar[str] = ContextVar("colour")


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_the_context_of_the_caller_reaches_the_creator(store: ShapeStore, kind: str) -> None:
    def create(_: Shape) -> list[dict[str, Any]]:
        return [{"colour": COLOUR.get()}]

    async def create_async(shape: Shape) -> list[dict[str, Any]]:
        return create(shape)

    def in_a_thread(colour: str) -> list[dict[str, Any]]:
        COLOUR.set(colour)
        stored = store.get_or_create(Shape(colour), create if kind == "plain" else create_async)
        return list(store.rows(stored.handle))

    with ThreadPoolExecutor(2) as threads:
        assert [*threads.map(in_a_thread, ["red", "blue"])] == [[{"colour": "red"}], [{"colour": "blue"}]]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_what_a_creator_raises_to_end_the_program_does_not_end_the_loop(
    store: ShapeStore, ending: type[BaseException]
) -> None:
    async def create(_: Shape) -> list[dict[str, Any]]:
        raise ending

    with pytest.raises((ending, CreateFailedError, StoreClosedError)):
        store.get_or_create(KEY, create)
    assert store.get_or_create(Shape("another")).row_count == 3


def test_a_creator_that_stops_the_loop_does_not_stop_the_store(store: ShapeStore) -> None:
    async def create(shape: Shape) -> list[dict[str, Any]]:
        asyncio.get_running_loop().stop()
        return three_rows(shape)

    assert store.get_or_create(KEY, create).row_count == 3
    assert store.count() == 1


def test_a_task_that_a_creator_left_behind_does_not_keep_the_store_from_closing(empty_path: str) -> None:
    ended = []
    tasks = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def create(shape: Shape) -> list[dict[str, Any]]:
        tasks.append(asyncio.create_task(forever()))
        await asyncio.sleep(0)
        return three_rows(shape)

    with ShapeStore(empty_path, create=create) as store:
        store.get_or_create(KEY)
    assert ended == [True]


def test_errors_of_a_call_reach_its_caller(store: ShapeStore) -> None:
    with pytest.raises(InvalidShapeError):
        store.get_or_create("key")  # type: ignore[arg-type]
    with pytest.raises(WaitTimeoutError):
        store.get_or_create(KEY, timeout=0.0)
    with pytest.raises(TypeError, match="unexpected keyword"):
        store.count(wrong=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="after"):
        next(store.rows("h", after=-1))


def test_an_error_is_freed_as_soon_as_its_handler_ends(store: ShapeStore) -> None:
    """Not by the garbage collector, some day: with its traceback it keeps all that its frames hold."""

    class Held:
        gone = False

        def __del__(self) -> None:
            Held.gone = True

    def fail(held: Held) -> None:
        with contextlib.suppress(InvalidShapeError):
            store.get_or_create(held)  # type: ignore[arg-type]

    gc.disable()
    try:
        fail(Held())
        store.count()  # by then the loop's turn that held the call is over
        assert Held.gone
    finally:
        gc.enable()


def test_events_come_on_the_thread_of_the_loop(empty_path: str) -> None:
    heard: list[tuple[type[Event], str]] = []

    def tell(event: Event) -> None:
        heard.append((type(event), threading.current_thread().name))

    with ShapeStore(empty_path, create=three_rows, on_event=tell) as store:
        store.get_or_create(KEY)
        assert (Created, f"shapestore loop {empty_path}") in heard


async def test_in_a_coroutine_of_another_loop_a_method_blocks_that_loop(empty_path: str) -> None:
    """As in a notebook, whose cells run on a loop."""
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    with ShapeStore(empty_path, create=three_rows_async) as store:
        stored = store.get_or_create(KEY)
        assert [row["n"] for row in store.rows(stored.handle)] == [0, 1, 2]
        assert turns == []
    await asyncio.sleep(0)
    assert turns == [1]


# --- iterators


def test_an_iterator_gives_every_row_in_order_across_what_it_reads_ahead(store: ShapeStore) -> None:
    stored = store.get_or_create(KEY, lambda _: ({"n": n} for n in range(2_345)))
    for batch_size in (1, 99, 100, 101, 10_000):
        assert [row["n"] for row in store.rows(stored.handle, batch_size=batch_size)] == list(range(2_345))


def test_an_iterator_reads_nothing_before_it_is_asked(store: ShapeStore) -> None:
    rows = store.rows("no such handle")
    del rows
    iterator = store.rows("no such handle")
    with pytest.raises(ShapeGoneError):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_an_iterator_that_is_left_half_way_ends_its_reading(empty_path: str, leave: str) -> None:
    with ShapeStore(empty_path, create=lambda _: [{"n": n} for n in range(1_000)], max_shapes=1) as store:
        first = store.get_or_create(KEY)
        rows = store.rows(first.handle, batch_size=10)
        assert [row["n"] for row in islice(rows, 5)] == [0, 1, 2, 3, 4]
        assert readings(store) == 1
        if leave == "close":
            rows.close()
        else:
            del rows
        while readings(store):
            store.count()


def readings(store: ShapeStore) -> int:
    open_store = store._store._lifecycle.opened
    assert open_store is not None
    return len(open_store._registrations._wanted)


@pytest.mark.parametrize("taken", [1, 500])
def test_an_iterator_that_is_closed_half_way_closes_the_async_generator_that_it_reads(
    store: ShapeStore, taken: int
) -> None:
    """Also where that is still referenced, so that only an explicit close ends it."""
    closed = threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(10_000):
                yield number
        finally:
            closed.set()

    generator = numbers()
    rows = store._iterate(lambda: generator, 100)
    assert list(islice(rows, taken)) == list(range(taken))
    assert not closed.is_set()
    rows.close()
    closed.wait()


def test_an_iterator_gives_an_item_before_the_next_one_is_there(store: ShapeStore) -> None:
    """As one that waits for changes must."""
    asked = threading.Event()

    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2
        while not asked.is_set():
            await asyncio.sleep(0)
        yield 3

    rows = store._iterate(numbers, 100)
    assert [next(rows), next(rows)] == [1, 2]
    asked.set()
    assert list(rows) == [3]


def test_an_iterator_may_be_dropped_on_the_loop_itself(empty_path: str) -> None:
    """As the garbage collector does, on whatever thread it runs."""
    held: list[Iterator[Any]] = []

    async def create(shape: Shape) -> list[dict[str, Any]]:
        held.clear()
        return three_rows(shape)

    with ShapeStore(empty_path, create=three_rows) as store:
        rows = store.rows(store.get_or_create(KEY).handle)
        next(rows)
        held.append(rows)
        del rows
        assert store.get_or_create(Shape("another"), create).row_count == 3


def test_an_iterator_keeps_its_store_and_ends_with_an_error_once_the_store_is_closed(empty_path: str) -> None:
    store = ShapeStore(empty_path, create=lambda _: [{"n": n} for n in range(1_000)])
    store.open()
    rows = store.rows(store.get_or_create(KEY).handle, batch_size=10)
    assert next(rows) == {"n": 0}
    store.close()
    with pytest.raises(StoreClosedError):
        list(rows)
    rows.close()


def test_locks_of_a_creation_in_progress_are_seen_and_released(empty_path: str) -> None:
    def create(shape: Shape) -> list[dict[str, Any]]:
        if not seen:
            seen.extend(store.locks())
            assert store.release_lock(KEY)
        return three_rows(shape)

    seen: list[CreateLock] = []
    with ShapeStore(empty_path, create=create) as store:
        assert store.get_or_create(KEY).row_count == 3
    assert [lock.comparable for lock in seen] == [KEY.comparable]


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("threading.Thread.start", RuntimeError("can't start new thread")),
        ("asyncio.new_event_loop", OSError("too many open files")),
    ],
)
def test_a_store_whose_loop_cannot_start_says_so_and_can_be_opened_later(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, broken: str, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    store = ShapeStore(empty_path, create=three_rows)
    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        for _ in range(2):
            with pytest.raises(StorageError, match=str(error)):
                store.open()
    with store:
        assert store.get_or_create(KEY).row_count == 3
    assert loop_threads() == []
