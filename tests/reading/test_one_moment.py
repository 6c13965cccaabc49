"""A reader gets the rows of one moment, to the end, whatever happens to the shape meanwhile."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, closing
from typing import Any

import pytest
from inspections import eventually, gate_held
from processes import Workers, read

from shapestore import Shape, ShapeGoneError, ShapeStore, StorageError, StoredShape, keyed, maintenance
from shapestore.locking import gate
from shapestore.storage import readers
from shapestore.storage.commands import Command, ForgetKept, Register
from shapestore.storage.transaction import Transaction

pytestmark = pytest.mark.usefixtures("untroubled", "busy_maintenance")

TRACK = Shape("Track")
MANY = 20_000


@pytest.fixture(autouse=True)
def quick_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in ("END_AFTER_SECONDS", "AGAIN_AFTER_SECONDS"):
        monkeypatch.setattr(readers, seconds, 0.01)


Rows = list[dict[str, Any]]


class Source:
    """``MANY`` rows of one version; each call is of the next version. Its rows have the key ``n``."""

    def __init__(self) -> None:
        self.version = 0

    async def __call__(self, shape: Shape) -> AsyncIterator[dict[str, Any]]:
        self.version += 1
        version = self.version
        return self._rows(version)

    async def _rows(self, version: int) -> AsyncIterator[dict[str, Any]]:
        for n in range(MANY):
            yield {"n": n, "version": version if n < 100 else 0}


class Keyed(Source):
    def key_columns(self, shape: Shape) -> list[str]:
        return ["n"]


def of_version(version: int) -> Rows:
    return [{"n": n, "version": version if n < 100 else 0} for n in range(MANY)]


async def evict(store: ShapeStore) -> None:
    for number in range(3):
        await store.get_or_create(Shape(f"other {number}"), lambda _: [])
    await eventually(lambda: store.stats.evicted)


HAPPENINGS: dict[str, Callable[[ShapeStore], Awaitable[object]]] = {
    "refreshes": lambda store: asyncio.gather(store.refresh(TRACK), store.refresh(TRACK)),
    "deletion": lambda store: store.invalidate("Track"),
    "eviction": evict,
    "creation anew": lambda store: store.refresh(TRACK, lambda _: [{"n": 0}]),
}


@pytest.mark.parametrize("keep_replaced", [0.0, 3600.0])
@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "without a key"])
@pytest.mark.parametrize("happening", HAPPENINGS)
async def test_a_slow_reader_gets_the_rows_of_one_moment_to_the_end(
    path: str, happening: str, keyed: bool, keep_replaced: float
) -> None:
    source = Keyed() if keyed else Source()
    async with ShapeStore(path, create=source, keep_replaced=keep_replaced, max_shapes=3) as store:
        stored = await store.get_or_create(TRACK)
        readers = {"stored": store.rows(stored), "handle": store.rows(stored.handle)}
        found: dict[str, Rows] = {name: [await anext(reader)] for name, reader in readers.items()}
        for _ in range(3):
            await HAPPENINGS[happening](store)
            if await store.get(TRACK) is None:
                await store.get_or_create(TRACK)
            for name, reader in readers.items():
                found[name] += [await anext(reader) for _ in range(500)]
        for name, reader in readers.items():
            found[name] += [row async for row in reader]
            assert found[name] == of_version(1), name


async def test_pieces_of_json_are_of_one_moment_too(path: str) -> None:
    async with ShapeStore(path, create=Keyed()) as store:
        stored = await store.get_or_create(TRACK)
        pieces = store.stream_json(stored)
        body = await anext(pieces)
        await store.refresh(TRACK)
        body += b"".join([piece async for piece in pieces])
        assert json.loads(body) == of_version(1)
        lines = b"".join([piece async for piece in store.stream_json(stored.handle, lines=True)])
        assert [json.loads(line) for line in lines.splitlines()] == of_version(2)


async def test_what_was_given_is_read_as_of_its_own_position_and_a_handle_as_of_now(path: str) -> None:
    async with ShapeStore(path, create=Keyed()) as store:
        first = await store.get_or_create(TRACK)
        second = await store.refresh(TRACK)
        assert second.handle == first.handle
        assert [row async for row in store.rows(first)] == of_version(1)
        assert [row async for row in store.rows(second)] == of_version(2)
        assert [row async for row in store.rows(first.handle)] == of_version(2)
        assert [row["n"] async for row in store.rows(first, after=MANY - 3)] == [MANY - 3, MANY - 2, MANY - 1]


@pytest.mark.parametrize("batch_size", [1, 7, 1000, 10**9])
async def test_any_size_of_batch_gives_the_same_rows(path: str, batch_size: int) -> None:
    rows = [{"n": n, "text": "x" * (n * 997 % 2_000)} for n in range(300)]
    async with ShapeStore(path, create=lambda _: rows) as store:
        stored = await store.get_or_create(TRACK)
        assert [row async for row in store.rows(stored, batch_size=batch_size)] == rows
        assert [row async for row in store.rows(stored, after=299, batch_size=batch_size)] == rows[299:]
        assert [row async for row in store.rows(stored, after=300, batch_size=batch_size)] == []


async def test_a_few_huge_rows_among_many_small_ones_come_in_batches_of_few(path: str) -> None:
    """So many small rows make a batch that as many huge ones would be far too much for it."""
    rows = [{"n": n, "text": "x" * (2_000_000 if n % 5_000 == 7 else 10)} for n in range(10_000)]
    async with ShapeStore(path, create=lambda _: rows) as store:
        stored = await store.get_or_create(TRACK)
        pieces = [piece async for piece in store.stream_json(stored)]
        assert json.loads(b"".join(pieces)) == rows
        assert max(map(len, pieces)) < 2_100_000, "one such row, and no other beside it"


# --- how long what has gone is kept


async def test_a_handle_that_has_gone_is_readable_for_a_while_and_otherwise_gone(path: str) -> None:
    async with ShapeStore(path, create=Source()) as store:
        stored = await store.get_or_create(TRACK)
        assert await store.delete(stored)
        assert [row async for row in store.rows(stored)] == of_version(1)
        assert [row async for row in store.rows(stored.handle)] == of_version(1)
        assert len(await store.read_log(stored.handle, limit=5)) == 5
        assert await store.get(TRACK) is None
        assert await store.get_by_handle(stored.handle) is None
        assert await store.count() == 0
        assert await store.delete(stored) is False


async def test_a_kept_handle_goes_when_its_time_is_up(path: str) -> None:
    async with ShapeStore(path, create=Source(), keep_replaced=3600) as store:
        stored = await store.get_or_create(TRACK)
        await store.delete(stored)
        with closing(sqlite3.connect(path, timeout=60)) as connection, connection:
            connection.execute("UPDATE kept SET gone_at_boot_ms = gone_at_boot_ms - 3600000")
        await eventually(lambda: read(path, "SELECT count(*) FROM kept") == [0])
        await eventually(lambda: read(path, "SELECT count(*) FROM shape_rows") == [0])
        with pytest.raises(ShapeGoneError):
            await anext(store.rows(stored))


async def test_a_kept_handle_of_an_earlier_boot_goes_at_once(path: str) -> None:
    async with ShapeStore(path, create=Source(), keep_replaced=3600) as store:
        await store.delete(await store.get_or_create(TRACK))
        with closing(sqlite3.connect(path, timeout=60)) as connection, connection:
            connection.execute("UPDATE kept SET gone_boot = 'an earlier one'")
        await eventually(lambda: read(path, "SELECT count(*) FROM kept") == [0])


async def test_two_handles_of_a_key_are_kept_and_as_many_as_shapes_may_be_stored(path: str) -> None:
    async with ShapeStore(path, create=lambda _: [{}], keep_replaced=3600, max_shapes=4) as store:
        made: list[StoredShape] = []
        for _ in range(5):
            made.append(await store.get_or_create(TRACK))
            await store.delete(made[-1])
        with closing(sqlite3.connect(path, timeout=60)) as connection, connection:
            connection.execute("UPDATE kept SET gone_at_boot_ms = gone_at_boot_ms - 1000")
        await store.delete(await store.get_or_create(Shape("other")))
        await store.delete(await store.get_or_create(TRACK))
        assert len(read(path, "SELECT handle FROM kept WHERE table_name = 'Track'")) == 2
        assert read(path, "SELECT handle FROM kept WHERE handle = ?", made[-1].handle) == [made[-1].handle]
        for number in range(9):
            await store.delete(await store.get_or_create(Shape(f"other {number}")))
        await eventually(lambda: read(path, "SELECT count(*) FROM kept") == [4])


async def test_kept_bytes_are_limited_as_stored_ones_are(path: str) -> None:
    row = {"text": "x" * 1_000}
    async with ShapeStore(path, create=lambda _: [row], keep_replaced=3600, max_bytes=5_000) as store:
        for number in range(20):
            stored = await store.get_or_create(Shape(f"table {number}"))
        await eventually(lambda: read(path, "SELECT value FROM totals WHERE name = 'bytes'") < [5_001])
        await eventually(lambda: read(path, "SELECT value FROM totals WHERE name = 'kept_bytes'") < [5_001])
        assert await store.get_by_handle(stored.handle) == stored, "the newest stays"
        assert read(path, "SELECT sum(bytes) FROM shapes") == read(
            path, "SELECT value FROM totals WHERE name = 'bytes'"
        )


# --- readers that take long


async def test_a_reader_that_takes_long_is_registered_until_it_has_ended(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BEGIN_AFTER_SECONDS", 0.0)
    async with ShapeStore(path, create=Source()) as store:
        stored = await store.get_or_create(TRACK)
        async with aclosing(store.rows(stored)) as rows:
            await anext(rows)
            await eventually(lambda: read(path, "SELECT position FROM readers") == [MANY])
        await eventually(lambda: read(path, "SELECT position FROM readers") == [])


async def test_a_reader_that_was_left_half_way_is_forgotten_after_a_while(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ShapeStore(path, create=Source(), keep_replaced=0) as store:
        stored = await store.get_or_create(TRACK)
        left = store.rows(stored)
        await anext(left)
        assert read(path, "SELECT count(*) FROM readers") == [1]
        monkeypatch.setattr(readers, "IDLE_SECONDS", 0.0)
        await store.delete(stored)
        await eventually(lambda: read(path, "SELECT count(*) FROM readers") == [0])
        await eventually(lambda: read(path, "SELECT count(*) FROM shape_rows") == [0])
        with pytest.raises(ShapeGoneError):
            [row async for row in left]


async def test_a_reader_that_was_forgotten_and_goes_on_in_time_is_registered_again(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ShapeStore(path, create=Source(), keep_replaced=0) as store:
        stored = await store.get_or_create(TRACK)
        async with aclosing(store.rows(stored)) as rows:
            await anext(rows)
            with monkeypatch.context() as patch:
                patch.setattr(readers, "IDLE_SECONDS", 0.0)
                await eventually(lambda: read(path, "SELECT count(*) FROM readers") == [0])
            for _ in range(2_000):
                await anext(rows)
            await eventually(lambda: read(path, "SELECT count(*) FROM readers") == [1])
            await store.delete(stored)
            await store.get_or_create(Shape("another"))
            assert len([row async for row in rows]) == MANY - 2_001
        await eventually(lambda: read(path, "SELECT count(*) FROM readers") == [0])


async def test_a_reader_of_a_handle_that_is_about_to_go_is_told_before_its_first_row(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not half way: it waits until it is registered, and looks whether its rows are still there."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 3_600.0)
    async with ShapeStore(path, create=Source(), keep_replaced=0) as store:
        stored = await store.get_or_create(TRACK)
        await store.delete(stored)
        [number] = read(path, "SELECT number FROM kept")
        open_store = store._live()
        async with gate_held(path):
            open_store.writer.submit(ForgetKept([number]))
            rows = store.rows(stored)
            first = asyncio.ensure_future(anext(rows))
            await eventually(lambda: first.done() or open_store._registrations._registered)
        with pytest.raises(ShapeGoneError):
            await first


async def test_a_reader_that_could_not_be_registered_is_registered_once_it_can(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it might lose its rows."""
    monkeypatch.setattr(gate, "WAIT_SECONDS", 0.01)
    async with ShapeStore(path, create=Source(), keep_replaced=0) as store:
        stored = await store.get_or_create(TRACK)
        rows = store.rows(stored)
        async with gate_held(path):
            await anext(rows)
        assert read(path, "SELECT count(*) FROM readers") == [0]
        await eventually(lambda: read(path, "SELECT count(*) FROM readers") == [1])
        await store.delete(stored)
        assert len([row async for row in rows]) == MANY - 1


