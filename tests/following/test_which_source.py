"""Which files are followed: those of all creators, and the file that is at a source's path now."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from followed_store import followed, looked_up, make_source, write, written
from inspections import PATIENCE, eventually
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shapestore import CreateFailedError, Shape, ShapeGoneError, ShapeStore, SQLSource, StoreBusyError
from shapestore.following import follower, source_look
from shapestore.following.leadership import lock_path
from shapestore.following.source_path import SourcePath
from shapestore.freshness.requests import Requests
from shapestore.locking.file_lock import FileLock
from shapestore.source.sqlite_feed import file
from shapestore.storage.reader import Reader

ALL = Shape("t")
OF_X = Shape("t", where="a = 'x'")


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = str(tmp_path / "app.db")
    make_source(path)
    return path


async def first_n(store: ShapeStore, shape: Shape, create: SQLSource | None = None) -> int:
    return int((await store.fetch(shape, create))[0]["n"])


async def shows(path: str, n: int) -> None:
    """Wait until a stored row has this value."""
    await eventually(lambda: looked_up(path, f"SELECT 1 FROM shape_rows WHERE value LIKE '%\"n\":{n}}}'"))


@pytest.mark.parametrize("method", ["fetch", "get_or_create"])
async def test_a_creator_that_is_given_with_a_call_follows_what_is_stored_already(
    empty_path: str, source: str, method: str
) -> None:
    """As after each start of an application whose store has no creator of its own: nothing else would tell it."""
    async with ShapeStore(empty_path) as store:
        await store.get_or_create(ALL, SQLSource(f"sqlite:///{source}", follow=True))
    async with ShapeStore(empty_path) as store:
        await getattr(store, method)(ALL, SQLSource(f"sqlite:///{source}", follow=True))
        write(source, "UPDATE t SET n = 100 WHERE id = 1")
        await followed(empty_path, source)
        assert await first_n(store, ALL) == 100


@pytest.mark.parametrize("url", ["sqlite:///{name}", "sqlite:///link.db", "sqlite:///file:{path}?uri=true"])
async def test_a_store_does_not_follow_its_own_file_however_it_is_named(
    empty_path: str, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Triggers would be put into it, which log every write of its own."""
    folder, name = os.path.split(empty_path)
    monkeypatch.chdir(folder)
    os.symlink(empty_path, "link.db")
    source = SQLSource(url.format(name=name, path=empty_path), follow=True)
    before = looked_up(empty_path, "SELECT name FROM sqlite_schema")
    async with ShapeStore(empty_path, create=source) as store:
        with pytest.raises(CreateFailedError, match=r"InvalidSourceError: .* is itself a store of shapes"):
            await store.fetch(Shape("shapes"))
    assert looked_up(empty_path, "SELECT name FROM sqlite_schema") == before


async def test_sources_of_one_url_are_followed_by_one_follower(empty_path: str, source: str) -> None:
    async with ShapeStore(empty_path) as store:
        for _ in range(3):
            await store.get_or_create(ALL, SQLSource(f"sqlite:///{source}", follow=True))
        assert len(store._live().followers._followers) == 1


