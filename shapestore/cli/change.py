"""The commands that change a store: unlock, rm, invalidate through an open store; migrate and vacuum without one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from shapestore.admin.inspector import existing, open_inspector, opened
from shapestore.admin.vacuum import delete_left_behind
from shapestore.admin.vacuum import vacuum as vacuum_file
from shapestore.admin.wording import count
from shapestore.cli.arguments import json_option, other_tables, path_argument, shape_by_handle
from shapestore.cli.output import print_json, say
from shapestore.cli.shape_arguments import shape_options
from shapestore.cli.words import short, size
from shapestore.locking.gate import Gate
from shapestore.shape.shape import Shape
from shapestore.storage import migrations
from shapestore.storage.path import make_if_missing, resolve
from shapestore.store import ShapeStore

T = TypeVar("T")


def _with_store(path: str, work: Callable[[ShapeStore], Awaitable[T]]) -> T:
    """Do ``work`` with the store open. The file must be a store, and is not migrated."""

    async def run() -> T:
        async with ShapeStore(path, migrate=False) as store:
            return await work(store)

    return asyncio.run(run())


@click.command()
@path_argument
@click.option("--handle", metavar="HANDLE", help="The handle of the lock, as `locks` shows it, instead of its shape.")
@shape_options(required=False)
def unlock(path: str, handle: str | None, shape: Shape | None) -> None:
    """Free a lock whose creator hangs.

    Safe at any time: that creator can no longer publish the shape, and the next caller creates it again.
    """
    if (handle is None) == (shape is None):
        raise click.UsageError("name the lock by the options of its shape, or by --handle")
    if handle == "":
        raise click.UsageError("the handle is empty")
    with open_inspector(path) as inspector:
        held = [
            lock
            for lock in inspector.locks()
            if (_is_part_of(handle or "", lock.handle) if shape is None else lock.comparable == shape.comparable)
        ]
    if not held:
        raise click.ClickException("there is no such lock; `shapestore locks` lists all locks")
    if len(held) > 1:
        raise click.ClickException(f"several locks have handles that begin or end with {handle!r}: give more of it")
    held_shape = Shape.from_comparable(held[0].comparable)
    # Opening the store clears away the locks of exited owners, so the lock may be gone by now: the same result.
    released = _with_store(path, lambda store: store.release_lock(held_shape))
    say(f"freed {short(held[0].handle)}" + ("" if released else ", whose owner had exited or whose creation had ended"))


def _is_part_of(part: str, handle: str) -> bool:
    return handle.startswith(part) or handle.endswith(part)


@click.command()
@path_argument
@click.argument("handles", metavar="HANDLE...", nargs=-1, required=True)
def rm(path: str, handles: tuple[str, ...]) -> None:
    """Drop stored shapes.

    The next caller who asks for such a shape creates it again.
    """
    with open_inspector(path) as inspector:
        shapes = [shape_by_handle(inspector, handle) for handle in handles]

    async def delete(store: ShapeStore) -> list[bool]:
        return [await store.delete(shape.handle) for shape in shapes]

    dropped = _with_store(path, delete)
    delete_left_behind(path)
    for shape, was_there in zip(shapes, dropped, strict=True):
        say(f"dropped {shape.handle}" if was_there else f"{shape.handle} was gone already")


@click.command()
@path_argument
@click.argument("table")
@json_option
def invalidate(path: str, table: str, as_json: bool) -> None:
    """Drop all shapes of a table that has changed.

    Its creations in progress begin again.
    """
    with open_inspector(path) as inspector:
        hint = other_tables(inspector, table)
    dropped = _with_store(path, lambda store: store.invalidate(table))
    delete_left_behind(path)
    if as_json:
        print_json({"table": table, "dropped": dropped})
    else:
        say(f"dropped {count(dropped, 'shape')} of the table {table!r}{'' if dropped else hint}")


@click.command()
@path_argument
@click.option("--create", is_flag=True, help="Make a missing file.")
def migrate(path: str, create: bool) -> None:
    """Bring a store to this version's schema.

    A missing file is made only with --create, so a mistyped path leaves nothing behind.
    """
    if create and not os.path.exists(real := resolve(path)):
        make_if_missing(real)
    real = existing(path)
    with opened(real) as connection:
        before = migrations.current_revision(connection)  # refuses a foreign file before a gate is made beside it
    gate = Gate(real)
    try:
        with gate.hold_blocking():
            migrations.upgrade(real)
    finally:
        gate.close()
    if before == migrations.HEAD:
        say(f"{path} is at {migrations.HEAD} already")
    else:
        say(f"{path} was brought {f'from {before} ' if before else ''}to {migrations.HEAD}")


@click.command()
@path_argument
@click.option("--force", is_flag=True, help="Even while the file is open elsewhere: writes there wait or are refused.")
@json_option
def vacuum(path: str, force: bool, as_json: bool) -> None:
    """Return free space to the file system.

    Rows pending deletion are deleted first. The whole file is written again, which takes its size once more on the
    disk. Reads go on meanwhile, but writes wait, so it is refused while other stores have the file open.
    """
    done = vacuum_file(path, beside_others=force)
    if as_json:
        print_json(done)
    else:
        say(f"{path}: {size(done.bytes_before)} before, {size(done.bytes_after)} now")
