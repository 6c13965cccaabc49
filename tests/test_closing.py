"""A store that is not open says so; one that closes ends whatever is under way, and leaves nothing but the shapes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from descriptors import count_descriptors
from inspections import assert_no_transaction_is_open, eventually, gate_held, left_open, lost_rows, rows_of
from processes import PATIENCE, assert_sound, outcomes, read, until

from shapestore import CreateFailedError, Shape, ShapeStore, StoreClosedError, StoredShape
from shapestore.events import Event, Followed
from shapestore.source.creator import Creator
from shapestore.storage import page_reader
from shapestore.storage.connection import on_thread
from shapestore.storage.log import read as log_read
from shapestore.storage.log.chunks import CHUNK_ROWS

pytestmark = pytest.mark.usefixtures("untroubled")

ROOT = Path(__file__).resolve().parent.parent

Row = dict[str, Any]

ROWS: list[Row] = [{"n": 1}, {"n": 2}]
TRACK = Shape("Track")


@pytest.fixture
def path(empty_path: str) -> str:
    return empty_path


def rows(shape: Shape) -> list[Row]:
    return ROWS


async def drain(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def assert_nothing_is_left(path: str) -> None:
    """As it must be when no store is open on the file."""
    until(lambda: not left_open(path), "its threads have ended")  # which they do a little later
    assert os.listdir(f"{path}-owners") == []
    assert read(path, "SELECT count(*) FROM create_locks UNION ALL SELECT count(*) FROM owners") == [0, 0]
    assert_no_transaction_is_open(path)
    assert_sound(path)


# Not open


CALLS: dict[str, Callable[[ShapeStore], Awaitable[Any]]] = {
    "get_or_create": lambda store: store.get_or_create(TRACK, rows),
    "refresh": lambda store: store.refresh(TRACK, rows),
    "get": lambda store: store.get(TRACK),
    "get_by_handle": lambda store: store.get_by_handle("handle"),
    "fetch": lambda store: store.fetch(TRACK, rows),
    "fetch_json": lambda store: store.fetch_json(TRACK, rows),
    "read_log": lambda store: store.read_log("handle"),
    "wait": lambda store: store.wait("handle", 0),
    "changes": lambda store: drain(store.changes("handle")),
    "stream_json": lambda store: drain(store.stream_json("handle")),
    "rows": lambda store: drain(store.rows("handle")),
    "shapes": lambda store: drain(store.shapes()),
    "count": lambda store: store.count(),
    "explain": lambda store: store.explain(TRACK),
    "delete": lambda store: store.delete("handle"),
    "invalidate": lambda store: store.invalidate("Track"),
    "followed": lambda store: store.followed(),
    "touched": lambda store: store.touched("Track", [1]),
    "locks": lambda store: store.locks(),
    "release_lock": lambda store: store.release_lock(TRACK),
}


async def stats(store: ShapeStore) -> Any:
    return store.stats


def test_every_public_call_is_among_these() -> None:
    public = {name for name in vars(ShapeStore) if not name.startswith("_")}
    assert public - {"open", "close", "stats", "cached"} == CALLS.keys()


@pytest.mark.parametrize("call", [*CALLS.values(), stats], ids=[*CALLS, "stats"])
async def test_a_call_before_open_and_after_close_is_refused(
    path: str, call: Callable[[ShapeStore], Awaitable[Any]]
) -> None:
    store = ShapeStore(path)
    with pytest.raises(StoreClosedError, match="not open"):
        await call(store)
    await store.open()
    await store.close()
    with pytest.raises(StoreClosedError, match="not open"):
        await call(store)


async def test_a_store_that_was_never_opened_touches_no_file(tmp_path: Path) -> None:
    path = tmp_path / "shapes.db"
    store = ShapeStore(path, create=rows)
    with pytest.raises(StoreClosedError):
        await store.get_or_create(TRACK)
    await store.close()
    assert os.listdir(tmp_path) == []


async def test_a_store_can_be_opened_and_closed_any_number_of_times(path: str) -> None:
    store = ShapeStore(path, create=rows)
    await store.open()
    first = await store.get_or_create(TRACK)
    for _ in range(5):
        await store.open()  # an open one: nothing happens
        assert await store.get(TRACK) == first
        await store.close()
        await store.close()
        assert_nothing_is_left(path)
        async with store:
            assert await store.get_or_create(TRACK) == first
            assert await rows_of(store, first) == ROWS
        await store.open()
    await store.close()


async def test_opening_and_closing_at_once_do_so_once(path: str) -> None:
    store = ShapeStore(path)
    await asyncio.gather(*(store.open() for _ in range(10)))
    assert read(path, "SELECT count(*) FROM owners") == [1]
    await asyncio.gather(*(store.close() for _ in range(10)))
    assert_nothing_is_left(path)


async def test_who_closes_while_another_opens_finds_it_closed(path: str) -> None:
    store = ShapeStore(path)
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0)
    await store.close()
    await opening
    with pytest.raises(StoreClosedError):
        await store.count()
    assert_nothing_is_left(path)


async def test_who_opens_while_another_closes_finds_it_open(path: str) -> None:
    store = ShapeStore(path)
    await store.open()
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    await store.open()
    await closing
    assert await store.count() == 0
    await store.close()
    assert_nothing_is_left(path)


async def test_a_failed_opening_leaves_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "shapes.db"
    path.write_bytes(b"no database, " * 1_000)
    store = ShapeStore(path, create=rows)
    for _ in range(3):
        with pytest.raises(Exception, match=r"shapes\.db"):
            await store.open()
        until(lambda: not left_open(str(path)), "all is closed")
    path.unlink()
    async with store:
        await store.get_or_create(TRACK)


# Whatever is under way


class Stuck:
    """Creators that come so far and no farther."""

    def __init__(self) -> None:
        self.here = threading.Event()
        self.let_go = threading.Event()
        self.cleaned_up = threading.Event()

    async def coroutine(self, shape: Shape) -> list[Row]:
        self.here.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cleaned_up.set()
        raise AssertionError

    async def between_chunks(self, shape: Shape) -> AsyncIterator[Row]:
        try:
            for number in range(2 * CHUNK_ROWS + 10):
                yield {"n": number}
            self.here.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cleaned_up.set()

    async def never_ending(self, shape: Shape) -> AsyncIterator[Row]:
        try:
            while True:
                self.here.set()
                yield {"n": 1}
        finally:
            self.cleaned_up.set()

    def never_ending_in_a_thread(self, shape: Shape) -> Iterator[Row]:
        try:
            while True:
                self.here.set()
                yield {"n": 1}
        finally:
            self.cleaned_up.set()

    def thread(self, shape: Shape) -> Iterator[Row]:
        yield {"n": 1}
        self.here.set()
        self.let_go.wait(60)
        self.cleaned_up.set()


@pytest.mark.parametrize("form", ["coroutine", "between_chunks", "never_ending", "never_ending_in_a_thread", "thread"])
async def test_closing_ends_a_creation_whatever_it_is_doing(path: str, form: str) -> None:
    stuck = Stuck()
    create: Creator = getattr(stuck, form)
    store = ShapeStore(path, create=create)
    await store.open()
    herd = [asyncio.create_task(store.get_or_create(TRACK)) for _ in range(100)]
    await eventually(stuck.here.is_set)
    await asyncio.wait_for(store.close(), 60)
    for answer in await asyncio.gather(*herd, return_exceptions=True):
        assert isinstance(answer, StoreClosedError), answer
    if form == "thread":  # which nothing can end
        assert not stuck.cleaned_up.is_set()
        stuck.let_go.set()
    await eventually(stuck.cleaned_up.is_set)
    assert_nothing_is_left(path)
    assert [outcome for _, outcome in outcomes(path)] == ["abandoned"]
    async with ShapeStore(path, create=rows) as store:
        await store.get_or_create(TRACK)
        await eventually(lambda: not lost_rows(path))


async def test_closing_leaves_no_task_though_threads_hang(path: str) -> None:
    within, beyond = Stuck(), Stuck()
    try:
        store = ShapeStore(path, create_timeout=0.5)
        await store.open()
        with pytest.raises(CreateFailedError, match="TimeoutError"):  # its creator outlives its attempt
            await store.get_or_create(Shape("beyond"), beyond.thread)
        asked = asyncio.create_task(store.get_or_create(Shape("within"), within.thread))
        await eventually(within.here.is_set)
        await asyncio.wait_for(store.close(), 60)
        with pytest.raises((StoreClosedError, CreateFailedError)):
            await asked
        assert asyncio.all_tasks() == {asyncio.current_task()}
        until(lambda: all(left.startswith("shapestore creator") for left in left_open(path)), "all else has ended")
        assert len(left_open(path)) == 2
    finally:
        within.let_go.set()
        beyond.let_go.set()
    assert_nothing_is_left(path)


async def test_closing_ends_who_follows_another_store(path: str) -> None:
    stuck = Stuck()
    async with ShapeStore(path) as leader:
        leading = asyncio.create_task(leader.get_or_create(TRACK, stuck.coroutine))
        await eventually(stuck.here.is_set)
        follower = ShapeStore(path, create=rows)
        await follower.open()
        herd = [asyncio.create_task(follower.get_or_create(TRACK)) for _ in range(100)]
        await eventually(lambda: follower.stats.polls > 2)
        await follower.close()
        for answer in await asyncio.gather(*herd, return_exceptions=True):
            assert isinstance(answer, StoreClosedError)
        # The leader and its lock row are none of its business.
        assert [lock.state for lock in await leader.locks()] == ["in_progress"]
    with pytest.raises(StoreClosedError):
        await leading
    assert_nothing_is_left(path)


async def test_who_follows_a_store_that_closes_leads_after_it(path: str) -> None:
    stuck = Stuck()
    async with ShapeStore(path, create=rows) as follower:
        leader = ShapeStore(path)
        await leader.open()
        leading = asyncio.create_task(leader.get_or_create(TRACK, stuck.coroutine))
        await eventually(stuck.here.is_set)
        following = asyncio.create_task(follower.get_or_create(TRACK))
        await eventually(lambda: follower.stats.polls > 2)
        await leader.close()
        with pytest.raises(StoreClosedError):
            await leading
        assert await rows_of(follower, await following) == ROWS
        assert [outcome for _, outcome in outcomes(path)] == ["abandoned", "created"]


async def test_closing_ends_who_waits_for_a_place(path: str) -> None:
    stuck = Stuck()
    store = ShapeStore(path, create=stuck.coroutine, max_creating=1)
    await store.open()
    asked = [asyncio.create_task(store.get_or_create(Shape(f"table {number}"))) for number in range(50)]
    await eventually(stuck.here.is_set)
    await store.close()
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, StoreClosedError)
    assert_nothing_is_left(path)


async def test_what_is_being_claimed_when_the_store_closes_is_given_up(path: str) -> None:
    created = threading.Event()

    def create(shape: Shape) -> list[Row]:
        created.set()
        return ROWS

    store = ShapeStore(path, create=create)
    await store.open()
    async with gate_held(path):
        asked = asyncio.create_task(store.get_or_create(TRACK))
        await eventually(lambda: store.stats.commands)
        closing = asyncio.create_task(store.close())
        with pytest.raises(StoreClosedError):
            await asked  # at once, though the claim cannot be settled yet
        assert not closing.done()
    await closing
    assert_nothing_is_left(path)
    assert read(path, "SELECT count(*) FROM shapes") == [0]


async def test_what_is_being_published_when_the_store_closes_is_published(path: str) -> None:
    go = asyncio.Event()

    async def create(shape: Shape) -> list[Row]:
        await go.wait()
        return ROWS

    store = ShapeStore(path, create=create)
    await store.open()
    asked = asyncio.create_task(store.get_or_create(TRACK))
    await eventually(lambda: store.stats.leaders)
    async with gate_held(path):
        go.set()
        await eventually(lambda: store.stats.commands == 2)
        closing = asyncio.create_task(store.close())
        with pytest.raises(StoreClosedError):
            await asked
    await closing
    assert_nothing_is_left(path)
    async with ShapeStore(path) as store:
        stored = await store.get(TRACK)
        assert stored is not None
        assert await rows_of(store, stored) == ROWS


async def test_what_was_asked_of_the_writer_before_the_store_closes_is_done(path: str) -> None:
    store = ShapeStore(path, create=rows)
    await store.open()
    stored = await store.get_or_create(TRACK)
    async with gate_held(path):
        deleting = asyncio.create_task(store.delete(stored.handle))
        await eventually(lambda: store.stats.commands == 3)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0.01)
    await closing
    assert await deleting is True
    assert read(path, "SELECT count(*) FROM shapes") == [0]


async def test_a_refresh_that_is_given_up_leaves_the_old_shape(path: str) -> None:
    stuck = Stuck()
    store = ShapeStore(path, create=rows)
    await store.open()
    old = await store.get_or_create(TRACK)
    refreshing = asyncio.create_task(store.refresh(TRACK, stuck.between_chunks))
    await eventually(stuck.here.is_set)
    await store.close()
    with pytest.raises(StoreClosedError):
        await refreshing
    assert_nothing_is_left(path)
    async with store:
        assert await store.get(TRACK) == old


async def test_a_reader_of_rows_is_told_that_the_store_was_closed(path: str) -> None:
    store = ShapeStore(path, create=lambda shape: ({"n": number} for number in range(100)))
    await store.open()
    stored = await store.get_or_create(TRACK)
    reading = store.rows(stored.handle, batch_size=10)
    assert await anext(reading) == {"n": 0}
    listing = store.shapes()
    await store.close()
    with pytest.raises(StoreClosedError):
        await drain(reading)
    with pytest.raises(StoreClosedError):
        await drain(listing)


def is_closed(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return True
    return False


async def test_who_reads_in_parts_while_the_store_closes_is_told_that_it_was_closed(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next part is asked for when the connection has just been closed, and its thread has not ended."""
    reading, go = threading.Event(), threading.Event()
    read_part = log_read.log_entries

    def held(*given: Any) -> Any:
        reading.set()
        assert go.wait(PATIENCE)
        return read_part(*given)

    def at_once(connection: Any, work: Any, answer: asyncio.Future[Any]) -> asyncio.Future[Any]:
        done = threading.Event()

        def noted(sqlite: sqlite3.Connection) -> Any:
            try:
                return work(sqlite)
            finally:
                done.set()

        on_thread(connection, noted, answer)
        assert done.wait(PATIENCE)
        return answer

    async with ShapeStore(path, create=lambda _: [{"n": n} for n in range(3_000)]) as store:
        stored = await store.get_or_create(Shape("Track"))
        monkeypatch.setattr(log_read, "log_entries", held)
        caller = asyncio.create_task(store.read_log(stored, limit=3_000))
        await eventually(reading.is_set)
        point = store._live().reader._point
        closing = asyncio.create_task(store.close())
        await eventually(lambda: is_closed(point))
        monkeypatch.setattr(page_reader, "on_thread", at_once)
        go.set()
        with pytest.raises(StoreClosedError, match="the store was closed during this call"):
            await caller
        await closing


