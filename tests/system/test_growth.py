"""Large things: snapshots that fit in no memory, and a file of very many shapes. Nothing here asks a clock.

What must not grow is measured as what it is: memory, the steps of SQLite's machine, the bytes a store adds to its log.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inspections import eventually, shapes

from shapestore import CreateFailedError, Shape, ShapeStore, maintenance
from shapestore.storage import drop_queries, migrations, queries
from shapestore.storage.log.chunks import CHUNK_ROWS

pytestmark = pytest.mark.usefixtures("untroubled")

SUPPORT = Path(__file__).resolve().parents[1] / "support"


def short_and_long(short: int, long: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "count", [pytest.param(short, id=f"{short}"), pytest.param(long, id=f"{long}", marks=pytest.mark.slow)]
    )


# --- a big snapshot


def in_a_process_of_its_own(path: str, rows: int) -> dict[str, int]:
    """What ``big_snapshot.py`` says about its memory."""
    command = [sys.executable, "-W", "error", str(SUPPORT / "big_snapshot.py"), path, str(rows)]
    found: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)
    return found


@pytest.mark.filterwarnings("default::ResourceWarning")
@short_and_long(200_000, 1_000_000)
def test_a_big_snapshot_goes_from_source_to_store_to_reader_in_constant_memory(empty_path: str, count: int) -> None:
    """The rows take 200 bytes each, as text: 40 MB for the short form, 200 MB for the long one."""
    found = in_a_process_of_its_own(empty_path, count)
    assert found["rows"] == count
    # Some chunks on their way, SQLite's page caches, what the allocator keeps: the same whatever the number of rows.
    assert found["created"] - found["idle"] < 25_000_000
    assert found["read"] - found["idle"] < 25_000_000
    assert found["wal"] < 25_000_000


async def test_a_snapshot_is_read_on_from_wherever_a_reader_had_come(empty_path: str) -> None:
    def create(shape: Shape) -> Iterator[dict[str, int]]:
        yield from ({"number": number} for number in range(1, 3 * CHUNK_ROWS + 1))

    async with ShapeStore(empty_path, create=create) as store:
        stored = await store.get_or_create(Shape("Track"))
        for after in (0, 1, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS - 1):
            reading = store.rows(stored.handle, after=after, batch_size=7)
            assert await anext(reading) == {"number": after + 1}
        whole: list[int] = []
        while len(whole) < stored.row_count:  # a reader that loses its connection all the time
            reading = store.rows(stored.handle, after=len(whole), batch_size=100)
            whole += [(await anext(reading))["number"] for _ in range(250)]
        assert whole == list(range(1, 3 * CHUNK_ROWS + 1))
        assert [row async for row in store.rows(stored.handle, after=3 * CHUNK_ROWS)] == []


async def test_hits_creations_and_failures_go_on_while_a_big_snapshot_is_written(empty_path: str) -> None:
    """Each of many other keys has its whole creation between the first chunk of the big one and its last."""
    wanted = {"rows": 1_000_000}

    def create(shape: Shape) -> Iterator[dict[str, Any]]:
        if shape.table == "fails":
            raise OSError("the source is away")
        count = 0
        while shape.table == "big" and count < wanted["rows"]:
            count += 1
            yield {"number": count, "text": "x" * 100}

    async with ShapeStore(empty_path, create=create, max_creating=8, create_timeout=300) as store:
        hit = await store.get_or_create(Shape("hit"))
        big = asyncio.create_task(store.get_or_create(Shape("big"), timeout=300))
        with closing(sqlite3.connect(empty_path)) as file:
            await eventually(lambda: file.execute("SELECT 1 FROM shape_rows LIMIT 1").fetchone())
            for shape in shapes(30):
                await store.get_or_create(shape)
                assert await store.get_or_create(Shape("hit"), timeout=0) == hit
            with pytest.raises(CreateFailedError, match="the source is away"):
                await store.get_or_create(Shape("fails"))
            assert not big.done()
            await eventually(
                lambda: file.execute("SELECT count(*) > ? FROM shape_rows", (2 * CHUNK_ROWS,)).fetchone()[0]
            )
        wanted["rows"] = 0  # that is enough
        stored = await big
        assert stored.row_count > 2 * CHUNK_ROWS
        assert (store.stats.timeouts, await store.count()) == (0, 32)


# --- very many shapes


def key(number: int) -> Shape:
    return Shape("albums", where="id = :id", params={"id": number})


def filled(path: Path, count: int) -> str:
    """The path of a store with so many shapes, which nobody made one by one."""
    migrations.upgrade(str(path))
    text = key(0).comparable
    head, tail = text.split(":0}", 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute(
            """
            WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
            INSERT INTO shapes (
                number, handle, comparable, namespace, table_name, row_count, snapshot, position, written, bytes,
                confirmed_by, confirmed_boot, confirmed_at_boot_ms, confirmed_at_ms, created_at_ms, refreshed_at_ms,
                last_read_at_ms, read_order)
            SELECT n, printf('%032x', n), :head || ':' || n || '}' || :tail, '', 'albums', 0, 0, 0, 0, 0,
                   printf('%032x', n), '', 0, 0, 0, 0, 0, n FROM numbers
            """,
            {"count": count, "head": head, "tail": tail},
        )
        connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'create_locks'", (count,))
        connection.execute("COMMIT")
    return str(path)


def steps(path: str, statement: str, parameters: Any) -> int:
    """How many steps SQLite's machine takes for it; what it did is undone."""
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.set_progress_handler(step, 1)
        connection.execute(statement, parameters).fetchall()
        connection.set_progress_handler(None, 1)
        connection.execute("ROLLBACK")
    return taken


