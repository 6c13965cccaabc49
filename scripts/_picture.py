"""Draw the picture of `shapestore watch` in the README, from a real store with a herd.

.venv/bin/python scripts/_picture.py
"""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console

from shapestore import Shape, ShapeStore
from shapestore.cli.watch import take, view

PICTURE = Path(__file__).parent / "watch.svg"
WIDTH = 118


async def slow(shape: Shape) -> AsyncIterator[dict[str, int]]:
    if shape.table == "Customer":
        raise ConnectionError("the database is down")
    for row in range(5_000):
        yield {"n": row}
    if shape.table == "InvoiceLine":
        await asyncio.sleep(3600)


async def draw() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        async with ShapeStore("shapes.db", create=slow, failure_grace=60) as store:
            for album in range(1, 4):
                shape = Shape("Track", where="AlbumId = :album", params={"album": album})
                await asyncio.gather(*(store.get_or_create(shape) for _ in range(250 * album)))
            await asyncio.gather(*(store.get_or_create(Shape("Customer")) for _ in range(10)), return_exceptions=True)
            herd = [asyncio.create_task(store.get_or_create(Shape("InvoiceLine"))) for _ in range(1000)]
            await asyncio.sleep(1.5)
            console = Console(record=True, width=WIDTH, file=io.StringIO())
            console.print(view("shapes.db", take("shapes.db"), WIDTH))
            PICTURE.write_text(console.export_svg(title="shapestore watch shapes.db"))
            for caller in herd:
                caller.cancel()


if __name__ == "__main__":
    asyncio.run(draw())
