"""The files: the database, its write-ahead log, the gate, the owners. Examined by name, never opened.

Opening and closing the database or -shm here would drop the locks that SQLite holds on them for this process.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator

from shapestore.admin.doctor.finding import Finding, Severity
from shapestore.locking.owner import owners_folder
from shapestore.storage.wal import wal_bytes

# The writer begins the log again at 8 MB, unless a reader is in the middle of a transaction.
LARGE_WAL_BYTES = 64 * 1024 * 1024


def examine(real: str) -> Iterator[Finding]:
    beside = [f"{real}-wal", f"{real}-shm", f"{real}-gate", owners_folder(real)]
    there = {path: os.lstat(path) for path in (real, *beside) if os.path.lexists(path)}
    yield from _links(real, there)
    yield from _permissions(there)
    yield from _users(real, there)
    yield from _gate(real, there)
    yield from _log(real)


def _links(real: str, there: dict[str, os.stat_result]) -> Iterator[Finding]:
    gate = f"{real}-gate"
    for path in (real, gate):
        if path in there and there[path].st_nlink > 1:
            yield Finding(
                Severity.ERROR,
                "hard-link",
                f"{path} is one of {there[path].st_nlink} hard links to a file: under another name it would have "
                "another gate and other owners, so stores refuse to open it"
                if path == real
                else f"{path} is one of {there[path].st_nlink} hard links to a file, so several stores share a gate",
                f"Remove the others (`find / -samefile {shlex.quote(path)}` lists them), and use symbolic links.",
            )


def _permissions(there: dict[str, os.stat_result]) -> Iterator[Finding]:
    open_to_all = [path for path, found in there.items() if stat.S_IMODE(found.st_mode) & stat.S_IRWXO]
    open_to_all = [path for path in open_to_all if not stat.S_ISLNK(there[path].st_mode)]
    if open_to_all:
        yield Finding(
            Severity.WARNING,
            "permissions",
            f"every user of this machine may {_rights(there, open_to_all)} {', '.join(open_to_all)}",
            f"chmod o= {shlex.join(open_to_all)}",
        )


def _rights(there: dict[str, os.stat_result], paths: list[str]) -> str:
    writable = any(there[path].st_mode & stat.S_IWOTH for path in paths)
    return "write" if writable else "read"


def _users(real: str, there: dict[str, os.stat_result]) -> Iterator[Finding]:
    strangers = [path for path, found in there.items() if found.st_uid != there[real].st_uid]
    if strangers:
        yield Finding(
            Severity.WARNING,
            "file-owner",
            f"{', '.join(strangers)} and {real} have different owners (was a command run by root?); the owner of the "
            "database may be unable to open the others",
            f"chown --reference={shlex.quote(real)} {shlex.join(strangers)}",
        )


def _gate(real: str, there: dict[str, os.stat_result]) -> Iterator[Finding]:
    gate = f"{real}-gate"
    if gate not in there:
        yield Finding(
            Severity.NOTE,
            "gate",
            f"there is no {gate}: no store has opened the file here yet, or only the database was copied",
            "Nothing: the next store that opens the file makes it. Do not remove it while a store is open.",
        )
    elif not stat.S_ISREG(there[gate].st_mode):
        yield Finding(
            Severity.ERROR,
            "gate",
            f"{gate} is not a regular file, so no store can open the database",
            f"Move {gate} away while no store is open; the next store makes it.",
        )


def _log(real: str) -> Iterator[Finding]:
    size = wal_bytes(real)
    if size >= LARGE_WAL_BYTES:
        yield Finding(
            Severity.WARNING,
            "wal-size",
            f"the write-ahead log has {size / 1024**2:.0f} MB: a reader has kept a transaction open for long, so the "
            "log could not be begun again",
            "End that reader (a sqlite3 shell in a transaction, a backup?); the log is cut by the writes after that.",
        )
