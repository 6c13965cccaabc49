"""Disks that can be filled: where nothing more can be written until there is room again."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    path: str
    """Of a store's file on it."""

    def fill(self) -> None: ...

    def free(self) -> None: ...


class SmallDisk:
    """A file system of a few megabytes. When it is full, SQLite says SQLITE_FULL."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "shapes.db")
        self._filler = folder / "filler"

    def fill(self) -> None:
        with open(self._filler, "ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


class RefusingDisk:
    """This process may write no file beyond the size that the log has. SQLite says SQLITE_IOERR."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "shapes.db")
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        size = os.stat(f"{self.path}-wal").st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk | None]:
    """Mount one. None where that is not permitted."""
    mount = shutil.which("mount")
    folder.mkdir()
    mounting = [mount or "", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if mount is None or os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: also where a failed test has left a file open.
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def refusing_disk(folder: Path) -> Iterator[RefusingDisk]:
    """Python ignores the signal that would end the process (SIGXFSZ), so that writing fails with an error."""
    disk = RefusingDisk(folder)
    try:
        yield disk
    finally:
        disk.free()
