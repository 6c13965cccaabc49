"""Small processes that do one thing, and talk to the test in lines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_SECONDS = 60.0

HOLD = """
import sys
from shapestore.locking.file_lock import FileLock
lock = FileLock(sys.argv[1])
lock.lock()
print("locked", flush=True)
sys.stdin.readline()
"""
"""Takes the lock on a file and keeps it until it is told something, or killed."""


class Child:
    """A process that runs ``code``."""

    def __init__(self, code: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, line: str = "") -> None:
        stdin = _there(self.process.stdin)
        stdin.write(line + "\n")
        stdin.flush()

    def hear(self) -> str:
        """The next line it says; empty, if it ended before."""
        return _there(self.process.stdout).readline().rstrip("\n")

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        self.process.kill()
        self.ended()


def _there(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@contextlib.contextmanager
def children(count: int, code: str, *arguments: str) -> Iterator[list[Child]]:
    """So many children; none outlives the block."""
    started = [Child(code, *arguments) for _ in range(count)]
    try:
        yield started
    finally:
        for one in started:
            if one.process.poll() is None:
                one.kill()
            _there(one.process.stdin).close()
            _there(one.process.stdout).close()


@contextlib.contextmanager
def child(code: str, *arguments: str) -> Iterator[Child]:
    with children(1, code, *arguments) as (one,):
        yield one
