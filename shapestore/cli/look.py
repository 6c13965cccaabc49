"""The commands that look at what is stored, being created, and done: ls, show, rows, locks, history, explain."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from shapestore.admin.inspector import open_inspector
from shapestore.admin.records import CreationRecord, LockRecord, Record, ShapeRecord
from shapestore.cli.arguments import json_option, other_tables, path_argument, shape_by_handle, shape_options
from shapestore.cli.output import (
    Column,
    age,
    ago,
    duration,
    is_terminal,
    now,
    plain,
    print_facts,
    print_json,
    print_table,
    short,
)
from shapestore.cli.rows import form_options, print_rows
from shapestore.locking.create_lock import State
from shapestore.shape.shape import Shape

limit_option = click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, at most."
)
table_option = click.option("--table", metavar="TABLE", help="Only those of this table.")


@click.command()
@path_argument
@table_option
@json_option
def ls(path: str, table: str | None, as_json: bool) -> None:
    """List the stored shapes."""
    with open_inspector(path) as seen:
        shapes = seen.shapes(table)
        others = "" if table is None else other_tables(seen, table)
    if as_json:
        for shape in shapes:
            print_json(shape)
    else:
        print_table(_SHAPES, shapes, nothing=f"no shapes{others}")


@click.command()
@path_argument
@click.argument("handle")
@json_option
def show(path: str, handle: str, as_json: bool) -> None:
    """Show all about one stored shape."""
    with open_inspector(path) as seen:
        shape = shape_by_handle(seen, handle)
        creations = seen.creation_of(shape.handle)
    if as_json:
        print_json({"shape": shape, "creation": creations})
        return
    facts: list[tuple[str, Any]] = [
        ("handle", shape.handle),
        *_facts(shape),
        ("rows", shape.row_count),
        ("created", _moment(shape.created_at)),
        ("last read", _moment(shape.last_read_at)),
    ]
    if creations is not None:
        facts += [("took", _took(creations)), ("followers", creations.followers)]
    print_facts([*facts, ("comparable", shape.comparable)])


@click.command()
@path_argument
@click.argument("handle")
@form_options
def rows(path: str, handle: str, form: str | None) -> None:
    """Print the rows of a stored shape.

    As a table, as JSON lines or as CSV; one after the other, however many there are.
    """
    with open_inspector(path) as seen:
        print_rows(seen, shape_by_handle(seen, handle), form)


@click.command()
@path_argument
@json_option
def locks(path: str, as_json: bool) -> None:
    """List what is being created, or has just failed.

    An owner is alive if the operating system says so. Callers who wait cost the file nothing, and so are not to be
    seen in it; `history` tells how many were served when a creation is done.
    """
    with open_inspector(path) as seen:
        found = seen.locks()
    if as_json:
        for lock in found:
            print_json(lock)
    else:
        print_table(LOCKS, found, nothing="no locks")


@click.command()
@path_argument
@table_option
@limit_option
@json_option
def history(path: str, table: str | None, limit: int, as_json: bool) -> None:
    """List how the latest creations ended.

    The newest first. The last thousand are kept.
    """
    with open_inspector(path) as seen:
        creations = seen.creations(limit, table)
    if as_json:
        for creation in creations:
            print_json(creation)
    else:
        print_table(CREATIONS, creations, nothing="no creations yet" if table is None else f"no creations of {table}")


@click.command()
@path_argument
@shape_options()
@json_option
def explain(path: str, shape: Shape, as_json: bool) -> None:
    """Say why a shape is, or is not, one that is stored.

    Its identity is its canonical text. Where it is not stored, the nearest that is, and how the two differ.
    """
    with open_inspector(path) as seen:
        explanation = seen.explain(shape)
        lock = next((lock for lock in seen.locks() if lock.comparable == shape.comparable), None)
        others = other_tables(seen, shape.table)
    nearest = explanation.nearest
    stored = nearest is not None and not explanation.differences
    if as_json:
        print_json(
            {
                "comparable": explanation.comparable,
                "stored": stored,
                "nearest": None if nearest is None else nearest.handle,
                "differences": explanation.differences,
                "lock": lock,
            }
        )
        return
    facts: list[tuple[str, Any]] = [("comparable", explanation.comparable)]
    if stored and nearest is not None:
        facts.append(("stored", f"yes, as {nearest.handle}"))
    elif nearest is not None and nearest.shape.table == shape.table:
        facts += [("stored", "no"), ("nearest", nearest.handle)]
        facts += [
            (field, f"asked {_field(shape, field)}; stored {_field(nearest.shape, field)}")
            for field in (difference.field for difference in explanation.differences)
        ]
    else:
        facts.append(("stored", f"no, nor is any other shape{f' of that table{others}' if nearest else ''}"))
    if lock is not None:
        facts.append(
            ("lock", f"{_state(lock)}, since {_moment(_since(lock))}, by {lock.owner.process} ({_alive(lock)})")
        )
    print_facts(facts)


# --- in words


def described(record: Record) -> str:
    """A shape in a line: its table and predicate, with the parameters."""
    text = record.table
    if record.columns is not None:
        text += f" ({', '.join(record.columns)})"
    if record.where is not None:
        text += f" where {record.where}"
    if record.params:
        text += f" with {', '.join(f'{name}={_param(value)}' for name, value in record.params.items())}"
    return text


def _param(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else "null" if value is None else plain(value)


def _field(shape: Shape, field: str) -> str:
    """A field in which shapes differ."""
    name = field.removeprefix("params.")
    if name == field:
        return str(dict(_facts(shape))[field])
    return _param(shape.params[name]) if name in shape.params else "not given"


def _facts(record: Record | Shape) -> list[tuple[str, Any]]:
    return [
        ("table", record.table),
        ("where", "every row" if record.where is None else record.where),
        ("params", ", ".join(f"{name}={_param(value)}" for name, value in record.params.items())),
        ("columns", "all" if record.columns is None else ", ".join(record.columns)),
    ]


def _moment(moment: Any) -> str:
    return f"{plain(moment)}, {ago(moment)}" if is_terminal() else plain(moment)


def _took(creation: CreationRecord) -> str | None:
    return None if creation.duration_ms is None else f"{creation.duration_ms:,} ms"


def _state(lock: LockRecord) -> str:
    return "creating" if lock.state is State.IN_PROGRESS else f"failed: {lock.error}"


def _since(lock: LockRecord) -> datetime:
    return lock.failed_at or lock.started_at


def _owner(lock: LockRecord) -> str:
    return "gone" if lock.owner.pid is None else f"{lock.owner.pid} {lock.owner.program}"


def _alive(lock: LockRecord) -> str:
    return "alive" if lock.owner.alive else "dead"


def _callers(lock: LockRecord) -> str:
    """What callers do, or get, at this moment."""
    if not lock.owner.alive:
        return "claim over it"
    if lock.failed_at is None:
        return "wait"
    left = lock.failed_at.timestamp() + (lock.retry_after_ms or 0) / 1000 - now()
    return f"get this error, {duration(left)} more" if left > 0 else "claim over it"


_SHAPES = [
    Column[ShapeRecord]("handle", lambda shape: short(shape.handle), lambda shape: shape.handle),
    Column[ShapeRecord]("shape", described, fold=True),
    Column[ShapeRecord]("rows", lambda shape: f"{shape.row_count:,}", lambda shape: shape.row_count, right=True),
    Column[ShapeRecord]("created", lambda shape: ago(shape.created_at), lambda shape: shape.created_at),
    Column[ShapeRecord]("last read", lambda shape: ago(shape.last_read_at), lambda shape: shape.last_read_at, spare=1),
]

LOCKS = [
    Column[LockRecord]("handle", lambda lock: short(lock.handle), lambda lock: lock.handle),
    Column[LockRecord]("shape", described, fold=True),
    Column[LockRecord]("state", _state, lambda lock: lock.state.value, fold=True),
    Column[LockRecord]("since", lambda lock: age(_since(lock)), _since, spare=2),
    Column[LockRecord](
        "rows so far", lambda lock: f"{lock.rows_so_far:,}", lambda lock: lock.rows_so_far, right=True, spare=4
    ),
    Column[LockRecord]("owner", _owner, lambda lock: lock.owner.process, spare=3),
    Column[LockRecord]("is", _alive, spare=1),
    Column[LockRecord]("callers", _callers, fold=True),
]

CREATIONS = [
    Column[CreationRecord]("finished", lambda done: ago(done.finished_at), lambda done: done.finished_at),
    Column[CreationRecord]("outcome", lambda done: done.outcome),
    Column[CreationRecord]("shape", described, fold=True),
    Column[CreationRecord](
        "rows",
        lambda done: "" if done.row_count is None else f"{done.row_count:,}",
        lambda done: done.row_count,
        right=True,
        spare=2,
    ),
    Column[CreationRecord]("took", _took, lambda done: done.duration_ms, right=True, spare=1),
    Column[CreationRecord](
        "followers", lambda done: f"{done.followers:,}", lambda done: done.followers, right=True, spare=3
    ),
    Column[CreationRecord]("error", lambda done: done.error, fold=True),
    Column[CreationRecord]("handle", lambda done: short(done.handle), lambda done: done.handle, spare=4),
]
