"""Shapes follow their source: what they show, what ends them, and what a round leaves for later."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from followed_store import Hold, followed, looked_up, make_source, write
from inspections import eventually
from live_logs import members
from processes import assert_sound
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from shapestore import CreateFailedError, Shape, ShapeStore, SQLSource, StoreBusyError, StoreClosedError
from shapestore.following import follower, round_contents, rounds, routing, source_look, store_side
from shapestore.source import sqlite_feed
from shapestore.storage.commands import Command, Unfollow

README = Path(sqlite_feed.__file__).parents[1] / "README.md"
ALL = Shape("t")
OF_X = Shape("t", where="a = :a", params={"a": "x"})


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = str(tmp_path / "app.db")
    make_source(path)
    return path


@pytest.fixture
async def store(empty_path: str, source: str) -> AsyncIterator[ShapeStore]:
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as store:
        yield store
    assert_sound(empty_path)


async def ids(store: ShapeStore, shape: Shape) -> list[int]:
    return [row["id"] for row in await store.fetch(shape)]


async def is_gone(path: str, handle: str) -> None:
    """Wait until a shape is dropped."""
    await eventually(lambda: not looked_up(path, "SELECT 1 FROM shapes WHERE handle = ?", handle))


async def test_what_is_written_appears_in_the_shapes(store: ShapeStore, empty_path: str, source: str) -> None:
    stored = await store.get_or_create(OF_X)
    assert stored.live
    assert (await store.get(OF_X)) == stored
    with contextlib.closing(sqlite3.connect(empty_path)) as file:
        ((number,),) = file.execute("SELECT number FROM shapes").fetchall()
        assert members(file) == [(number, f"[{n}]", n) for n in range(1, 6)]
    write(source, "UPDATE t SET a = 'y' WHERE id = 2")
    write(source, "INSERT INTO t VALUES (9, 'x', 9)")
    await followed(empty_path, source)
    assert await ids(store, OF_X) == [1, 3, 4, 5, 9]
    log = await store.read_log(stored, after=stored.position)
    assert [(change.operation, change.key) for change in log] == [("delete", (2,)), ("insert", (9,))]


async def test_the_copy_that_the_readme_keeps_is_what_the_source_holds(store: ShapeStore, source: str) -> None:
    [example] = re.findall(r"```python\n(from contextlib import suppress.*?)```", README.read_text(), re.DOTALL)
    namespace: dict[str, Any] = {"ShapeStore": ShapeStore, "Shape": Shape}
    exec(example, namespace)
    copy: dict[int, dict[str, Any]] = {}
    mirroring = asyncio.create_task(namespace["mirror"](store, ALL, copy))
    await eventually(lambda: len(copy) == 5)
    write(source, "UPDATE t SET a = 'y' WHERE id = 2")
    write(source, "DELETE FROM t WHERE id > 2")
    await eventually(lambda: [row["a"] for row in copy.values()] == ["x", "y"])
    write(source, "ALTER TABLE t ADD COLUMN later TEXT DEFAULT 'l'")
    write(source, "INSERT INTO t VALUES (9, 'z', 9, 'm')")
    await eventually(lambda: [row.get("later") for row in copy.values()] == ["l", "l", "m"])
    assert not mirroring.done()
    mirroring.cancel()
    await asyncio.wait([mirroring])


async def test_rows_of_a_shape_that_went_are_deleted_with_their_members(empty_path: str, source: str) -> None:
    creator = SQLSource(f"sqlite:///{source}", follow=True)
    async with ShapeStore(empty_path, create=creator, keep_replaced=0) as store:
        gone = await store.get_or_create(OF_X)
        await store.get_or_create(ALL)
        assert await store.delete(gone)
        with contextlib.closing(sqlite3.connect(empty_path)) as file:
            await eventually(lambda: len(members(file)) == 5)
            live = file.execute("SELECT number FROM shapes").fetchall()
            assert file.execute("SELECT DISTINCT shape FROM members").fetchall() == live


async def test_a_refresh_that_finds_nothing_different_leaves_a_live_shape_as_it_is(store: ShapeStore) -> None:
    stored = await store.get_or_create(ALL)
    refreshed = await store.refresh(ALL)
    assert (refreshed.handle, refreshed.position, refreshed.live) == (stored.handle, stored.position, True)


async def test_a_refresh_by_another_creator_replaces_a_live_shape(store: ShapeStore) -> None:
    """It does not tell as of when it has read the source."""
    stored = await store.get_or_create(ALL)
    refreshed = await store.refresh(ALL, create=lambda _: [{"id": 1}])
    assert refreshed.handle != stored.handle
    assert not refreshed.live


@pytest.mark.parametrize("call", ["get_or_create", "fetch", "fetch_json"])
@pytest.mark.parametrize("max_age", [None, 3_600.0])
async def test_a_shape_that_was_stored_without_following_is_live_once_it_is_asked_for(
    empty_path: str, source: str, call: str, max_age: float | None
) -> None:
    url = f"sqlite:///{source}"
    async with ShapeStore(empty_path, create=SQLSource(url)) as store:
        assert not (await store.get_or_create(ALL)).live
    async with ShapeStore(empty_path, create=SQLSource(url, follow=True), max_age=max_age) as store:
        await getattr(store, call)(ALL)
        stored = await store.get_or_create(ALL)
        assert stored.live
        write(source, "DELETE FROM t WHERE id > 1")
        await store.followed(timeout=60)
        assert await ids(store, ALL) == [1]
        assert store.stats.created == 1


async def test_a_source_that_is_not_followed_refreshes_a_live_shape_under_its_handle(
    store: ShapeStore, empty_path: str, source: str
) -> None:
    stored = await store.get_or_create(ALL)
    refreshed = await store.refresh(ALL, create=SQLSource(f"sqlite:///{source}"))
    assert (refreshed.handle, refreshed.live) == (stored.handle, True)
    write(source, "DELETE FROM t WHERE id > 1")
    await followed(empty_path, source)
    assert await ids(store, ALL) == [1]


# --- what ends a live shape


async def test_a_table_that_is_made_anew_ends_its_shapes_and_those_that_follow_are_live(
    store: ShapeStore, empty_path: str, source: str
) -> None:
    stored = await store.get_or_create(ALL)
    write(source, "ALTER TABLE t ADD COLUMN later TEXT DEFAULT 'l'")
    await is_gone(empty_path, stored.handle)
    again = await store.get_or_create(ALL)
    assert again.live
    write(source, "DELETE FROM t WHERE id > 1")
    await followed(empty_path, source)
    assert await store.fetch(ALL) == [{"id": 1, "a": "x", "n": 1, "later": "l"}]
    assert len([row async for row in store.rows(stored)]) == 5, "its handle is kept for who reads it"


async def test_a_table_that_was_renamed_and_is_written_still_ends_no_shape_of_the_one_in_its_place(
    store: ShapeStore, empty_path: str, source: str
) -> None:
    before = await store.get_or_create(ALL)
    write(source, "ALTER TABLE t RENAME TO t_before")
    write(source, "CREATE TABLE t (a TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (a, n))")
    await is_gone(empty_path, before.handle)
    stored = await store.get_or_create(ALL)
    write(source, "UPDATE t_before SET n = 100")
    write(source, "INSERT INTO t VALUES ('y', 1)")
    await followed(empty_path, source)
    assert await store.get_by_handle(stored.handle) is not None
    assert await store.fetch(ALL) == [{"a": "y", "n": 1}]


async def test_a_where_that_fails_on_a_row_ends_its_shape_alone(
    store: ShapeStore, empty_path: str, source: str
) -> None:
    shapes = [Shape("t", where="abs(n) > :n AND a = :a", params={"n": 1, "a": a}) for a in "xy"]
    at_fault, other = [await store.get_or_create(shape) for shape in shapes]
    everything = await store.get_or_create(ALL)
    write(source, "INSERT INTO t VALUES (6, 'x', -9223372036854775808)")
    await is_gone(empty_path, at_fault.handle)
    with pytest.raises(CreateFailedError, match="integer overflow"):
        await store.get_or_create(shapes[0])
    await followed(empty_path, source)
    assert await ids(store, ALL) == [1, 2, 3, 4, 5, 6]
    assert await store.get_by_handle(everything.handle) is not None
    assert other.live


@pytest.mark.parametrize(
    ("value", "why"),
    [("9e999", "InvalidRowError: .*cannot be stored"), ("CAST(x'ff' AS TEXT)", "text that is not UTF-8")],
)
async def test_a_row_that_cannot_be_stored_ends_those_shapes_alone_that_have_its_column(
    store: ShapeStore, empty_path: str, source: str, value: str, why: str
) -> None:
    without = Shape("t", columns=["id"])
    at_fault, other = await store.get_or_create(ALL), await store.get_or_create(without)
    write(source, f"INSERT INTO t VALUES (6, {value}, {value})")
    await is_gone(empty_path, at_fault.handle)
    with pytest.raises(CreateFailedError, match=why):
        await store.get_or_create(ALL)
    await followed(empty_path, source)
    assert await ids(store, without) == [1, 2, 3, 4, 5, 6]
    assert await store.get_by_handle(other.handle) is not None


async def test_a_backup_that_is_put_back_ends_all_shapes_of_the_source(
    store: ShapeStore, empty_path: str, source: str, tmp_path: Path
) -> None:
    stored = await store.get_or_create(ALL)
    with (
        contextlib.closing(sqlite3.connect(source)) as app,
        contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as backup,
    ):
        app.backup(backup)
        app.execute("DELETE FROM t WHERE id = 1")
        app.commit()
        await followed(empty_path, source)
        backup.backup(app)
    await is_gone(empty_path, stored.handle)
    await store.get_or_create(ALL)
    assert await ids(store, ALL) == [1, 2, 3, 4, 5]


async def test_no_reading_of_the_source_goes_on_while_shapes_of_another_past_are_dropped(
    store: ShapeStore, empty_path: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the store cannot be written, the application's log could not be checkpointed."""
    [following] = store._live().followers._followers.values()
    readings, written = [], store_side.StoreSide.written

    def noted(self: store_side.StoreSide, command: Command[Any]) -> Any:
        if isinstance(command, Unfollow):
            assert following._rounds is not None
            readings.append(following._rounds.connection._connection.in_transaction)
        return written(self, command)

    monkeypatch.setattr(store_side.StoreSide, "written", noted)
    stored = await store.get_or_create(ALL)
    with (
        contextlib.closing(sqlite3.connect(source)) as app,
        contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as backup,
    ):
        app.backup(backup)
        app.execute("DELETE FROM t WHERE id = 1")
        app.commit()
        await followed(empty_path, source)
        backup.backup(app)
    await is_gone(empty_path, stored.handle)
    assert readings
    assert not any(readings)


