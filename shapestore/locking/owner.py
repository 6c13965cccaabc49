"""Proof of life: an open store is an owner, and holds kernel locks under an id that no other store ever had.

A row in ``create_locks`` names its owner. Whether that owner is alive is asked of the operating system, by probing
its locks: the kernel releases them when the process ends in whatever way, and since an id is never used again, an
owner that has ended stays so. There is no lease and no heartbeat, so a process that is stopped or hangs is alive.

An owner has two locks, and is alive as long as either is held:

- On its file ``PATH-owners/ID``, which names the database by device and inode. People see it, and any system has it.
  But the file can be removed, by a cleaner of old files, say. The store makes it again within a second.
- On a byte of the folder that the database is in. It cannot be removed, and is held also while the store is stopped.

Both are bound to the database's device and inode: a copy of the database, or another one put in its place, has none
of the owners of the first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time

from shapestore.locking import folder_lock
from shapestore.locking.file_lock import FileLock, content_if_locked
from shapestore.locking.folder_lock import FolderLock

_MAX_TRIES = 1_000
_PAUSE_SECONDS = 0.001
_NAME = re.compile(r"[0-9a-f]{16}")
_OURS = re.compile(rb"(device=\d+ inode=\d+\n)?")  # empty: its process was killed before it had written it


def owners_folder(path: str) -> str:
    """The folder of the owner files of the database at ``path``."""
    return f"{path}-owners"


class Owner:
    """One open store, provably alive until it withdraws, abandons, or its process ends.

    ``path`` is the real path of the database, which is open already. Raises OSError if the locks cannot be taken.
    """

    def __init__(self, path: str) -> None:
        self.id = secrets.token_hex(8)
        self._folder = owners_folder(path)
        self._database = _identity(path)
        self._folder_lock = FolderLock(os.path.dirname(path), _proof(self.id, self._database))
        self._lock = self._locked_file()

    def keep_provable(self) -> None:
        """Make the owner file again if it was removed. Raises OSError if that fails; the lock on the folder stays."""
        if not self._lock.is_at_its_path():
            removed, self._lock = self._lock, self._locked_file()
            removed.close()

    def withdraw(self) -> None:
        """End as a closed store: the file is removed while it is still locked, so that no probe sees it unlocked."""
        with contextlib.suppress(OSError):  # a file that cannot be removed is left, as by a killed process
            if self._lock.is_at_its_path():
                os.unlink(self._lock.path)
        self.abandon()

    def abandon(self) -> None:
        """End as a killed process does: the locks are released, the file is left for the next opening to remove."""
        self._lock.close()
        self._folder_lock.close()

    def _locked_file(self) -> FileLock:
        """Make the owner file and lock it.

        Another store that removes the files of dead owners may find it before it is locked, and remove it.
        """
        path = os.path.join(self._folder, self.id)
        for _ in range(_MAX_TRIES):
            _make_folder(self._folder)
            try:
                lock = FileLock(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                # A copy of our own file, say, that was put back after it was removed; or another store is removing it.
                if not _remove_if_dead(path) and _is_foreign(path):
                    raise
            else:
                self._write_into(lock)
                if lock.try_lock() and lock.is_at_its_path():
                    return lock
                lock.close()
            time.sleep(_PAUSE_SECONDS)
        raise OSError(errno.EBUSY, "removed or locked by others again and again", path)

    def _write_into(self, lock: FileLock) -> None:
        try:
            lock.write(self._database)
        except OSError:  # the disk is full: each further opening would leave one more file there
            with contextlib.suppress(OSError):
                os.unlink(lock.path)
            raise


def is_alive(path: str, owner: str) -> bool:
    """Whether the store that took the id ``owner`` has this very database, the one at ``path``, open.

    Any doubt counts as alive.
    """
    if not owner.isalnum():  # from a damaged file: no store ever took such an id
        return False
    try:
        database = _identity(path)
        content = content_if_locked(os.path.join(owners_folder(path), owner))
    except OSError:
        return True
    # An empty file is one that its owner is about to write.
    return content in (database, b"") or folder_lock.is_held(os.path.dirname(path), _proof(owner, database))


def living_owners(path: str) -> set[str]:
    """The owners of this very database, the one at ``path``, that have a locked owner file: ids.

    To learn whether another store has the database open, call this under the gate, where no store opens or closes.
    """
    database = _identity(path)
    folder = owners_folder(path)
    return {name for name in _owner_files(folder) if _content(os.path.join(folder, name)) == database}


def owners_of_another_file(path: str) -> set[str]:
    """The owners that have another file open than the one at ``path``, which was there before: ids."""
    try:
        database = _identity(path)
    except FileNotFoundError:
        database = b""
    folder = owners_folder(path)
    contents = {name: _content(os.path.join(folder, name)) for name in _owner_files(folder)}
    return {name for name, content in contents.items() if content and content != database and _OURS.fullmatch(content)}


def dead_owner_files(path: str) -> set[str]:
    """The names of those owner files whose owners have ended."""
    folder = owners_folder(path)
    return {name for name in _owner_files(folder) if _content(os.path.join(folder, name)) is None}


def remove_dead_owner_files(path: str) -> None:
    """Remove the owner files whose owners have ended. Nothing else in the folder is touched."""
    folder = owners_folder(path)
    for name in _owner_files(folder):
        _remove_if_dead(os.path.join(folder, name))


def _remove_if_dead(path: str) -> bool:
    """Remove an owner file that is not locked, and tell whether that was done.

    It is locked meanwhile, so that an owner that is just making the file notices.
    """
    try:
        with contextlib.closing(FileLock(path, os.O_RDONLY)) as lock:
            if not lock.try_lock() or not lock.is_at_its_path() or not _OURS.fullmatch(lock.read()):
                return False
            os.unlink(path)
            return True
    except OSError:
        return False


def _is_foreign(path: str) -> bool:
    """Whether what lies at the path of an owner file is not one."""
    try:
        with contextlib.closing(FileLock(path, os.O_RDONLY)) as file:
            return not _OURS.fullmatch(file.read())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _owner_files(folder: str) -> list[str]:
    """The names in the folder that are of our form, and of regular files: anything else there is not ours."""
    try:
        with os.scandir(folder) as entries:
            return [
                entry.name for entry in entries if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _content(file: str) -> bytes | None:
    """What a locked owner file says, nothing if that cannot be told; None if it is not locked."""
    try:
        return content_if_locked(file)
    except OSError:
        return b""


def _make_folder(folder: str) -> None:
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise


def _identity(path: str) -> bytes:
    """What an owner file says of its database."""
    found = os.stat(path)
    return b"device=%d inode=%d\n" % (found.st_dev, found.st_ino)


def _proof(owner: str, database: bytes) -> str:
    """The name of an owner's lock on the folder."""
    return f"{owner} {database.decode()}"
