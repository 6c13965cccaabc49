"""Running the command line in a test: in this process with a pipe or a terminal, or in another process."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from shapestore.cli import main

ROOT = Path(__file__).resolve().parents[2]

_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Ran(NamedTuple):
    status: int
    out: str
    err: str


def in_a_pipe(*arguments: str) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    return Ran(status, out.getvalue(), err.getvalue())


def on_a_terminal(*arguments: str) -> Ran:
    """Both streams go to one terminal, as they do before a person; what came is in ``out``, styles and all."""
    with _terminal() as (screen, stream):
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            status = main(arguments)
            stream.flush()
        stream.close()
    return Ran(status, "".join(screen).replace("\r\n", "\n"), "")


def without_styles(text: str) -> str:
    """The text, without what makes it bold, and without the space that fills its lines."""
    return re.sub(r" +$", "", _STYLE.sub("", text), flags=re.MULTILINE)


def process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A process of its own, to be fed to other programs or interrupted."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    return subprocess.Popen([sys.executable, "-m", "shapestore", *arguments], **(pipes | options))


def process_on_a_terminal(*arguments: str, **options: Any) -> tuple[subprocess.Popen[str], IO[bytes]]:
    """A process whose stdout and stderr are a terminal, and the other end of that."""
    controller, terminal = os.openpty()
    try:
        started = process(*arguments, stdout=terminal, stderr=terminal, **options)
    finally:
        os.close(terminal)
    return started, os.fdopen(controller, "rb", buffering=0)


@contextlib.contextmanager
def _terminal() -> Iterator[tuple[list[str], IO[str]]]:
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    screen: list[str] = []
    reading = threading.Thread(target=_read, args=(controller, screen), daemon=True)
    reading.start()
    try:
        yield screen, open(terminal, "w", encoding="utf-8")
        reading.join(60)
    finally:
        os.close(controller)


def _read(controller: int, screen: list[str]) -> None:
    with contextlib.suppress(OSError):  # how a terminal says that its other end is closed
        content = b""
        while chunk := os.read(controller, 65_536):
            content += chunk
    screen.append(content.decode())
