from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from children import child
from processes import until

from shapestore.locking import folder_lock
from shapestore.locking.file_lock import FileLock
from shapestore.locking.owner import (
    Owner,
    dead_owner_files,
    is_alive,
    living_owners,
    owners_folder,
    owners_of_another_file,
    remove_dead_owner_files,
)

OWN = """
import sys
from shapestore.locking.owner import Owner
owner = Owner(sys.argv[1])
print(owner.id, flush=True)
sys.stdin.readline()
owner.keep_provable()
print("made again", flush=True)
sys.stdin.readline()
owner.withdraw()
"""
"""Is an owner until it is told something, then looks after its file; and withdraws when it is told something more."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database, as far as owners are concerned."""
    (tmp_path / "shapes.db").touch()
    return str(tmp_path / "shapes.db")


@pytest.fixture
def only_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without locks on folders, such as macOS."""
    monkeypatch.delattr("fcntl.F_OFD_SETLK")
    monkeypatch.delattr("fcntl.F_OFD_GETLK")


def file_of(path: str, owner: Owner) -> str:
    return os.path.join(owners_folder(path), owner.id)


def test_an_owner_is_alive_until_it_withdraws(path: str) -> None:
    owner = Owner(path)
    assert is_alive(path, owner.id)
    assert living_owners(path) == {owner.id}
    owner.withdraw()
    assert not is_alive(path, owner.id)
    assert os.listdir(owners_folder(path)) == []


def test_the_folder_lies_beside_the_file_and_is_its_users_only(tmp_path: Path, path: str) -> None:
    owner = Owner(path)
    assert owners_folder(path) == str(tmp_path / "shapes.db-owners")
    assert stat.S_IMODE(os.stat(owners_folder(path)).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(file_of(path, owner)).st_mode) == 0o600
    owner.withdraw()


def test_an_owner_file_names_its_database_for_people_to_read(path: str) -> None:
    owner = Owner(path)
    found = os.stat(path)
    assert Path(file_of(path, owner)).read_text() == f"device={found.st_dev} inode={found.st_ino}\n"
    owner.withdraw()


def test_each_opening_has_an_id_of_its_own(path: str) -> None:
    owners = [Owner(path) for _ in range(50)]
    assert living_owners(path) == {owner.id for owner in owners}
    assert len(living_owners(path)) == 50
    assert all(re.fullmatch(r"[0-9a-f]{16}", owner.id) for owner in owners)
    owners[0].withdraw()
    assert [is_alive(path, owner.id) for owner in owners] == [False] + [True] * 49
    for owner in owners[1:]:
        owner.withdraw()


def test_an_owner_that_abandons_is_dead_as_a_killed_process_is(path: str) -> None:
    owner = Owner(path)
    owner.abandon()
    assert os.listdir(owners_folder(path)) == [owner.id]
    assert not is_alive(path, owner.id)
    assert dead_owner_files(path) == {owner.id}


def test_an_owner_whose_process_was_killed_is_dead(path: str) -> None:
    with child(OWN, path) as process:
        owner = process.hear()
        assert is_alive(path, owner)
        process.kill()
        assert not is_alive(path, owner)
        assert living_owners(path) == set()


def test_an_owner_without_a_file_is_dead_and_looking_makes_none(path: str) -> None:
    assert not is_alive(path, "0123456789abcdef")
    assert living_owners(path) == dead_owner_files(path) == set()
    assert not os.path.exists(owners_folder(path))
    os.mkdir(owners_folder(path))
    assert not is_alive(path, "0123456789abcdef")
    assert os.listdir(owners_folder(path)) == []


@pytest.mark.parametrize("owner", ["", "..", "../shapes.db", "/etc/passwd", "null\0byte", "a" * 300])
def test_an_id_that_no_store_ever_took_is_of_a_dead_owner(path: str, owner: str) -> None:
    """A damaged file may hold any."""
    assert not is_alive(path, owner)


def test_withdrawing_leaves_no_moment_in_which_the_file_is_there_unlocked(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner(path)
    seen: list[bool] = []
    unlink = os.unlink

    def unlink_and_look(file: str) -> None:
        seen.append(is_alive(path, owner.id))
        unlink(file)
        seen.append(os.path.exists(file))

    monkeypatch.setattr(os, "unlink", unlink_and_look)
    owner.withdraw()
    assert seen == [True, False]


# --- the file of a living owner is removed


REMOVALS: dict[str, Callable[[str, str], object]] = {
    "the file": lambda folder, owner: os.unlink(f"{folder}/{owner}"),
    "the folder": lambda folder, owner: shutil.rmtree(folder),
    "the folder was moved away": lambda folder, owner: os.rename(folder, f"{folder}-old"),
    "a copy took its place": lambda folder, owner: os.replace(
        shutil.copyfile(f"{folder}/{owner}", f"{folder}/copy"), f"{folder}/{owner}"
    ),
}


@pytest.mark.parametrize("removed", REMOVALS)
def test_a_living_owner_whose_file_was_removed_is_alive_though_it_is_stopped(path: str, removed: str) -> None:
    with child(OWN, path) as process:
        owner = process.hear()
        os.kill(process.process.pid, signal.SIGSTOP)
        os.waitpid(process.process.pid, os.WUNTRACED)
        REMOVALS[removed](owners_folder(path), owner)
        remove_dead_owner_files(path)  # as the next opening does
        assert is_alive(path, owner)
        process.kill()
        assert not is_alive(path, owner)


@pytest.mark.parametrize("removed", REMOVALS)
@pytest.mark.usefixtures("only_files")
def test_a_living_owner_whose_file_was_removed_makes_it_again(path: str, removed: str) -> None:
    owner = Owner(path)
    REMOVALS[removed](owners_folder(path), owner.id)
    assert not is_alive(path, owner.id)
    owner.keep_provable()
    assert is_alive(path, owner.id)
    assert living_owners(path) == {owner.id}
    owner.keep_provable()
    owner.withdraw()
    assert os.listdir(owners_folder(path)) == []
    assert not is_alive(path, owner.id)


@pytest.mark.usefixtures("only_files")
def test_where_folders_have_no_locks_an_owner_is_proved_by_its_file(path: str) -> None:
    owner = Owner(path)
    assert is_alive(path, owner.id)
    owner.abandon()
    assert not is_alive(path, owner.id)


def test_an_owner_whose_file_was_removed_withdraws_and_then_it_is_dead(path: str) -> None:
    owner = Owner(path)
    os.unlink(file_of(path, owner))
    owner.withdraw()
    assert not is_alive(path, owner.id)


def test_an_owner_withdraws_without_removing_what_took_the_place_of_its_file(path: str) -> None:
    owner = Owner(path)
    os.unlink(file_of(path, owner))
    Path(file_of(path, owner)).write_text("something else")
    with pytest.raises(FileExistsError):
        owner.keep_provable()
    owner.withdraw()
    assert Path(file_of(path, owner)).read_text() == "something else"


def test_an_owner_that_makes_its_file_while_another_removes_those_of_the_dead_has_it_in_the_end(path: str) -> None:
    """The file is there for a moment before it is locked, and must not be lost in it."""
    enough = threading.Event()

    def remove() -> None:
        while not enough.is_set():
            remove_dead_owner_files(path)

    removing = threading.Thread(target=remove)
    removing.start()
    try:
        owners = [Owner(path) for _ in range(300)]
        enough.set()
        removing.join()
        assert living_owners(path) == {owner.id for owner in owners}
        for owner in owners:
            owner.withdraw()
    finally:
        enough.set()


def test_an_owner_waits_while_another_is_about_to_remove_its_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(path)
    os.unlink(file_of(path, owner))
    remover = FileLock(file_of(path, owner))
    assert remover.try_lock()

    def remove(_: float) -> None:
        os.unlink(remover.path)

    monkeypatch.setattr(time, "sleep", remove)
    owner.keep_provable()
    remover.close()
    assert living_owners(path) == {owner.id}
    owner.withdraw()


def test_a_shortage_of_descriptors_is_no_proof_of_death(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(path)
    os.unlink(file_of(path, owner))

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(folder_lock, "_open", none_left)
    assert is_alive(path, owner.id)
    with pytest.raises(OSError, match="too many"):
        Owner(path)
    owner.withdraw()


# --- another database at the same path


def test_a_database_put_in_the_place_of_another_has_none_of_its_owners(tmp_path: Path, path: str) -> None:
    owner = Owner(path)
    (tmp_path / "backup").touch()
    os.replace(tmp_path / "backup", path)
    assert not is_alive(path, owner.id)
    assert living_owners(path) == set()
    remove_dead_owner_files(path)
    assert os.listdir(owners_folder(path)) == [owner.id]  # it is alive, though not of this database
    owner.withdraw()


def test_who_has_the_former_file_open_is_told_from_the_dead_and_from_what_is_not_an_owner(path: str) -> None:
    former, dead = Owner(path), Owner(path)
    dead.abandon()
    assert owners_of_another_file(path) == set()
    os.rename(path, f"{path}.moved")
    assert owners_of_another_file(path) == {former.id}
    Path(path).touch()
    present = Owner(path)
    foreign = FileLock(os.path.join(owners_folder(path), "0" * 16))
    assert foreign.try_lock()
    assert owners_of_another_file(path) == {former.id}  # a file that its owner has not written yet is of this one
    foreign.write(b"not ours")
    assert owners_of_another_file(path) == {former.id}
    former.withdraw()
    assert owners_of_another_file(path) == set()
    foreign.close()
    present.withdraw()


def test_a_copy_of_a_database_has_none_of_its_owners(tmp_path: Path, path: str) -> None:
    owner = Owner(path)
    shutil.copyfile(path, tmp_path / "copy.db")
    shutil.copytree(owners_folder(path), tmp_path / "copy.db-owners")
    assert not is_alive(str(tmp_path / "copy.db"), owner.id)
    remove_dead_owner_files(str(tmp_path / "copy.db"))
    assert os.listdir(tmp_path / "copy.db-owners") == []
    owner.withdraw()


def test_a_database_that_is_gone_leaves_its_owners_in_doubt(path: str) -> None:
    owner = Owner(path)
    os.unlink(path)
    assert is_alive(path, owner.id)
    owner.withdraw()


# --- what is not ours


def make_foreign_things(folder: Path) -> dict[str, object]:
    """Everything that may lie in a folder, under names of our form too; what must be there still."""
    folder.mkdir(exist_ok=True)
    precious = folder.parent / "precious.txt"
    precious.write_text("precious")
    for name in (
        "tom.jpg",
        "README",
        "0123456789abcde",
        "0123456789abcdef0",
        "0123456789ABCDEF",
        "0123456789abcdef.txt",
    ):
        (folder / name).write_text("the user's")
    (folder / "fedcba9876543210").write_text("the user's, under a name of our form")
    (folder / "@eaDir").mkdir()
    (folder / "00000000000000d1").mkdir()
    (folder / "00000000000000d1" / "inside").write_text("the user's")
    (folder / "00000000000000a1").symlink_to(precious)
    (folder / "00000000000000a2").symlink_to(folder / "nowhere")
    (folder / "00000000000000a3").symlink_to(folder / "@eaDir")
    os.mkfifo(folder / "00000000000000f1")
    os.mkfifo(folder / "pipe")
    return everything_in(folder.parent)


def everything_in(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for file in sorted(folder.rglob("*")):
        mode = file.lstat().st_mode
        found[str(file)] = (
            os.readlink(file) if stat.S_ISLNK(mode) else file.read_text() if stat.S_ISREG(mode) else stat.S_IFMT(mode)
        )
    return found


def test_only_the_files_of_dead_owners_are_removed(path: str) -> None:
    folder = Path(owners_folder(path))
    before = make_foreign_things(folder)
    living, dead = Owner(path), Owner(path)
    dead.abandon()
    (folder / "0123456789abcdef").touch()  # of a process that was killed before it had written it
    assert dead_owner_files(path) >= {dead.id, "0123456789abcdef"}
    remove_dead_owner_files(path)
    assert is_alive(path, living.id)
    living.withdraw()
    assert everything_in(folder.parent) == before


def test_clearing_away_where_there_is_no_folder_does_nothing(path: str) -> None:
    remove_dead_owner_files(path)
    assert not os.path.exists(owners_folder(path))


@pytest.mark.parametrize("kind", ["link to a folder", "link to nowhere", "file", "pipe"])
def test_nothing_but_a_folder_is_taken_for_the_folder(tmp_path: Path, path: str, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    match kind:
        case "link to a folder":
            elsewhere.mkdir()
            os.symlink(elsewhere, owners_folder(path))
        case "link to nowhere":
            os.symlink(elsewhere, owners_folder(path))
        case "file":
            Path(owners_folder(path)).touch()
        case "pipe":
            os.mkfifo(owners_folder(path))
    before = everything_in(tmp_path)
    with pytest.raises(FileExistsError, match="owners"):
        Owner(path)
    assert everything_in(tmp_path) == before


# --- fork

PARENT_OF_A_LONG_LIVED_CHILD = """
import os, sys, time
from shapestore.locking.owner import Owner
owner = Owner(sys.argv[1])
pid = os.fork()
if pid:
    print(owner.id, pid, flush=True)
    sys.stdin.readline()
else:
    os.close(0), os.close(1)
    time.sleep(600)
"""


@pytest.mark.parametrize("removed", [False, True])
def test_a_forked_child_that_outlives_its_parent_does_not_make_it_look_alive(path: str, removed: bool) -> None:
    with child(PARENT_OF_A_LONG_LIVED_CHILD, path) as parent:
        owner, pid = parent.hear().split()
        try:
            if removed:
                os.unlink(os.path.join(owners_folder(path), owner))
            assert is_alive(path, owner)
            parent.kill()
            until(lambda: not is_alive(path, owner), "the dead parent's locks are gone")
            os.kill(int(pid), 0)  # the child is there
        finally:
            os.kill(int(pid), signal.SIGKILL)


def test_an_owner_file_that_is_locked_but_not_written_yet_counts_as_alive(path: str) -> None:
    os.mkdir(owners_folder(path))
    lock = FileLock(os.path.join(owners_folder(path), "0123456789abcdef"))
    lock.lock()
    assert is_alive(path, "0123456789abcdef")
    assert living_owners(path) == set()
    lock.close()
