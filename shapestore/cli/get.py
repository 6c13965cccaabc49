"""The command get: a shape from any database, created or found, with its rows; and how its progress is shown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from shapestore.admin.inspector import open_inspector
from shapestore.cli.arguments import Seconds, path_argument, shape_by_handle, shape_options
from shapestore.cli.output import ago, count, say, short
from shapestore.cli.rows import form_options, print_rows
from shapestore.errors import CreateFailedError, InvalidSourceError, ShapeStoreError
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.store import ShapeStore


@click.command()
@path_argument
@click.option("--source", required=True, metavar="URL", help="The database, as in: sqlite:///chinook.db.")
@shape_options()
@click.option(
    "--timeout",
    type=Seconds(min=0, max=10 * 365 * 86_400, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long creating it may take.",
)
@form_options
def get(path: str, source: str, shape: Shape, timeout: float, form: str | None) -> None:
    """Print the rows of a shape, created if need be.

    It is created from the source, unless it is in the store, and then kept there. The store's file is made if there
    is none.
    """
    creator = CountedSource(source)
    if creator.is_the_file(path):
        raise click.BadParameter(f"{path!r} is the store itself, and no source of its shapes", param_hint="--source")
    try:
        stored = asyncio.run(_get_or_create(path, shape, creator, timeout))
    except CreateFailedError as error:
        raise click.ClickException(
            f"it could not be created from the source: {error.message or error.error_type}"
        ) from error
    rows = f"{short(stored.handle)}: {count(stored.row_count, 'row')}"
    if creator.began_at is None:
        say(f"{rows}, created {ago(stored.created_at)}; the source was not asked")
    elif sys.stderr.isatty():
        say(f"{rows}, created in {creator.seconds:.1f} s")
    with open_inspector(path) as seen:
        print_rows(seen, shape_by_handle(seen, stored.handle), form)


class CountedSource:
    """A SQLSource that counts its rows as they pass."""

    def __init__(self, url: str) -> None:
        from sqlalchemy import make_url  # noqa: PLC0415 - SQLAlchemy takes 140 ms to load

        from shapestore.source.sql_source import SQLSource  # noqa: PLC0415

        try:
            self._source = SQLSource(url)
        except InvalidSourceError as error:
            raise click.BadParameter(str(error), param_hint="--source") from error
        self._url = make_url(url)
        self.rows = 0
        self.began_at: float | None = None
        self.seconds = 0.0

    def is_the_file(self, path: str) -> bool:
        """Whether it reads this very file."""
        database = self._url.database if self._url.get_backend_name() == "sqlite" else None
        return database is not None and os.path.realpath(database) == os.path.realpath(path)

    def __call__(self, shape: Shape) -> Iterator[dict[str, Any]]:
        self.began_at = time.monotonic()
        for row in self._source(shape):
            self.rows += 1
            yield row
        self.seconds = time.monotonic() - self.began_at


async def _get_or_create(path: str, shape: Shape, creator: CountedSource, timeout: float) -> StoredShape:
    # The creation's own deadline tells more than that of a caller who waits for it.
    async with ShapeStore(path, create=creator, create_timeout=timeout, wait_timeout=timeout + 5) as store:
        if not sys.stderr.isatty() or await store.get(shape) is not None:
            return await store.get_or_create(shape)
        async with _progress(store, shape, creator):
            return await store.get_or_create(shape)


@contextlib.asynccontextmanager
async def _progress(store: ShapeStore, shape: Shape, creator: CountedSource) -> AsyncIterator[None]:
    """While it goes on, a line on stderr: rows, their rate, and a bar that moves, for nobody knows their number."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        _Rows(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        line = progress.add_task(f"reading {shape.table}", total=None)

        async def update() -> None:
            while True:
                if creator.began_at is None and any(
                    lock.comparable == shape.comparable for lock in await store.locks()
                ):
                    progress.update(line, description="another process is creating it")
                else:
                    progress.update(line, completed=creator.rows, description=f"reading {shape.table}")
                await asyncio.sleep(0.1)

        updating = asyncio.create_task(update())
        try:
            yield
        finally:
            updating.cancel()
            with contextlib.suppress(asyncio.CancelledError, ShapeStoreError):
                await updating
            progress.update(line, completed=creator.rows)


class _Rows(ProgressColumn):
    """Rows so far, and how many come in a second."""

    def render(self, task: Task) -> Text:
        rows = int(task.completed)
        rate = rows / task.elapsed if task.elapsed else 0.0
        return Text(f"{rows:,} rows, {rate:,.0f}/s" if rows else "")
