"""The one true name of a store's file, and whether a store can be there: at the path itself, and beside it.

Beside the database lie SQLite's own files (-wal, -shm, -journal), the gate (-gate) and the folder of the owners
(-owners). SQLite overwrites or deletes what it finds under its names, whosever it is, and follows links. So whatever
is there already is looked at first, and what cannot be a store's own is refused and left alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable

from shapestore.errors import StorageError
from shapestore.locking.owner import living_owners, owners_folder, owners_of_another_file

_MOST_SHOWN = 5
_MOUNTS = "/proc/self/mountinfo"


def bind(path: str | os.PathLike[str]) -> str:
    """The path as it is meant now: a relative one starts at the present working directory, whatever that is later."""
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str):
        raise TypeError(f"the path of a store is a str or a PathLike of str, not {type(name).__name__}")
    if _names_no_file(name) or os.path.isabs(name):
        return name
    try:
        return os.path.join(os.getcwd(), name)  # not normalized: in "link/../shapes.db" the link comes first
    except FileNotFoundError as error:
        raise StorageError(
            f"{name!r} is a relative path, and the working directory has been removed: give an absolute path"
        ) from error


def resolve(path: str | os.PathLike[str]) -> str:
    """The real path, so that every name of the file has the same gate and the same owners. Does not make the file.

    Raises StorageError if no store can be there.
    """
    name = bind(path)
    if _names_no_file(name):
        raise StorageError(f"{name!r} does not name a file; a store is one file on a local disk: give its plain path")
    real = os.path.realpath(name)
    try:
        found = os.stat(real)
    except FileNotFoundError:
        folder = os.path.dirname(real)
        if not os.path.isdir(folder):
            raise StorageError(f"{name!r}: the folder {folder!r} does not exist; make it first") from None
        return real
    except OSError as error:
        raise StorageError(f"{name!r} cannot be accessed: {error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise StorageError(f"{name!r} is a folder; name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(f"{name!r} is {_kind(found)}, not a regular file, so it cannot be a store")
    if found.st_nlink > 1:
        raise StorageError(
            f"{name!r} is one of {found.st_nlink} hard links to a file; each would have its own gate and owners: "
            "remove the others, or use a symbolic link"
        )
    return real


def _names_no_file(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair that stands for no byte of a name
        return True
    return name in ("", ":memory:") or name.startswith("file:") or "\0" in name


def make_if_missing(path: str) -> None:
    """Make an empty file that only its user can read; what SQLite puts beside it gets the same mode.

    A file that exists is not even opened: closing it again would drop the locks that SQLite holds on it for other
    connections of this process.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        check_writable(path)
    except OSError as error:
        raise StorageError(f"{path!r} cannot be created: {error}") from error


def check_writable(path: str) -> None:
    """Raise StorageError for a file that this user cannot read and write.

    SQLite would open it all the same, and leave a log beside it that is not writable either, even once the file is.
    """
    if not os.access(path, os.R_OK | os.W_OK):
        raise StorageError(
            f"{path!r}: permission denied; this user needs read and write access: change the file's owner or its mode"
        )


# --- beside it


def check_beside(path: str) -> None:
    """Raise StorageError if something that is not the store's lies under a name that a store uses beside its file.

    ``path`` is the real path of the database. Nothing is changed.
    """
    _check_mount(path)
    check_files_of_sqlite(path)
    _check(path, "-gate", "an empty file, the write gate", _is_gate)
    _check(path, "-owners", "a folder, for the files of its owners", _is_owners_folder)


def check_files_of_sqlite(path: str) -> None:
    """The same, for those names alone that SQLite uses for a database which is only read."""
    _check(path, "-wal", "a write-ahead log of SQLite", _is_wal)
    _check(path, "-shm", "a shared-memory file of SQLite", _is_shm)
    _check(path, "-journal", "a rollback journal of SQLite", _is_rollback_journal)
    _check_log(path)


def _check_mount(path: str) -> None:
    """Raise StorageError if the file is mounted without its folder, as containers mount a single file that they share.

    Then each has a log, a gate and owners of its own, beside its own name of the file.
    """
    with contextlib.suppress(OSError), open(_MOUNTS, "rb") as mounts:  # not every system has it
        name = re.sub(rb"[\\ \t\n]", lambda found: b"\\%03o" % ord(found[0]), os.fsencode(path))
        if any(mount.split(b" ")[4:5] == [name] for mount in mounts):
            raise StorageError(
                f"{path!r} is mounted by itself, without its folder, as a single file is into a container: what is "
                "written to the log beside it is seen under this name alone, and lost; nothing was changed: mount the "
                "folder"
            )


def _check_log(path: str) -> None:
    """Raise StorageError if the log beside the database is that of another file, which has had its name, and is open.

    SQLite finds the log by the name. So it would be that of both files: what is committed to the one would be read in
    the other, be copied into it, and be lost with that. Where a store of the present file is open, the log is this
    one's.
    """
    with contextlib.suppress(OSError):  # a folder that cannot be read is told of by who needs it
        if not os.path.lexists(f"{path}-wal") or (os.path.exists(path) and living_owners(path)):
            return
        others = sorted(os.path.join(owners_folder(path), owner) for owner in owners_of_another_file(path))
        if others:
            raise StorageError(
                f"{path!r} was moved, removed or replaced while it was open, and stores have the former file open "
                f"still (they hold locks on {', '.join(map(repr, others[:_MOST_SHOWN]))}): SQLite would mix the two "
                "files, by their common log; nothing was changed: close these stores first"
            )


def _check(path: str, suffix: str, what: str, is_ours: Callable[[str, os.stat_result], bool]) -> None:
    name = path + suffix
    try:
        found = os.lstat(name)
        if is_ours(name, found):
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{name!r} cannot be accessed: {error}") from error
    raise StorageError(
        f"{name!r} is {_kind(found)}, but not {what}, which a store at {path!r} keeps under this name; nothing was "
        "changed: move it away, or give the store another path"
    )


def _kind(found: os.stat_result) -> str:
    for is_kind, kind in _KINDS:
        if is_kind(found.st_mode):
            return kind
    return "a special file"


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


def _is_gate(_name: str, found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def _is_owners_folder(_name: str, found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode)


def _is_wal(name: str, found: os.stat_result) -> bool:
    """By the mark at its beginning, or by the version behind it: a bit of the one or the other may have flipped."""
    if not stat.S_ISREG(found.st_mode):
        return False
    with open(name, "rb") as file:
        version = file.read(8)[4:]
    return version == b"\x00\x2d\xe2\x18" or _begins(name, b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


def _is_rollback_journal(name: str, found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and _begins(name, b"\xd9\xd5\x05\xf9")


def _begins(name: str, *marks: bytes) -> bool:
    """Whether a file begins as SQLite's do, or is cut off in there, or begins with zeros, as a power cut leaves it."""
    with open(name, "rb") as file:
        beginning = file.read(4)
    return any(mark.startswith(beginning) for mark in marks) or not any(beginning)


def _is_shm(_name: str, found: os.stat_result) -> bool:
    """Judged by its size alone: to open and close it would drop the locks that SQLite holds on it for this process."""
    return stat.S_ISREG(found.st_mode) and (found.st_size == 3 or found.st_size % 4096 == 0)