async def test_a_follower_that_gets_no_thread_is_tried_again(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == "shapestore follower":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as store:
        assert await first_n(store, ALL) == 1
        assert "is not followed yet: can't start new thread" in caplog.text
        monkeypatch.undo()
        write(source, "UPDATE t SET n = 100 WHERE id = 1")
        await store.refresh(OF_X)
        await followed(empty_path, source)
        assert await first_n(store, ALL) == 100


async def test_a_follower_that_gets_no_descriptor_is_tried_again(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The attempt that had published the shape failed."""

    def refused() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with ShapeStore(empty_path) as store:
        creator = SQLSource(f"sqlite:///{source}", follow=True)
        with monkeypatch.context() as short_of:
            short_of.setattr(os, "pipe", refused)
            assert await first_n(store, ALL, creator) == 1
        assert f"is not followed yet: [Errno {errno.EMFILE}]" in caplog.text
        write(source, "UPDATE t SET n = 100 WHERE id = 1")
        await store.refresh(OF_X, creator)
        await followed(empty_path, source)
        assert await first_n(store, ALL) == 100


async def test_engines_whose_url_names_no_file_are_followed_each(empty_path: str, tmp_path: Path) -> None:
    creators = []
    for name in ("a.db", "b.db"):
        make_source(str(tmp_path / name))
        engine = create_engine(
            "sqlite://", creator=lambda name=name: sqlite3.connect(tmp_path / name), poolclass=NullPool
        )
        creators.append(SQLSource(engine, follow=True))
    async with ShapeStore(empty_path, create=creators[0]) as store:
        await store.get_or_create(ALL)
        await store.get_or_create(OF_X, creators[1])
        write(str(tmp_path / "b.db"), "UPDATE t SET n = 100 WHERE id = 1")
        await shows(empty_path, 100)
        assert (await first_n(store, ALL), await first_n(store, OF_X, creators[1])) == (1, 100)


async def test_a_file_that_takes_the_place_of_the_source_while_that_is_opened_is_followed(
    empty_path: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = str(tmp_path / "other.db")
    creator = SQLSource(f"sqlite:///{source}", follow=True)
    async with ShapeStore(empty_path, create=creator) as store:
        await store.get_or_create(ALL)
        await followed(empty_path, source)
    with written(source) as connection:
        connection.execute("VACUUM INTO ?", (other,))
    write(other, "PRAGMA journal_mode = WAL")
    opened = file.opened

    @contextlib.contextmanager
    def opened_too_early(path: str) -> Iterator[sqlite3.Connection]:
        with opened(path) as connection:
            if os.path.exists(other):
                os.replace(other, source)
            yield connection

    monkeypatch.setattr(source_look, "opened", opened_too_early)
    async with ShapeStore(empty_path, create=creator) as store:
        await eventually(lambda: not os.path.exists(other))
        write(source, "UPDATE t SET n = 100 WHERE id = 1")
        await shows(empty_path, 100)
        assert await first_n(store, ALL) == 100


async def test_a_source_that_is_in_another_mode_now_is_left_alone_until_it_is_in_wal_mode_again(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a copy made by VACUUM INTO that is put back: a follower that reads it makes the application's writes fail."""
    creator = SQLSource(f"sqlite:///{source}", follow=True)
    async with ShapeStore(empty_path, create=creator) as store:
        await store.get_or_create(ALL)
        await followed(empty_path, source)
    write(source, "PRAGMA journal_mode = DELETE")
    monkeypatch.setattr(follower, "TICK_SECONDS", 0.05)
    looks, begin_look = [], source_look.begin_look

    def noted(connection: sqlite3.Connection) -> None:
        looks.append(connection.execute("PRAGMA journal_mode").fetchall())
        begin_look(connection)

    monkeypatch.setattr(source_look, "begin_look", noted)
    async with ShapeStore(empty_path, create=creator) as store:
        await eventually(lambda: "is in the journal mode DELETE" in caplog.text)
        assert f"the source {source!r} cannot be followed; tried again every second: " in caplog.text
        with written(source) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("UPDATE t SET n = 100 WHERE id = 1")
        await followed(empty_path, source)
        assert await first_n(store, ALL) == 100
    assert {mode for ((mode,),) in looks} == {"wal"}


@pytest.mark.parametrize("url", ["sqlite:///{}", "sqlite:///file:{}?mode=rw&uri=true"])
async def test_a_link_that_is_switched_to_another_file_ends_the_shapes_of_the_one_before(
    empty_path: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(follower, "TICK_SECONDS", 0.05)
    second, link = str(tmp_path / "second.db"), tmp_path / "current.db"
    make_source(second)
    write(second, "UPDATE t SET n = 50 WHERE id = 1")
    link.symlink_to(source)
    async with ShapeStore(empty_path, create=SQLSource(url.format(link), follow=True)) as store:
        assert await first_n(store, ALL) == 1
        await followed(empty_path, source)
        (tmp_path / "next").symlink_to(second)
        os.replace(tmp_path / "next", link)
        await eventually(lambda: looked_up(empty_path, "SELECT count(*) FROM shapes") == [(0,)])
        assert await first_n(store, ALL) == 50
        write(second, "UPDATE t SET n = 100 WHERE id = 1")
        await shows(empty_path, 100)
        write(source, "UPDATE t SET n = 1000 WHERE id = 1")
        await store.followed()
        assert await first_n(store, ALL) == 100


async def test_a_link_is_looked_at_also_while_no_shape_is_live(
    empty_path: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "TICK_SECONDS", 0.05)
    second, link = str(tmp_path / "second.db"), tmp_path / "current.db"
    make_source(second)
    link.symlink_to(source)
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{link}", follow=True)) as store:
        [follows] = store._live().followers._followers.values()
        await eventually(lambda: follows._path == os.path.realpath(source))
        link.unlink()
        link.symlink_to(second)
        await store.get_or_create(ALL)
        write(second, "UPDATE t SET n = 100 WHERE id = 1")
        await shows(empty_path, 100)


async def follower_at_work(store: ShapeStore, path: str) -> None:
    """Wait until the store's only follower knows where its source is."""
    [follows] = store._live().followers._followers.values()
    await eventually(lambda: follows.path == os.path.realpath(path))


@pytest.fixture
async def left(empty_path: str, source: str, tmp_path: Path) -> str:
    """Another file, to which a link is switched while no store is open; the link's path."""
    second, link = str(tmp_path / "second.db"), tmp_path / "current.db"
    make_source(second)
    write(second, "UPDATE t SET n = 50 WHERE id = 1")
    link.symlink_to(source)
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{link}", follow=True)) as store:
        assert (await first_n(store, ALL), await first_n(store, OF_X)) == (1, 1)
        await followed(empty_path, source)
    link.unlink()
    link.symlink_to(second)
    return str(link)


@pytest.mark.parametrize("max_age", [None, 1_000.0, 0.001, 0])
@pytest.mark.parametrize("method", ["fetch", "get_or_create"])
async def test_a_link_that_was_switched_while_no_store_was_open_leads_to_the_other_file(
    empty_path: str, left: str, tmp_path: Path, method: str, max_age: float | None
) -> None:
    """The shapes were those of the first file for ever, also for callers who demanded the present."""
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{left}", follow=True)) as store:
        await follower_at_work(store, left)
        stored = await getattr(store, method)(ALL, max_age=max_age)
        assert await first_n(store, ALL) == 50
        assert method == "fetch" or stored.live
        write(str(tmp_path / "second.db"), "UPDATE t SET n = 100 WHERE id = 1")
        await shows(empty_path, 100)
        assert await first_n(store, ALL) == 100
        assert store.stats.leaders == 1
        assert await first_n(store, OF_X) == 100


async def test_a_source_that_was_moved_while_no_store_was_open_is_followed_where_it_is(
    empty_path: str, source: str, tmp_path: Path
) -> None:
    """As with the folder of the application. Those who waited for all sources waited for the one that is gone."""
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as store:
        await store.get_or_create(ALL)
        await store.get_or_create(OF_X)
        await followed(empty_path, source)
    moved = str(tmp_path / "moved.db")
    os.rename(source, moved)
    write(moved, "UPDATE t SET n = 50 WHERE id = 1")
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{moved}", follow=True)) as store:
        await follower_at_work(store, moved)
        assert await first_n(store, ALL) == 50
        write(moved, "UPDATE t SET n = 100 WHERE id = 1")
        await store.followed(timeout=60)
        assert await first_n(store, ALL) == 100


async def test_those_who_wait_for_changes_of_another_source_since_the_start_are_told_to_begin_again(
    empty_path: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were served before it was known which file the source is, and would have waited for ever."""
    go, now = threading.Event(), SourcePath.now

    def late(place: SourcePath) -> str:
        assert go.wait(PATIENCE)
        return now(place)

    monkeypatch.setattr(SourcePath, "now", late)
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{left}", follow=True)) as store:
        changes = store.changes(await store.get_or_create(ALL))
        waiting = asyncio.ensure_future(anext(changes))
        await eventually(lambda: len(store._live().waits))
        go.set()
        with pytest.raises(ShapeGoneError):
            await asyncio.wait_for(waiting, PATIENCE)
        assert await first_n(store, ALL) == 50


async def test_shapes_of_another_source_are_left_to_those_who_follow_it(empty_path: str, left: str) -> None:
    """Or two who name one source in different ways would read each other's shapes again and again."""
    ((number,),) = looked_up(empty_path, "SELECT number FROM sources")
    other = FileLock(lock_path(empty_path, number))
    assert other.try_lock()
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{left}", follow=True)) as store:
        await follower_at_work(store, left)
        assert await first_n(store, ALL) == 1
        other.close()
        assert await first_n(store, ALL) == 50


async def test_in_a_moment_in_which_the_file_is_busy_what_is_stored_is_served(
    empty_path: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise StoreBusyError("the file is being recovered")

    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{left}", follow=True)) as store:
        await follower_at_work(store, left)
        with monkeypatch.context() as moment:
            moment.setattr(Reader, "source_of", busy)
            assert await first_n(store, ALL) == 1
        assert await first_n(store, ALL) == 50


async def test_a_hit_of_a_shape_that_is_followed_here_asks_for_nothing_more(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as store:
        await store.get_or_create(ALL)
        await eventually(lambda: store._live().followers.marks)
        monkeypatch.setattr(Requests, "get", None)
        assert await first_n(store, ALL) == 1
        assert (await store.get_or_create(ALL)).live


async def test_a_source_that_is_missing_since_the_start_ends_its_shapes_as_one_that_goes_later(
    empty_path: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were served as they were for as long as the application ran."""
    creator = SQLSource(f"sqlite:///{source}", follow=True)
    async with ShapeStore(empty_path, create=creator) as store:
        await store.get_or_create(ALL)
        await followed(empty_path, source)
    os.rename(source, f"{source}-elsewhere")
    monkeypatch.setattr(follower, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(follower, "UNREADABLE_SECONDS", 0.0)
    async with ShapeStore(empty_path, create=creator) as store:
        await eventually(lambda: looked_up(empty_path, "SELECT count(*) FROM shapes") == [(0,)])
        os.rename(f"{source}-elsewhere", source)
        assert await first_n(store, ALL) == 1
        write(source, "UPDATE t SET n = 100 WHERE id = 1")
        await shows(empty_path, 100)


async def test_a_store_put_back_while_the_source_is_away_is_followed_once_that_is_there_again(
    empty_path: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where both are restored, to a time when no shape was live: the follower's thread ended by an error."""
    monkeypatch.setattr(follower, "TICK_SECONDS", 0.01)
    async with ShapeStore(empty_path, create=SQLSource(f"sqlite:///{source}", follow=True)) as store:
        with written(str(tmp_path / "backup.db")) as backup, written(empty_path) as file:
            file.backup(backup)
            await store.get_or_create(ALL)
            await followed(empty_path, source)
            [follows] = store._live().followers._followers.values()
            with follows._section.lock:  # it finds both
                os.rename(source, f"{source}-elsewhere")
                backup.backup(file)
        await eventually(lambda: follows._rounds is None)
        os.rename(f"{source}-elsewhere", source)
        assert await first_n(store, ALL) == 1
        write(source, "UPDATE t SET n = 100 WHERE id = 1")
        await shows(empty_path, 100)
