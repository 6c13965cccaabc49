"""Show live shapes at work: another program writes to a source, and its changes appear in the shapes as they come.

``scripts/demo --live`` runs it.
"""

import asyncio
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles

from shapestore import Change, Shape, ShapeStore, SQLSource, StoredShape

CITIES = ("Lima", "Oslo", "Riga", "Turin")
FLATS = 400
SHAPES = {
    "in Lima": Shape("flat", where="city = :city", params={"city": "Lima"}),
    "cheap": Shape("flat", where="rent < :most AND let_to IS NULL", params={"most": 500}),
    "let": Shape("flat", where="let_to IS NOT NULL", columns=["id", "let_to", "written_at"]),
}
SHOWN = 40
"""Changes that are printed; the others are counted."""
PATIENCE_SECONDS = 60.0


async def demo(folder: Path, writes: int) -> None:
    source = folder / "flats.db"
    make_source(source)
    say(f"The source: {FLATS} flats in {len(CITIES)} cities ({source}), to which another process writes {writes} times")
    create = SQLSource(f"sqlite:///{source}", follow=True)
    async with ShapeStore(folder / "flats-shapes.db", create=create) as store:
        stored = {name: await store.get_or_create(shape) for name, shape in SHAPES.items()}
        for name, shape in stored.items():
            say(f"{name:8} {shape.row_count:4} rows, live: {str(shape.live).lower()}")
        title("Changes as they come: when they were committed in the source, and how much later they were here")
        seen = Seen()
        watching = [asyncio.create_task(watch(store, name, shape, seen)) for name, shape in stored.items()]
        writer = await asyncio.create_subprocess_exec(sys.executable, __file__, str(source), str(writes))
        await writer.wait()
        await store.followed(timeout=PATIENCE_SECONDS)
        await everything_seen(store, stored, seen)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        report(source, seen)
        say(f"See for yourself: shapestore watch {folder / 'flats-shapes.db'}")


class Seen:
    """What the watchers of the shapes have seen."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, dict[str, object]]] = {name: {} for name in SHAPES}
        self.positions: dict[str, int] = {}
        self.lags_ms: list[float] = []
        self.operations: Counter[str] = Counter()


async def watch(store: ShapeStore, name: str, stored: StoredShape, seen: Seen) -> None:
    """Hold the rows of a shape as a client would: all of them once, and from then on what changes."""
    async for change in store.changes(stored, after=0):
        (key,) = change.key
        if change.row is None:
            del seen.rows[name][key]
        else:
            seen.rows[name][key] = change.row
        seen.positions[name] = change.position
        if change.position > stored.position:
            show(name, change, seen)


def show(name: str, change: Change, seen: Seen) -> None:
    seen.operations[change.operation] += 1
    lag = ""
    if change.row is not None:  # a row says when it was written
        lag_ms = (time.time() - change.row["written_at"]) * 1000
        seen.lags_ms.append(lag_ms)
        lag = f"+ {lag_ms:.1f} ms"
    if seen.operations.total() <= SHOWN:
        row = "" if change.row is None else ", ".join(f"{value}" for value in list(change.row.values())[1:-1])
        say(f"{name:8} {change.operation:7} {change.key[0]:4}  {row:24} {lag}")
    elif seen.operations.total() == SHOWN + 1:
        say("...")


async def everything_seen(store: ShapeStore, stored: Mapping[str, StoredShape], seen: Seen) -> None:
    """Wait until the watchers have come to the ends of the logs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for name, shape in stored.items():
            end = await store.get(shape.shape)
            while end is not None and seen.positions.get(name, 0) < end.position:
                await asyncio.sleep(0.005)


def report(source: Path, seen: Seen) -> None:
    title("What is in the shapes, and what the source says")
    with closing(sqlite3.connect(source)) as connection:
        for name, shape in SHAPES.items():
            statement = f"SELECT id FROM flat WHERE {shape.where_as_written}"
            expected = {id_ for (id_,) in connection.execute(statement, dict(shape.params))}
            assert expected == seen.rows[name].keys(), name
            say(f"{name:8} {len(expected):4} rows: the same")
    operations = ", ".join(f"{count} {operation}s" for operation, count in sorted(seen.operations.items()))
    say(f"{seen.operations.total()} changes: {operations}")
    if len(seen.lags_ms) > 1:
        late = quantiles(seen.lags_ms, n=100)[98]
        say(f"From commit to client, through another process: median {median(seen.lags_ms):.1f} ms, p99 {late:.1f} ms")


# --- the source, and the program that writes to it


def make_source(path: Path) -> None:
    for file in path.parent.glob("flats*"):
        if file.is_file():
            file.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE flat (id INTEGER PRIMARY KEY, city TEXT, rent INTEGER, let_to TEXT, written_at REAL)"
        )
        dice = random.Random(1)
        flats = [(dice.choice(CITIES), dice.randrange(300, 1_500), time.time()) for _ in range(FLATS)]
        connection.executemany("INSERT INTO flat (city, rent, written_at) VALUES (?, ?, ?)", flats)


def write(path: str, writes: int) -> None:
    """Write to the source as a program that knows nothing of the store."""
    dice = random.Random(2)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        for statement, parameters in statements(dice, writes):
            connection.execute(statement, {**parameters, "now": time.time()})
            time.sleep(dice.uniform(0, 0.02))


def statements(dice: random.Random, writes: int) -> Iterator[tuple[str, dict[str, object]]]:
    for number in range(writes):
        flat = {"id": dice.randrange(1, FLATS), "city": dice.choice(CITIES), "rent": dice.randrange(300, 1_500)}
        yield dice.choice(
            [
                ("UPDATE flat SET rent = :rent, written_at = :now WHERE id = :id", flat),
                (
                    "UPDATE flat SET let_to = :name, written_at = :now WHERE id = :id",
                    flat | {"name": f"tenant {number}"},
                ),
                ("UPDATE flat SET let_to = NULL, written_at = :now WHERE id = :id", flat),
                ("INSERT INTO flat (city, rent, written_at) VALUES (:city, :rent, :now)", flat),
                ("DELETE FROM flat WHERE id = :id", flat),
            ]
        )


# --- output


def title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() else f"\n{text}\n", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]))
