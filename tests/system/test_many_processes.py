"""Several processes over one file: they open it at once, ask for the same at once, and call it by different names."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from file_rows import add_lock
from locked import is_locked
from processes import (
    PATIENCE,
    Refused,
    Worker,
    Workers,
    assert_sound,
    attempt_of,
    edited,
    handles_with_rows,
    lock_of,
    outcomes,
    owner_files,
    read,
    together,
    until,
)

from shapestore import Shape, ShapeStore
from shapestore.locking.create_lock import Failure
from shapestore.storage import migrations


def sums(workers: list[Worker], *names: str) -> list[int]:
    """Counts of all the workers' stores together."""
    stats = together(workers, "stats")
    return [sum(each[name] for each in stats) for name in names]


# Opening


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_four_processes_make_and_migrate_one_new_file_at_once(workers: Workers, tmp_path: Path, rounds: int) -> None:
    four = workers.start(4)
    for number in range(rounds):
        path = str(tmp_path / f"{number}.db")
        together(four, "open", path=path)
        assert set(read(path, "SELECT owner FROM owners")) == owner_files(path)
        assert sorted(read(path, "SELECT pid FROM owners")) == sorted(worker.pid for worker in four)
        assert read(path, "SELECT version_num FROM alembic_version") == [migrations.HEAD]
        assert len(set(together(four, "get_or_create", key="key"))) == 1
        assert sums(four, "created") == [1]
        together(four, "close")
        assert read(path, "SELECT count(*) FROM owners") == [0]
        assert owner_files(path) == set()
        assert_sound(path)


def test_processes_that_open_and_close_all_the_time_lose_nothing(workers: Workers, path: str) -> None:
    """The last to close deletes the log, while the next is about to open it."""
    four = workers.open(path, 4)
    handles = set()
    for number in range(25):
        handles |= set(together(four, "get_or_create", key=f"key {number}"))
        answers = [worker.send("close") for worker in four]
        for answer, worker in zip(answers, four, strict=True):
            answer.result(PATIENCE)
            worker.call("open", path=path)
    assert len(handles) == 25
    assert set(read(path, "SELECT handle FROM shapes")) == handles
    assert_sound(path)


# One key


@pytest.mark.parametrize("callers", [250, pytest.param(2500, marks=pytest.mark.slow)])
def test_a_herd_in_four_processes_makes_one_creation(workers: Workers, path: str, callers: int) -> None:
    four = workers.open(path, 4)
    before = sums(four, "commands")[0]
    waiting = [worker.send("get_or_create", key="key", callers=callers, until=f"{path}-go") for worker in four]
    # A process says nothing of its stats before all of its callers wait.
    until(lambda: sums(four, "followers", "in_flight") == [4 * (callers - 1), 4], "all of them wait")
    Path(f"{path}-go").touch()
    answers = [answer.result(PATIENCE) for answer in waiting]
    [handle] = {handle for answer in answers for handle in answer}
    assert [answer[handle] for answer in answers] == [callers] * 4
    assert sum(worker.creations for worker in four) == 1
    assert sums(four, "leaders", "created", "failed", "timeouts", "in_flight") == [1, 1, 0, 0, 0]
    assert outcomes(path) == [(handle, "created")]
    # A claim and a publication; a claim of each other process at most, which was too late; nothing for any caller.
    assert sums(four, "commands")[0] - before <= 2 + 3


def test_a_herd_in_four_processes_shares_one_failure(workers: Workers, path: str) -> None:
    four = workers.open(path, 4, failure_grace=3600)
    waiting = [
        worker.send("get_or_create", key="key", callers=50, until=f"{path}-go", fails="no such luck") for worker in four
    ]
    until(lambda: sums(four, "followers") == [4 * 49], "all of them wait")
    Path(f"{path}-go").touch()
    error = "CreateFailedError: ValueError: no such luck (while creating key)"
    assert [answer.result(PATIENCE) for answer in waiting] == [{error: 50}] * 4
    assert sum(worker.creations for worker in four) == 1
    assert [outcome for _, outcome in outcomes(path)] == ["failed"]


def test_refreshes_in_four_processes_are_one(workers: Workers, path: str) -> None:
    four = workers.open(path, 4)
    leader, *others = four
    [old] = set(together(others, "get_or_create", key="key"))  # rows name their process: the leader's are others
    waiting = [leader.lead("key", until=f"{path}-go", refresh=True)]
    waiting += [other.follow("key", refresh=True) for other in others]
    assert together(four, "get_or_create", key="key") == [old] * 4
    Path(f"{path}-go").touch()
    [new] = {answer.result(PATIENCE) for answer in waiting}
    assert new != old
    assert together(four, "get", key="key") == [new] * 4
    assert sums(four, "created") == [2]


def test_many_keys_in_four_processes_are_created_once_each(workers: Workers, path: str) -> None:
    four = workers.open(path, 4)
    keys = [f"key {number}" for number in range(100)]
    answers = [[worker.send("get_or_create", key=key) for key in keys] for worker in four]
    handles = [[answer.result(PATIENCE) for answer in mine] for mine in answers]
    assert handles == [handles[0]] * 4
    assert sums(four, "created") == [100]
    assert_sound(path)


