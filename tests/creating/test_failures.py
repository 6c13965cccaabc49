"""A failure is an answer: all waiters get it at once, later callers for its TTL; then another attempt is made."""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from file_rows import add_outcome
from inspections import eventually, lost_rows, rows_of, settled
from processes import edit, edited, outcomes, read

from shapestore import CreateFailedError, RetryLater, Shape, ShapeStore, ShapeStoreError, StorageError, WaitTimeoutError
from shapestore.creating.failure import FailureAges
from shapestore.events import Event, Swept
from shapestore.locking.create_lock import Failure
from shapestore.source.creator import Creator
from shapestore.storage.log.chunks import CHUNK_ROWS

pytestmark = pytest.mark.usefixtures("untroubled")

Row = dict[str, Any]

ROWS: list[Row] = [{"n": 1}]
TRACK = Shape("Track")
# A failure TTL that no test outlasts.
LONG = 3_600.0


@pytest.fixture
def path(empty_path: str) -> str:
    return empty_path


class Source:
    """Fails, or gives rows once it is ``well``; a creation waits for ``go``."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.attempts = 0
        self.well = False
        self.go = asyncio.Event()
        self.go.set()

    async def create(self, shape: Shape) -> list[Row]:
        self.attempts += 1
        await self.go.wait()
        if not self.well:
            raise self.error
        return ROWS


async def failure_of(asked: Any) -> CreateFailedError:
    with pytest.raises(CreateFailedError) as raised:
        await asked
    return raised.value


# Who gets a failure


async def test_every_waiter_gets_an_error_of_its_own_with_the_creators_own_as_its_cause(path: str) -> None:
    source = Source(ValueError("no such column: Nmae"))
    source.go.clear()
    async with ShapeStore(path, create=source.create, failure_grace=LONG) as store:
        herd = [asyncio.create_task(store.get_or_create(TRACK)) for _ in range(1_000)]
        await eventually(lambda: source.attempts)
        source.go.set()
        errors = await asyncio.gather(*herd, return_exceptions=True)
        assert (source.attempts, store.stats.leaders, store.stats.failed) == (1, 1, 1)
        told = [error for error in errors if isinstance(error, CreateFailedError)]
        assert len(told) == 1_000
        for error in told:
            assert (error.error_type, error.message) == ("ValueError", "no such column: Nmae")
            assert error.retry_after == LONG
            assert str(error) == f"ValueError: no such column: Nmae (while creating {error.shape})"
            assert error.__cause__ is source.error
        assert len(set(map(id, told))) == 1_000
        # The traceback of one does not grow by those of the others.
        assert max(len(traceback.extract_tb(error.__traceback__)) for error in told) < 10


async def test_an_error_names_the_shape_but_no_value_of_a_param(path: str) -> None:
    """Of a herd of different shapes it was not to be seen whose creator failed."""
    source = Source(ValueError("down"))
    shape = Shape("users", where="token = :token\nOR id = 1", params={"token": "s3cret"})
    long = Shape("users", where=" OR ".join(f"id = {n}" for n in range(1_000)))
    async with ShapeStore(path, create=source.create, failure_grace=LONG) as leader, ShapeStore(path) as another:
        for store in (leader, another):
            error = await failure_of(store.get_or_create(shape, source.create))
            assert error.shape == r"users where token = :token\nOR id = 1"
            assert str(error) == rf"ValueError: down (while creating {error.shape})"
        assert len(str(await failure_of(leader.get_or_create(long)))) < 300


async def test_the_file_has_what_the_waiters_get(path: str) -> None:
    source = Source(ValueError("no such column: Nmae"))
    async with ShapeStore(path, create=source.create, failure_grace=LONG) as store:
        await failure_of(store.get_or_create(TRACK))
        said = ("ValueError", "no such column: Nmae", int(LONG * 1000))
        columns = "error_type, error_message, retry_after_ms"
        assert read(path, f"SELECT state, {columns} FROM create_locks") == [("failed", *said)]
        assert read(path, f"SELECT outcome, {columns} FROM creations") == [("failed", *said)]
        [lock] = await store.locks()
        assert lock.failure is not None
        assert lock.failed_at is not None
        assert (lock.state, lock.failure.error_type, lock.failure.message) == ("failed", *said[:2])


async def test_a_caller_within_the_ttl_gets_the_failure_without_another_attempt(path: str) -> None:
    source = Source(ValueError("no such column: Nmae"))
    async with ShapeStore(path, create=source.create, failure_grace=LONG) as store:
        first = await failure_of(store.get_or_create(TRACK))
        for _ in range(10):
            later = await failure_of(store.get_or_create(TRACK))
            assert later is not first
            assert (later.error_type, later.message) == (first.error_type, first.message)
        assert (source.attempts, store.stats.leaders, store.stats.failed) == (1, 1, 1)


async def test_waiters_of_another_store_get_the_real_type_and_message(path: str) -> None:
    source = Source(ValueError("no such column: Nmae"))
    source.go.clear()
    async with ShapeStore(path, failure_grace=LONG) as leader, ShapeStore(path) as follower:
        leading = asyncio.create_task(leader.get_or_create(TRACK, source.create))
        await eventually(lambda: source.attempts)
        following = [asyncio.create_task(follower.get_or_create(TRACK, source.create)) for _ in range(100)]
        await eventually(lambda: follower.stats.polls > 1)
        source.go.set()
        told = await failure_of(leading)
        errors = await asyncio.gather(*following, return_exceptions=True)
        for error in errors:
            assert isinstance(error, CreateFailedError)
            assert (error.error_type, error.message, error.retry_after) == (
                told.error_type,
                told.message,
                told.retry_after,
            )
            assert error.__cause__ is None
        assert len(set(map(id, errors))) == 100
        # A later caller of that store, within the TTL, gets it too.
        assert (await failure_of(follower.get_or_create(TRACK, source.create))).message == told.message
        assert (source.attempts, follower.stats.commands) == (1, 0)


async def test_a_failure_of_one_shape_does_not_affect_another(path: str) -> None:
    source = Source(ValueError("no such column: Nmae"))
    async with ShapeStore(path, failure_grace=LONG) as store:
        await failure_of(store.get_or_create(TRACK, source.create))
        assert await rows_of(store, await store.get_or_create(Shape("Album"), lambda shape: ROWS)) == ROWS


# When it ends


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def set_clock(store: ShapeStore, clock: Callable[[], float]) -> None:
    """Have failures age by ``clock`` in this store."""
    store._lifecycle.opened.coalescer.services.failure_ages = FailureAges(clock=clock)


async def test_after_its_ttl_a_failure_is_swept_and_another_attempt_is_made(path: str) -> None:
    source = Source(ValueError("no such column: Nmae"))
    swept = asyncio.Event()

    def hear(event: Event) -> None:
        if isinstance(event, Swept):
            swept.set()

    async with ShapeStore(path, create=source.create, failure_grace=0.02, on_event=hear) as store:
        await failure_of(store.get_or_create(TRACK))
        await asyncio.wait_for(swept.wait(), 60)
        assert await store.locks() == []
        source.well = True
        await store.get_or_create(TRACK)
        assert (source.attempts, store.stats.leaders, store.stats.takeovers) == (2, 2, 0)
        assert [outcome for _, outcome in outcomes(path)] == ["failed", "created"]


async def test_a_ttl_of_zero_is_over_once_the_waiters_have_the_failure(path: str) -> None:
    source = Source(ValueError("no such column: Nmae"))
    async with ShapeStore(path, create=source.create, failure_grace=0) as store:
        errors = await asyncio.gather(*(store.get_or_create(TRACK) for _ in range(10)), return_exceptions=True)
        assert source.attempts == 1
        assert all(isinstance(error, CreateFailedError) for error in errors)
        await settled(store, path)
        source.well = True
        assert (await store.get_or_create(TRACK)).row_count == 1


async def test_a_failure_that_is_not_swept_is_taken_over_after_its_ttl(path: str) -> None:
    source = Source(ValueError("no such column: Nmae"))
    clock = Clock()
    async with ShapeStore(path, failure_grace=LONG) as owner, ShapeStore(path, create=source.create) as other:
        set_clock(other, clock)
        await failure_of(owner.get_or_create(TRACK, source.create))
        source.well = True
        for now in (100.0, 101.0, 100.0 + LONG):
            clock.now = now
            await failure_of(other.get_or_create(TRACK))
        assert source.attempts == 1
        clock.now = 100.0 + LONG + 0.001
        stored = await other.get_or_create(TRACK)
        assert (source.attempts, other.stats.takeovers) == (2, 1)
        assert await owner.get_or_create(TRACK) == stored


@pytest.mark.parametrize("failed_at_ms", [0, 2**53])
async def test_the_wall_clock_does_not_end_the_ttl(path: str, failed_at_ms: int) -> None:
    source = Source(ValueError("no such column: Nmae"))
    async with ShapeStore(path, failure_grace=LONG) as owner, ShapeStore(path, create=source.create) as other:
        await failure_of(owner.get_or_create(TRACK, source.create))
        edit(path, "UPDATE create_locks SET failed_at_ms = ?, started_at_ms = ?", failed_at_ms, failed_at_ms)
        for store in (owner, other):
            await failure_of(store.get_or_create(TRACK, source.create))
        assert source.attempts == 1


async def test_a_failure_can_be_released_by_hand(path: str) -> None:
    source = Source(ValueError("no such column: Nmae"))
    async with ShapeStore(path, create=source.create, failure_grace=LONG) as store:
        await failure_of(store.get_or_create(TRACK))
        source.well = True
        assert await store.release_lock(TRACK) is True
        assert await store.release_lock(TRACK) is False
        assert (await store.get_or_create(TRACK)).row_count == 1


@pytest.mark.parametrize("newer", ["in_progress", "failed"])
async def test_a_late_sweep_removes_no_newer_row(path: str, newer: str) -> None:
    swept: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()

    def hear(event: Event) -> None:
        if isinstance(event, Swept):
            swept.put_nowait(event.handles)

    source = Source(ValueError("no such column: Nmae"))
    async with ShapeStore(path, create=source.create, failure_grace=0.1, on_event=hear) as store:
        await failure_of(store.get_or_create(TRACK))
        await store.release_lock(TRACK)  # as an operator may at any time
        if newer == "failed":
            source.error = RetryLater(LONG)
            await failure_of(store.get_or_create(TRACK))
        else:
            source.well = True
            source.go.clear()
            creating = asyncio.create_task(store.get_or_create(TRACK))
            await eventually(lambda: source.attempts == 2)
        [lock] = await store.locks()
        assert lock.state == newer
        late = await asyncio.wait_for(swept.get(), 60)
        assert lock.handle not in late
        assert await store.locks() == [lock]
        if newer == "in_progress":
            source.go.set()
            assert (await creating).handle == lock.handle


async def test_a_follower_that_slept_through_the_whole_ttl_learns_the_outcome(path: str) -> None:
    source = Source(ValueError("not asked"))
    async with ShapeStore(path) as leader, ShapeStore(path, create=source.create) as follower:
        go = asyncio.Event()

        async def create(shape: Shape) -> list[Row]:
            await go.wait()
            return ROWS

        leading = asyncio.create_task(leader.get_or_create(TRACK, create))
        await eventually(lambda: leader.stats.leaders)
        [lock] = await leader.locks()
        following = asyncio.create_task(follower.get_or_create(TRACK))
        await eventually(lambda: follower.stats.polls > 1)
        # Between two polls of the follower the attempt has failed, and its failure was swept.
        with edited(path) as file:
            add_outcome(file, lock.handle, TRACK, failure=Failure("OSError", "the source is gone", 1))
            file.execute("DELETE FROM create_locks")
        error = await failure_of(following)
        assert (error.error_type, error.message) == ("OSError", "the source is gone")
        assert source.attempts == 0
        go.set()
        # Its fencing token no longer holds, so it begins again.
        assert (await leading).handle != lock.handle


# RetryLater


async def test_a_creator_can_ask_for_a_longer_ttl(path: str) -> None:
    source = Source(RetryLater(LONG, "the source asks for fewer requests"))
    async with ShapeStore(path, create=source.create, failure_grace=0) as store:
        error = await failure_of(store.get_or_create(TRACK))
        assert (error.error_type, error.message) == ("RetryLater", "the source asks for fewer requests")
        assert error.retry_after == LONG
        assert error.__cause__ is source.error
        await failure_of(store.get_or_create(TRACK))
        assert source.attempts == 1
        assert read(path, "SELECT retry_after_ms FROM create_locks") == [int(LONG * 1000)]


async def test_a_creator_cannot_ask_for_a_shorter_ttl(path: str) -> None:
    source = Source(RetryLater(0.001))
    async with ShapeStore(path, create=source.create, failure_grace=LONG) as store:
        assert (await failure_of(store.get_or_create(TRACK))).retry_after == LONG


async def test_retry_later_from_an_error_shows_that_error(path: str) -> None:
    async def create(shape: Shape) -> list[Row]:
        try:
            raise ConnectionError("refused by 10.0.0.1")
        except ConnectionError as error:
            raise RetryLater(LONG) from error

    async with ShapeStore(path, create=create) as store, ShapeStore(path) as other:
        for asked in (store.get_or_create(TRACK), other.get_or_create(TRACK, create)):
            error = await failure_of(asked)
            assert (error.error_type, error.message) == ("ConnectionError", "refused by 10.0.0.1")
            assert error.retry_after == LONG


async def test_an_endless_ttl_is_shortened_to_one_that_the_file_can_hold(path: str) -> None:
    source = Source(RetryLater(1e300))
    async with ShapeStore(path, create=source.create) as store:
        assert (await failure_of(store.get_or_create(TRACK))).retry_after > 365 * 86_400
        await failure_of(store.get_or_create(TRACK))
        assert (source.attempts, store.stats.in_flight) == (1, 0)


# Time-outs of creators


async def test_a_coroutine_whose_time_is_up_is_cancelled_and_every_waiter_gets_the_time_out(path: str) -> None:
    cancelled = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with ShapeStore(path, create=create, create_timeout=0.05, failure_grace=LONG, max_creating=1) as store:
        errors = await asyncio.gather(*(store.get_or_create(TRACK) for _ in range(100)), return_exceptions=True)
        for error in errors:
            assert isinstance(error, CreateFailedError)
            assert (error.error_type, error.message) == ("TimeoutError", "the creator did not finish within 0.05 s")
            assert isinstance(error.__cause__, TimeoutError)
        await asyncio.wait_for(cancelled.wait(), 60)
        await store.get_or_create(Shape("Album"), lambda shape: ROWS)  # its slot is free again


async def test_a_time_out_discards_what_was_already_in_the_file(path: str) -> None:
    async def create(shape: Shape) -> AsyncIterator[Row]:
        for number in range(2 * CHUNK_ROWS):
            yield {"n": number}
        await asyncio.Event().wait()

    async with ShapeStore(path, create=create, create_timeout=3, failure_grace=0) as store:
        creating = asyncio.create_task(store.get_or_create(TRACK))
        await eventually(lambda: lost_rows(path) == 2 * CHUNK_ROWS)
        assert (await failure_of(creating)).error_type == "TimeoutError"
        await settled(store, path)


async def test_a_thread_past_its_time_writes_nothing_and_keeps_its_slot_until_it_ends(path: str) -> None:
    go = threading.Event()
    ended = threading.Event()

    def create(shape: Shape) -> Iterator[Row]:
        try:
            go.wait(60)
            for number in range(10 * CHUNK_ROWS):
                yield {"n": number}
        finally:
            ended.set()

    async with ShapeStore(path, create_timeout=0.05, failure_grace=0, max_creating=1) as store:
        error = await failure_of(store.get_or_create(TRACK, create))
        assert error.error_type == "TimeoutError"
        with pytest.raises(WaitTimeoutError, match="max_creating slots are in use"):
            await store.get_or_create(Shape("Album"), lambda shape: ROWS, timeout=0.1)
        waiting = asyncio.create_task(store.get_or_create(Shape("Album"), lambda shape: ROWS))
        assert await store.get(Shape("Album")) is None
        go.set()
        assert (await waiting).row_count == 1
        assert ended.is_set()
        assert await store.get(TRACK) is None
        assert read(path, "SELECT count(*) FROM shape_rows") == [1]


async def test_a_thread_that_outlasts_its_attempt_cannot_spoil_the_next_one(path: str) -> None:
    begun: list[int] = []
    ended: list[int] = []
    go = threading.Event()

    def create(shape: Shape) -> Iterator[Row]:
        number = len(begun)
        begun.append(number)
        if number == 0:
            go.wait(60)
        try:
            for _ in range(3 * CHUNK_ROWS):
                yield {"late": number == 0}
        finally:
            ended.append(number)

    async with ShapeStore(path, create=create) as store:
        asked = asyncio.create_task(store.get_or_create(TRACK))
        await eventually(lambda: begun)
        assert await store.release_lock(TRACK)
        second = await asked
        go.set()
        await eventually(lambda: ended == [1, 0])
        assert await rows_of(store, second) == [{"late": False}] * (3 * CHUNK_ROWS)
        assert (store.stats.leaders, store.stats.superseded) == (2, 1)
        await settled(store, path)


async def test_a_coroutine_that_ignores_its_cancellation_keeps_its_slot_until_it_ends(path: str) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return ROWS

    async with ShapeStore(path, create_timeout=0.05, failure_grace=0, max_creating=1) as store:
        assert (await failure_of(store.get_or_create(TRACK, create))).error_type == "TimeoutError"
        with pytest.raises(WaitTimeoutError, match="max_creating slots are in use"):
            await store.get_or_create(Shape("Album"), lambda shape: ROWS, timeout=0.1)
        go.set()
        assert (await store.get_or_create(Shape("Album"), lambda shape: ROWS)).row_count == 1
        assert await store.get(TRACK) is None
        await settled(store, path)


async def test_a_creator_without_any_time_is_timed_out(path: str) -> None:
    async with ShapeStore(path, create=lambda shape: ROWS, create_timeout=0) as store:
        assert (await failure_of(store.get_or_create(TRACK))).error_type == "TimeoutError"


# Whatever a creator raises


class StrangeError(Exception):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __str__(self) -> str:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


MESSAGES: dict[str, tuple[Exception, str]] = {
    "none": (ValueError(), ""),
    "of many lines": (ValueError("a\nb"), "a\nb"),
    "huge": (ValueError("x" * 10_000_000), "x" * 2_000 + "... (10000000 characters)"),
    "with NUL": (ValueError("a\0b"), "a\\x00b"),
    "with half a surrogate pair": (ValueError("a\ud800b"), "a\\ud800b"),
    "of all planes": (ValueError("\u00e9\u4e2d\U0001f600"), "\u00e9\u4e2d\U0001f600"),
    "that raises": (StrangeError(RuntimeError("no")), "(its message could not be read: RuntimeError)"),
    "that exits": (StrangeError(SystemExit(1)), "(its message could not be read: SystemExit)"),
    "that is no str": (StrangeError(7), "(its message could not be read: TypeError)"),
}


@pytest.mark.parametrize(("error", "message"), MESSAGES.values(), ids=MESSAGES.keys())
async def test_any_message_is_the_same_here_and_in_another_store_and_fits_a_log(
    path: str, error: Exception, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(error)
    async with ShapeStore(path, create=source.create, failure_grace=LONG) as store, ShapeStore(path) as other:
        here = await failure_of(store.get_or_create(TRACK))
        elsewhere = await failure_of(other.get_or_create(TRACK, source.create))
        assert here.message == elsewhere.message == message
        assert here.error_type == elsewhere.error_type == type(error).__name__
        assert here.__cause__ is error
    assert f"failed: {here.error_type}: {message}" in caplog.text
    assert len(caplog.text.encode()) < 200_000


async def test_the_name_of_an_error_is_limited_too(path: str) -> None:
    strange = type("E" * 1_000_000, (Exception,), {})
    async with ShapeStore(path, create=Source(strange("m")).create) as store:
        error = await failure_of(store.get_or_create(TRACK))
        assert error.error_type.startswith("EEE")
        assert len(error.error_type) < 3_000


RAISED: dict[str, tuple[BaseException, str]] = {
    "SystemExit": (SystemExit(3), "SystemExit"),
    "GeneratorExit": (GeneratorExit(), "GeneratorExit"),
    "CancelledError": (asyncio.CancelledError(), "RuntimeError"),
    "StopIteration": (StopIteration(1), "RuntimeError"),
    "StopAsyncIteration": (StopAsyncIteration(), "StopAsyncIteration"),
    "BaseExceptionGroup": (BaseExceptionGroup("several", [SystemExit(), ValueError()]), "BaseExceptionGroup"),
}


def raising(form: str, error: BaseException) -> Creator:
    async def coroutine(shape: Shape) -> list[Row]:
        raise error

    async def async_generator(shape: Shape) -> AsyncIterator[Row]:
        yield {"n": 1}
        raise error

    def function(shape: Shape) -> list[Row]:
        raise error

    def generator(shape: Shape) -> Iterator[Row]:
        yield {"n": 1}
        raise error

    def function_of_a_coroutine(shape: Shape) -> Any:
        return coroutine(shape)

    forms: list[Creator] = [coroutine, async_generator, function, generator, function_of_a_coroutine]
    return {create.__name__: create for create in forms}[form]


FORMS = ["coroutine", "async_generator", "function", "generator", "function_of_a_coroutine"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("error", "told"), RAISED.values(), ids=RAISED.keys())
async def test_no_exception_of_a_creator_hangs_its_waiters_or_harms_the_store(
    path: str, form: str, error: BaseException, told: str
) -> None:
    async with ShapeStore(path, create=raising(form, error), failure_grace=0, wait_timeout=60) as store:
        errors = await asyncio.gather(*(store.get_or_create(TRACK) for _ in range(3)), return_exceptions=True)
        for answer in errors:
            assert isinstance(answer, CreateFailedError), answer
            if "generator" in form and isinstance(error, (StopIteration, StopAsyncIteration)):
                assert answer.error_type in (told, "RuntimeError")  # Python replaces it where a generator raises it
            else:
                assert answer.error_type == told
        await settled(store, path)
        assert (await store.get_or_create(TRACK, lambda shape: ROWS)).row_count == 1


@pytest.mark.parametrize("form", ["function", "generator"])
async def test_an_interrupt_raised_in_a_creators_thread_is_its_failure(path: str, form: str) -> None:
    async with ShapeStore(path, create=raising(form, KeyboardInterrupt())) as store:
        assert (await failure_of(store.get_or_create(TRACK))).error_type == "KeyboardInterrupt"


async def test_an_error_of_another_store_is_the_creators_own(path: str) -> None:
    source = Source(StorageError("the disk of the source is full"))
    async with ShapeStore(path, create=source.create) as store:
        error = await failure_of(store.get_or_create(TRACK))
        assert (error.error_type, error.message) == ("StorageError", "the disk of the source is full")
        assert error.__cause__ is source.error


async def test_a_failure_that_cannot_be_described_reaches_the_caller_and_the_key_is_free_again(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = RetryLater(1)
    del error.seconds
    async with ShapeStore(path, create=Source(error).create) as store:
        with pytest.raises(ShapeStoreError, match="unexpected AttributeError"):
            await store.get_or_create(TRACK)
        assert "unexpected error while creating a shape" in caplog.text
        assert (await store.get_or_create(TRACK, lambda shape: ROWS)).row_count == 1


def test_by_default_a_caller_waits_longer_than_a_creator_may_take_and_so_gets_its_time_out() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(ShapeStore).parameters.items()}
    assert defaults["wait_timeout"] > defaults["create_timeout"]
