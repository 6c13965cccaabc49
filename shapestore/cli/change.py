"""The commands that change a store: unlock, rm, invalidate, by way of a store of their own; migrate and vacuum."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from shapestore.admin.inspector import existing, open_inspector, opened
from shapestore.admin.vacuum import delete_left_behind
from shapestore.admin.vacuum import vacuum as vacuum_file
from shapestore.cli.arguments import json_option, other_tables, path_argument, shape_by_handle, shape_options
from shapestore.cli.output import count, print_json, say, short, size
from shapestore.locking.gate import Gate
from shapestore.shape.shape import Shape
from shapestore.storage import migrations
from shapestore.storage.path import make_if_missing, resolve
from shapestore.store import ShapeStore

T = TypeVar("T")


def _with_store(path: str, work: Callable[[ShapeStore], Awaitable[T]]) -> T:
    """Open the file, which is a store's and stays at its schema, as a store of our own."""

    async def run() -> T:
        async with ShapeStore(path, migrate=False) as store:
            return await work(store)

    return asyncio.run(run())


@click.command()
@path_argument
@click.option("--handle", metavar="HANDLE", help="The handle of the lock, in place of its shape, as `locks` shows it.")
@shape_options(required=False)
def unlock(path: str, handle: str | None, shape: Shape | None) -> None:
    """Free a lock whose creator hangs.

    Safe at any time: whoever was creating the shape cannot publish it any more, and the next caller creates it anew.
    """
    if (handle is None) == (shape is None):
        raise click.UsageError("name the lock by the options of its shape, or by --handle")
    if handle == "":
        raise click.UsageError("the handle is empty")
    with open_inspector(path) as seen:
        held = [
            lock
            for lock in seen.locks()
            if (_is_part_of(handle or "", lock.handle) if shape is None else lock.comparable == shape.comparable)
        ]
    if not held:
        raise click.ClickException("there is no such lock; `shapestore locks` lists those there are")
    if len(held) > 1:
        raise click.ClickException(f"several locks have handles that begin or end with {handle!r}: give more of it")
    held_shape = Shape.from_comparable(held[0].comparable)
    # Opening clears away the locks of the dead: where it is gone by then, that is what was asked for too.
    released = _with_store(path, lambda store: store.release_lock(held_shape))
    say(f"freed {short(held[0].handle)}" + ("" if released else ", whose owner was dead, or ended meanwhile"))


def _is_part_of(part: str, handle: str) -> bool:
    return handle.startswith(part) or handle.endswith(part)


@click.command()
@path_argument
@click.argument("handles", metavar="HANDLE...", nargs=-1, required=True)
def rm(path: str, handles: tuple[str, ...]) -> None:
    """Drop stored shapes.

    Whoever asks for one again has it created anew.
    """
    with open_inspector(path) as seen:
        shapes = [shape_by_handle(seen, handle) for handle in handles]

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

    What is being created of it begins again.
    """
    with open_inspector(path) as seen:
        others = other_tables(seen, table)
    dropped = _with_store(path, lambda store: store.invalidate(table))
    delete_left_behind(path)
    if as_json:
        print_json({"table": table, "dropped": dropped})
    else:
        say(f"dropped {count(dropped, 'shape')} of the table {table!r}{'' if dropped else others}")


@click.command()
@path_argument
@click.option("--create", is_flag=True, help="Make the file, if there is none.")
def migrate(path: str, create: bool) -> None:
    """Bring a store to this version's schema.

    A missing file is made only with --create, so that a mistyped path leaves nothing behind.
    """
    if create and not os.path.exists(real := resolve(path)):
        make_if_missing(real)
    real = existing(path)
    with opened(real) as connection:
        before = migrations.current_revision(connection)  # what is no store is refused before a gate is made beside it
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
@click.option("--force", is_flag=True, help="Even while the file is open elsewhere: writes there wait, or are refused.")
@json_option
def vacuum(path: str, force: bool, as_json: bool) -> None:
    """Give free space back to the file system.

    What is left behind is deleted first. The whole file is written anew, which takes as much space again. Reading goes
    on meanwhile, but writing waits, so it is refused while other stores have the file open.
    """
    done = vacuum_file(path, beside_others=force)
    if as_json:
        print_json(done)
    else:
        say(f"{path}: {size(done.bytes_before)} before, {size(done.bytes_after)} now")
