"""On what machine, and with what versions."""

from __future__ import annotations

import dbm
import importlib.metadata
import os
import platform
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import msgspec

from benchmark.files import plain

PACKAGES = (
    *("shapestore", "aiosqlite", "msgspec", "sqlalchemy"),
    *("aiocache", "async-lru", "cashews", "diskcache", "dogpile.cache"),
)


class Machine(msgspec.Struct, kw_only=True):
    cores: int
    processor: str
    system: str
    python: str
    sqlite: str
    dbm: str
    """Which kind dogpile.cache's dbm is: dbm.dumb, where Python has no better, is far slower than dbm.gnu."""
    plain_commit_us: float
    """One INSERT in a transaction of its own, plain sqlite3, WAL, synchronous = NORMAL."""
    load: float
    """What else ran on it when the benchmark began: the load average of the last minute."""
    packages: dict[str, str]


def describe(folder: Path) -> Machine:
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=_processor(),
        system=platform.platform(terse=True),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        dbm=_kind_of_dbm(folder),
        plain_commit_us=_plain_commit_us(folder),
        load=round(os.getloadavg()[0], 1),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
    )


def in_words(machine: Machine) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return (
        f"{machine.cores} cores of {machine.processor}, {machine.system}; {machine.python}, SQLite {machine.sqlite}, "
        f"{machine.dbm}; "
        f"a plain commit takes {machine.plain_commit_us:.0f} µs. Load at the beginning: {machine.load}. {packages}."
    )


def _processor() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _kind_of_dbm(folder: Path) -> str:
    path = str(folder / "kind")
    dbm.open(path, "c").close()
    return dbm.whichdb(path) or "dbm of some kind"


def _plain_commit_us(folder: Path) -> float:
    times = []
    with closing(plain(str(folder / "commits.db"))) as database:
        database.execute("CREATE TABLE numbers (number)")
        for _ in range(1_000):
            begun = time.perf_counter()
            database.execute("INSERT INTO numbers VALUES (1)")
            times.append((time.perf_counter() - begun) * 1e6)
    return median(times)
