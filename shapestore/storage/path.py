"""The one true name of a store's file, and whether a store can be there at all."""

from __future__ import annotations

import os
import stat

from shapestore.errors import StorageError


def resolve(path: str | os.PathLike[str]) -> str:
    """The real path, so that every name of the file has the same gate and the same owners. Does not make it.

    Raises StorageError for what is no place for a store.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"the path of a store is a str or a PathLike of str, not {type(name).__name__}")
    if name == ":memory:" or name.startswith("file:") or "\0" in name or not name:
        raise StorageError(f"{name!r} names no file; a store is one file on a local disk, named by its plain path")
    real = os.path.realpath(name)
    try:
        found = os.stat(real)
    except FileNotFoundError:
        folder = os.path.dirname(real)
        if not os.path.isdir(folder):
            raise StorageError(f"{name!r}: the folder {folder!r} does not exist; make it first") from None
        return real
    except OSError as error:
        raise StorageError(f"{name!r} cannot be looked at: {error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise StorageError(f"{name!r} is a folder; name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(f"{name!r} is no regular file, so it cannot be a store")
    if found.st_nlink > 1:
        raise StorageError(
            f"{name!r} is one of {found.st_nlink} hard links to a file; each would have a gate and owners of its own: "
            "remove the others, or use a symbolic link"
        )
    return real


def make_if_missing(path: str) -> None:
    """Make an empty file that only its user can read; what SQLite puts beside it gets the same mode.

    A file that is there is not even opened: closing it again would drop the locks that SQLite holds on it for other
    connections of this process.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        check_writable(path)
    except OSError as error:
        raise StorageError(f"{path!r} cannot be made: {error}") from error


def check_writable(path: str) -> None:
    """Raise StorageError for a file that may not be written.

    SQLite would open it all the same, and leave a log beside it that may not be written either, even once the file may.
    """
    if not os.access(path, os.R_OK | os.W_OK):
        raise StorageError(f"{path!r} may not be read and written by this user; change its owner or its mode")
