"""The layout of the tables: what writing rows costs, without a key and with one, beside the layout of revision 0001."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from benchmark.files import new_file, plain
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import Row, Target
from benchmark.sizes import Sizes
from benchmark.snapshot import rows
from shapestore.storage.log import queries
from shapestore.storage.log.chunks import CHUNK_ROWS, Chunk

FIRST_LAYOUT = "rows by handle and position, WITHOUT ROWID"
KEYLESS = "rows by number and position, without a key"
KEYED = "rows by number and position, with a key"

HANDLE = "019d5a3c5b7e7c51a4de8c1f9f27b6a0"
TABLE = """
    CREATE TABLE rows_of_0001 (
        handle TEXT NOT NULL, position INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (handle, position)
    ) WITHOUT ROWID, STRICT
"""
ADD_TO_FIRST = """
    INSERT INTO rows_of_0001 SELECT :handle, :first + rows.key, rows.value FROM json_each(:rows) AS rows
"""

Add = Callable[[sqlite3.Connection, Chunk], object]


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    count = sizes.snapshot_rows

    def write(chunks: list[Chunk], add: Add) -> Sampler:
        async def sample() -> Sample:
            with closing(plain(new_file(folder))) as database:
                database.execute(TABLE)
                with stopwatch() as watch:
                    for chunk in chunks:
                        add(database, chunk)
            return watch.a_second(count)

        return sample

    keyless, keyed = (list(_chunks(count, keyed=with_key)) for with_key in (False, True))
    return [
        await in_turns(
            f"the statements that write {count:,} rows",
            "rows a second",
            {
                FIRST_LAYOUT: write(keyless, _add_to_first),
                KEYLESS: write(keyless, _add),
                KEYED: write(keyed, _add),
            },
            repeats=sizes.long_repeats,
            targets=[
                Target(contender=KEYLESS, peer=FIRST_LAYOUT, bound=1 / 0.7, at_least=True),
                Target(contender=KEYED, peer=FIRST_LAYOUT, bound=1 / 1.05, at_least=True),
            ],
        )
    ]


def _chunks(count: int, *, keyed: bool) -> Iterator[Chunk]:
    chunk = Chunk(HANDLE, 1, keyed=keyed)
    encode = msgspec.json.Encoder().encode
    for row in rows(count):
        text = encode(row).decode()
        chunk.add(text, len(text), f"[{row['id']}]" if keyed else None)
        if len(chunk.rows) == CHUNK_ROWS:
            yield chunk
            chunk = chunk.next()
    yield chunk


def _add_to_first(database: sqlite3.Connection, chunk: Chunk) -> None:
    database.execute(ADD_TO_FIRST, {"handle": HANDLE, "first": chunk.first, "rows": chunk.as_json()})


def _add(database: sqlite3.Connection, chunk: Chunk) -> None:
    keyed = chunk.keys is not None
    database.execute(queries.ADD_ROWS, {"number": 1, "first": chunk.first, "keyed": keyed, "rows": chunk.as_json()})
