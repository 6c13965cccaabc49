from __future__ import annotations

import os
import signal
import stat
import threading
from pathlib import Path

import pytest
from children import HOLD, child
from descriptors import count_descriptors
from locked import is_locked
from processes import until

from shapestore.locking.file_lock import FileLock, content_if_locked


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


def test_one_has_the_lock_and_nobody_else(file: str) -> None:
    mine, another = FileLock(file), FileLock(file)
    assert mine.try_lock()
    assert not another.try_lock()
    mine.unlock()
    assert another.try_lock()
    assert not mine.try_lock()
    mine.close()
    another.close()


def test_the_file_is_made_for_its_user_only(file: str) -> None:
    FileLock(file).close()
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600


def test_a_symbolic_link_is_not_followed(tmp_path: Path, file: str) -> None:
    os.symlink(tmp_path / "elsewhere", file)
    with pytest.raises(OSError, match="lock"):
        FileLock(file)
    assert not (tmp_path / "elsewhere").exists()


def test_who_waits_for_the_lock_gets_it_when_it_is_let_go_of(file: str) -> None:
    mine, another = FileLock(file), FileLock(file)
    mine.lock()
    waiting = threading.Thread(target=another.lock)
    waiting.start()
    mine.unlock()
    waiting.join(60)
    assert not waiting.is_alive()
    assert not mine.try_lock()
    mine.close()
    another.close()


def test_closing_lets_go_of_the_lock_and_may_be_done_twice(file: str) -> None:
    mine, another = FileLock(file), FileLock(file)
    mine.lock()
    mine.close()
    mine.close()
    assert another.try_lock()
    another.close()


def test_closing_twice_closes_nobody_elses_file(file: str) -> None:
    lock = FileLock(file)
    lock.close()
    with open(file) as reused:  # gets the number of the descriptor that was closed
        lock.close()
        assert reused.read() == ""


def test_a_killed_process_lets_go_of_its_lock(file: str) -> None:
    with child(HOLD, file) as holder:
        assert holder.hear() == "locked"
        assert is_locked(file)
        holder.kill()
        assert not is_locked(file)
        lock = FileLock(file)
        assert lock.try_lock()
        lock.close()


def test_a_stopped_process_keeps_its_lock(file: str) -> None:
    with child(HOLD, file) as holder:
        assert holder.hear() == "locked"
        os.kill(holder.process.pid, signal.SIGSTOP)
        os.waitpid(holder.process.pid, os.WUNTRACED)
        assert is_locked(file)
        os.kill(holder.process.pid, signal.SIGCONT)
        holder.say("go")
        assert holder.ended() == 0
        assert not is_locked(file)


# --- looking whether it is locked


def test_a_look_sees_the_lock_of_this_very_process_too(file: str) -> None:
    lock = FileLock(file)
    assert not is_locked(file)
    lock.lock()
    assert is_locked(file)
    lock.close()
    assert not is_locked(file)


def test_a_look_makes_no_file(tmp_path: Path) -> None:
    assert not is_locked(str(tmp_path / "missing"))
    assert not is_locked(str(tmp_path / "no folder" / "missing"))
    assert list(tmp_path.iterdir()) == []


def test_a_look_keeps_nothing(file: str) -> None:
    lock = FileLock(file)
    before = count_descriptors()
    for _ in range(100):
        assert not is_locked(file)
        assert lock.try_lock()
        assert is_locked(file)
        lock.unlock()
    assert count_descriptors() == before
    lock.close()


def test_two_who_look_do_not_see_each_other(file: str) -> None:
    """Else each would take the other for the dead owner, alive again."""
    FileLock(file).close()
    seen: list[bool] = []
    lookers = [threading.Thread(target=lambda: seen.extend(is_locked(file) for _ in range(2_000))) for _ in range(4)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert len(seen) == 8_000
    assert not any(seen)


def test_what_cannot_be_looked_at_is_an_error(tmp_path: Path, file: str) -> None:
    """A doubt is never a proof of death."""
    os.symlink(tmp_path / "missing", file)
    for path in (file, str(tmp_path / ("a" * 300))):
        with pytest.raises(OSError, match=r"Too many levels|File name too long"):
            content_if_locked(path)


def test_the_path_may_come_to_name_another_file(file: str) -> None:
    lock = FileLock(file)
    assert lock.is_at_its_path()
    os.rename(file, f"{file}.away")
    assert not lock.is_at_its_path()
    another = FileLock(file)
    assert not lock.is_at_its_path()
    assert another.is_at_its_path()
    os.rename(f"{file}.away", file)
    assert lock.is_at_its_path()
    lock.close()
    another.close()


# --- fork

PARENT_OF_A_LONG_LIVED_CHILD = """
import os, sys, time
from shapestore.locking.file_lock import FileLock
lock = FileLock(sys.argv[1])
lock.lock()
pid = os.fork()
if pid:
    print(pid, flush=True)
    sys.stdin.readline()
else:
    os.close(0), os.close(1)
    time.sleep(600)
"""


def test_a_forked_child_that_lives_on_does_not_make_its_dead_parent_look_alive(file: str) -> None:
    with child(PARENT_OF_A_LONG_LIVED_CHILD, file) as parent:
        pid = int(parent.hear())
        try:
            assert is_locked(file)
            parent.kill()
            # The child closes its copy right after the fork; on a busy machine that may be a moment later.
            until(lambda: not is_locked(file), "the dead parent's lock is gone")
            os.kill(pid, 0)  # the child is there
        finally:
            os.kill(pid, signal.SIGKILL)


SHORT_LIVED_CHILDREN = """
import os, sys
from shapestore.locking.file_lock import FileLock, content_if_locked
lock = FileLock(sys.argv[1])
lock.lock()
for _ in range(20):
    pid = os.fork()
    if not pid:
        seen = content_if_locked(sys.argv[1]), lock.close(), content_if_locked(sys.argv[1])
        os._exit(0 if seen == (b"", None, b"") else 1)
    assert os.waitpid(pid, 0) == (pid, 0)
    assert content_if_locked(sys.argv[1]) == b""
print("still locked", flush=True)
"""


def test_a_forked_child_that_ends_does_not_unlock_for_its_parent(file: str) -> None:
    with child(SHORT_LIVED_CHILDREN, file) as parent:
        assert parent.hear() == "still locked"
        assert parent.ended() == 0
