"""A forked child inherits memory and descriptors, but no store: it can neither use its parent's nor keep it alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from processes import PATIENCE, Workers, assert_sound, owner_files, read
from programs import FORKING

ROOT = Path(__file__).resolve().parents[2]

# What every program here begins with. The children of a fork end by os._exit, but for those that are to end as
# programs do. (Python 3.12 and later warn of any fork beside threads, which is beside the point here.)
PROLOGUE = (
    FORKING
    + """
import asyncio, multiprocessing, os, signal, subprocess, sys, time, warnings
from shapestore import ForkedStoreError, Shape, ShapeStore, StoreClosedError

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
path, other_program = sys.argv[1:]

async def create(shape):
    return [{"n": n, "process": os.getpid()} for n in range(3)]

"""
)


# What such a program may run in a process that is no child of a fork.
OTHER_PROGRAM = """
import asyncio, sys
from shapestore import Shape, ShapeStore

async def main():
    async with ShapeStore(sys.argv[1]) as store:
        print(await store.count())

asyncio.run(main())
"""


@pytest.fixture
def path(empty_path: str) -> str:
    """A migrated file: a program that makes one loads alembic, which is not what is tested here."""
    return empty_path


def run(program: str, path: str, timeout: float = 60) -> str:
    """What a program prints, which ends well and complains of nothing."""
    ran = subprocess.run(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(program), path, OTHER_PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout


def test_every_method_of_a_store_that_was_open_at_the_fork_refuses_at_once_in_the_child(path: str) -> None:
    program = """
    shape = Shape("key")

    async def refused(store):
        async def first(rows):
            async for row in rows:
                return row
        for use in (
            lambda: store.get_or_create(shape), lambda: store.refresh(shape), lambda: store.get(shape),
            lambda: store.get_by_handle("h"), lambda: first(store.rows("h")), lambda: first(store.shapes()),
            lambda: store.count(), lambda: store.delete("h"), lambda: store.invalidate("key"),
            lambda: store.locks(), lambda: store.release_lock(shape), lambda: asyncio.to_thread(lambda: store.stats),
            lambda: store.open(), lambda: first(rows),
        ):
            try:
                await asyncio.wait_for(use(), 60)
            except ForkedStoreError:
                print("refused")
        await asyncio.wait_for(store.close(), 60)  # what `async with` does last has nothing to do here

    async def main():
        global rows
        async with ShapeStore(path, create=create) as store:
            stored = await store.get_or_create(shape)
            rows = store.rows(stored.handle, batch_size=1)
            await anext(rows)
            ended_well(forked(lambda: asyncio.run(refused(store))))
            assert [row["n"] async for row in rows] == [1, 2]
            await store.get_or_create(Shape("another"))
            print(await store.count())

    asyncio.run(main())
    """
    assert run(program, path).split() == ["refused"] * 14 + ["2"]


def test_the_parent_keeps_its_locks_when_a_child_ends_as_programs_do(path: str) -> None:
    """A child that ends takes its copies of all connections down; the parent's locks on the file are to outlive that.

    Whoever closes the file last deletes its log: were the parent's locks gone, the third process would, and what the
    parent writes after that would be lost.
    """
    program = """
    def look():
        looked = subprocess.run([sys.executable, "-c", other_program, path], capture_output=True, check=True)
        print(looked.stdout.decode())

    async def made(table):
        await store.get_or_create(Shape(table))

    loop = asyncio.new_event_loop()
    store = ShapeStore(path, create=create)
    loop.run_until_complete(store.open())
    loop.run_until_complete(made("before"))
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    ended_well(pid)
    loop.run_until_complete(asyncio.to_thread(look))  # a loop that stood still might keep the gate from others
    loop.run_until_complete(made("after"))
    loop.run_until_complete(asyncio.to_thread(look))
    assert os.path.exists(path + "-wal")
    loop.run_until_complete(store.close())
    loop.close()
    """
    assert run(program, path).split() == ["1", "2"]
    assert read(path, "SELECT table_name FROM shapes ORDER BY table_name") == ["after", "before"]
    assert_sound(path)


CHILD_THAT_LIVES_ON = {
    "os.fork": """
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        print(pid, flush=True)
    """,
    "multiprocessing": """
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        print(child.pid, flush=True)
    """,
    "subprocess": """
        print(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL).pid, flush=True)
    """,
    "subprocess without close_fds": """
        print(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, close_fds=False).pid, flush=True)
    """,
}


@pytest.mark.parametrize("kind", CHILD_THAT_LIVES_ON)
def test_a_child_that_outlives_its_parent_keeps_neither_its_proof_of_life_nor_the_gate(
    workers: Workers, path: str, kind: str
) -> None:
    [other] = workers.open(path)
    program = """
    creating = asyncio.Event()

    async def hang(shape):
        print("creating", flush=True)
        creating.set()
        await asyncio.sleep(600)

    async def main():
        async with ShapeStore(path, create=hang) as store:
            asking = asyncio.create_task(store.get_or_create(Shape("key")))
            await creating.wait()
            await store._lifecycle.opened._file.gate.acquire()
            {fork}
            time.sleep(600)

    asyncio.run(main())
    """.replace("{fork}", textwrap.indent(textwrap.dedent(CHILD_THAT_LIVES_ON[kind]), " " * 12).strip())
    parent = subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(program), path, OTHER_PROGRAM],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = None
    with parent:
        assert parent.stdout is not None
        try:
            assert parent.stdout.readline() == "creating\n"
            child = int(parent.stdout.readline())
            parent.kill()
            parent.wait(PATIENCE)
            os.kill(child, 0)
            assert other.call("get_or_create", key="key")
            assert other.call("stats")["takeovers"] == 1
            workers.open(path)
            assert len(owner_files(path)) == 2
            os.kill(child, 0)
        finally:
            parent.kill()
            if child is not None:
                os.kill(child, signal.SIGKILL)


def test_a_child_opens_stores_of_its_own_on_files_that_its_parent_has_not_open(path: str) -> None:
    program = """
    async def use(path, how_many):
        async with ShapeStore(path, create=create) as store:
            assert (await store.get_or_create(Shape(f"{os.getpid()}"))).row_count == 3
            assert await store.count() == how_many

    async def main():
        await use(path, 1)
        async with ShapeStore(path + "-another", create=create):
            ended_well(forked(lambda: asyncio.run(use(path, 2))))
        ended_well(forked(lambda: asyncio.run(use(path + "-another", 1))))
        child = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(use(path, 3)))
        child.start()
        child.join()
        assert child.exitcode == 0

    asyncio.run(main())
    """
    assert run(program, path) == ""


def test_a_child_cannot_open_the_file_that_its_parent_has_open_which_would_lose_what_it_writes(path: str) -> None:
    program = """
    async def try_to_open(store):
        try:
            async with store:
                await store.get_or_create(Shape("key"))
        except ForkedStoreError as error:
            assert "fork before opening the store" in str(error)
            print("refused")

    def in_child(store):
        for one in (store, ShapeStore(path, create=create), ShapeStore(path + "-link", create=create)):
            asyncio.run(try_to_open(one))
        ended_well(forked(lambda: asyncio.run(try_to_open(ShapeStore(path)))))

    async def main():
        os.symlink(path, path + "-link")
        async with ShapeStore(path, create=create) as store:
            ended_well(forked(lambda: in_child(store)))

    asyncio.run(main())
    """
    assert run(program, path).split() == ["refused"] * 4


def test_a_program_that_is_started_opens_the_file_that_its_parent_has_open(path: str) -> None:
    program = """
    async def main():
        async with ShapeStore(path, create=create) as store:
            await store.get_or_create(Shape("key"))
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", other_program, path)
            await child.wait()

    asyncio.run(main())
    """
    assert run(program, path).split() == ["1"]


def test_a_fork_while_a_store_opens_or_closes_leaves_the_child_none_that_hangs(path: str) -> None:
    program = """
    async def refused(store):
        try:
            await asyncio.wait_for(store.open(), 60)
        except ForkedStoreError:
            print("refused")
        await asyncio.wait_for(store.close(), 60)

    async def fork_during(coroutine, store):
        task = asyncio.create_task(coroutine)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        ended_well(forked(lambda: asyncio.run(refused(store))))
        await task

    async def main():
        store = ShapeStore(path, create=create)
        await fork_during(store.open(), store)
        await store.get_or_create(Shape("key"))
        await fork_during(store.close(), store)

    asyncio.run(main())
    """
    assert run(program, path).split() == ["refused"] * 2


def test_a_child_that_forgets_to_close_its_own_store_ends_all_the_same(path: str) -> None:
    program = """
    async def forget(path):
        store = ShapeStore(path, create=create)
        await store.open()
        await store.get_or_create(Shape("key"))

    async def main():
        async with ShapeStore(path, create=create) as store:
            await store.get_or_create(Shape("key"))
            child = multiprocessing.get_context("fork").Process(
                target=lambda: asyncio.run(forget(path + "-another"))
            )
            child.start()
            child.join(60)
            print(child.exitcode)
            child.kill()

    asyncio.run(main())
    """
    assert run(program, path).split() == ["0"]


@pytest.mark.parametrize("forks", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_forks_in_the_middle_of_the_writing_harm_neither_side(path: str, forks: int) -> None:
    program = """
    async def create(shape):
        return [{"n": n} for n in range(1500)]

    async def refused(store):
        try:
            await store.count()
        except ForkedStoreError:
            return
        raise AssertionError

    async def write(store, numbers):
        for number in numbers:
            await store.get_or_create(Shape(f"key {number}"))

    async def main():
        forks = FORKS
        async with ShapeStore(path, create=create) as store:
            writing = [asyncio.create_task(write(store, range(n, 4 * forks, 4))) for n in range(4)]
            for _ in range(forks):
                await asyncio.sleep(0.003)
                ended_well(forked(lambda: asyncio.run(refused(store))))
            await asyncio.gather(*writing)
            assert await store.count() == 4 * forks

    asyncio.run(main())
    """.replace("FORKS", str(forks))
    run(program, path, timeout=120)
    assert_sound(path)


def test_a_child_of_a_program_that_keeps_threads_for_creators_has_threads_of_its_own(path: str) -> None:
    program = """
    def plain(shape):
        return [{"n": 1}]

    async def use(path):
        async with ShapeStore(path, create=plain) as store:
            await asyncio.gather(*(store.get_or_create(Shape(f"{n}")) for n in range(10)))
            ended_well(forked(lambda: asyncio.run(use_two(path + "-another"))))
            assert (await store.get_or_create(Shape("after"))).row_count == 1

    async def use_two(path):
        async with ShapeStore(path, create=plain) as store:
            await asyncio.gather(*(store.get_or_create(Shape(f"{n}")) for n in range(10)))

    asyncio.run(use(path))
    """
    assert run(program, path) == ""