async def test_a_shape_that_has_the_number_of_another_since_the_file_was_put_back_is_followed_by_its_own_where(
    store: ShapeStore, empty_path: str, source: str
) -> None:
    await store.get_or_create(ALL)
    await followed(empty_path, source)
    with (
        contextlib.closing(sqlite3.connect(empty_path)) as file,
        contextlib.closing(sqlite3.connect(":memory:")) as backup,
    ):
        file.backup(backup)
        await store.get_or_create(OF_X)
        await followed(empty_path, source)
        (number,) = file.execute("SELECT max(number) FROM shapes").fetchone()
        backup.backup(file)
        of_y = Shape("t", where="a = :a", params={"a": "y"})
        await store.get_or_create(of_y)
        assert file.execute("SELECT max(number) FROM shapes").fetchone() == (number,)
    write(source, "UPDATE t SET a = 'y' WHERE id = 2")
    await followed(empty_path, source)
    assert await ids(store, of_y) == [2]
    assert await ids(store, ALL) == [1, 2, 3, 4, 5]


async def test_sources_that_have_other_numbers_since_the_file_was_put_back_are_followed(
    store: ShapeStore, empty_path: str, source: str, tmp_path: Path
) -> None:
    another_source = str(tmp_path / "another.db")
    make_source(another_source)
    creators = {
        shape: SQLSource(f"sqlite:///{path}", follow=True) for shape, path in ((ALL, source), (OF_X, another_source))
    }
    with (
        contextlib.closing(sqlite3.connect(empty_path)) as file,
        contextlib.closing(sqlite3.connect(":memory:")) as backup,
    ):
        file.backup(backup)
        for shape, creator in creators.items():
            await store.get_or_create(shape, creator)
        await store.followed(timeout=60)
        backup.backup(file)
    stored = {shape: await store.get_or_create(shape, creator) for shape, creator in reversed(creators.items())}
    for n in (6, 7):
        for path in (source, another_source):
            write(path, "INSERT INTO t VALUES (?, 'x', ?)", n, n)
        await store.followed(timeout=60)
        for shape in creators:
            assert await ids(store, shape) == list(range(1, n + 1))
            assert (await store.get_by_handle(stored[shape].handle)) is not None


