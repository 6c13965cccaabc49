"""Ctrl-C: it ends the wait of the call that it interrupts, at once, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import AbstractContextManager, closing
from textwrap import dedent

import programs
import pytest
from processes import assert_sound, owner_files, read

from shapestore.locking.file_lock import FileLock

PROLOGUE = """
import asyncio, os, signal, sys, threading, time
from shapestore import Shape
from shapestore.sync import ShapeStore, loop_thread

loop_thread._EXIT_SECONDS = 60.0  # else a busy machine decides whether the closing is waited for to its end
path = sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)
over = threading.Event()

def say(*words):
    print(*words, flush=True)

def loop_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("shapestore loop")]

"""


def started(program: str, path: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return programs.started(PROLOGUE + dedent(program), path)


def interrupt_at(process: subprocess.Popen[str], line: str) -> None:
    """Press Ctrl-C when the program says this."""
    assert process.stdout is not None
    assert process.stdout.readline() == line + "\n"
    process.send_signal(signal.SIGINT)


def test_it_ends_the_wait_of_one_caller_while_the_creation_goes_on_for_another(empty_path: str) -> None:
    program = """
    def create(shape):
        other.start()
        while store.stats.followers < 1:
            store.count()
        say("creating")
        over.wait()
        return [{"n": 1}]

    with ShapeStore(path, create=create) as store:
        other = threading.Thread(target=lambda: say(store.get_or_create(Shape("key")).row_count))
        try:
            store.get_or_create(Shape("key"))
        except KeyboardInterrupt:
            say("interrupted", store.stats.in_flight)
        over.set()
        other.join()
        say(store.stats.created)
    """
    with started(program, empty_path) as process:
        interrupt_at(process, "creating")
        assert programs.said_until_the_end(process) == "interrupted 1\n1\n1\n"


NEXT_OF_AN_ITERATOR = """
    with ShapeStore(path) as store:
        rows = store._iterate(lambda: hang(()), 1)
        try:
            next(rows)
        except KeyboardInterrupt:
            say("interrupted", list(rows))
