"""What every test shares: the switch for the long forms, of hypothesis too, which has no clock."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import loops
import pytest
from hypothesis import settings
from inspections import note_threads
from processes import Spares, Workers

from shapestore import maintenance
from shapestore.locking import gate
from shapestore.storage import migrations

# A shared machine may be slow at any time, and that is no failure.
settings.register_profile("short", deadline=None, max_examples=40)
settings.register_profile("long", deadline=None, max_examples=500)
gate.WAIT_SECONDS = 60.0
maintenance.NOTE_SECONDS = 600.0  # else a slow test has one command more to count


# Where the tests are run in the background, Ctrl-C is ignored, and so it would be by the processes they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long forms of tests too")
    parser.addoption(
        "--loop", choices=loops.KINDS, default="asyncio", help="the event loop; eager: its tasks are eager"
    )


def pytest_configure(config: pytest.Config) -> None:
    _keep_files_in_memory()
    settings.load_profile("long" if config.getoption("--slow") else "short")
    os.environ[loops.VARIABLE] = config.getoption("--loop")  # for worker processes too


def _keep_files_in_memory() -> None:
    """Where nothing waits for a disk. Tests kill processes, never the machine: what a disk has then is not tested."""
    memory = "/dev/shm"
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 * 1024**3:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", memory)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"loop": loops.new_loop}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    assert not unstable, f"an address in a test's name differs between the processes of `-n 2`: {unstable}"
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: without this every collection of garbage goes through all of them."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    note_threads()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a store's file may be made."""
    return str(tmp_path / "shapes.db")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file with nothing in it, to be copied: half a second saved, each time."""
    file = tmp_path_factory.mktemp("empty") / "shapes.db"
    migrations.upgrade(str(file))
    return file


@pytest.fixture
def empty_path(empty_store: Path, tmp_path: Path) -> str:
    """The path of a migrated file with nothing in it."""
    return str(shutil.copy(empty_store, tmp_path))


@pytest.fixture(scope="session")
def spares() -> Iterator[Spares]:
    with closing(Spares()) as spares:
        yield spares


@pytest.fixture
def workers(empty_store: Path, spares: Spares) -> Iterator[Workers]:
    """Worker processes; none outlives the test."""
    with closing(Workers(empty_store, spares)) as workers:
        yield workers


@pytest.fixture
def busy_maintenance(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its turn every few milliseconds, so that no test waits for a second to pass."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.005)


@pytest.fixture
async def untroubled() -> AsyncIterator[None]:
    """A test that leaves no task behind, no error that nobody has seen, and nothing for the loop to complain about."""
    troubles: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    yield
    others = asyncio.all_tasks() - {asyncio.current_task()}
    gc.collect()  # an error that nobody has seen is told of when its future goes
    assert (troubles, others) == ([], set())
