"""Waiting for a log to grow: who is woken, by what, and what ends the wait otherwise."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest
from inspections import eventually
from processes import read
from recovering_file import recovering
from sources import Rows

from shapestore import Shape, ShapeGoneError, ShapeStore, StoreBusyError, StoreClosedError, StoredShape
from shapestore.concurrency.file_watch import FileWatch
from shapestore.storage import readers
from shapestore.storage.commands import Command, Register
from shapestore.storage.log.positions import MAX_POSITION, Standing, pack, unpack
from shapestore.storage.reader import Reader
from shapestore.waiting import looks as looks_module
from shapestore.waiting import waits as waits_module
from shapestore.waiting.waits import Waits
from shapestore.waiting.watched_log import WatchedLog

pytestmark = pytest.mark.usefixtures("untroubled")

TRACK, ALBUM = Shape("Track"), Shape("Album")
LONG = 60.0
"""No wait takes nearly as long; one that nobody wakes ends then, with the wrong answer."""


def waits_of(store: ShapeStore) -> Waits:
    return store._live().waits


async def waiting(store: ShapeStore, stored: StoredShape | str, after: int, timeout: float = LONG) -> asyncio.Task[int]:
    """A task that waits when this returns."""
    waits = waits_of(store)
    before = len(waits)
    task = asyncio.create_task(store.wait(stored, after, timeout=timeout))
    await eventually(lambda: task.done() or len(waits) > before)
    return task


async def grown(store: ShapeStore, source: Rows, shape: Shape = TRACK) -> StoredShape:
    """The shape with one change more."""
    source.put(1, n=source.rows[1]["n"] + 1)
    return await store.refresh(shape)


def looks_of(store: ShapeStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The handles of the logs that are looked at from now on, once for each look."""
    looks: list[str] = []
    reader = store._live().reader
    look = reader.ends_behind

    def counted(handle: str, public: int) -> tuple[Standing, bool] | None:
        looks.append(handle)
        return look(handle, public)

    monkeypatch.setattr(reader, "ends_behind", counted)
    return looks


# --- answers


OWN = "of this store"
LOOKED_FOR = "of another store, looked for"
TOLD = "of another store, told by the system"