"""


def test_it_ends_the_wait_of_an_iterator(empty_path: str) -> None:
    program = """
    async def hang(items):
        say("waiting")
        await asyncio.Event().wait()
        yield
    """
    with started(program + NEXT_OF_AN_ITERATOR, empty_path) as process:
        interrupt_at(process, "waiting")
        assert programs.said_until_the_end(process) == "interrupted []\n"


def test_one_that_does_not_wake_the_main_thread_ends_its_wait_soon(empty_path: str) -> None:
    program = """
    async def hang(items):
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        await asyncio.Event().wait()
        yield
    """
    with started(program + NEXT_OF_AN_ITERATOR, empty_path) as process:
        assert programs.said_until_the_end(process) == "interrupted []\n"


def test_it_ends_an_opening_and_leaves_nothing_open(empty_path: str) -> None:
    program = """
    store = ShapeStore(path)
    begun = []

    def tell():
        while not begun:  # to start a thread may be interrupted too, and then fail in Python's own code
            time.sleep(0.001)
        say("opening")

    threading.Thread(target=tell).start()
    try:
        begun.append(True)
        store.open()
    except KeyboardInterrupt:
        say("interrupted")
    store.close()
    while loop_threads():  # one that was interrupted before it was the store's ends by itself
        time.sleep(0.001)
    """
    with closing(FileLock(f"{empty_path}-gate")) as gate:
        gate.lock()
        with started(program, empty_path) as process:
            interrupt_at(process, "opening")
            assert programs.said_until_the_end(process) == "interrupted\n"
    assert not os.path.exists(f"{empty_path}-owners")


def test_it_ends_the_wait_for_a_closing_that_goes_on(empty_path: str) -> None:
    program = """
    async def create(shape):
        try:
            say("creating")
            await asyncio.Event().wait()
        finally:
            say("closing")
            while not over.is_set():
                await asyncio.sleep(0.001)

    store = ShapeStore(path, create=create)
    try:
        with store:
            store.get_or_create(Shape("key"))
    except KeyboardInterrupt:
        say("interrupted")
    over.set()
    with store:
        say(store.count(), len(store.locks()), len(loop_threads()))
    """
    with started(program, empty_path) as process:
        interrupt_at(process, "creating")
        interrupt_at(process, "closing")
        assert programs.said_until_the_end(process) == "interrupted\n0 0 1\n"


@pytest.mark.parametrize("hanging", ["over.wait()", "await asyncio.Event().wait()"])
def test_a_program_that_is_interrupted_ends_although_its_creator_hangs(empty_path: str, hanging: str) -> None:
    program = """
    DEF create(shape):
        say("creating")
        HANGING

    with ShapeStore(path, create=create) as store:
        store.get_or_create(Shape("key"))
    """.replace("HANGING", hanging).replace("DEF", "async def" if "await" in hanging else "def")
    with started(program, empty_path) as process:
        interrupt_at(process, "creating")
        assert programs.said_until_the_end(process, -signal.SIGINT).count("KeyboardInterrupt") == 1
    assert read(empty_path, "SELECT count(*) FROM create_locks") == [0]
    assert owner_files(empty_path) == set()


@pytest.mark.parametrize("interruptions", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_interruptions_at_any_moment_lose_no_thread_and_harm_no_call(empty_path: str, interruptions: int) -> None:
    """Wherever it falls: before the call is posted, while it waits, or when its answer is there."""
    program = """
    shape = Shape("key")
    begun = []

    def interrupt():
        while not begun:  # nor is the start of this thread to be interrupted
            time.sleep(0.001)
        while not over.wait(0.003):
            os.kill(os.getpid(), signal.SIGINT)

    def call():
        stored = store.get_or_create(shape)
        assert [row["n"] for row in store.rows(stored.handle)] == list(range(300))

    interrupted = 0
    with ShapeStore(path, create=lambda _: [{"n": n} for n in range(300)]) as store:
        call()
        threading.Thread(target=interrupt).start()
        while interrupted < INTERRUPTIONS:
            try:
                begun.append(True)
                while True:
                    call()
            except KeyboardInterrupt:
                interrupted += 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        over.set()
        call()
    say(len(loop_threads()))
    """.replace("INTERRUPTIONS", str(interruptions))
    assert programs.run(PROLOGUE + dedent(program), empty_path) == "0\n"
    assert_sound(empty_path)


def test_a_signals_handler_may_close_the_store_that_it_interrupts(empty_path: str) -> None:
    program = """
    def stop(number, frame):
        store.close()
        say("closed")
        sys.exit(3)

    def create(shape):
        say("creating")
        over.wait()

    signal.signal(signal.SIGINT, stop)
    with ShapeStore(path, create=create) as store:
        store.get_or_create(Shape("key"))
    """
    with started(program, empty_path) as process:
        interrupt_at(process, "creating")
        assert programs.said_until_the_end(process, 3) == "closed\n"
    assert owner_files(empty_path) == set()


def test_a_signals_handler_may_close_the_store_that_it_interrupts_at_the_opening(empty_path: str) -> None:
    """The opening comes first, then the closing: neither waits for the other for ever."""
    program = """
    def stop(number, frame):
        say("closing")
        store.close()
        say("closed", len(loop_threads()))

    def tell():
        while store._thread is None:
            time.sleep(0.001)
        say("opening")

    signal.signal(signal.SIGINT, stop)
    store = ShapeStore(path)
    threading.Thread(target=tell).start()
    store.open()
    """
    with closing(FileLock(f"{empty_path}-gate")) as gate:
        gate.lock()
        with started(program, empty_path) as process:
            interrupt_at(process, "opening")
            assert process.stdout is not None
            assert process.stdout.readline() == "closing\n"
            gate.close()
            assert programs.said_until_the_end(process) == "closed 0\n"
    assert owner_files(empty_path) == set()
