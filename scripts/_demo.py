"""Show shapestore at work on a music shop: callers, creations, their times, and the tables.

``scripts/demo`` runs it. Its files stay in ``.demo/``; the shop is made once and used again.
"""

import argparse
import asyncio
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import _demo_live
from _music_shop import COUNTRIES, GENRES, music_shop

from shapestore import CreateFailedError, Shape, ShapeStore, SQLSource
from shapestore.events import Created, Event, Followed, Led

# One creation is meant to fail; its callers are shown what they get.
logging.getLogger("shapestore").addHandler(logging.NullHandler())

CALLERS = 1_000
PROCESSES = 2

HERD = {
    "Jazz artists by revenue": Shape("artist_sales", where="genre = :genre", params={"genre": "Jazz"}),
    "sales to Peru since 2025": Shape(
        "sale", where="country = :c AND day > :d", params={"c": "Peru", "d": "2025-01-01"}
    ),
    "songs of love": Shape("track", where="title LIKE '%Love%'", columns=["track_id", "title"]),
    "lines of five copies": Shape("invoice_line", where="copies >= :copies", params={"copies": 5}),
    "customers in the north": Shape("customer", where="country IN ('Norway', 'Latvia')"),
}
HERD_OF_PROCESSES = [Shape("artist_sales", where="genre = :genre", params={"genre": genre}) for genre in GENRES[2:6]]
MISTAKE = Shape("track", where="titel = 'Paper Love'")
LARGE = Shape("sale", where="day > '2024-01-01'")


async def demo(source: Path, path: Path) -> None:
    created: list[Created] = []
    led = asyncio.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, Created):
            created.append(event)
        elif isinstance(event, Led) and event.comparable == LARGE.comparable:
            led.set()

    # A failure TTL longer than the usual second, so that the tables below still show the failure.
    create = SQLSource(f"sqlite:///{source}")
    async with ShapeStore(path, create=create, failure_grace=5.0, on_event=on_event) as store:
        await a_herd(store, created)
        await a_herd_of_processes(source, path)
        await a_mistake(store)

        title("The tables, as the sqlite3 shell shows them while a large shape is being created")
        creating = asyncio.create_task(store.get_or_create(LARGE))
        await led.wait()
        what = "substr(what, 1, 54) AS what"
        await asyncio.to_thread(shell, path, f'SELECT "table", "where", {what}, who FROM create_locks_in_words')
        stored = await creating
        say(f"It was published with {stored.row_count:,} rows after {created[-1].duration_ms:,} ms. The outcomes:\n")
        columns = 'outcome, "table", "where", params, "rows", took, followers_served AS followers'
        await asyncio.to_thread(shell, path, f"SELECT {columns} FROM creations_in_words")


async def a_herd(store: ShapeStore, created: list[Created]) -> None:
    title(f"A herd: {CALLERS:,} callers ask at once for {len(HERD)} shapes that are missing")
    shapes = list(HERD.values())
    begun = time.perf_counter()

    async def call(shape: Shape) -> tuple[str, float]:
        stored = await store.get_or_create(shape)
        return stored.handle, (time.perf_counter() - begun) * 1000

    answers = await asyncio.gather(*(call(shapes[n % len(shapes)]) for n in range(CALLERS)))
    rows = []
    for n, (name, shape) in enumerate(HERD.items()):
        answered = answers[n :: len(shapes)]
        creations = [event for event in created if event.comparable == shape.comparable]
        creation = creations[0]
        assert {handle for handle, _ in answered} == {creation.handle}
        slowest_ms = max(ms for _, ms in answered)
        rows.append(
            (
                name,
                f"{len(answered):,}",
                f"{len(creations)}",
                f"{creation.row_count:,}",
                f"{creation.duration_ms:,} ms",
                f"+ {slowest_ms - creation.duration_ms:,.0f} ms",
            )
        )
    table(("shape", "callers", "creations", "rows", "creation took", "slowest caller"), rows)
    stats = store.stats
    say(
        f"{stats.leaders} callers led and {stats.followers} followed. "
        f"The writer took {stats.commands} commands, and committed them in {stats.batches} transactions."
    )
    begun = time.perf_counter()
    for n in range(CALLERS):
        await store.get_or_create(shapes[n % len(shapes)])
    each_us = (time.perf_counter() - begun) / CALLERS * 1e6
    say(f"The same {CALLERS:,} again, now that the shapes are stored: {each_us:.0f} µs each, without a creation.")


