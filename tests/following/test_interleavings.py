"""A round, a refresh and a first creation cross each other in every order: what was read later stays."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from followed_store import HeldSource, Hold, followed, looked_up, make_source, write, written
from inspections import eventually

from shapestore import Shape, ShapeStore, SQLSource, StoredShape
from shapestore.creating import row_sink
from shapestore.following import follower, leadership, source_look, store_side
from shapestore.locking import boot_clock

ALL = Shape("t")
OF_X = Shape("t", where="a = :a", params={"a": "x"})


class World(NamedTuple):
    store: ShapeStore
    path: str
    source: str
    creator: HeldSource
    before_look: Hold
    before_write: Hold

    def write(self, statement: str, *values: Any) -> None:
        write(self.source, statement, *values)

    async def followed(self) -> None:
        await followed(self.path, self.source)

    async def row(self, id_: int, shape: Shape = ALL) -> dict[str, Any] | None:
        rows = [row for row in await self.store.fetch(shape) if row["id"] == id_]
        return rows[0] if rows else None

    async def begin_a_refresh(self, shape: Shape) -> asyncio.Task[StoredShape]:
        """A refresh whose creator has read the source, and is held before its end."""
        self.creator.hold.set()
        refresh = asyncio.create_task(self.store.refresh(shape))
        await self.creator.hold.arrived()
        return refresh

    async def hold_a_round(self, hold: Hold, statement: str) -> None:
        """Have a round of a statement's changes held at a step."""
        hold.set()
        self.write(statement)
        await hold.arrived()

    async def finish_the_round(self) -> None:
        """Let the round that is held before its look end; the next one is held there."""
        self.before_write.set()
        self.before_look.let_go()
        await self.before_write.arrived()
        self.before_look.set()
        self.before_write.let_go()
        await self.before_look.arrived()


