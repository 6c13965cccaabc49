"""Proof of life: an open store holds one kernel lock, on a file that no other store ever had.

A row in ``create_locks`` names its owner. Whether that owner lives is asked of the operating system, by
trying the lock: the kernel lets go of it at any death, and since an id is never used again, death is
for good. There is no lease and no heartbeat, so a process that is stopped or hangs is alive.
"""

from __future__ import annotations

import contextlib
import os
import secrets

from shapestore.locking.file_lock import FileLock, is_locked


def owners_folder(path: str) -> str:
    """The folder of the owner files of the database at ``path``."""
    return f"{path}-owners"


class Owner:
    """One open store's claim to be alive. Made and withdrawn only under the gate.

    Under the gate, so that nobody who clears away the files of the dead meets one that is made but not yet locked.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self.id = secrets.token_hex(8)
        self._lock = FileLock(os.path.join(folder, self.id))
        self._lock.lock()

    def withdraw(self) -> None:
        """Die in good order: the file goes while its lock is still held, so that it is never seen unlocked."""
        with contextlib.suppress(OSError):  # what cannot be removed is left, as by the dead
            os.unlink(self._lock.path)
        self.abandon()

    def abandon(self) -> None:
        """Die as a killed process does: the lock is let go, the file left for others to clear away."""
        self._lock.close()


def is_alive(folder: str, owner: str) -> bool:
    """Whether the store that took the id ``owner`` still lives."""
    return is_locked(os.path.join(folder, owner))


def clear_the_dead(folder: str) -> None:
    """Remove the owner files whose owners are gone. The caller holds the gate."""
    for name in _files_in(folder):
        if not is_alive(folder, name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))


def _files_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
