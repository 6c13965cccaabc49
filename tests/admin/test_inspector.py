"""Reading a store's file from outside, by one connection."""

from __future__ import annotations

import sqlite3

import pytest
from processes import edit

from shapestore import StorageError
from shapestore.admin.inspector import open_inspector


def meet_an_error_of_the_disk(path: str) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    with open_inspector(path) as inspector, inspector.one_moment():
        inspector.read("ROLLBACK")  # as SQLite does by itself then
        raise error


def test_an_error_of_the_disk_is_told_as_it_is_though_it_has_ended_the_moment(empty_path: str) -> None:
    """What was told was that there is no transaction, and so a corrupt file, in whose place a backup was to be put."""
    with pytest.raises(StorageError, match=r"reading or writing failed \(disk I/O error\)"):
        meet_an_error_of_the_disk(empty_path)


def test_reads_inside_a_moment_see_the_file_as_it_was_and_later_ones_as_it_is(empty_path: str) -> None:
    with open_inspector(empty_path) as inspector:
        with inspector.one_moment():
            assert inspector.owners() == []
            edit(empty_path, "INSERT INTO owners VALUES ('0123456789abcdef', 1, 'host', 'app.py', 0)")
            assert inspector.owners() == []
        assert [owner.program for owner in inspector.owners()] == ["app.py"]
