"""Examining whether a store's file is sound, and what to do if it is not. Read-only; running stores do not notice.

A file that is closed, as a backup, is left alone: no -wal and -shm appear beside it.

>>> for finding in examine("shapes.db"):
...     print(finding.severity, finding.name, finding.what, finding.to_do)

It reads the whole file and blocks: from asyncio, call it in a thread. The modules follow what they examine: ``files``
the files by name and mode, ``database`` what SQLite knows of them, ``contents`` what the tables say, ``following`` the
sources of live shapes.
"""

from __future__ import annotations

import os

from shapestore.admin.doctor import contents, database, files, following
from shapestore.admin.doctor.finding import Finding, Severity
from shapestore.admin.inspector import existing, opened
from shapestore.admin.sources import at_rest
from shapestore.errors import ShapeStoreError

__all__ = ["Finding", "Severity", "examine", "is_sound"]


def examine(path: str | os.PathLike[str], *, quick: bool = False) -> list[Finding]:
    """Return all findings about the file at ``path``, the gravest first. A sound file may have notes.

    A file that is not a store has this as its only finding. ``quick``: do not read every page, which finds what is left
    behind and what is set wrongly, but not all damage. Raises StorageError if the file is missing or cannot be opened.
    """
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        real = existing(path)  # raises the error that says what is wrong with it
    before = at_rest(real)
    if before is not None:
        found = _examine(real, quick=quick, immutable=True)
        if at_rest(real) == before:
            return found
        # A program has opened it meanwhile, and may have changed what was being read without a lock.
    return _examine(real, quick=quick)


def _examine(real: str, *, quick: bool, immutable: bool = False) -> list[Finding]:
    found = list(files.examine(real))
    try:
        with opened(real, immutable=immutable) as connection:
            if no_store := database.no_store(real, connection):
                return [no_store]
            found += database.examine(real, connection, quick=quick)
            if database.is_readable(found):
                found += contents.examine(real, connection, quick=quick)
                found += following.examine(real, connection)
    except ShapeStoreError as error:
        if database.is_no_database(error):
            return [database.no_database(real)]
        found.append(database.unreadable(error))
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def is_sound(findings: list[Finding]) -> bool:
    """Whether nothing has to be done. Notes do not count."""
    return all(finding.severity is Severity.NOTE for finding in findings)
