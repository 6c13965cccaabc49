"""The commands that change what a store holds, each through an open store: unlock, rm, invalidate."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from shapestore.admin.inspector import Filter, open_inspector
from shapestore.admin.vacuum import delete_left_behind
from shapestore.admin.wording import count
from shapestore.cli.arguments import (
    complete_locks,
    complete_tables,
    handles_argument,
    json_option,
    namespace_option,
    other_tables,
    path_argument,
)
from shapestore.cli.keeping import kept_seconds
from shapestore.cli.printing.output import print_json, say, visible
from shapestore.cli.printing.words import short
from shapestore.cli.shape_arguments import chosen, filter_options, shape_options
from shapestore.shape.shape import Shape
from shapestore.store import ShapeStore

T = TypeVar("T")

_AT_ONCE = 100  # much less than the writer's queue takes


def _with_store(path: str, work: Callable[[ShapeStore], Awaitable[T]], namespace: str = "") -> T:
    """Do ``work`` with the store open. The file must be a store, and is not migrated."""

    async def run() -> T:
        async with ShapeStore(path, migrate=False, namespace=namespace, keep_replaced=kept_seconds(path)) as store:
            return await work(store)

    return asyncio.run(run())


@click.command()
@path_argument
@click.option(
    "--handle",
    metavar="HANDLE",
    help="The handle of the lock, as `locks` shows it, instead of its shape.",
    shell_complete=complete_locks,
)
@shape_options(required=False)
def unlock(path: str, handle: str | None, shape: Shape | None, namespace: str) -> None:
    """Free a lock whose creator hangs.

    Safe at any time: that creator can no longer publish the shape, and the next caller creates it again.
    """
    if (handle is None) == (shape is None):
        raise click.UsageError("name the lock by the options of its shape, or by --handle")
    if handle == "":
        raise click.UsageError("the handle is empty")
    with open_inspector(path) as inspector:
        locks = inspector.locks()
    if handle is not None:
        held = [lock for lock in locks if lock.handle.startswith(handle) or lock.handle.endswith(handle)]
    else:
        assert shape is not None
        key = shape.comparable_in(namespace)
        held = [lock for lock in locks if lock.comparable == key]
    if not held:
        raise click.ClickException("there is no such lock; `shapestore locks` lists all locks")
    if len(held) > 1:
        raise click.ClickException(f"several locks have handles that begin or end with {handle!r}: give more of it")
    held_shape = Shape.from_comparable(held[0].comparable)
    # Opening the store clears away the locks of exited owners, so the lock may be gone by now: the same result.
    released = _with_store(path, lambda store: store.release_lock(held_shape), held[0].namespace)
    say(f"freed {short(held[0].handle)}" + ("" if released else ", whose owner had exited or whose creation had ended"))


@click.command()
@path_argument
@handles_argument
@filter_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def rm(path: str, handles: tuple[str, ...], wanted: Filter, yes: bool, as_json: bool) -> None:
    """Drop stored shapes, by handle or by table and predicate.

    With --table, all shapes of the table; with --where, only those with this predicate, however it is spelled; with
    --param, only those with this value. On a terminal it asks first. `ls` with the same options shows them.

    The next caller who asks for such a shape creates it again.
    """
    shapes, hint = chosen(path, handles, wanted)
    if not handles and shapes and not yes and _is_dialogue():
        question = f"Drop {count(len(shapes), 'shape')} of {wanted.table}?"
        click.confirm(visible(question), abort=True, err=True)
    dropped = _with_store(path, lambda store: _delete(store, [shape.handle for shape in shapes])) if shapes else []
    delete_left_behind(path)
    if as_json:
        print_json({"dropped": dropped})
    elif handles:
        for shape in shapes:
            say(f"dropped {shape.handle}" if shape.handle in dropped else f"{shape.handle} is gone already")
    else:
        say(f"dropped {count(len(dropped), 'shape')} of the table {wanted.table!r}{hint}")


def _is_dialogue() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


async def _delete(store: ShapeStore, handles: list[str]) -> list[str]:
    """Drop shapes, several in a transaction; the handles of those that were still there."""
    there: list[bool] = []
    for first in range(0, len(handles), _AT_ONCE):
        there += await asyncio.gather(*map(store.delete, handles[first : first + _AT_ONCE]))
    return [handle for handle, was_there in zip(handles, there, strict=True) if was_there]


@click.command()
@path_argument
@click.argument("table", shell_complete=complete_tables)
@namespace_option
@json_option
def invalidate(path: str, table: str, namespace: str | None, as_json: bool) -> None:
    """Drop all shapes of a table that has changed.

    Its creations in progress begin again.
    """
    with open_inspector(path) as inspector:
        hint = other_tables(inspector, table, namespace or "")
    dropped = _with_store(path, lambda store: store.invalidate(table), namespace or "")
    delete_left_behind(path)
    if as_json:
        print_json({"table": table, "dropped": dropped})
    else:
        say(f"dropped {count(dropped, 'shape')} of the table {table!r}{'' if dropped else hint}")