async def test_a_creator_may_close_its_own_store(path: str) -> None:
    store = ShapeStore(path)

    async def create(shape: Shape) -> list[Row]:
        await store.close()
        return ROWS

    await store.open()
    with pytest.raises(StoreClosedError):
        await asyncio.wait_for(store.get_or_create(TRACK, create), 60)
    await store.close()
    assert_nothing_is_left(path)


async def test_a_creator_in_a_thread_may_close_its_own_store(path: str) -> None:
    store = ShapeStore(path)
    loop = asyncio.get_running_loop()
    closed = threading.Event()

    def create(shape: Shape) -> list[Row]:
        asyncio.run_coroutine_threadsafe(store.close(), loop).result(PATIENCE)
        closed.set()
        return ROWS

    await store.open()
    with pytest.raises(StoreClosedError):
        await asyncio.wait_for(store.get_or_create(TRACK, create), 60)
    await eventually(closed.is_set)
    assert_nothing_is_left(path)


async def test_a_listener_may_close_the_store(path: str) -> None:
    closing: list[asyncio.Task[None]] = []
    store = ShapeStore(path, create=rows, on_event=lambda _: closing.append(asyncio.create_task(store.close())))
    await store.open()
    with pytest.raises(StoreClosedError):
        await asyncio.wait_for(store.get_or_create(TRACK), 60)
    await asyncio.gather(*closing)
    assert_nothing_is_left(path)


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_listener_may_close_the_store_before_a_caller_waits(path: str, has_begun: bool) -> None:
    """Where tasks begin at once, all that is in flight has been told to end when the listener returns."""
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    closing: list[asyncio.Task[None]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Followed):
            closing.append(asyncio.create_task(store.close()))

    async def create(shape: Shape) -> list[Row]:
        created.append(shape)
        await asyncio.Event().wait()
        return ROWS

    created: list[Shape] = []
    store = ShapeStore(path, create=create, on_event=listen)
    await store.open()
    callers = [asyncio.create_task(store.get_or_create(TRACK))]
    if has_begun:
        await eventually(lambda: bool(created))
    callers.append(asyncio.create_task(store.get_or_create(TRACK)))
    async with asyncio.timeout(PATIENCE):
        told = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(error) for error in told] == [StoreClosedError, StoreClosedError]
    await asyncio.gather(*closing)
    assert len(created) == has_begun
    assert_nothing_is_left(path)