async def test_the_end_of_a_reader_that_could_not_be_noted_is_noted_once_it_can(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its rows would stay until the store is closed."""
    monkeypatch.setattr(gate, "WAIT_SECONDS", 0.01)
    async with ShapeStore(path, create=Source(), keep_replaced=0) as store:
        stored = await store.get_or_create(TRACK)
        rows = store.rows(stored)
        await anext(rows)
        await store.delete(stored)
        async with gate_held(path):
            await rows.aclose()
            await eventually(lambda: not store._live()._registrations._is_sure)
        await eventually(lambda: read(path, "SELECT count(*) FROM readers") == [0])
        await eventually(lambda: read(path, "SELECT count(*) FROM shape_rows") == [0])


async def test_readers_that_could_never_be_registered_leave_nothing_to_be_forgotten(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full, say, which may last: they would be remembered until then."""
    async with ShapeStore(path, create=Source(), keep_replaced=0) as store:
        stored = await store.get_or_create(TRACK)
        refused: list[object] = []

        def refuse(group: list[Register], _: Transaction) -> list[None]:
            refused.extend(command.begun for command in group if command.begun)
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(Register, "apply", refuse)
        for _ in range(3):
            rows = store.rows(stored)
            await anext(rows)
            refused.clear()
            await eventually(lambda: len(refused) > 1)  # it is tried again
            await rows.aclose()
        registrations = store._live()._registrations
        await eventually(lambda: not registrations._registered and not registrations._due)
        assert (registrations._wanted, registrations._asked_at) == ({}, {})


async def test_a_reader_that_was_registered_though_an_error_was_told_is_forgotten_too(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk reports an error of what it has written. Its rows would stay until the store is closed."""
    async with ShapeStore(path, create=Source(), keep_replaced=0) as store:
        stored = await store.get_or_create(TRACK)
        writer = store._live().writer
        submit = writer.submit

        def submit_and_fail(command: Command[Any], **how: Any) -> asyncio.Future[Any]:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            submit(command, **how).add_done_callback(lambda _: answer.set_exception(StorageError("disk I/O error")))
            return answer

        rows = store.rows(stored)
        with monkeypatch.context() as patch:
            patch.setattr(writer, "submit", submit_and_fail)
            await anext(rows)
        assert read(path, "SELECT count(*) FROM readers") == [1]
        await rows.aclose()
        await eventually(lambda: read(path, "SELECT count(*) FROM readers") == [0])


async def test_readers_of_a_killed_process_are_cleared_away(path: str, workers: Workers) -> None:
    async with ShapeStore(path, create=Source(), keep_replaced=0) as store:
        stored = await store.get_or_create(TRACK)
        [worker] = workers.open(path, keep_replaced=0)
        worker.call("begin_to_read", handle=stored.handle)
        assert read(path, "SELECT count(*) FROM readers") == [1]
        worker.kill()
        await store.delete(stored)
        assert read(path, "SELECT count(*) FROM kept") == [1]
        async with ShapeStore(path, keep_replaced=0):
            assert read(path, "SELECT count(*) FROM readers") == [0]
            await eventually(lambda: read(path, "SELECT count(*) FROM shape_rows") == [0])


async def test_a_reader_in_another_process_survives_refreshes_a_deletion_and_an_eviction(
    path: str, workers: Workers
) -> None:
    source = Keyed()
    async with ShapeStore(path, create=source, keep_replaced=0, max_shapes=3) as store:
        stored = await store.get_or_create(TRACK)
        [worker] = workers.open(path, keep_replaced=0)
        worker.call("begin_to_read", handle=stored.handle)
        await store.refresh(TRACK)
        await store.invalidate("Track")
        await store.get_or_create(TRACK)
        await evict(store)
        await eventually(lambda: read(path, "SELECT count(*) FROM kept") == [1])
        assert worker.call("read_on") == MANY


# --- a copy of the file is put back


def copy_to(path: str, there: str) -> None:
    """As `.backup` and `.restore` of the sqlite3 shell do, while stores have the file open."""
    with closing(sqlite3.connect(path, timeout=60)) as source, closing(sqlite3.connect(there, timeout=60)) as target:
        source.backup(target)


def numbered(first: int, end: int) -> Rows:
    return [{"n": n, "version": 0} for n in range(first, end)]


THEN = numbered(0, 3_000)
LATER = {
    "rows were deleted since": [row for row in THEN if row["n"] % 100],
    "rows were changed since": [row if row["n"] % 100 else {**row, "version": 1} for row in THEN],
    "rows were added since": [*THEN, *numbered(3_000, 3_010)],
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
async def test_a_reader_of_what_an_older_copy_does_not_hold_is_told_that_it_is_gone(
    empty_path: str, later: Rows
) -> None:
    """It was given the rest of the older rows, or told that the file is corrupt."""
    rows = THEN
    async with ShapeStore(empty_path, create=keyed(lambda _: rows, "n")) as store:
        await store.get_or_create(TRACK)
        await asyncio.to_thread(copy_to, empty_path, f"{empty_path}-copy")
        rows = later
        reading = store.rows(await store.refresh(TRACK), batch_size=100)
        async with aclosing(reading):
            given = [await anext(reading) for _ in range(150)]
            await asyncio.to_thread(copy_to, f"{empty_path}-copy", empty_path)
            with pytest.raises(ShapeGoneError):
                given += [row async for row in reading]
        assert given == later[: len(given)]


async def test_a_reader_of_what_the_copy_holds_too_goes_on(empty_path: str) -> None:
    async with ShapeStore(empty_path, create=keyed(lambda _: THEN, "n")) as store:
        stored = await store.get_or_create(TRACK)
        await asyncio.to_thread(copy_to, empty_path, f"{empty_path}-copy")
        reading = store.rows(stored, batch_size=100)
        async with aclosing(reading):
            given = [await anext(reading) for _ in range(150)]
            await asyncio.to_thread(copy_to, f"{empty_path}-copy", empty_path)
            assert given + [row async for row in reading] == THEN


async def test_what_was_appended_to_the_copy_at_the_same_position_is_not_what_a_reader_began_with(
    empty_path: str,
) -> None:
    """The handle, and how far its log goes, are the same."""
    rows = THEN
    async with ShapeStore(empty_path, create=keyed(lambda _: rows, "n")) as store:
        await store.get_or_create(TRACK)
        await asyncio.to_thread(copy_to, empty_path, f"{empty_path}-copy")
        rows = [*THEN[:-1], {"n": 2_999, "version": 1}]
        reading = store.rows(await store.refresh(TRACK), batch_size=100)
        async with aclosing(reading):
            given = [await anext(reading) for _ in range(150)]
            await asyncio.to_thread(copy_to, f"{empty_path}-copy", empty_path)
            rows = [*THEN[:-1], {"n": 2_999, "version": 2}]
            await store.refresh(TRACK)
            with pytest.raises(ShapeGoneError):
                given += [row async for row in reading]
