"""Time since the machine started: what ages are computed from, since the wall clock may jump.

It goes on while the machine is suspended. It is of one start of the machine, and of one time namespace: a moment of
another can only be compared by the wall clock.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import time
from typing import NamedTuple

# Linux's monotonic clock stops in suspend; this one does not. That of macOS does not stop.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Moment(NamedTuple):
    """A moment by both clocks."""

    boot: str
    """The start of the machine that ``boot_ms`` counts from; empty if it is not known."""
    boot_ms: int
    wall_ms: int


def now() -> Moment:
    """The present moment."""
    return Moment(boot_name(), time.clock_gettime_ns(_CLOCK) // 1_000_000, time.time_ns() // 1_000_000)


def age_ms(then: Moment, at: Moment) -> int:
    """Milliseconds from ``then`` to ``at``, never below 0; by the wall clock only across a start of the machine.

    >>> age_ms(Moment("a", 1_000, 50_000), Moment("a", 3_500, 0))
    2500
    """
    same_boot = then.boot == at.boot != ""
    return max(0, at.boot_ms - then.boot_ms if same_boot else at.wall_ms - then.wall_ms)


@functools.cache
def boot_name() -> str:
    """A name of this start of the machine, and of the time namespace of this process."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        with contextlib.suppress(OSError):
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return ""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
    except OSError:
        return ""
    with contextlib.suppress(OSError):
        boot_id += f" {os.readlink('/proc/self/ns/time')}"
    return boot_id