async def test_many_openings_leak_nothing(path: str) -> None:
    before = count_descriptors()
    for number in range(50):
        async with ShapeStore(path, create=rows) as store:
            await store.get_or_create(Shape(f"table {number}"))
        await eventually(lambda: not left_open(path))
    assert count_descriptors() <= before + 2  # the epoll or so that pytest may have opened meanwhile
    assert len(os.listdir(f"{path}-owners")) == 0


# Loops that end, and another one


def test_a_store_used_on_another_loop_says_so_and_can_be_opened_there(path: str) -> None:
    store = ShapeStore(path, create=rows, wait_timeout=60)

    async def begin() -> StoredShape:
        await store.open()
        return await store.get_or_create(TRACK)

    stored = asyncio.run(begin())

    async def go_on() -> None:
        for call in CALLS.values():
            with pytest.raises(StoreClosedError, match="another event loop"):
                await asyncio.wait_for(call(store), 60)
        assert store.stats.created == 1  # which may be asked for from anywhere
        await asyncio.wait_for(store.open(), 60)
        assert await store.get_or_create(TRACK) == stored
        await store.get_or_create(Shape("Album"))
        assert read(path, "SELECT count(*) FROM owners") == [1]
        await store.close()

    asyncio.run(go_on())
    assert os.listdir(f"{path}-owners") == []