async def a_herd_of_processes(source: Path, path: Path) -> None:
    shapes = len(HERD_OF_PROCESSES)
    title(f"A herd in {PROCESSES} processes: {CALLERS:,} callers in each, for {shapes} more shapes")
    command = [sys.executable, __file__, "--caller", str(source), str(path)]
    processes = [
        await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        await process.stdout.readline()  # the process has opened the store, and waits for the others
    outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    answers = [json.loads(output) for output, _ in outputs]
    figures = ("callers", "created", "waited_here", "waited_for_the_other", "hits", "polls")
    table(
        (
            "process",
            "callers",
            "created",
            "waited for its own",
            "waited for the other",
            "found it stored",
            "polls",
        ),
        [[str(answer["pid"]), *(f"{answer[figure]:,}" for figure in figures)] for answer in answers],
    )
    creations = sum(answer["created"] for answer in answers)
    handles = {handle for answer in answers for handle in answer["handles"]}
    say(f"{creations} creations in all, and {len(handles)} handles: both processes serve the same shapes.")


async def one_of_the_processes(source: str, path: str) -> None:
    led: set[str] = set()
    followed: Counter[str] = Counter()

    def on_event(event: Event) -> None:
        if isinstance(event, Led):
            led.add(event.comparable)
        elif isinstance(event, Followed):
            followed[event.comparable] += 1

    async with ShapeStore(path, create=SQLSource(f"sqlite:///{source}"), on_event=on_event) as store:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        shapes = HERD_OF_PROCESSES
        answers = await asyncio.gather(*(store.get_or_create(shapes[n % len(shapes)]) for n in range(CALLERS)))
        stats = store.stats
        waited_here = sum(followed[key] for key in led)
        counts = {
            "callers": CALLERS,
            "created": stats.created,
            "waited_here": waited_here,
            "waited_for_the_other": CALLERS - stats.created - waited_here - stats.hits,
            "hits": stats.hits,
            "polls": stats.polls,
        }
        print(json.dumps({"pid": os.getpid(), "handles": sorted({stored.handle for stored in answers}), **counts}))


async def a_mistake(store: ShapeStore) -> None:
    title("A mistake: 100 callers ask for a shape that cannot be created")
    attempts = store.stats.failed
    answers = await asyncio.gather(*(store.get_or_create(MISTAKE) for _ in range(100)), return_exceptions=True)
    messages = {str(answer) for answer in answers if isinstance(answer, CreateFailedError)}
    say(f"{store.stats.failed - attempts} attempt was made, and all {len(answers)} callers got its error:")
    for message in messages:
        say(message)


# --- output


def title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() else f"\n{text}\n", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: the first column to the left, figures to the right."""
    lines = [names, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        figures = (text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))
        say("   ".join((first.ljust(widths[0]), *figures)))
    print()


def shell(path: Path, query: str) -> None:
    """Print what ``sqlite3`` prints; a plain table, if there is no such program or it is too old for the views."""
    say(f"$ sqlite3 -readonly -box {path} '{query}'")
    command = ["sqlite3", "-readonly", "-box", str(path), query]
    try:
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, flush=True)
    except (OSError, subprocess.CalledProcessError):
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            result = database.execute(query)
            rows = [["" if value is None else str(value) for value in row] for row in result]
        table([column[0] for column in result.description], rows)


# --- running


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=300_000, help="lines of the shop's invoices (default: 300,000)")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where it is made (default: .demo)")
    parser.add_argument("--live", action="store_true", help="show live shapes instead: changes as they come")
    parser.add_argument("--writes", type=int, default=400, help="with --live: writes to the source (default: 400)")
    parser.add_argument("--caller", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.caller:
        asyncio.run(one_of_the_processes(*options.caller))
    else:
        options.folder.mkdir(exist_ok=True)
        run(options.folder, options.lines, options.writes if options.live else None)


def run(folder: Path, lines: int, writes: int | None) -> None:
    (folder / ".gitignore").write_text("*\n")
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"Another demo is running in {folder}: give this one another --folder.")
        if writes is not None:
            asyncio.run(_demo_live.demo(folder, writes))
            return
        begun = time.perf_counter()
        source = music_shop(folder, lines)
        seconds = time.perf_counter() - begun
        say(f"The source: a music shop with {lines:,} sales in {len(COUNTRIES)} countries ({source}, {seconds:.1f} s)")
        store = folder / "store"
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir()
        asyncio.run(demo(source, store / "shapes.db"))
        say(f"See for yourself: sqlite3 -readonly -box {store / 'shapes.db'}, then .tables")


if __name__ == "__main__":
    main()
