"""Over HTTP: a first sync, a change that wakes many live clients, and what an idle one costs, beside bare Starlette."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from http.client import HTTPConnection
from pathlib import Path

from benchmark.children import Child
from benchmark.files import plain
from benchmark.http_server import KEEPS_NOTHING
from benchmark.measuring import Sample, Sampler, in_turns, stopwatch
from benchmark.rows import SHAPESTORE, Row, Target
from benchmark.sizes import Sizes
from benchmark.snapshot import rows

BARE = "bare Starlette"
SHAPE = "/v1/shape?table=Track"
PIECE_BYTES = 256 * 1024


async def measure(sizes: Sizes, folder: Path) -> list[Row]:
    with closing(plain(str(folder / "source.db"))) as source:
        source.execute(
            "CREATE TABLE Track (id INTEGER PRIMARY KEY, name TEXT, price REAL, seconds INTEGER, album INTEGER)"
        )
        source.execute("BEGIN")
        source.executemany("INSERT INTO Track VALUES (:id, :name, :price, :seconds, :album)", rows(sizes.synced_rows))
        source.execute("COMMIT")
    async with _server(SHAPESTORE, folder) as shapes:
        with (folder / "body").open("wb") as body:
            await asyncio.to_thread(_sync, shapes.port, take=body.write)
        async with _server(BARE, folder) as bare:
            servers = {SHAPESTORE: shapes, BARE: bare}
            return [
                await in_turns(
                    f"first sync of {sizes.synced_rows:,} rows over HTTP, after another client's",
                    "MB a second",
                    {name: _syncs(server) for name, server in servers.items()},
                    repeats=sizes.long_repeats,
                    targets=[Target(peer=BARE, bound=0.7, at_least=True)],
                ),
                await in_turns(
                    f"first sync of {sizes.synced_rows:,} rows over HTTP, the first: rows are read and made messages",
                    "MB a second",
                    {SHAPESTORE: _syncs(shapes, KEEPS_NOTHING), BARE: _syncs(bare)},
                    repeats=sizes.long_repeats,
                ),
                await in_turns(
                    f"one change to {sizes.live_clients:,} live clients, until the last has it",
                    "ms",
                    {name: _wakes(server, sizes.live_clients) for name, server in servers.items()},
                    repeats=sizes.long_repeats,
                    targets=[Target(peer=BARE, bound=2)],
                ),
                await in_turns(
                    f"memory for each of {sizes.live_clients:,} idle live clients",
                    "KB",
                    {name: _memory(name, folder, sizes.live_clients) for name in servers},
                    repeats=sizes.long_repeats,
                    targets=[Target(peer=BARE, bound=1.3)],
                ),
            ]


class _Server:
    """A server process."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port

    def memory(self) -> int:
        """Its resident bytes."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.child.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024


@asynccontextmanager
async def _server(what: str, folder: Path) -> AsyncIterator[_Server]:
    async with Child("http_server", what, str(folder)) as child:
        yield _Server(child, int(await child.hear()))


# --- a first sync


def _syncs(server: _Server, path: str = "") -> Sampler:
    async def sample() -> Sample:
        with stopwatch() as watch:
            size, _ = await asyncio.to_thread(_sync, server.port, path)
        return Sample(size / watch.wall / 1e6)

    return sample


def _sync(port: int, path: str = "", take: Callable[[memoryview], object] = len) -> tuple[int, str]:
    """Read all answers up to the one that is up to date: how many bytes they have, and how to go on from there.

    Bare Starlette gives one answer. What is read is not kept: to find memory for it would take a client as long as all
    else, or twice as long, by chance.
    """
    position, size, piece = "offset=-1", 0, memoryview(bytearray(PIECE_BYTES))
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        while True:
            connection.request("GET", f"{path}{SHAPE}&{position}")
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            while count := answer.readinto(piece):
                take(piece[:count])
                size += count
            position = f"handle={answer.headers['electric-handle']}&offset={answer.headers['electric-offset']}"
            if answer.headers.get("electric-offset") is None or "electric-up-to-date" in answer.headers:
                return size, position


# --- live clients


def _wakes(server: _Server, count: int) -> Sampler:
    async def sample() -> Sample:
        async with _live_clients(server, count) as clients:
            begin = time.perf_counter()
            await server.child.ask("change")
            await asyncio.gather(*(client.readuntil(b"]") for client in clients))
            return Sample((time.perf_counter() - begin) * 1e3)

    return sample


def _memory(what: str, folder: Path, clients: int) -> Sampler:
    async def sample() -> Sample:
        async with _server(what, folder) as server:
            await asyncio.to_thread(_sync, server.port)
            async with _live_clients(server, 10):
                before = server.memory()
            async with _live_clients(server, clients):
                return Sample((server.memory() - before) / clients / 1024)

    return sample


@asynccontextmanager
async def _live_clients(server: _Server, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many long polls, each over a connection of its own, which is read for its answer."""
    _, position = await asyncio.to_thread(_sync, server.port)
    request = f"GET {SHAPE}&{position}&live=true&cursor=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    readers, writers = [], []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request)
            readers.append(reader)
            writers.append(writer)
        await asyncio.sleep(1)  # all of them wait by now
        yield readers
    finally:
        for writer in writers:
            writer.close()