def test_a_store_whose_loop_has_ended_can_be_closed_on_another(path: str) -> None:
    stuck = Stuck()
    store = ShapeStore(path)

    async def begin() -> asyncio.Task[StoredShape]:
        await store.open()
        asked = asyncio.create_task(store.get_or_create(TRACK, stuck.between_chunks))
        await eventually(stuck.here.is_set)
        return asked

    assert asyncio.run(begin()).cancelled()

    async def close() -> None:
        await asyncio.wait_for(store.close(), 60)

    asyncio.run(close())
    asyncio.run(close())

    async def go_on() -> None:
        async with ShapeStore(path, create=rows) as other:
            assert await other.locks() == []
            assert (await other.get_or_create(TRACK)).row_count == 2

    asyncio.run(go_on())
    assert os.listdir(f"{path}-owners") == []
    assert_no_transaction_is_open(path)


async def test_a_store_is_not_closed_from_another_loop_while_its_own_lives(path: str) -> None:
    async with ShapeStore(path, create=rows) as store:

        def from_another() -> None:
            with pytest.raises(StoreClosedError, match="another event loop"):
                asyncio.run(store.close())
            with pytest.raises(StoreClosedError, match="another event loop"):
                asyncio.run(store.count())

        await asyncio.to_thread(from_another)
        assert (await store.get_or_create(TRACK)).row_count == 2


