from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from children import HOLD, child

from shapestore.locking.owner import Owner, clear_the_dead, is_alive, owners_folder


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return owners_folder(str(tmp_path / "shapes.db"))


def test_an_owner_is_alive_from_its_making_to_its_withdrawal(folder: str) -> None:
    owner = Owner(folder)
    assert is_alive(folder, owner.id)
    owner.withdraw()
    assert not is_alive(folder, owner.id)
    assert os.listdir(folder) == []


def test_the_folder_lies_beside_the_file_and_is_its_users_only(tmp_path: Path, folder: str) -> None:
    assert folder == str(tmp_path / "shapes.db-owners")
    owner = Owner(folder)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.join(folder, owner.id)).st_mode) == 0o600
    owner.withdraw()


def test_each_opening_has_an_id_of_its_own(folder: str) -> None:
    owners = [Owner(folder) for _ in range(50)]
    assert len({owner.id for owner in owners}) == 50
    assert all(re.fullmatch(r"[0-9a-f]{16}", owner.id) for owner in owners)
    owners[0].withdraw()
    assert [is_alive(folder, owner.id) for owner in owners] == [False] + [True] * 49
    for owner in owners[1:]:
        owner.withdraw()


def test_one_who_let_go_without_a_word_is_dead_as_a_killed_process_is(folder: str) -> None:
    owner = Owner(folder)
    owner.abandon()
    assert os.listdir(folder) == [owner.id]
    assert not is_alive(folder, owner.id)


def test_an_owner_whose_process_was_killed_is_dead(folder: str) -> None:
    os.mkdir(folder)
    with child(HOLD, os.path.join(folder, "0123456789abcdef")) as process:
        assert process.hear() == "locked"
        assert is_alive(folder, "0123456789abcdef")
        process.kill()
        assert not is_alive(folder, "0123456789abcdef")


def test_an_owner_without_a_file_is_dead_and_looking_makes_none(folder: str) -> None:
    assert not is_alive(folder, "0123456789abcdef")
    assert not os.path.exists(folder)
    os.mkdir(folder)
    assert not is_alive(folder, "0123456789abcdef")
    assert os.listdir(folder) == []


def test_an_owner_whose_file_somebody_removed_counts_as_dead_but_may_still_withdraw(folder: str) -> None:
    owner = Owner(folder)
    os.unlink(os.path.join(folder, owner.id))
    assert not is_alive(folder, owner.id)
    owner.withdraw()


def test_clearing_away_takes_the_dead_and_leaves_the_living(folder: str) -> None:
    clear_the_dead(folder)  # there is no folder yet
    living, dead = Owner(folder), Owner(folder)
    dead.abandon()
    clear_the_dead(folder)
    assert os.listdir(folder) == [living.id]
    living.withdraw()


def test_withdrawing_leaves_no_moment_in_which_the_file_is_there_unlocked(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner(folder)
    seen: list[bool] = []
    unlink = os.unlink

    def unlink_and_look(path: str) -> None:
        seen.append(is_alive(folder, owner.id))
        unlink(path)
        seen.append(os.path.exists(path))

    monkeypatch.setattr(os, "unlink", unlink_and_look)
    owner.withdraw()
    assert seen == [True, False]