async def test_a_source_that_cannot_be_read_for_long_ends_its_shapes(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "UNREADABLE_SECONDS", 0.0)
    stored = await store.get_or_create(ALL)
    os.rename(source, f"{source}-elsewhere")
    await is_gone(empty_path, stored.handle)
    os.rename(f"{source}-elsewhere", source)
    assert (await store.get_or_create(ALL)).live


async def test_a_source_that_was_moved_away_is_not_created_again(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an engine of the application's own would where it connects."""
    monkeypatch.setattr(follower, "TICK_SECONDS", 0.01)
    engine = create_engine(f"sqlite:///{source}", poolclass=NullPool)
    async with ShapeStore(empty_path, create=SQLSource(engine, follow=True)) as store:
        stored = await store.get_or_create(ALL)
        await followed(empty_path, source)
        [follows] = store._live().followers._followers.values()
        Path(source).rename(f"{source}-away")
        await eventually(lambda: "No such file" in follows._trouble)
        assert not Path(source).exists()
        Path(f"{source}-away").rename(source)
        write(source, "INSERT INTO t VALUES (6, 'x', 6)")
        await followed(empty_path, source)
        assert await ids(store, ALL) == [1, 2, 3, 4, 5, 6]
        assert await store.get_by_handle(stored.handle) is not None


async def test_a_source_that_another_process_can_read_keeps_its_shapes(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "UNREADABLE_SECONDS", 0.0)
    monkeypatch.setattr(follower, "TICK_SECONDS", 0.05)
    stored = await store.get_or_create(ALL)
    await followed(empty_path, source)
    failed = []

    def fails(self: follower.Follower, _: object) -> bool:
        failed.append(self)
        with contextlib.closing(sqlite3.connect(empty_path)) as file:  # as a round of another process does
            file.execute("UPDATE sources SET rounds = rounds + 1")
            file.commit()
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(follower.Follower, "_leads", fails)
    await eventually(lambda: len(failed) > 5)
    assert await store.get(ALL) == stored


async def test_a_refusal_is_swept_though_its_shape_could_not_be_dropped_at_once(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood for ever, and so there was none when the where failed again: the creator ran as often as it could."""
    monkeypatch.setattr(rounds, "REFUSED_MS", 50)
    monkeypatch.setattr(follower, "TICK_SECONDS", 0.05)
    stored = await store.get_or_create(Shape("t", where="abs(n) > 1"))
    refused: list[Command[Any]] = []
    written = store_side.StoreSide.written

    def refused_once(self: store_side.StoreSide, command: Command[Any]) -> Any:
        if isinstance(command, Unfollow) and command.dropped and not refused:
            refused.append(command)
            raise StoreBusyError("another process holds the gate", 0.1)
        return written(self, command)

    monkeypatch.setattr(store_side.StoreSide, "written", refused_once)
    write(source, "UPDATE t SET n = -9223372036854775808 WHERE id = 1")
    await is_gone(empty_path, stored.handle)
    assert refused
    await eventually(lambda: looked_up(empty_path, "SELECT count(*) FROM create_locks") == [(0,)])


async def test_a_follower_that_cannot_read_its_source_leaves_the_rounds_to_another(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would make any while nothing is written, and it would take the source for unreadable by all."""
    monkeypatch.setattr(follower, "TICK_SECONDS", 0.05)
    stored = await store.get_or_create(ALL)
    await followed(empty_path, source)
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as another:
        await another.refresh(ALL)
        [first], [second] = (each._live().followers._followers.values() for each in (store, another))
        await eventually(lambda: second._rounds is not None)
        assert (first._leadership._lock is None, second._leadership._lock is None) == (False, True)

        def fails() -> None:
            raise sqlite3.OperationalError("unable to open database file")

        monkeypatch.setattr(first, "_ready", fails)
        await eventually(lambda: second._leadership._lock is not None)
        assert await store.get_by_handle(stored.handle) == await another.get(ALL)


async def test_shapes_with_more_forms_of_wheres_than_are_followed_are_not_live(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "MAX_TEMPLATES", 1)
    followed_ones = [Shape("t", where="a = :a", params={"a": a}) for a in "xyz"]
    for shape in followed_ones:
        await store.get_or_create(shape)
    await followed(empty_path, source)
    await store.get_or_create(Shape("t", where="n > 2"))
    await eventually(lambda: looked_up(empty_path, "SELECT count(*) FROM shapes WHERE live") == [(3,)])
    left = await store.get(Shape("t", where="n > 2"))
    assert await store.get_or_create(Shape("t", where="n > 2")) == left
    write(source, "UPDATE t SET n = 6 WHERE id = 3")
    refreshed = await store.refresh(Shape("t", where="n > 2"))
    assert left is not None
    assert (refreshed.handle, refreshed.live) == (left.handle, False), "it would be left again"
    assert [row["n"] for row in await store.fetch(Shape("t", where="n > 2"))] == [6, 4, 5]
    write(source, "DELETE FROM t")
    await followed(empty_path, source)
    assert await ids(store, followed_ones[0]) == []
    assert await ids(store, Shape("t", where="n > 2")) == [3, 4, 5]


async def test_many_shapes_that_are_not_followed_are_left_a_few_at_a_time(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a burst of different wheres: with each the keys of its rows are deleted, while the file is kept."""
    monkeypatch.setattr(routing, "MAX_TEMPLATES", 1)
    monkeypatch.setattr(rounds, "ROWS_LEFT_AT_ONCE", 12)
    left, written = [], store_side.StoreSide.written

    def noted(self: store_side.StoreSide, command: Command[Any]) -> Any:
        if isinstance(command, Unfollow):
            left.append(len(command.left))
        return written(self, command)

    monkeypatch.setattr(store_side.StoreSide, "written", noted)
    [following] = store._live().followers._followers.values()
    with following._section.lock:
        for where in (None, "n > 0", "n >= 0", "n < 9", "n <= 9", "n = -1", "n <> 9"):
            await store.get_or_create(Shape("t", where=where))
    await eventually(lambda: looked_up(empty_path, "SELECT count(*) FROM shapes WHERE live") == [(1,)])
    assert left == [2, 2, 2]
    with contextlib.closing(sqlite3.connect(empty_path)) as file:
        assert len(members(file)) == 5


async def test_a_where_with_more_values_than_a_table_has_columns_holds_up_no_other_shape(
    store: ShapeStore, empty_path: str, source: str
) -> None:
    stored = await store.get_or_create(ALL)
    wide = Shape("t", where=f"n IN ({', '.join(map(str, range(2_500)))})")
    await store.get_or_create(wide)
    await eventually(lambda: looked_up(empty_path, "SELECT count(*) FROM shapes WHERE live") == [(1,)])
    write(source, "DELETE FROM t WHERE id > 1")
    await store.wait(stored, stored.position, timeout=60)
    assert await ids(store, ALL) == [1]
    with contextlib.closing(sqlite3.connect(empty_path)) as file:
        assert {number for number, *_ in members(file)} == {
            number for (number,) in file.execute("SELECT number FROM shapes WHERE live")
        }


# --- rounds that are too large for one transaction


async def test_a_round_that_goes_on_is_not_visible_until_it_is_finished(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "HEARTBEAT_SECONDS", float("inf"))
    monkeypatch.setattr(source_look, "MAX_CHANGES", 2)
    stored = await store.get_or_create(ALL)
    await followed(empty_path, source)
    hold = Hold()
    monkeypatch.setattr(store_side.StoreSide, "written", hold.before(store_side.StoreSide.written))
    hold.set()
    write(source, "UPDATE t SET n = n + 10")
    for _ in range(2):  # the first part is written, and the second one is held
        await hold.arrived()
        hold.let_go()
        hold.set()
    await hold.arrived()
    assert looked_up(empty_path, "SELECT unfinished_round IS NOT NULL FROM sources") == [(1,)]
    assert await store.get(ALL) == stored
    assert [row["n"] for row in await store.fetch(ALL)] == [1, 2, 3, 4, 5]
    assert await store.read_log(stored, after=stored.position) == []
    hold.let_go()
    await followed(empty_path, source)
    assert [row["n"] for row in await store.fetch(ALL)] == [11, 12, 13, 14, 15]


async def test_a_part_of_a_round_makes_no_shape_fresh_though_it_changes_none(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower that has much to catch up with finds out only at the end which shapes are as they were."""
    monkeypatch.setattr(follower, "HEARTBEAT_SECONDS", float("inf"))
    monkeypatch.setattr(source_look, "MAX_CHANGES", 2)
    await store.get_or_create(ALL)
    await followed(empty_path, source)
    hold = Hold()
    monkeypatch.setattr(store_side.StoreSide, "written", hold.before(store_side.StoreSide.written))
    hold.set()
    write(empty_path, "UPDATE sources SET followed_at_boot_ms = 1")
    [(before,)] = looked_up(empty_path, "SELECT followed_seq FROM sources")
    write(source, "UPDATE t SET n = n")
    for _ in range(2):  # the first part is written, and the second one is held
        await hold.arrived()
        hold.let_go()
        hold.set()
    await hold.arrived()
    assert looked_up(empty_path, "SELECT followed_seq > ?, followed_at_boot_ms FROM sources", before) == [(1, 1)]
    hold.let_go()
    await followed(empty_path, source)
    [(at,)] = looked_up(empty_path, "SELECT followed_at_boot_ms FROM sources")
    assert at > 1


async def test_a_refresh_shows_what_it_has_read_though_nobody_finishes_a_round_that_goes_on(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its follower was killed, and who has the file open now does not follow the source."""
    monkeypatch.setattr(source_look, "MAX_CHANGES", 2)
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as store:
        stored = await store.get_or_create(ALL)
        await store.get_or_create(OF_X)
        await followed(empty_path, source)
        written = store_side.StoreSide.written
        parts: list[Any] = []

        def first_part(side: Any, command: Any) -> Any:
            if getattr(command, "contents", None) is not None and command.contents.asked != "[]":
                if parts:
                    raise StoreClosedError("the process was killed")
                parts.append(command)
            return written(side, command)

        monkeypatch.setattr(store_side.StoreSide, "written", first_part)
        write(source, "UPDATE t SET n = n + 10")
        await eventually(lambda: looked_up(empty_path, "SELECT unfinished_round IS NOT NULL FROM sources") == [(1,)])
    monkeypatch.undo()
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}")) as store:
        for n in (15, 25):
            refreshed = await store.refresh(ALL)
            assert (refreshed.handle, refreshed.live) == (stored.handle, True)
            assert [row["n"] for row in await store.fetch(ALL)] == [11, 12, 13, 14, n]
            write(source, "UPDATE t SET n = n + 10 WHERE id = 5")
        assert [row["n"] for row in await store.fetch(OF_X)] == [1, 2, 3, 4, 5]
        before = await store.read_log(stored, after=stored.position)
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as store:
        await store.followed(timeout=60)
        for shape in (ALL, OF_X):
            assert [row["n"] for row in await store.fetch(shape)] == [11, 12, 13, 14, 35]
        log = await store.read_log(stored, after=stored.position)
        assert log[: len(before)] == before
        assert [change.row for change in log[len(before) :]] == [{"id": 5, "a": "x", "n": 35}]
    assert_sound(empty_path)


async def test_a_change_that_many_shapes_hold_is_a_round_of_its_own(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_contents, "MAX_MATCHES", 3)
    shapes = [Shape("t", where="n > :n", params={"n": -n}) for n in range(6)]
    for shape in shapes:
        await store.get_or_create(shape)
    write(source, "UPDATE t SET a = 'y' WHERE id <> 3")
    write(source, "DELETE FROM t WHERE id = 3")
    await followed(empty_path, source)
    for shape in shapes:
        assert [(row["id"], row["a"]) for row in await store.fetch(shape)] == [(n, "y") for n in (1, 2, 4, 5)]


async def test_rows_that_are_too_large_for_a_round_are_not_all_read_for_it(
    store: ShapeStore, empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source, "INSERT INTO t SELECT value, 'x', value FROM json_each(?)", str(list(range(6, 301))))
    monkeypatch.setattr(round_contents, "MAX_BYTES", 10_000)
    await store.get_or_create(ALL)
    await followed(empty_path, source)
    tries: list[int] = []
    read_contents, read_rows = round_contents.ContentsReader.read, round_contents._Rows.read

    def reads(self: Any, *args: Any, **how: Any) -> Any:
        tries.append(0)
        return read_contents(self, *args, **how)

    def reads_rows(self: Any, keys: Any, places: Any) -> None:
        tries[-1] += len(places)
        read_rows(self, keys, places)

    monkeypatch.setattr(round_contents.ContentsReader, "read", reads)
    monkeypatch.setattr(round_contents._Rows, "read", reads_rows)
    write(source, "UPDATE t SET a = hex(zeroblob(500))")
    await followed(empty_path, source)
    assert {row["a"] for row in await store.fetch(ALL)} == {"00" * 500}
    assert max(tries) < 50


# --- values


WHERES: list[tuple[str, dict[str, Any]]] = [
    ("v = :v", {"v": 1}),
    ("v = :v", {"v": 1.0}),
    ("v = :v", {"v": "1"}),
    ("v = :v", {"v": True}),
    ("w = :v", {"v": "1"}),
    ("w = :v", {"v": 1}),
    ("c = :v AND v IS NOT NULL", {"v": "A"}),
    ("'a' = c", {}),
    ("v IN (1, 'a', 2.5) OR w < 3", {}),
    ("w BETWEEN -1 AND :v", {"v": 9007199254740993}),
    ("r = 9007199254740993", {}),
    ("v LIKE '%A%' AND NOT c = 'b'", {}),
    ("v || '' = '1'", {}),
    ("v IS :v", {"v": None}),
    ("r = 0.1", {}),
]


async def test_a_where_means_in_a_round_what_it_means_in_a_query(tmp_path: Path, empty_path: str) -> None:
    """Whatever the types and collations of columns and values: rows that come later are told apart in the same way."""
    path = str(tmp_path / "typed.db")
    values: list[Any] = [None, 0, 1, 1.0, 2.5, "1", "1.0", "a", "A", "b", b"1", 2**53 + 1, float(2**53), 0.1]
    shapes = [Shape("t", where=where, params=params) for where, params in WHERES]
    with contextlib.closing(sqlite3.connect(path)) as app:
        app.execute("PRAGMA journal_mode = WAL")
        app.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v, w INTEGER, c TEXT COLLATE NOCASE, r REAL)")
        app.execute("INSERT INTO t (v) VALUES (1)")
        app.commit()
        async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{path}", follow=True)) as store:
            for shape in shapes:
                await store.get_or_create(shape)
            app.executemany("INSERT INTO t (v, w, c, r) VALUES (?, ?, ?, ?)", [(value,) * 4 for value in values])
            app.commit()
            await followed(empty_path, path)
            found = [await store.fetch(shape) for shape in shapes]
            await store.invalidate("t")
            for shape, rows in zip(shapes, found, strict=True):
                assert rows == await store.fetch(shape), shape


async def test_a_like_means_in_a_round_what_it_means_to_the_connections_of_the_engine(
    empty_path: str, source: str
) -> None:
    engine = create_engine(f"sqlite:///{source}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: object) -> None:
        connection.execute("PRAGMA case_sensitive_like = ON")

    async with ShapeStore(empty_path, create=SQLSource(engine, follow=True)) as store:
        like_x = Shape("t", where="a LIKE 'x%'")
        stored = await store.get_or_create(like_x)
        write(source, "INSERT INTO t VALUES (6, 'Xy', 6), (7, 'xy', 7)")
        await store.followed(timeout=60)
        assert await ids(store, like_x) == [1, 2, 3, 4, 5, 7]
        assert (await store.refresh(like_x)).handle == stored.handle
        assert await ids(store, like_x) == [1, 2, 3, 4, 5, 7]