@pytest.fixture(
    params=[
        OWN,
        LOOKED_FOR,
        pytest.param(TOLD, marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux has inotify")),
    ]
)
def other(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether commits are another store's. In each case they are noticed in one way only."""
    if request.param != LOOKED_FOR:
        for seconds in ("LOOK_SECONDS", "LOOK_SECONDS_IF_TOLD"):
            monkeypatch.setattr(looks_module, seconds, 3_600.0)
    if request.param != TOLD:
        monkeypatch.setattr(looks_module, "FileWatch", cannot_tell)
    return request.param is not OWN


def cannot_tell(path: str) -> None:
    raise OSError(errno.ENOSYS, "no inotify", path)


async def test_a_commit_wakes_a_waiter(empty_path: str, other: bool) -> None:
    source = Rows(1, 2)
    async with ShapeStore(empty_path, create=source) as store, ShapeStore(empty_path, create=source) as another:
        stored = await store.get_or_create(TRACK)
        for _ in range(3):
            task = await waiting(store, stored, stored.position)
            after = await grown(another if other else store, source)
            assert await task == after.position > stored.position
            stored = after


async def test_what_is_there_already_is_answered_at_once(empty_path: str) -> None:
    source = Rows(1, 2)
    async with ShapeStore(empty_path, create=source) as store:
        first = await store.get_or_create(TRACK)
        second = await grown(store, source)
        last = await grown(store, source)
        round_, _ = unpack(second.position)
        for after in (0, 1, first.position, second.position, pack(round_, 0)):
            assert await store.wait(first, after, timeout=LONG) == last.position
            assert await store.wait(first.handle, after, timeout=0) == last.position


async def test_when_the_time_is_up_the_answer_is_the_position_that_was_given(empty_path: str) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        end = (await grown(store, source)).position
        round_, _ = unpack(end)
        for after in (end, pack(round_, 0)):
            for timeout in (0, 0.001):
                assert await store.wait(stored, after, timeout=timeout) == after
        assert len(waits_of(store)) == 0


async def test_an_empty_shape_is_waited_for_from_0(empty_path: str) -> None:
    source = Rows()
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        task = await waiting(store, stored, 0)
        source.put(1, n=1)
        assert (await store.refresh(TRACK)).position == await task


async def test_a_position_that_was_never_given_out_is_gone(empty_path: str) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        end = (await grown(store, source)).position
        round_, position = unpack(end)
        for after in (pack(round_, position + 1), pack(round_ + 1, position), pack(round_ + 1, 0), 7, 2**200):
            with pytest.raises(ShapeGoneError):
                await store.wait(stored, after)
        for wrong in (-1, 1.0, True, "1"):
            with pytest.raises(ValueError, match="after is a position"):
                await store.wait(stored, wrong)  # type: ignore[arg-type]
        with pytest.raises(ShapeGoneError):
            await store.wait("no handle", 0)
        with pytest.raises(ValueError, match="timeout"):
            await store.wait(stored, 0, timeout=-1)


async def test_what_wakes_without_a_change_answers_nobody(empty_path: str) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        task = await waiting(store, stored, stored.position)
        waits = waits_of(store)
        [number] = read(empty_path, "SELECT number FROM shapes")
        for _ in range(3):
            waits.committed({number})
            waits._version = None
            await store.refresh(TRACK)  # confirms what is stored
            await store.refresh(ALBUM)
        assert not task.done()
        assert (await grown(store, source)).position == await task


async def test_a_commit_to_other_shapes_has_no_log_looked_at(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store:
        stored, _ = await store.get_or_create(TRACK), await store.get_or_create(ALBUM)
        task = await waiting(store, stored, stored.position)
        await eventually(lambda: waits_of(store)._version is not None)
        looks = looks_of(store, monkeypatch)
        versions = [waits_of(store)._version]
        for _ in range(3):
            await grown(store, source, ALBUM)
            # Another store's commits look the same, once they are noticed.
            await eventually(lambda: waits_of(store)._version not in versions)
            versions.append(waits_of(store)._version)
        assert looks == []
        task.cancel()


async def test_a_busy_file_is_waited_for(empty_path: str) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        early = await waiting(store, stored, stored.position)
        with recovering(empty_path) as recovery:
            late = asyncio.create_task(store.wait(stored, stored.position, timeout=LONG))
            waits_of(store).committed({1})
            await asyncio.sleep(0.01)
            recovery.end()
        await eventually(lambda: len(waits_of(store)) == 2)
        position = (await grown(store, source)).position
        assert [await early, await late] == [position, position]


async def held_behind_its_read(
    store: ShapeStore, stored: StoredShape, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Task[int], asyncio.Event]:
    """A wait that found the file busy, and has read where its log ends; it goes on once the event is set."""
    reader, has_read, go_on = store._live().reader, asyncio.Event(), asyncio.Event()
    run = reader.run

    async def held(read: Any) -> Any:
        found = await run(read)
        has_read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(reader, "ends_behind", lambda *_: None)
    monkeypatch.setattr(reader, "run", held)
    late = asyncio.create_task(store.wait(stored, stored.position, timeout=LONG))
    await has_read.wait()
    monkeypatch.undo()
    return late, go_on


async def test_what_is_committed_while_a_busy_file_is_waited_for_wakes_though_others_have_seen_it(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        late, go_on = await held_behind_its_read(store, stored, monkeypatch)
        position = (await grown(store, source)).position
        other = await waiting(store, stored, position)
        await eventually(lambda: waits_of(store)._version is not None)
        go_on.set()
        assert await late == position
        other.cancel()


async def test_a_file_that_becomes_busy_while_it_is_looked_at_is_looked_at_again(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store, ShapeStore(empty_path, create=source) as another:
        stored = await store.get_or_create(TRACK)
        task = await waiting(store, stored, stored.position)
        reader, busy = store._live().reader, [None, None]
        ends = reader.ends
        monkeypatch.setattr(reader, "ends", lambda numbers: busy.pop() if busy else ends(numbers))
        position = (await grown(another, source)).position
        assert await task == position
        assert busy == []


async def test_a_wait_that_begins_while_the_store_closes_ends(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the file was busy: it comes to its waiting once all that waits was told."""
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        stored = await store.get_or_create(TRACK)
        late, go_on = await held_behind_its_read(store, stored, monkeypatch)
    go_on.set()
    with pytest.raises(StoreClosedError):
        await late


@pytest.mark.parametrize("cut", [(Reader, "data_version"), (WatchedLog, "look")], ids=["begins", "tells"])
async def test_a_look_that_is_cut_short_is_not_the_last(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, cut: tuple[type, str]
) -> None:
    """As by a person who interrupts a notebook, whose loop goes on."""
    monkeypatch.setattr(looks_module, "FileWatch", cannot_tell)
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store, ShapeStore(empty_path, create=source) as another:
        stored = await store.get_or_create(TRACK)
        task = await waiting(store, stored, stored.position)
        waits = waits_of(store)
        await eventually(lambda: waits._version is not None)
        waits._looks.end()  # the look that is cut short is made here
        position = (await grown(another, source)).position

        def cut_short(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(*cut, cut_short)
            with pytest.raises(KeyboardInterrupt):
                waits._looks._look_now()
        assert await task == position


# --- other ends


async def replace(store: ShapeStore) -> None:
    await store.refresh(TRACK, lambda _: [{"another": "row"}])


async def evict(store: ShapeStore) -> None:
    for number in range(3):
        await store.get_or_create(Shape(f"other {number}"), lambda _: [])


GOES: dict[str, Callable[[ShapeStore, StoredShape], Awaitable[object]]] = {
    "deletion": lambda store, stored: store.delete(stored),
    "invalidation of the table": lambda store, stored: store.invalidate("Track"),
    "invalidation of the shape": lambda store, stored: store.invalidate(TRACK),
    "a new handle": lambda store, stored: replace(store),
}


@pytest.mark.parametrize("how", GOES)
async def test_a_shape_that_goes_ends_the_wait(empty_path: str, how: str, other: bool) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store, ShapeStore(empty_path, create=source) as another:
        stored = await store.get_or_create(TRACK)
        tasks = [await waiting(store, stored, stored.position) for _ in range(3)]
        await GOES[how](another if other else store, stored)
        for task in tasks:
            with pytest.raises(ShapeGoneError, match=stored.handle):
                await task
        with pytest.raises(ShapeGoneError):
            await store.wait(stored, 0)  # kept for its readers, but gone
        assert len(waits_of(store)) == 0


async def test_the_end_of_a_store_ends_the_waits(empty_path: str) -> None:
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        stored = await store.get_or_create(TRACK)
        tasks = [await waiting(store, stored, stored.position) for _ in range(3)]
        await store.close()
        for task in tasks:
            with pytest.raises(StoreClosedError):
                await task
        with pytest.raises(StoreClosedError):
            await store.wait(stored, 0)


async def test_a_copy_that_is_put_back_ends_a_wait_for_what_it_does_not_know(empty_path: str) -> None:
    source = Rows(1)
    copy = f"{empty_path}-copy"
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        with closing(sqlite3.connect(empty_path)) as present, closing(sqlite3.connect(copy)) as past:
            present.backup(past)
        end = (await grown(store, source)).position
        task = await waiting(store, stored, end)
        with closing(sqlite3.connect(empty_path, timeout=30)) as present, closing(sqlite3.connect(copy)) as past:
            past.backup(present)
        with pytest.raises(ShapeGoneError):
            await task


async def test_where_another_shape_has_its_number_in_a_copy_that_was_put_back_a_wait_ends(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the file is busy at that moment: no later look would come to it."""
    monkeypatch.setattr(looks_module, "LOOK_SECONDS", 3_600.0)
    monkeypatch.setattr(looks_module, "FileWatch", cannot_tell)
    copy = f"{empty_path}-copy"
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        with closing(sqlite3.connect(empty_path)) as present, closing(sqlite3.connect(copy)) as past:
            present.backup(past)
        stored = await store.get_or_create(TRACK)
        early = await waiting(store, stored, stored.position)
        with closing(sqlite3.connect(empty_path, timeout=30)) as present, closing(sqlite3.connect(copy)) as past:
            past.backup(present)
        other = await store.get_or_create(ALBUM)
        assert read(empty_path, "SELECT number FROM shapes") == list(waits_of(store)._logs)
        monkeypatch.setattr(WatchedLog, "look", lambda *_: False)
        late = asyncio.create_task(store.wait(other, other.position))
        with pytest.raises(ShapeGoneError, match=stored.handle):
            await early
        late.cancel()


async def test_only_so_many_may_wait(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits_module, "MOST_WAITERS", 2)
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        stored = await store.get_or_create(TRACK)
        tasks = [await waiting(store, stored, stored.position) for _ in range(2)]
        with pytest.raises(StoreBusyError, match="2 callers wait"):
            await store.wait(stored, stored.position)
        assert await store.wait(stored, 0) == stored.position  # what need not wait is answered
        assert await store.wait(stored, stored.position, timeout=0) == stored.position
        tasks[0].cancel()
        await eventually(lambda: len(waits_of(store)) == 1)
        tasks.append(await waiting(store, stored, stored.position))
        await store.delete(stored)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [asyncio.CancelledError, ShapeGoneError, ShapeGoneError]


# --- many


async def test_a_herd_of_one_shape_is_woken_by_one_look(empty_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        waits = waits_of(store)
        tasks = [asyncio.create_task(store.wait(stored, stored.position)) for _ in range(1_000)]
        await eventually(lambda: len(waits) == 1_000)
        looks = looks_of(store, monkeypatch)
        end = (await grown(store, source)).position
        assert set(await asyncio.gather(*tasks)) == {end}
        assert len(looks) <= 2  # by the commit; and, if that was quicker, by the version of the file


async def test_of_many_shapes_those_that_change_are_woken(empty_path: str) -> None:
    source = Rows(1)
    shapes = [Shape(f"table {number}") for number in range(200)]
    async with ShapeStore(empty_path, create=source) as store, ShapeStore(empty_path, create=source) as another:
        stored = [await store.get_or_create(shape) for shape in shapes]
        tasks = [await waiting(store, each, each.position) for each in stored]
        source.put(1, n=1)
        changed = {number: (await another.refresh(shapes[number])).position for number in (3, 50, 199)}
        for number, position in changed.items():
            assert await tasks[number] == position
        assert sum(task.done() for task in tasks) == 3
        assert len(waits_of(store)) == 197
        await store.close()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(answer, StoreClosedError) for answer in answers) == 197


async def test_the_file_is_looked_at_only_while_somebody_waits(empty_path: str) -> None:
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        waits = waits_of(store)
        assert not waits._looks.have_begun
        stored = await store.get_or_create(TRACK)
        assert await store.wait(stored, 0) == stored.position
        assert not waits._looks.have_begun
        task = await waiting(store, stored, stored.position)
        assert waits._looks.have_begun
        task.cancel()
        await eventually(lambda: len(waits) == 0)
        assert (waits._looks.have_begun, waits._logs) == (False, {})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has inotify")
async def test_of_the_many_writes_of_a_commit_the_first_is_told(empty_path: str) -> None:
    """The looks that follow it see what the others bring; after them it is told of the next commit."""
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        waits, loop = waits_of(store), asyncio.get_running_loop()
        stored = await store.get_or_create(TRACK)
        task = await waiting(store, stored, stored.position)
        for _ in range(3):
            await eventually(lambda: waits._looks._listens)
            waits._looks._written()
            assert waits._looks._watch is not None
            assert not loop.remove_reader(waits._looks._watch)
        task.cancel()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has inotify")
async def test_where_the_system_cannot_tell_any_more_commits_are_looked_for(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are limits to how much may be listened to, and it is listened to anew after each commit."""
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store, ShapeStore(empty_path, create=source) as another:
        stored = await store.get_or_create(TRACK)
        task = await waiting(store, stored, stored.position)
        refused: list[object] = []

        def refuse(*given: object) -> None:
            refused.append(given)
            raise OSError(errno.ENOSPC, "too many watches")

        monkeypatch.setattr(FileWatch, "drain", refuse)
        waits_of(store)._looks._written()
        await eventually(lambda: refused)
        assert (await grown(another, source)).position == await task


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has inotify")
async def test_a_commit_of_this_store_to_other_shapes_is_looked_at_once(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That look sees what other stores have committed by then; of what they commit later, the system tells."""
    monkeypatch.setattr(looks_module, "LOOK_SECONDS_IF_TOLD", 3_600.0)
    source = Rows(1)
    async with ShapeStore(empty_path, create=source) as store, ShapeStore(empty_path, create=source) as another:
        waits, loop = waits_of(store), asyncio.get_running_loop()
        stored = await store.get_or_create(TRACK)
        for is_told in (True, False):
            task = await waiting(store, stored, stored.position)
            waits.committed(set())
            await eventually(lambda: waits._looks._timer is not None and waits._looks._due > loop.time() + 1_000)
            if not is_told:
                assert waits._looks._watch is not None
                loop.remove_reader(waits._looks._watch)
            stored = await grown(another, source)
            if not is_told:
                waits.committed(set())
            assert await task == stored.position


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has inotify")
async def test_looks_follow_each_other_after_what_was_told_just_before_one(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That look may come before the end of the commit, which writes no more."""
    monkeypatch.setattr(looks_module, "LOOK_SECONDS_IF_TOLD", 3_600.0)
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        waits, loop = waits_of(store), asyncio.get_running_loop()
        stored = await store.get_or_create(TRACK)
        task = await waiting(store, stored, stored.position)
        waits.committed(set())
        waits._looks._written()
        look = waits._looks._timer
        await eventually(lambda: waits._looks._timer is not look)
        assert waits._looks._due < loop.time() + 1_000
        task.cancel()


async def test_a_shape_is_registered_once_while_it_is_waited_for(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "END_AFTER_SECONDS", 0.0)
    source = Rows(1)

    def registered() -> int:
        [count] = read(empty_path, "SELECT count(*) FROM readers")
        return int(count)

    async with ShapeStore(empty_path, create=source) as store:
        stored = await store.get_or_create(TRACK)
        tasks = [await waiting(store, stored, stored.position) for _ in range(3)]
        await eventually(lambda: registered() == 1)
        tasks.append(await waiting(store, stored, stored.position))
        await grown(store, source)
        await asyncio.gather(*tasks)
        await eventually(lambda: registered() == 0)


async def test_waits_that_begin_and_end_one_by_one_are_registered_by_few_writes(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many come and go, each for a shape of its own: as many transactions would keep the writer from others."""
    monkeypatch.setattr(readers, "END_AFTER_SECONDS", readers.BEGIN_AFTER_SECONDS)
    loop, written = asyncio.get_running_loop(), 0
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        open_store = store._live()
        submit = open_store.writer.submit

        def counted(command: Command[Any], **how: Any) -> asyncio.Future[Any]:
            nonlocal written
            written += isinstance(command, Register)
            return submit(command, **how)

        monkeypatch.setattr(open_store.writer, "submit", counted)
        begun_at = loop.time()
        for number in range(1, 401):
            open_store._registrations.wait_begins(number)
            if number > 100:
                open_store._registrations.wait_ends(number - 100)
            await asyncio.sleep(0.001)
        await eventually(lambda: written > 1)
        assert written <= (loop.time() - begun_at) / readers.BEGIN_AFTER_SECONDS + 1


async def test_a_registration_that_could_not_be_written_or_forgotten_is_tried_again(
    empty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stayed would keep the rows of a shape that went, for as long as this store is open."""
    for seconds in ("BEGIN_AFTER_SECONDS", "END_AFTER_SECONDS", "AGAIN_AFTER_SECONDS"):
        monkeypatch.setattr(readers, seconds, 0.01)
    refusing = False
    refused: list[Register] = []
    async with ShapeStore(empty_path, create=Rows(1)) as store:
        stored = await store.get_or_create(TRACK)
        writer = store._live().writer
        submit = writer.submit

        def submit_or_refuse(command: Command[Any], **how: Any) -> asyncio.Future[Any]:
            if not refusing or not isinstance(command, Register):
                return submit(command, **how)
            refused.append(command)
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            answer.set_exception(StoreBusyError("another program holds the file"))
            return answer

        monkeypatch.setattr(writer, "submit", submit_or_refuse)
        refusing = True
        task = await waiting(store, stored, stored.position)
        await eventually(lambda: len(refused) > 3)
        assert [*refused[-1].begun.values()] == [(1, MAX_POSITION)]
        refusing = False
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM readers") == [1])
        refusing = True
        refused.clear()
        task.cancel()
        await eventually(lambda: len(refused) > 3)
        assert refused[-1].begun == {}
        refusing = False
        await eventually(lambda: read(empty_path, "SELECT count(*) FROM readers") == [0])
