"""A forked child recognises itself by its process id: it is refused, it never waits, and its parent notices nothing."""

from __future__ import annotations

from textwrap import dedent

import programs
import pytest
from processes import assert_sound

# Python 3.12 and later warn of any fork beside threads, which is beside the point here.
PROLOGUE = (
    programs.FORKING
    + """
import asyncio, contextlib, multiprocessing, os, signal, sys, threading, time, warnings
from shapestore import ForkedStoreError, Shape, StoreClosedError
from shapestore.locking.file_lock import FileLock
from shapestore.sync import ShapeStore

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
path = sys.argv[1]
key = Shape("key")

def create(shape):
    return [{"n": n} for n in range(1_000)]

"""
)


def run(program: str, path: str) -> str:
    return programs.run(PROLOGUE + dedent(program), path)


def test_every_method_refuses_in_the_child_while_the_parent_goes_on(empty_path: str) -> None:
    program = """
    def refused():
        for use in (
            lambda: store.get_or_create(key), lambda: store.refresh(key), lambda: store.get(key),
            lambda: store.get_by_handle("h"), lambda: next(store.rows("h")), lambda: next(store.shapes()),
            lambda: store.count(), lambda: store.explain(key), lambda: store.delete("h"),
            lambda: store.invalidate("key"), lambda: store.locks(), lambda: store.release_lock(key),
            lambda: store.stats, lambda: store.open(), lambda: list(rows),
        ):
            try:
                use()
            except ForkedStoreError as error:
                assert "open a store in each process" in str(error)
                print("refused", flush=True)
        rows.close()
        store.close()

    with ShapeStore(path, create=create) as store:
        rows = store.rows(store.get_or_create(key).handle)
        next(rows)
        ended_well(forked(refused))
        assert [row["n"] for row in rows] == list(range(1, 1_000))
        print(store.count())
    """
    assert run(program, empty_path).split() == ["refused"] * 15 + ["1"]


def test_a_child_that_ends_as_programs_do_says_nothing_and_disturbs_nothing(empty_path: str) -> None:
    """It leaves the block of the store, drops an iterator and the store, and passes through the exit of Python."""
    program = """
    with ShapeStore(path, create=create) as store:
        rows = store.rows(store.get_or_create(key).handle)
        next(rows)
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        ended_well(pid)
        pid = os.fork()
        if pid == 0:
            del rows, store
            sys.exit(0)
        ended_well(pid)
        print(len(list(rows)), store.get_or_create(Shape("another")).row_count)
    """
    assert run(program, empty_path) == "999 1000\n"


IN_THE_MIDDLE = {
    "open": """
    gate = FileLock(path + "-gate")
    gate.lock()
    store = ShapeStore(path, create=create)
    thread = threading.Thread(target=store.open)
    thread.start()
    while store._thread is None:
        time.sleep(0.001)
    go_on = gate.close
    """,
    "close": """
    async def linger(shape):
        try:
            creating.set()
            await asyncio.Event().wait()
        finally:
            closing.set()
            while not over.is_set():
                await asyncio.sleep(0.001)

    def ask():
        with contextlib.suppress(StoreClosedError):
            store.get_or_create(key, linger)

    creating, closing, over = threading.Event(), threading.Event(), threading.Event()
    store = ShapeStore(path, create=create)
    store.open()
    threading.Thread(target=ask).start()
    creating.wait()
    thread = threading.Thread(target=store.close)
    thread.start()
    closing.wait()
    go_on = over.set
    """,
}


@pytest.mark.parametrize("method", IN_THE_MIDDLE)
def test_a_fork_while_another_thread_opens_or_closes_leaves_no_child_that_hangs(empty_path: str, method: str) -> None:
    """The lock that the other thread holds stays locked in the child for ever."""
    program = (
        IN_THE_MIDDLE[method]
        + """
    def in_child():
        try:
            store.open()
        except ForkedStoreError:
            print("refused", flush=True)
        store.close()

    ended_well(forked(in_child))
    go_on()
    thread.join()
    store.open()
    print(store.get_or_create(key).row_count)
    store.close()
    """
    )
    assert run(program, empty_path).split() == ["refused", "1000"]


