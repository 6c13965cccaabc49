"""Programs given as text, which run in a process of their own with every warning an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[2]

# Nothing takes nearly as long: a program that hangs fails its test.
PATIENCE_SECONDS = 60.0


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """A running program. What it leaves unclosed is an error, too, which Python reports when it frees the object."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", dedent(program), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], status: int = 0) -> str:
    """What the program prints until it ends, with this status; and what it complains of."""
    try:
        out, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == status, complaints
    return out + complaints


def run(program: str, *arguments: str, status: int = 0) -> str:
    return end(start(program, *arguments), status)
