"""A shared lock on one byte of a folder: proof that a process runs, which no removal of files takes away.

A lock on a file proves nothing any more once the file has been removed: its path names no file, or another one. The
folder of a database cannot be removed without the database. A folder has no bytes, but the kernel keeps locks on
them all the same, 2^62 of them, so each name gets one of its own. These are open file description locks: unlike the
older POSIX locks they are not lost when the process closes another descriptor of the folder.

Linux has them, macOS does not show them to programs. Where they are missing, nothing is locked and nothing is proved.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from hashlib import blake2b

from shapestore.concurrency.descriptor import Descriptor

# What the system is short of at the moment; it says nothing about the lock.
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK}


class FolderLock(Descriptor):
    """Holds the lock of ``name`` in ``folder`` until it is closed, or the process ends in whatever way.

    Any number of holders have it at once. Nothing is held where the system has no such locks, or the folder's
    permissions forbid them. OSError if the system is short of descriptors or memory.
    """

    def __init__(self, folder: str, name: str) -> None:
        try:
            self._own(_open(folder))
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK, name))
        except (OSError, AttributeError) as error:
            self.close()
            if isinstance(error, OSError) and error.errno in _PASSING:
                raise


def is_held(folder: str, name: str) -> bool:
    """Whether the lock of ``name`` in ``folder`` is held. Keeps nothing open, never waits.

    A shortage of descriptors or memory counts as held: a doubt does not prove that the holder has ended.
    """
    try:
        fd = _open(folder)
    except OSError as error:
        return error.errno in _PASSING
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, name))
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
    except OSError as error:
        return error.errno in _PASSING
    except AttributeError:
        return False
    finally:
        os.close(fd)


_FLOCK = "hhqqi"  # struct flock: type, whence, start, length, pid


def _flock(kind: int, name: str) -> bytes:
    byte = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) >> 2
    return struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)


def _open(folder: str) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
