"""Programs given as text, which run in a process of their own with every warning an error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[2]

# Nothing takes nearly as long: a program that hangs fails its test.
PATIENCE_SECONDS = 60.0


# Part of a program: what is done in the child of a fork, which ends by os._exit, and in time.
FORKING = """
def forked(in_child):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # a child that hangs does not outlive the tests
        status = 1
        try:
            in_child()
            status = 0
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(status)
    return pid

def ended_well(pid):
    assert os.waitpid(pid, 0)[1] == 0

"""


@contextmanager
def started(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A running program, which does not outlive the block.

    What it leaves unclosed is an error, too, which Python reports when it frees the object.
    """
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", dedent(program), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said_until_the_end(process: subprocess.Popen[str], status: int = 0) -> str:
    """What the program prints until it ends, with this status; and what it complains of."""
    out, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == status, complaints
    return out + complaints


def run(program: str, *arguments: str, status: int = 0) -> str:
    """Run a program to its end, and give what it said."""
    with started(program, *arguments) as process:
        return said_until_the_end(process, status)
