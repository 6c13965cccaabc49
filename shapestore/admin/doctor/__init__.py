"""Whether a store's file is sound, and what to do where it is not. Nothing is changed, and running stores go on.

>>> for finding in examine("shapes.db"):
...     print(finding.severity, finding.name, finding.what, finding.to_do)

It reads the whole file, and blocks: from asyncio, call it in a thread.
"""

from __future__ import annotations

import os

from shapestore.admin.doctor import contents, database, files
from shapestore.admin.doctor.finding import Finding, Severity
from shapestore.admin.inspector import existing, opened
from shapestore.errors import ShapeStoreError

__all__ = ["Finding", "Severity", "examine", "is_sound"]


def examine(path: str | os.PathLike[str], *, quick: bool = False) -> list[Finding]:
    """All that is found about the file at ``path``, the gravest first; notes are there on sound files too.
    Where no store is, that is the only finding.

    ``quick``: do not read every page. That finds what is left behind and what is set wrongly, but not all damage.
    Raises StorageError if there is no such file, or none that can be opened.
    """
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        real = existing(path)  # which says what is wrong with it
    found = list(files.examine(real))
    try:
        with opened(real) as connection:
            if no_store := database.no_store(real, connection):
                return [no_store]
            found += database.examine(real, connection, quick=quick)
            if database.is_readable(found):
                found += contents.examine(real, connection, quick=quick)
    except ShapeStoreError as error:
        if database.is_no_database(error):
            return [database.no_database(real)]
        found.append(database.unreadable(error))
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def is_sound(findings: list[Finding]) -> bool:
    """Whether there is nothing to be done: notes do not count."""
    return all(finding.severity is Severity.NOTE for finding in findings)
