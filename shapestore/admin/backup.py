"""Backing up a store: a copy of its file as of one moment, made while it is in use, and checked before it is named.

The copy is made by SQLite's online backup in a new file beside TO, which gets the name TO only once it is complete,
sound and on the disk. So TO is never half made; if the program is killed, a file named ``.TO-*.partial`` may remain.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shapestore.admin.inspector import existing, opened
from shapestore.errors import CorruptStoreError, StorageError
from shapestore.locking.owner import owners_folder
from shapestore.storage import migrations
from shapestore.storage.connection import open_immutable

_PAGES_A_STEP = 1_000
_SHOWN = 50
"""So many characters of a name are in that of the unfinished file: four bytes each, where a name has 255 at most."""
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@dataclass(frozen=True, slots=True)
class Backup:
    path: str
    """The copy."""
    bytes: int
    shapes: int


def backup(path: str | os.PathLike[str], to: str | os.PathLike[str], *, overwrite: bool = False) -> Backup:
    """Copy the store in the file at ``path`` to a new file ``to``, which only its user can read (mode 0600).

    The copy is the file as of one moment, with all that was committed. It may be opened as a store: the locks in it
    belong to owners that are not alive there, and are cleared away. Readers and writers go on meanwhile, but the
    write-ahead log is not truncated. It blocks: from asyncio, call it in a thread.

    Raises StorageError if ``path`` is not a store; if ``to`` exists (unless ``overwrite``), is not a regular file, is
    a symbolic link, or belongs to a database in use; or if the disk refuses. Raises CorruptStoreError if the copy is
    not sound, because the file is damaged.
    """
    real = existing(path)
    target = _target(real, os.fspath(to), overwrite)
    with _unfinished(target) as copy:
        _copy(real, copy)
        shapes = _checked(real, copy)
        _write_through(copy)
        _publish(copy, target, overwrite)
        _write_through(os.path.dirname(target))
    return Backup(target, os.stat(target).st_size, shapes)


def _target(real: str, to: str, overwrite: bool) -> str:
    """The path of the copy. Its folder is resolved; its name is not, since it must not be a link."""
    folder, name = os.path.split(to)
    folder = os.path.realpath(folder)
    target = os.path.join(folder, name)
    if "\0" in to or name in ("", ".", ".."):
        raise StorageError(f"{to!r} does not name a file")
    if not os.path.isdir(folder):
        raise StorageError(f"{to!r}: the folder {folder!r} does not exist; make it first")
    own = {real, owners_folder(real), *(f"{real}{suffix}" for suffix in ("-wal", "-shm", "-journal", "-gate"))}
    if {folder, target} & own:
        raise StorageError(f"{to!r} is a part of the store itself; choose another name")
    _check_replaceable(to, target, overwrite)
    _retire(target)
    return target


def _check_replaceable(to: str, target: str, overwrite: bool) -> None:
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{to!r} cannot be examined: {error}") from error
    if stat.S_ISLNK(mode):
        raise StorageError(f"{to!r} is a symbolic link; name the file itself")
    if stat.S_ISDIR(mode):
        raise StorageError(f"{to!r} is a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise StorageError(f"{to!r} is not a regular file; choose another name")
    if not overwrite:
        raise _exists(to)


def _retire(target: str) -> None:
    """Refuse to replace a database that is in use, or to let SQLite apply its log to the backup."""
    if os.path.exists(target) and any(os.path.lexists(f"{target}{suffix}") for suffix in ("-wal", "-shm")):
        try:
            with contextlib.closing(sqlite3.connect(target, isolation_level=None, timeout=0)) as connection:
                # SQLite does so, and removes the log, only if no other connection has the file open.
                connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"{target!r} is a database that is open elsewhere ({error}); close it there, or choose another name"
            ) from error
        except sqlite3.DatabaseError:
            pass  # it is not a database, so the log is not its own
    for beside in (f"{target}-wal", f"{target}-journal"):
        if os.path.lexists(beside) and os.lstat(beside).st_size > 0:
            raise StorageError(
                f"{beside!r} belongs to another database, and SQLite would apply it to the backup: move it away, or "
                "choose another name"
            )


def _exists(to: str) -> StorageError:
    return StorageError(f"{to!r} exists already and was left as it is; choose another name, or use --force")


@contextlib.contextmanager
def _unfinished(target: str) -> Iterator[str]:
    """A new file beside the target, removed at the end unless it has been renamed."""
    folder, name = os.path.split(target)
    try:
        descriptor, copy = tempfile.mkstemp(dir=folder, prefix=f".{name[:_SHOWN]}-", suffix=".partial")
    except OSError as error:
        raise StorageError(f"no file can be made in {folder!r}: {error.strerror}") from error
    try:
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        yield copy
    except OSError as error:
        raise StorageError(f"{target!r} could not be written: {error.strerror or error}") from error
    finally:
        Path(copy).unlink(missing_ok=True)


def _copy(real: str, copy: str) -> None:
    with opened(real) as source, contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target:
        if migrations.current_revision(source) is None:
            raise StorageError(f"{real!r} is not a store: it is empty")
        target.execute("PRAGMA journal_mode = OFF").fetchall()
        target.execute("PRAGMA synchronous = OFF")
        # A transaction keeps the moment: without it, each commit of another process begins the backup again.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        try:
            source.backup(target, pages=_PAGES_A_STEP, progress=_progress)
        except sqlite3.OperationalError as error:  # the disk of the copy; damage of the source is a DatabaseError
            raise StorageError(f"the copy could not be written in {os.path.dirname(copy)!r}: {error}") from error
        source.execute("ROLLBACK")


def _progress(_status: int, _remaining: int, _total: int) -> None:
    """Called between two steps, which lets Python see that it was interrupted."""


def _checked(real: str, copy: str) -> int:
    """The number of shapes in the copy. Raises CorruptStoreError if it is not sound."""
    try:
        with contextlib.closing(open_immutable(copy)) as connection:
            complaints = [text for (text,) in connection.execute("PRAGMA integrity_check(1)").fetchall()]
            ((shapes,),) = connection.execute("SELECT count(*) FROM shapes").fetchall()
    except sqlite3.Error as error:
        complaints, shapes = [str(error)], 0
    if complaints != ["ok"]:
        raise CorruptStoreError(
            f"the copy of {real!r} is not sound ({complaints[0]}), so no backup was made: the file is damaged; "
            "`shapestore doctor` says more"
        )
    return int(shapes)


def _write_through(path: str) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(copy: str, target: str, overwrite: bool) -> None:
    """Give the copy its name, in one step."""
    _retire(target)
    if overwrite:
        os.replace(copy, target)
        return
    try:
        os.link(copy, target)  # unlike a rename, it fails if the name is taken meanwhile
    except FileExistsError as error:
        raise _exists(target) from error
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(target):
            raise _exists(target) from error
        os.rename(copy, target)