ENDED_BY_A_LISTENER = """
import asyncio, sys
from shapestore import Shape, ShapeStore

def listen(event):
    if type(event).__name__ == sys.argv[2]:
        sys.exit(3)

async def create(shape):
    if sys.argv[2] == "Failed":
        raise ValueError
    return [{"n": 1}]

async def main():
    async with ShapeStore(sys.argv[1], create=create, on_event=listen) as store:
        await store.get_or_create(Shape("Track"))

asyncio.run(main())
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("event", ["Led", "Created", "Failed"])
def test_a_program_that_a_listener_ends_is_ended_and_its_store_closed(empty_path: str, event: str) -> None:
    ran = run(ENDED_BY_A_LISTENER, empty_path, event)
    assert ran.returncode == 3, ran.stderr
    assert_nothing_is_left(empty_path)


CUT_SHORT = """
import asyncio, sys
from shapestore import Shape, ShapeStore
from shapestore.locking.gate import Gate

async def main():
    go, gate, store = asyncio.Event(), Gate(sys.argv[1]), ShapeStore(sys.argv[1])

    async def create(shape):
        await go.wait()
        return [{"n": 1}]

    await store.open()
    asked = asyncio.create_task(store.get_or_create(Shape("Track"), create))
    while not store.stats.leaders:
        await asyncio.sleep(0.001)
    await gate.acquire()
    go.set()
    while store.stats.commands < 2:
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(store.close())  # which waits for the publication
    await asyncio.gather(asked, return_exceptions=True)
    assert not closing.done()

