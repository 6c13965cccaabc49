"""The command get: a shape from any database, stored or created now, with its rows; and its progress on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import click
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from shapestore.admin.inspector import open_inspector
from shapestore.admin.wording import count
from shapestore.cli.arguments import path_argument
from shapestore.cli.counted_source import CountedSource, source_option, timeout_option
from shapestore.cli.keeping import kept_seconds
from shapestore.cli.printing.output import console, say, visible
from shapestore.cli.printing.rows import form_options, print_rows
from shapestore.cli.printing.words import ago, short
from shapestore.cli.shape_arguments import shape_options
from shapestore.errors import CreateFailedError, ShapeStoreError, StorageError
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.store import ShapeStore


@click.command()
@path_argument
@source_option
@shape_options()
@timeout_option
@form_options
def get(path: str, *, source: str, shape: Shape, namespace: str, timeout: float, form: str | None) -> None:
    """Print the rows of a shape, created first if it is not stored.

    It is created from the source, and then kept in the store: from then on it is printed as it is stored, until
    `shapestore refresh` reads the source again. A missing store file is made.
    """
    creator = CountedSource.beside(path, source)
    try:
        stored = asyncio.run(_get_or_create(path, shape, namespace, creator, timeout))
    except CreateFailedError as error:
        raise click.ClickException(
            f"the shape could not be created from the source: {error.message or error.error_type}"
        ) from error
    except StorageError as error:  # a disk that is full can be read
        found = _stored(path, shape, namespace)
        if found is None:
            raise
        say(f"{error}; the shape is printed as it is stored")
        stored = found
    rows = f"{short(stored.handle)}: {count(stored.row_count, 'row')}"
    if creator.began_at is None:
        say(f"{rows}, created {ago(stored.created_at)}; the source was not asked")
    elif sys.stderr.isatty():
        say(f"{rows}, created in {creator.seconds:.1f} s")
    with open_inspector(path) as inspector:
        # By its handle, which stays readable though another process has refreshed or dropped the shape by now.
        print_rows(inspector, stored.handle, form, columns=shape.columns, row_count=stored.row_count)


def _stored(path: str, shape: Shape, namespace: str) -> StoredShape | None:
    """The shape as it is stored, by a connection that only reads."""
    try:
        with open_inspector(path) as inspector:
            found = inspector.explain(shape, namespace)
    except ShapeStoreError:
        return None
    return None if found.differences else found.nearest


async def _get_or_create(
    path: str, shape: Shape, namespace: str, creator: CountedSource, timeout: float
) -> StoredShape:
    # A waiter's time-out says less than the creation's own, so that one comes first.
    async with ShapeStore(
        path,
        namespace=namespace,
        create=creator,
        create_timeout=timeout,
        wait_timeout=timeout + 5,
        keep_replaced=kept_seconds(path),
    ) as store:
        if not sys.stderr.isatty() or await store.get(shape) is not None:
            return await store.get_or_create(shape)
        async with _progress(store, shape.table, shape.comparable_in(namespace), creator):
            return await store.get_or_create(shape)


@contextlib.asynccontextmanager
async def _progress(store: ShapeStore, table: str, key: str, creator: CountedSource) -> AsyncIterator[None]:
    """Show a line on stderr: rows, their rate, and a bar without an end, since their number is unknown."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        _Rows(),
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
    )
    reading = visible(f"reading {table}")
    with progress:
        line = progress.add_task(reading, total=None)

        async def update() -> None:
            while True:
                if creator.began_at is None and any(lock.comparable == key for lock in await store.locks()):
                    progress.update(line, description="another process is creating it")
                else:
                    progress.update(line, completed=creator.rows, description=reading)
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
    """The rows so far, and their rate."""

    def render(self, task: Task) -> Text:
        rows = int(task.completed)
        rate = rows / task.elapsed if task.elapsed else 0.0
        return Text(f"{rows:,} rows, {rate:,.0f}/s" if rows else "")
