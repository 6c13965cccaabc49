"""A process that makes a big snapshot, reads it, and says how much memory it took at the most: see test_growth.py."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Iterator
from typing import Any

from shapestore import Shape, ShapeStore


def peak() -> int:
    """The most memory that this process has ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def main(path: str, rows: int) -> None:
    def create(shape: Shape) -> Iterator[dict[str, Any]]:
        for number in range(0 if shape.table == "small" else rows):
            yield {"number": number, "text": f"{number:0170}"}

    found = {"rows": 0, "wal": 0}
    async with ShapeStore(path, create=create, create_timeout=600) as store:
        # Whatever is loaded at the first use is loaded by now.
        await store.get_or_create(Shape("small"))
        found["idle"] = peak()
        creating = asyncio.create_task(store.get_or_create(Shape("big"), timeout=600))
        while not creating.done():
            found["wal"] = max(found["wal"], store.stats.wal_bytes)
            await asyncio.sleep(0.01)
        stored = await creating
        found["created"] = peak()
        async for row in store.rows(stored.handle):
            assert row["number"] == found["rows"]
            found["rows"] += 1
        found["read"] = peak()
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