asyncio.run(main())
"""


def test_a_closing_that_the_end_of_its_loop_cuts_short_complains_of_nothing(empty_path: str) -> None:
    ran = run(CUT_SHORT, empty_path)
    assert (ran.returncode, ran.stderr) == (0, "")


# The interpreter ends, and nobody has closed the store


ENDINGS = {
    "asyncio.run": "asyncio.run(main())",
    "a loop that is closed": "loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()",
    "a loop that is left": "loop = asyncio.new_event_loop(); loop.run_until_complete(main())",
    "sys.exit in a coroutine": "async def leave():\n    await main()\n    sys.exit(0)\nasyncio.run(leave())",
    "a loop in a thread": "other = threading.Thread(target=asyncio.run, args=[main()]); other.start(); other.join()",
    "a thread that outlives the main one": "threading.Thread(target=outlive, args=[threading.main_thread()]).start()",
}

WORK = {
    "idle": "await store.get_or_create(Shape('Track'), lambda shape: [{'n': 1}])",
    "a coroutine hangs": "await begin(coroutine)",
    "a thread hangs": "await begin(thread)",
    "a thread that goes on": "await begin(endless)",
}

PROGRAM = """
import asyncio, sys, threading, time
from shapestore import Shape, ShapeStore

begun = threading.Event()

async def coroutine(shape):
    begun.set()
    await asyncio.Event().wait()

def thread(shape):
    begun.set()
    time.sleep(1_000)
    return []

def endless(shape):
    while True:
        begun.set()
        yield {{"n": 1}}

store = ShapeStore(sys.argv[1])
kept = []

async def begin(creator):
    kept.append(asyncio.create_task(store.get_or_create(Shape("Track"), creator)))
    while not begun.is_set():
        await asyncio.sleep(0.001)

async def main():
    await store.open()
    {work}

def outlive(main_thread):
    main_thread.join()
    asyncio.run(main())

{ending}
"""


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("work", WORK)
def test_an_interpreter_ends_though_nobody_closed_the_store(empty_path: str, work: str, ending: str) -> None:
    program = textwrap.dedent(PROGRAM).format(work=WORK[work], ending=ENDINGS[ending])
    ran = run(program, empty_path)
    assert ran.returncode == 0, ran.stderr
    # asyncio complains of the tasks that were pending, where it was not told to cancel them.
    assert "never awaited" not in ran.stderr

    async def next_one() -> None:
        async with ShapeStore(empty_path, create=rows) as store:
            assert await store.locks() == []
            await store.get_or_create(TRACK)

    asyncio.run(next_one())
    assert_nothing_is_left(empty_path)
