"""The command refresh: stored shapes are read from their source again, and only what differs is written."""

from __future__ import annotations

import asyncio

import click

from shapestore.admin.inspector import Filter
from shapestore.admin.records import ShapeRecord
from shapestore.admin.wording import count
from shapestore.cli.arguments import handles_argument, json_option, path_argument
from shapestore.cli.counted_source import CountedSource, source_option, timeout_option
from shapestore.cli.keeping import kept_seconds
from shapestore.cli.printing.output import print_json, say
from shapestore.cli.printing.words import short
from shapestore.cli.shape_arguments import chosen, filter_options
from shapestore.errors import CreateFailedError, WaitTimeoutError
from shapestore.shape.stored_shape import StoredShape
from shapestore.storage.log.positions import unpack
from shapestore.store import ShapeStore


@click.command()
@path_argument
@handles_argument
@source_option
@filter_options
@timeout_option
@json_option
def refresh(  # noqa: PLR0917 - one for each argument and option
    path: str, handles: tuple[str, ...], source: str, wanted: Filter, timeout: float, as_json: bool
) -> None:
    """Read stored shapes from their source again.

    Name them by handle, or by table and predicate. Readers are not interrupted. If the table has a primary key, only
    rows that differ are written, and the handle stays. Otherwise a shape whose rows differ gets a new handle.
    """
    shapes, hint = chosen(path, handles, wanted)
    creator = CountedSource.beside(path, source)
    if not shapes:
        say(f"no shape of the table {wanted.table!r} is stored{hint}")
    failed = asyncio.run(_refresh_all(path, shapes, creator, timeout, as_json))
    if failed:
        raise click.ClickException(f"{count(failed, 'shape')} could not be refreshed from the source")


async def _refresh_all(
    path: str, shapes: list[ShapeRecord], creator: CountedSource, timeout: float, as_json: bool
) -> int:
    """Refresh one shape after the other, by a store of its namespace. Return how many failed."""
    failed = 0
    for namespace in dict.fromkeys(shape.namespace for shape in shapes):
        async with ShapeStore(
            path,
            migrate=False,
            namespace=namespace,
            create=creator,
            create_timeout=timeout,
            wait_timeout=timeout + 5,
            keep_replaced=kept_seconds(path),
        ) as store:
            for shape in shapes:
                if shape.namespace == namespace:
                    failed += not await _refresh(store, shape.handle, as_json)
    return failed


async def _refresh(store: ShapeStore, handle: str, as_json: bool) -> bool:
    """Whether the shape was refreshed, or need not be."""
    before = await store.get_by_handle(handle)
    if before is None:
        say(f"{short(handle)} is gone already")
        return True
    try:
        _report(before, await store.refresh(before.shape), as_json)
    except CreateFailedError as error:
        say(f"{short(handle)}: {error.message or error.error_type}")
        return False
    except WaitTimeoutError as error:  # another process reads it, and takes its time
        say(f"{short(handle)}: {error}")
        return False
    return True


def _report(before: StoredShape, after: StoredShape, as_json: bool) -> None:
    changes = None
    if after.handle == before.handle:
        (_, then), (_, now) = unpack(before.position), unpack(after.position)
        changes = now - then
    if as_json:
        print_json({"handle": before.handle, "now": after.handle, "rows": after.row_count, "changes": changes})
    elif changes is None:
        say(f"{short(before.handle)}: replaced by {short(after.handle)}, {count(after.row_count, 'row')}")
    else:
        what = count(changes, "change") if changes else "unchanged"
        say(f"{short(after.handle)}: {what}, {count(after.row_count, 'row')}")