@pytest.fixture
async def world(empty_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    before_look, before_write = Hold(), Hold()
    monkeypatch.setattr(follower, "HEARTBEAT_SECONDS", float("inf"))  # a round is held because of what was written
    monkeypatch.setattr(source_look, "begin_look", before_look.before(source_look.begin_look))
    monkeypatch.setattr(store_side.StoreSide, "written", before_write.before(store_side.StoreSide.written))
    source = str(tmp_path / "app.db")
    make_source(source)
    creator = HeldSource(source)
    async with ShapeStore(empty_path, create=creator) as store:
        await store.get_or_create(ALL)
        await followed(empty_path, source)
        yield World(store, empty_path, source, creator, before_look, before_write)
        for hold in (before_look, before_write, creator.hold):
            hold.let_go()
        await followed(empty_path, source)
        expected = [dict(zip(("id", "a", "n"), row, strict=True)) for row in looked_up(source, "SELECT * FROM t")]
        async for stored in store.shapes():
            rows = [row async for row in store.rows(stored)]
            where = stored.shape.params.get("a")
            assert sorted(map(repr, rows)) == sorted(repr(row) for row in expected if where in (None, row["a"]))


# --- a refresh and a round


async def test_a_refresh_publishes_nothing_older_than_a_round_has_appended(world: World) -> None:
    refresh = await world.begin_a_refresh(ALL)
    world.write("UPDATE t SET n = 100 WHERE id = 1")
    await eventually(lambda: looked_up(world.path, "SELECT 1 FROM shape_rows WHERE value LIKE '%\"n\":100}'"))
    world.creator.hold.let_go()
    await refresh
    assert await world.row(1) == {"id": 1, "a": "x", "n": 100}


async def test_a_refresh_publishes_nothing_older_than_a_round_has_asked_for(world: World) -> None:
    """From 1 to 100, which the refresh reads, and back: the round reads what is stored anyway, and appends nothing."""
    world.before_look.set()
    world.write("UPDATE t SET n = 100 WHERE id = 1")
    await world.before_look.arrived()
    refresh = await world.begin_a_refresh(ALL)
    world.write("UPDATE t SET n = 1 WHERE id = 1")
    world.before_look.let_go()
    await world.followed()
    world.creator.hold.let_go()
    await refresh
    assert await world.row(1) == {"id": 1, "a": "x", "n": 1}


async def test_a_round_appends_nothing_older_than_a_refresh_has_published(world: World) -> None:
    await world.hold_a_round(world.before_write, "UPDATE t SET n = 100 WHERE id = 1")
    world.write("UPDATE t SET n = 200 WHERE id = 1")
    refreshed = await world.store.refresh(ALL)
    assert await world.row(1) == {"id": 1, "a": "x", "n": 200}
    world.before_look.set()
    world.before_write.let_go()
    await world.before_look.arrived()  # the round is written, and the next one has not looked yet
    assert await world.row(1) == {"id": 1, "a": "x", "n": 200}
    world.before_look.let_go()
    await world.followed()
    assert [change.row for change in await world.store.read_log(refreshed, after=refreshed.position)] == []


async def test_a_round_that_read_before_a_refresh_is_taken_back_by_it(world: World) -> None:
    """From 1 to 100, which the round reads, and back to 1, which the refresh reads; then the round is written."""
    await world.hold_a_round(world.before_write, "UPDATE t SET n = 100 WHERE id = 1")
    world.write("UPDATE t SET n = 1 WHERE id = 1")
    refresh = await world.begin_a_refresh(ALL)
    world.before_look.set()
    world.before_write.let_go()
    await world.before_look.arrived()
    assert await world.row(1) == {"id": 1, "a": "x", "n": 100}
    world.creator.hold.let_go()
    await refresh
    assert await world.row(1) == {"id": 1, "a": "x", "n": 1}, "as of one moment again"


async def test_a_refresh_of_a_shape_that_no_round_has_reached_is_published_whole(world: World) -> None:
    """A round that did not know the shape has asked for a key of it, as of a later change than the refresh has read."""
    await world.hold_a_round(world.before_look, "UPDATE t SET n = 50 WHERE id = 5")
    await world.store.get_or_create(OF_X)
    world.write("UPDATE t SET n = 100 WHERE id = 1")
    refresh = await world.begin_a_refresh(OF_X)
    world.write("UPDATE t SET n = 51 WHERE id = 5")
    await world.finish_the_round()
    world.creator.hold.let_go()
    await refresh
    assert await world.row(1, OF_X) == {"id": 1, "a": "x", "n": 100}


async def test_a_shape_is_replaced_by_nothing_older_than_what_it_shows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where too much is different, say. It is read once more."""
    monkeypatch.setattr(row_sink, "_continues", lambda *_: False)  # all refreshes replace the shape
    before = await world.store.get(ALL)
    refresh = await world.begin_a_refresh(ALL)
    world.write("UPDATE t SET n = 100 WHERE id = 1")
    await eventually(lambda: looked_up(world.path, "SELECT 1 FROM shape_rows WHERE value LIKE '%\"n\":100}'"))
    world.creator.hold.let_go()
    refreshed = await refresh
    assert before is not None
    assert refreshed.handle != before.handle
    assert [row["n"] async for row in world.store.rows(refreshed)] == [100, 2, 3, 4, 5]


async def test_a_live_shape_is_as_old_as_what_a_round_has_read(world: World) -> None:
    """However late the round is written, as by a process that was stopped."""
    await world.hold_a_round(world.before_write, "UPDATE t SET n = 100 WHERE id = 1")
    stopped_at = boot_clock.now().boot_ms
    await eventually(lambda: boot_clock.now().boot_ms > stopped_at)
    world.before_write.let_go()
    await world.followed()
    assert await world.row(1) == {"id": 1, "a": "x", "n": 100}
    assert looked_up(world.path, "SELECT followed_at_boot_ms <= ? FROM sources", stopped_at) == [(1,)]


async def test_a_follower_that_was_overtaken_writes_nothing(world: World) -> None:
    """It has read 100, and is stopped; another one makes the rounds meanwhile."""
    stored = await world.store.get(ALL)
    assert stored is not None
    async with ShapeStore(world.path, create=SQLSource(f"sqlite:///{world.source}", follow=True)):
        world.before_write.set()
        world.write("UPDATE t SET n = 100 WHERE id = 1")
        await world.before_write.arrived(only=True)
        world.write("UPDATE t SET n = 200 WHERE id = 1")
        await world.followed()
        world.before_look.set()
        world.before_write.let_go()
        await world.before_look.arrived()
        log = await world.store.read_log(stored, after=stored.position)
        assert [change.row["n"] for change in log if change.row is not None] == [200]
        world.before_look.let_go()


async def test_a_follower_that_is_stopped_while_a_copy_is_put_back_is_overtaken(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has fewer changes than were followed."""
    monkeypatch.setattr(leadership, "BEHIND_SECONDS", 0.1)
    with written(world.source) as source, contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        source.backup(copy)
    async with ShapeStore(world.path, create=SQLSource(f"sqlite:///{world.source}", follow=True)):
        world.before_look.set()
        world.write("UPDATE t SET n = 100 WHERE id = 1")
        await world.before_look.arrived(only=True)
        await world.followed()
        with written(world.source) as source, contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            copy.backup(source)
        await eventually(lambda: looked_up(world.path, "SELECT count(*) FROM shapes") == [(0,)])
        assert await world.row(1) == {"id": 1, "a": "x", "n": 1}
        await world.followed()


async def test_a_round_that_goes_on_tells_no_change_that_only_a_refresh_has_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that wait for a write of their own would take it for seen in all shapes of the source."""
    monkeypatch.setattr(source_look, "MAX_CHANGES", 2)
    other = await world.store.get_or_create(OF_X)
    await world.followed()
    await world.hold_a_round(world.before_look, "UPDATE t SET n = n + 10")
    for _ in range(2):
        await world.finish_the_round()
    world.before_write.set()
    world.before_look.let_go()
    await world.before_write.arrived()
    world.write("UPDATE t SET n = 100 WHERE id = 5")
    ((unseen,),) = looked_up(world.source, "SELECT max(seq) FROM shapestore_changes")
    await world.store.refresh(ALL)
    assert await world.row(5) == {"id": 5, "a": "x", "n": 100}
    world.before_look.set()
    world.before_write.let_go()
    await world.before_look.arrived()
    assert await world.row(5, OF_X) == {"id": 5, "a": "x", "n": 15}
    told = "SELECT max(seq) FROM rounds WHERE number IN (SELECT round FROM shape_changes WHERE shape = ({}))"
    number = "SELECT number FROM shapes WHERE handle = ?"
    assert looked_up(world.path, told.format(number), other.handle) == [(unseen - 1,)]


async def test_a_refresh_that_a_part_of_a_round_has_overtaken_begins_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be of two moments, and hidden until the round ends: who has asked for it would be given the old rows."""
    monkeypatch.setattr(source_look, "MAX_CHANGES", 3)
    await world.store.get_or_create(OF_X)
    await world.followed()
    await world.hold_a_round(world.before_look, "UPDATE t SET n = 10 WHERE id < 5")
    refresh = await world.begin_a_refresh(ALL)
    world.write("UPDATE t SET n = 100 WHERE id IN (1, 5)")
    await world.finish_the_round()  # its first part, which reads row 1 as it is now
    world.before_write.set()
    world.before_look.let_go()
    await world.before_write.arrived()  # its last one
    world.creator.hold.let_go()
    refreshed = await refresh

    async def rows(shape: Shape) -> list[int]:
        return [row["n"] for row in await world.store.fetch(shape)]

    assert [row["n"] async for row in world.store.rows(refreshed)] == [100, 10, 10, 10, 100]
    assert await rows(ALL) == [100, 10, 10, 10, 100]
    assert await rows(OF_X) == [1, 2, 3, 4, 5]
    world.before_look.set()
    world.before_write.let_go()
    await world.before_look.arrived()
    assert await rows(OF_X) == [100, 10, 10, 10, 100]


async def test_keys_that_a_round_asked_for_before_it_knew_of_a_refresh_are_those_of_the_next_refresh(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round has left the shape alone: what it has read under these keys is not in the shape."""
    await world.hold_a_round(world.before_look, "UPDATE t SET n = 10 WHERE id = 1")
    await world.store.refresh(ALL)  # of which the round knows nothing
    world.write("INSERT INTO shapestore_changes (tab) VALUES (99), (99), (99)")  # of tables that are not live any more
    world.write("UPDATE t SET n = 100 WHERE id = 1")
    refresh = await world.begin_a_refresh(ALL)
    world.write("UPDATE t SET n = 50 WHERE id = 5")
    monkeypatch.setattr(source_look, "MAX_CHANGES", 3)  # in the next round
    await world.finish_the_round()  # it asks for row 1 as it is now
    await world.finish_the_round()  # a part of the next one reaches the shape, and does not come to row 1
    world.creator.hold.let_go()
    await refresh
    world.before_look.let_go()
    await world.followed()
    assert [row["n"] for row in await world.store.fetch(ALL)] == [100, 2, 3, 4, 50]


TOLD = """
    SELECT max(seq) FROM rounds
    WHERE number IN (SELECT round FROM shape_changes WHERE shape = (SELECT number FROM shapes))
"""


async def copied_before_a_round_that_goes_on(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the source to ``copy.db``; then a round of its next changes has begun, and waits for its second part."""
    monkeypatch.setattr(source_look, "MAX_CHANGES", 2)
    world.write("UPDATE t SET n = 7 WHERE id = 5")
    await world.followed()
    with written(world.source) as source, contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        source.backup(copy)
    await world.hold_a_round(world.before_look, "UPDATE t SET n = n + 10")
    await world.finish_the_round()
    assert looked_up(world.path, "SELECT unfinished_round IS NOT NULL FROM sources") == [(1,)]


async def test_a_copy_that_is_put_back_inside_a_round_ends_the_round(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told of the copy's own changes is told under no number of the past that was given up."""
    await copied_before_a_round_that_goes_on(world, tmp_path, monkeypatch)
    with written(world.source) as source, contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        copy.backup(source)
    world.before_look.let_go()
    await eventually(lambda: looked_up(world.path, "SELECT count(*) FROM shapes") == [(0,)])
    await world.store.get_or_create(ALL)
    world.write("UPDATE t SET n = 100 WHERE id = 1")
    await world.followed()
    assert await world.row(1) == {"id": 1, "a": "x", "n": 100}
    assert looked_up(world.path, TOLD) == looked_up(world.source, "SELECT max(seq) FROM shapestore_changes")


async def test_a_round_whose_shapes_were_all_dropped_is_not_that_of_another_past(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was left to be lost when the copy came, and the round went on with the changes of both pasts."""
    await copied_before_a_round_that_goes_on(world, tmp_path, monkeypatch)
    async for stored in world.store.shapes():
        await world.store.delete(stored)
    with written(world.source) as source, contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        copy.backup(source)
    await world.store.get_or_create(ALL)
    world.write("UPDATE t SET n = 100 WHERE id = 1")
    world.before_look.let_go()
    await world.followed()
    assert await world.row(1) == {"id": 1, "a": "x", "n": 100}
    assert looked_up(world.path, TOLD) == looked_up(world.source, "SELECT max(seq) FROM shapestore_changes")


# --- what followed() waits for


async def wait_until_followed(world: World) -> asyncio.Task[None]:
    """Begin to wait for what the source holds now."""
    task = asyncio.create_task(world.store.followed(timeout=60))
    await eventually(lambda: world.store._live().sources._goals)
    return task


async def is_told(task: asyncio.Task[None]) -> bool:
    """Whether the file, looked at every 5 ms, tells that all is followed."""
    return bool((await asyncio.wait({task}, timeout=0.1))[0])


async def test_a_part_that_finds_a_change_undone_does_not_end_the_wait_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It appends nothing, and what has changed together with the undoing is not in the shape yet."""
    monkeypatch.setattr(source_look, "MAX_CHANGES", 2)
    world.write("UPDATE t SET n = 2 WHERE id = 2")
    await world.followed()  # the limit is that of the next look
    await world.hold_a_round(world.before_look, "UPDATE t SET n = 100 WHERE id = 1")
    task = await wait_until_followed(world)
    world.write("UPDATE t SET n = iif(id = 1, 1, 50) WHERE id IN (1, 5)")
    await world.finish_the_round()
    assert not await is_told(task)
    world.before_look.let_go()
    await task
    assert [row["n"] for row in await world.store.fetch(ALL)] == [1, 2, 3, 4, 50]


async def test_a_round_that_has_read_what_a_copy_took_the_place_of_does_not_end_a_wait(
    world: World, tmp_path: Path
) -> None:
    """Its last change has the number of one of the copy's, or a greater one."""
    with written(world.source) as source, contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        source.backup(copy)
    await world.hold_a_round(world.before_write, "UPDATE t SET n = 100 WHERE id IN (1, 2)")
    with written(world.source) as source, contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        copy.backup(source)
    world.write("UPDATE t SET n = 50 WHERE id = 5")
    task = await wait_until_followed(world)
    world.before_look.set()
    world.before_write.let_go()
    await world.before_look.arrived()
    assert not await is_told(task)
    world.before_look.let_go()
    await task
    assert [row["n"] for row in await world.store.fetch(ALL)] == [1, 2, 3, 4, 50]


# --- a first creation and a round


async def test_a_round_leaves_a_shape_alone_that_was_published_after_it_had_looked(world: World) -> None:
    """The round asks for a key that the new shape holds, and does not know that it does."""
    await world.hold_a_round(world.before_write, "UPDATE t SET n = 100 WHERE id = 1")
    await world.store.get_or_create(OF_X)
    world.before_look.set()
    world.before_write.let_go()
    await world.before_look.arrived()
    assert await world.row(1, OF_X) == {"id": 1, "a": "x", "n": 100}


async def test_a_round_leaves_a_shape_alone_that_was_published_before_it_looks_and_after_it_was_loaded(
    world: World,
) -> None:
    await world.hold_a_round(world.before_look, "UPDATE t SET n = 100 WHERE id = 1")
    await world.store.get_or_create(OF_X)
    world.write("UPDATE t SET n = 200 WHERE id = 1")
    await world.finish_the_round()
    assert await world.row(1, OF_X) == {"id": 1, "a": "x", "n": 100}


async def test_what_changed_while_a_shape_was_created_is_asked_for_once_more(world: World) -> None:
    world.creator.hold.set()
    creation = asyncio.create_task(world.store.get_or_create(OF_X))
    await world.creator.hold.arrived()
    world.write("UPDATE t SET n = 100 WHERE id = 1")
    world.write("UPDATE t SET a = 'y' WHERE id = 2")
    await world.followed()
    world.creator.hold.let_go()
    await creation
    await world.followed()
    assert await world.row(1, OF_X) == {"id": 1, "a": "x", "n": 100}
    assert await world.row(2, OF_X) is None


# --- a shape that goes meanwhile


@pytest.mark.parametrize("how", ["delete", "invalidate"])
async def test_a_shape_that_goes_while_a_round_is_in_flight_is_created_anew(world: World, how: str) -> None:
    await world.store.get_or_create(OF_X)
    await world.followed()
    await world.hold_a_round(world.before_write, "UPDATE t SET a = 'y' WHERE id = 1")
    stored = await world.store.get(OF_X)
    assert stored is not None
    if how == "delete":
        assert await world.store.delete(stored)
    else:
        assert await world.store.invalidate("t") == 2
    world.write("UPDATE t SET a = 'x' WHERE id = 1")
    again = await world.store.get_or_create(OF_X)
    assert again.handle != stored.handle
    world.before_write.let_go()
    await world.followed()
    assert await world.row(1, OF_X) == {"id": 1, "a": "x", "n": 1}
    kept = [row async for row in world.store.rows(stored)]
    assert {"id": 1, "a": "x", "n": 1} in kept, "who reads it still sees its moment"
