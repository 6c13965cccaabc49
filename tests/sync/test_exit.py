"""The end of the interpreter: a store that is open then is closed, and nothing keeps the program from ending."""

from __future__ import annotations

from textwrap import dedent

import programs
import pytest
from processes import assert_sound, owner_files, read

PROLOGUE = """
import asyncio, atexit, sys, threading, time
from shapestore import Shape, StoreClosedError
from shapestore.sync import ShapeStore, loop_thread

loop_thread._EXIT_SECONDS = 60.0  # else a busy machine decides whether the closing is waited for to its end
path = sys.argv[1]
key = Shape("key")
creating = threading.Event()

def rows(shape):
    return [{"n": n} for n in range(1_000)]

"""


def run(program: str, path: str, status: int = 0) -> str:
    return programs.run(PROLOGUE + dedent(program), path, status=status)


def test_a_store_left_open_is_closed(empty_path: str) -> None:
    program = """
    store = ShapeStore(path, create=rows)
    store.open()
    print(store.get_or_create(key).row_count)
    """
    assert run(program, empty_path) == "1000\n"
    assert owner_files(empty_path) == set()
    assert_sound(empty_path)


def test_several_stores_left_open_are_closed_together(empty_path: str) -> None:
    program = """
    stores = [ShapeStore(path, create=rows) for _ in range(5)]
    for store in stores:
        store.open()
    """
    assert run(program, empty_path) == ""
    assert owner_files(empty_path) == set()


def test_the_applications_own_callbacks_run_before_and_may_use_the_store(empty_path: str) -> None:
    program = """
    store = ShapeStore(path, create=rows)
    store.open()
    store.get_or_create(key)  # here: from 3.12 on, no thread for a creator can be started during the exit
    atexit.register(lambda: print(store.get_or_create(key).row_count))
    """
    assert run(program, empty_path) == "1000\n"
    assert owner_files(empty_path) == set()


def test_after_that_the_store_is_closed(empty_path: str) -> None:
    before_the_import = """
import atexit

def use():
    try:
        store.count()
    except StoreClosedError as error:
        print(error)

atexit.register(use)  # so it is called after shapestore's own
"""
    program = """
    store = ShapeStore(path, create=rows)
    store.open()
    """
    said = programs.run(before_the_import + PROLOGUE + dedent(program), empty_path)
    assert said.endswith("is not open: use `with ShapeStore(...)`, or call store.open() first\n")


HANGING = {
    "a plain creator": """
    def create(shape):
        creating.set()
        threading.Event().wait()
    """,
    "an async creator": """
    async def create(shape):
        creating.set()
        await asyncio.Event().wait()
    """,
}


@pytest.mark.parametrize("kind", HANGING)
def test_a_creator_that_hangs_is_given_up(empty_path: str, kind: str) -> None:
    program = (
        HANGING[kind]
        + """
    def wait_for_it():
        try:
            store.get_or_create(key)
        except StoreClosedError:
            print("closed")

    store = ShapeStore(path, create=create)
    store.open()
    threading.Thread(target=wait_for_it, daemon=True).start()
    creating.wait()
    """
    )
    assert run(program, empty_path).strip() in {"closed", ""}  # the exit may end its thread first
    assert owner_files(empty_path) == set()
    assert read(empty_path, "SELECT count(*) FROM create_locks") == [0]


def test_a_creator_that_blocks_the_loop_is_left_as_a_killed_process_leaves_it(empty_path: str) -> None:
    """The program ends a second later. The next store proves that its owner is dead, and takes over."""
    program = """
    loop_thread._EXIT_SECONDS = 1.0

    async def create(shape):
        creating.set()
        time.sleep(600)

    def wait_for_it():
        store.get_or_create(key)

    store = ShapeStore(path, create=create)
    store.open()
    threading.Thread(target=wait_for_it, daemon=True).start()
    creating.wait()
    """
    assert run(program, empty_path) == ""
    program = """
    with ShapeStore(path, create=rows) as store:
        print(store.get_or_create(key).row_count, len(store.locks()))
    """
    assert run(program, empty_path) == "1000 0\n"


def test_an_iterator_half_way_and_one_that_waits_are_left(empty_path: str) -> None:
    program = """
    async def hang():
        creating.set()
        await asyncio.Event().wait()
        yield

    store = ShapeStore(path, create=rows)
    store.open()
    rows = store.rows(store.get_or_create(key).handle, batch_size=10)
    print(next(rows))
    waiting = threading.Thread(target=lambda: list(store._iterate(hang, 1)), daemon=True)
    threading.excepthook = lambda _: None
    waiting.start()
    creating.wait()
    """
    assert run(program, empty_path) == "{'n': 0}\n"
    assert owner_files(empty_path) == set()


def test_an_exit_in_the_middle_of_everything(empty_path: str) -> None:
    """Threads that read, create and iterate while the interpreter ends, in whatever state it finds them."""
    program = """
    def work(number):
        for step in range(10_000):
            for row in store.rows(store.get_or_create(Shape(f"key {number} {step}")).handle):
                started.set()

    started = threading.Event()
    threading.excepthook = lambda _: None
    store = ShapeStore(path, create=lambda _: [{"n": n} for n in range(10)])
    store.open()
    for number in range(5):
        threading.Thread(target=work, args=[number], daemon=True).start()
    started.wait()
    """
    for _ in range(3):
        assert run(program, empty_path) == ""
        assert owner_files(empty_path) == set()
    assert_sound(empty_path)


def test_a_thread_that_is_no_daemon_is_waited_for_and_uses_the_store_to_its_end(empty_path: str) -> None:
    program = """
    def work():
        threading.main_thread().join()
        print(store.get_or_create(key).row_count)

    store = ShapeStore(path, create=rows)
    store.open()
    store.get_or_create(key)
    threading.Thread(target=work).start()
    """
    assert run(program, empty_path) == "1000\n"
    assert owner_files(empty_path) == set()


def test_what_ends_the_program_passes_through_the_block_of_a_store(empty_path: str) -> None:
    program = """
    with ShapeStore(path, create=rows) as store:
        store.get_or_create(key)
        sys.exit(3)
    """
    assert run(program, empty_path, status=3) == ""
    assert owner_files(empty_path) == set()