def test_a_fork_while_another_thread_starts_the_loop_leaves_a_child_that_opens_the_store_itself(
    empty_path: str,
) -> None:
    """Nothing is open yet, but the other thread holds the lock of opening."""
    program = """
    def new_event_loop():
        if os.getpid() == parent:
            starting.set()
            go_on.wait()
        return made()

    def in_child():
        with store:
            print(store.get_or_create(key).row_count, flush=True)

    parent = os.getpid()
    starting, go_on = threading.Event(), threading.Event()
    made, asyncio.new_event_loop = asyncio.new_event_loop, new_event_loop
    store = ShapeStore(path, create=create)
    thread = threading.Thread(target=store.open)
    thread.start()
    starting.wait()
    ended_well(forked(in_child))
    go_on.set()
    thread.join()
    print(store.count())
    store.close()
    """
    assert run(program, empty_path).split() == ["1000", "1"]


def test_a_child_opens_what_its_parent_has_not_open(empty_path: str) -> None:
    program = """
    def use(store, count):
        with store:
            store.get_or_create(Shape(str(os.getpid())))
            assert store.count() == count

    store = ShapeStore(path, create=create)
    ended_well(forked(lambda: use(store, 1)))   # never opened here
    use(store, 2)
    ended_well(forked(lambda: use(store, 3)))   # closed again
    with store:
        ended_well(forked(lambda: use(ShapeStore(path + "-another", create=create), 1)))
        child = multiprocessing.get_context("fork").Process(
            target=use, args=(ShapeStore(path + "-another", create=create), 2)
        )
        child.start()
        child.join()
        assert child.exitcode == 0
        print(store.count())
    """
    assert run(program, empty_path) == "3\n"


@pytest.mark.parametrize("forks", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_forks_in_the_middle_of_the_work_of_threads_harm_neither_side(empty_path: str, forks: int) -> None:
    program = """
    def in_child():
        try:
            store.count()
        except ForkedStoreError:
            store.close()
            return
        raise AssertionError

    def work(number):
        for step in range(FORKS):
            stored = store.get_or_create(Shape(f"key {number} {step}"))
            assert len(list(store.rows(stored.handle))) == 1_000

    with ShapeStore(path, create=create) as store:
        threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(FORKS):
            ended_well(forked(in_child))
        for thread in threads:
            thread.join()
        print(store.count())
    """.replace("FORKS", str(forks))
    assert run(program, empty_path) == f"{4 * forks}\n"
    assert_sound(empty_path)


@pytest.mark.parametrize("thread", ["a store's loop", "a connection"])
def test_a_fork_waits_until_another_thread_has_come_to_the_end_of_its_step(empty_path: str, thread: str) -> None:
    """SQLite has locks of its own: one that a thread held at the fork would be held in the child for ever."""
    program = f"""
    from shapestore.storage.connection import on_thread, open_reader

    began, ended, forks = threading.Event(), [], []

    def long_step(*_):
        if not began.is_set():
            began.set()
            time.sleep(0.3)  # as a statement does, it lets other threads run
            ended.append(True)

    def fork():
        began.wait()
        pid = forked(lambda: ended[0])
        forks.append(os.waitpid(pid, 0)[1])

    async def read():
        connection = await open_reader(path)
        await on_thread(connection, long_step, asyncio.get_running_loop().create_future())
        await connection.close()

    with ShapeStore(path, create=create):
        pass
    forking = threading.Thread(target=fork, daemon=True)
    forking.start()
    if {thread!r} == "a connection":
        asyncio.run(read())
    else:
        with ShapeStore(path, create=create, on_event=long_step) as store:
            store.get_or_create(key)
    forking.join()
    print(forks)
    """
    assert run(program, empty_path) == "[0]\n"