@pytest.mark.parametrize("number", range(3))
async def test_who_asks_after_another_process_dropped_a_shape_is_not_given_it(
    workers: Workers, path: str, number: int
) -> None:
    """Not even in the moment between the commit of its publication and the return of the call that had it made."""
    [other] = workers.open(path)
    shape = Shape(f"key {number}")
    async with ShapeStore(path, create=lambda shape: []) as store:
        first = asyncio.create_task(store.get_or_create(shape))
        while not read(path, "SELECT handle FROM shapes") or is_locked(f"{path}-gate"):
            await asyncio.sleep(0)
        [handle] = read(path, "SELECT handle FROM shapes")
        assert other.call("delete", handle=handle)  # the loop stands still meanwhile, as a busy application's does
        second = await store.get_or_create(shape)
        assert (await first).handle == handle
        assert second.handle != handle
        assert await store.get(shape) == second


# One file by several names


def test_a_symbolic_link_and_the_files_own_name_mean_one_gate_and_one_set_of_owners(
    workers: Workers, tmp_path: Path
) -> None:
    path, link, folder = tmp_path / "shapes.db", tmp_path / "link.db", tmp_path / "folder"
    [by_name] = workers.open(path)
    link.symlink_to(path)
    folder.symlink_to(tmp_path)
    (tmp_path / "link to a link.db").symlink_to("link.db")
    others = [workers.open(name)[0] for name in (link, folder / "shapes.db", tmp_path / "link to a link.db")]
    all_of_them = [by_name, *others]
    waiting = [worker.send("get_or_create", key="key", callers=20, until=f"{path}-go") for worker in all_of_them]
    until(lambda: sums(all_of_them, "followers") == [4 * 19], "all of them wait")
    Path(f"{path}-go").touch()
    assert len({handle for answer in waiting for handle in answer.result(PATIENCE)}) == 1
    assert sum(worker.creations for worker in all_of_them) == 1
    assert len(owner_files(path)) == 4
    assert sorted(read(path, "SELECT owner FROM owners")) == sorted(owner_files(path))
    made = {file.name for file in tmp_path.iterdir()}
    assert {name for name in made if name.endswith(("-gate", "-owners"))} == {"shapes.db-gate", "shapes.db-owners"}


def test_a_death_is_seen_through_a_symbolic_link(workers: Workers, tmp_path: Path) -> None:
    path, link = tmp_path / "shapes.db", tmp_path / "link.db"
    link.symlink_to(path)
    [leader] = workers.open(path)
    [follower] = workers.open(link)
    leader.lead("key")
    waiting = follower.follow("key")
    leader.kill()
    waiting.result(PATIENCE)
    assert follower.call("stats")["takeovers"] == 1


def test_a_symbolic_link_to_a_file_that_is_not_there_yet_makes_that_file(workers: Workers, tmp_path: Path) -> None:
    path, link = tmp_path / "there" / "shapes.db", tmp_path / "link.db"
    path.parent.mkdir()
    link.symlink_to(path)
    [by_link, by_name] = workers.start(2)
    by_link.call("open", path=str(link))
    by_name.call("open", path=str(path))
    assert len(owner_files(path)) == 2
    assert by_link.call("get_or_create", key="key") == by_name.call("get", key="key")


def test_a_hard_link_is_refused_and_so_is_what_it_links_to(workers: Workers, tmp_path: Path) -> None:
    path, link = tmp_path / "shapes.db", tmp_path / "link.db"
    [first] = workers.open(path)
    os.link(path, link)
    [other] = workers.start()
    for name in (path, link):
        with pytest.raises(Refused, match=r"StorageError: .* hard links"):
            other.call("open", path=str(name))
    assert not Path(f"{link}-gate").exists()
    assert first.call("get_or_create", key="key")
    link.unlink()
    other.call("open", path=str(path))
    assert other.call("get", key="key") == first.call("get", key="key")


# What a store that is gone has left


def test_a_file_full_of_what_is_left_of_a_store_that_is_gone_opens_clean(workers: Workers, path: str) -> None:
    [gone] = workers.open(path, failure_grace=3600)
    kept = gone.call("get_or_create", key="kept")
    for number in range(3):
        gone.lead(f"half-made {number}", rows=2_500)
        with pytest.raises(Refused, match="no such luck"):
            gone.call("get_or_create", key=f"failed {number}", fails="no such luck", retry_after=7200)
    gone.kill()
    # And what a store of another machine, from which the file was copied, may have left.
    with edited(path) as file:
        for number, failure in enumerate((None, Failure("ValueError", "no", 1000))):
            add_lock(file, f"h{number}", Shape(f"copied {number}"), owner="elsewhere", failure=failure)
    assert len(read(path, "SELECT handle FROM create_locks")) == 8
    [heir] = workers.open(path)
    assert heir.call("locks") == []
    until(lambda: handles_with_rows(path) == [kept], "what was half-made is deleted")
    keys = ["kept", *(f"{what} {number}" for what in ("half-made", "failed", "copied") for number in range(3))]
    handles = [heir.call("get_or_create", key=key) for key in keys]
    assert handles[0] == kept
    assert heir.call("stats")["takeovers"] == 0
    assert_sound(path)


def test_a_live_store_meets_what_another_leaves_and_what_is_its_own_is_untouched(workers: Workers, path: str) -> None:
    living, dying = workers.open(path, 2)
    answer = living.lead("mine", until=f"{path}-go")
    mine = attempt_of(path, "mine")
    dying.lead("theirs")
    dying.kill()
    workers.open(path)
    assert lock_of(path, "theirs") is None
    assert lock_of(path, "mine") == (mine, "in_progress")
    Path(f"{path}-go").touch()
    assert answer.result(PATIENCE) == mine
