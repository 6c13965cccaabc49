"""A log that is cut off or has wrong bits: what opens is some prefix of what was committed, never half of anything.

Every frame of SQLite's log has a checksum; the pages of the database itself have none. So a damaged log is cut back to
what is sound, and a damaged database is noticed only where it makes no sense: what is promised of one is a typed error
or an answer, and nothing else. `PRAGMA integrity_check` (`shapestore doctor`) finds more than a read does, not all.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import damaged_files
import pytest
from damaged_files import Left
from inspections import rows_of
from processes import assert_sound, edit, read

from shapestore import CorruptStoreError, MigrationRequiredError, Shape, ShapeGoneError, ShapeStore, StorageError

pytestmark = pytest.mark.usefixtures("untroubled")

short_and_long = pytest.mark.parametrize("images", [30, pytest.param(1_500, marks=pytest.mark.slow)])

WAL_HEADER_BYTES = 32
FRAME_BYTES = 24 + 4096


@pytest.fixture(scope="module")
def killed(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Left:
    return damaged_files.leave(empty_store, tmp_path_factory.mktemp("killed") / "left", in_good_order=False)


@pytest.fixture(scope="module")
def closed(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Left:
    return damaged_files.leave(empty_store, tmp_path_factory.mktemp("closed") / "left", in_good_order=True)


async def opens_to(path: Path, history: list[damaged_files.Contents]) -> int:
    """Which of the contents that were committed the file opens to."""
    async with ShapeStore(path) as store:
        found = await damaged_files.contents(store)
        assert found in history
        assert await store.locks() == [], "whoever had locks is dead"
        # And it can be written.
        stored = await store.refresh(Shape("written afterwards"), lambda _: [{"number": 1}])
        assert [row async for row in store.rows(stored.handle)] == [{"number": 1}]
    assert_sound(path)
    shutil.rmtree(path.parent)  # thousands of them would fill a disk
    return history.index(found)


async def test_a_log_that_is_whole_opens_to_the_last_that_was_committed(killed: Left, tmp_path: Path) -> None:
    path = killed.copy_to(tmp_path / "image")
    assert read(path, "SELECT state FROM create_locks ORDER BY state") == ["failed", "in_progress"]
    assert await opens_to(path, killed.history) == len(killed.history) - 1


async def test_a_log_that_is_missing_opens_to_what_is_in_the_database(killed: Left, tmp_path: Path) -> None:
    path = killed.copy_to(tmp_path / "image")
    os.unlink(f"{path}-wal")
    assert await opens_to(path, killed.history[:1]) == 0


@short_and_long
async def test_a_log_cut_off_anywhere_opens_to_a_prefix_of_what_was_committed(
    killed: Left, tmp_path: Path, images: int
) -> None:
    chance = random.Random(1)
    size = os.stat(killed.folder / "shapes.db-wal").st_size
    edges = [WAL_HEADER_BYTES + FRAME_BYTES * number for number in range(size // FRAME_BYTES + 1)]
    places = {0, 1, WAL_HEADER_BYTES - 1, size - 1}
    places.update(chance.sample(range(size), images // 2))
    places.update(min(size, edge + chance.choice((-1, 0, 1))) for edge in chance.choices(edges, k=images // 2))
    prefixes = []
    for place in sorted(places):
        path = killed.copy_to(tmp_path / f"cut at {place}")
        damaged_files.cut(Path(f"{path}-wal"), place)
        prefixes.append(await opens_to(path, killed.history))
    assert prefixes == sorted(prefixes), "the more is left of the log, the more is there"
    assert len(set(prefixes)) > 5


@short_and_long
async def test_a_log_with_wrong_bits_opens_to_a_prefix_of_what_was_committed(
    killed: Left, tmp_path: Path, images: int
) -> None:
    chance = random.Random(2)
    prefixes = set()
    for image in range(images):
        path = killed.copy_to(tmp_path / str(image))
        # Of the header one bit: by its two marks it is still known for a log's.
        where, bits = (range(WAL_HEADER_BYTES), 1) if image % 10 == 0 else (None, chance.choice((1, 1, 2, 20)))
        damaged_files.flip(Path(f"{path}-wal"), chance, bits=bits, of=where)
        prefixes.add(await opens_to(path, killed.history))
    assert len(prefixes) > 3


@short_and_long
async def test_a_database_with_wrong_bits_gives_an_answer_or_a_typed_error(
    closed: Left, tmp_path: Path, images: int
) -> None:
    chance = random.Random(3)
    ends: Counter[str] = Counter()
    for image in range(images):
        path = closed.copy_to(tmp_path / str(image))
        # The first pages hold the schema and the roots of the tables, where a wrong bit does most.
        first = range(60 * 4096) if image % 2 else None
        damaged_files.flip(path, chance, bits=chance.choice((1, 3, 30)), of=first)
        ends.update(await ends_of_everything(path, closed.history[-1]))
        shutil.rmtree(path.parent)
    assert ends["served"] > ends["refused"] > ends["wrong"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE shape_rows SET value = '{\"table' WHERE position = 17",
        "UPDATE shape_rows SET value = CAST(x'7b22ff227d' AS TEXT) WHERE position = 17",
        "DELETE FROM shape_rows WHERE position > 17",
        "UPDATE shapes SET created_at_ms = 9223372036854775807",
    ],
)
async def test_what_cannot_have_been_written_is_refused_by_who_reads_it(empty_path: str, damage: str) -> None:
    shape = Shape("Track")
    async with ShapeStore(empty_path) as store:
        stored = await store.get_or_create(shape, lambda _: [{"number": number} for number in range(20)])
        edit(empty_path, damage)
        with pytest.raises(CorruptStoreError, match="is corrupt"):
            await rows_of(store, await store.get(shape) or stored)
        await store.delete(stored.handle)


async def ends_of_everything(path: Path, contents: damaged_files.Contents) -> list[str]:
    """Use a store in every way, each by itself."""
    ends: list[str] = []
    with refusal_noted(ends):
        async with ShapeStore(path, create_timeout=5) as store:
            for table, version in contents.items():
                with refusal_noted(ends):
                    stored = await store.get(Shape(table))
                    rows = [] if stored is None else [row async for row in store.rows(stored.handle)]
                    right = rows == damaged_files.rows_of_version(table, version)
                    ends.append("served" if right else "wrong")
            with refusal_noted(ends):
                await store.locks()
            with refusal_noted(ends):
                await store.count()
            with refusal_noted(ends):
                assert len([stored async for stored in store.shapes()]) <= len(contents)
            with refusal_noted(ends):
                await store.refresh(Shape("written afterwards"), lambda _: [{"number": 1}], timeout=5)
    return ends


@contextlib.contextmanager
def refusal_noted(ends: list[str]) -> Iterator[None]:
    try:
        yield
    except (CorruptStoreError, ShapeGoneError, StorageError, MigrationRequiredError):
        ends.append("refused")
