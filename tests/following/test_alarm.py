from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shapestore.following.alarm import Alarm

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has inotify")
LONG = 60.0


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    with closing(Alarm()) as alarm:
        yield alarm


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "source.db-wal"
    file.touch()
    return file


def test_it_is_rung_by_another_thread_before_the_wait_or_in_it(alarm: Alarm) -> None:
    alarm.ring()
    assert not alarm.wait(LONG)
    threading.Timer(0.01, alarm.ring).start()
    assert not alarm.wait(LONG)
    assert not alarm.wait(0.0)


def test_it_is_rung_however_often(alarm: Alarm) -> None:
    for _ in range(100_000):  # more than a pipe holds
        alarm.ring()
    assert not alarm.wait(LONG)


@linux_only
def test_it_goes_off_when_the_file_was_written(alarm: Alarm, file: Path) -> None:
    alarm.watch(str(file))
    assert alarm.is_watching
    assert not alarm.wait(0.0)
    file.write_bytes(b"1")
    assert alarm.wait(LONG)
    assert not alarm.wait(0.0)


@linux_only
def test_what_is_written_while_it_waits_for_no_file_is_told_afterwards(alarm: Alarm, file: Path) -> None:
    alarm.watch(str(file))
    file.write_bytes(b"1")
    assert not alarm.wait(0.001, for_file=False)
    assert alarm.wait(LONG)


def test_a_file_that_cannot_be_watched_is_not(alarm: Alarm, tmp_path: Path) -> None:
    alarm.watch(str(tmp_path / "missing"))
    assert not alarm.is_watching
    assert not alarm.wait(0.0)


def test_closed_it_holds_nothing_and_may_be_rung(file: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    alarm = Alarm()
    alarm.watch(str(file))
    alarm.close()
    alarm.close()
    alarm.ring()
    assert len(os.listdir("/dev/fd")) == before


@linux_only
def test_where_the_system_cannot_tell_any_more_it_does_not_wait_for_that(alarm: Alarm, file: Path) -> None:
    alarm.watch(str(file))
    file.write_bytes(b"1")
    file.unlink()
    assert alarm.wait(LONG)
    assert not alarm.is_watching
    file.touch()
    alarm.watch(str(file))
    file.write_bytes(b"2")
    assert alarm.wait(LONG)