STATEMENTS = vars(queries) | vars(drop_queries)


@short_and_long(20_000, 1_000_000)
def test_no_hot_statement_takes_more_steps_for_many_shapes(tmp_path: Path, count: int) -> None:
    moment = {"owner": "me", "boot": "b", "boot_ms": 0, "wall_ms": 0}
    calls: dict[str, Any] = {
        "FIND": (key(7).comparable,),
        "FIND_BY_HANDLE": (f"{7:032x}",),
        "IS_KNOWN": (key(-1).comparable, key(-1).comparable, "none"),
        "POLL": {"comparable": key(7).comparable, "awaited": "none"},
        "TOTALS": (),
        "SHAPES": {"namespace": "", "after": 7, "limit": 100},
        "SHAPES_OF_TABLE": {"namespace": "", "table": "albums", "after": 7, "limit": 100},
        "CLAIM": {"claims": json.dumps({"new": [key(-1).comparable, "", "albums", None, None]})},
        "PUBLISH": {"published": json.dumps({"none": [1, 2, None, "[]"]})},
        "KEEP": {"numbers": json.dumps([7])},
        "DROP_SHAPES": {"numbers": json.dumps([7])},
        "NUMBERS_OF_TABLE": {"namespace": "", "table": "albums", "limit": 100},
        "LEAST_READ": {"limit": 100},
        "NOTE_READS": {"handles": json.dumps([f"{7:032x}", f"{9:032x}"])},
        "OWNERS": (),
        "LOCKS": (),
    }
    small, large = filled(tmp_path / "small.db", 1_000), filled(tmp_path / "large.db", count)

    def taken(path: str) -> dict[str, int]:
        return {
            name: steps(path, STATEMENTS[name], call if isinstance(call, tuple) else moment | call)
            for name, call in calls.items()
        }

    few = taken(small)
    assert taken(large) == {name: pytest.approx(few[name], rel=0.1, abs=20) for name in calls}


@short_and_long(20_000, 1_000_000)
async def test_a_store_of_many_shapes_is_opened_asked_and_kept_small_like_one_of_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Whatever it does writes a few pages, however large the file: nothing is rewritten, nothing is gone through."""
    monkeypatch.setattr(maintenance, "TICK_SECONDS", 0.01)

    async def no_rows(shape: Shape) -> list[dict[str, Any]]:
        return []

    costs = []
    for size in (1_000, count):
        path = filled(tmp_path / f"{size}.db", size)
        async with ShapeStore(path, create=no_rows, max_shapes=size) as store:
            opened = store.stats.wal_bytes
            assert await store.count() == size
            found = await store.get(key(size // 2))
            assert found is not None
            assert await store.get_or_create(key(size // 2)) == await store.get_by_handle(found.handle) == found
            for number in range(5):
                await store.get_or_create(key(-number - 1))
            await eventually(lambda: store.stats.evicted == 5)
            assert await store.get(key(1)) is None, "which was the least recently read"
            assert await store.get(key(size // 2)) == found
            assert await store.delete(found.handle)
            assert await store.count() == size - 1
            costs.append((opened, store.stats.wal_bytes - opened))
        assert os.path.getsize(path) > size * 100
    small, large = costs
    assert large[0] <= small[0] + 100_000
    assert large[1] <= 3 * small[1] + 100_000
