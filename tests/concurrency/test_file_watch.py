from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shapestore.concurrency.file_watch import FileWatch

LONG = 60.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has inotify")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.touch()
    return file


@pytest.fixture
def watch(file: Path) -> Iterator[FileWatch]:
    with closing(FileWatch(str(file))) as watch:
        yield watch


def is_told(watch: FileWatch) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


def test_what_is_written_is_told_until_it_was_drained(watch: FileWatch, file: Path) -> None:
    assert not is_told(watch)
    with file.open("ab") as writing:
        writing.write(b"1")
        writing.flush()
        writing.write(b"2")
    assert is_told(watch)
    watch.drain()
    assert not is_told(watch)
    file.write_bytes(b"3")
    assert is_told(watch)


def test_it_is_told_again_and_again_though_the_file_is_written_at_the_same_time(watch: FileWatch, file: Path) -> None:
    ended = threading.Event()

    def write() -> None:
        with file.open("ab", buffering=0) as writing:
            while not ended.is_set():
                writing.write(b"1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(1_000):
            assert select.select([watch], [], [], LONG)[0]
            watch.drain()
    finally:
        ended.set()
        writer.join()
    watch.drain()
    file.write_bytes(b"2")
    assert is_told(watch)


def test_who_writes_is_watched_once(watch: FileWatch, file: Path) -> None:
    def watched() -> str:
        return Path(f"/proc/self/fdinfo/{watch.fileno()}").read_text()

    assert "inotify wd:" in watched()
    file.write_bytes(b"1")
    assert "inotify wd:" not in watched()
    watch.drain()
    assert "inotify wd:" in watched()


def test_reading_is_not_told_nor_what_is_written_to_other_files(watch: FileWatch, file: Path) -> None:
    file.read_bytes()
    file.with_name("other").write_bytes(b"1")
    assert not is_told(watch)


def test_a_file_that_is_missing_cannot_be_watched(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        FileWatch(str(tmp_path / "missing"))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_closing_twice_does_no_harm(watch: FileWatch) -> None:
    watch.close()
    watch.close()
    assert watch.fileno() == -1


def test_what_cannot_be_told_again_is_said(watch: FileWatch, file: Path) -> None:
    """There are limits to how much may be watched, and a file may be gone."""
    file.write_bytes(b"1")
    file.unlink()
    with pytest.raises(FileNotFoundError):
        watch.drain()
