"""The commands that only read: ls, show, rows, locks, history, explain."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from shapestore.admin.inspector import Filter, open_inspector
from shapestore.admin.records import Record
from shapestore.admin.statements import SORTS
from shapestore.cli.arguments import (
    handle_argument,
    json_option,
    limit_option,
    moment,
    namespace_filter_option,
    other_tables,
    path_argument,
    shape_by_handle,
    table_option,
)
from shapestore.cli.printing.output import is_terminal, plain, print_json
from shapestore.cli.printing.rows import form_options, print_rows
from shapestore.cli.printing.tables import print_facts, print_records
from shapestore.cli.printing.words import (
    CREATIONS,
    LOCKS,
    SHAPES,
    ago,
    lock_since,
    param,
    params,
    process_state,
    state,
    took,
)
from shapestore.cli.shape_arguments import filter_options, shape_options
from shapestore.shape.explain import Explanation
from shapestore.shape.shape import Shape


@click.command()
@path_argument
@filter_options
@click.option(
    "--sort",
    type=click.Choice(list(SORTS)),
    default="table",
    show_default=True,
    help="table: the oldest of each table first. created, read: the latest first. rows, bytes: the largest first.",
)
@click.option("-r", "--reverse", is_flag=True, help="Reverse the order.")
@limit_option()
@json_option
def ls(path: str, *, wanted: Filter, sort: str, reverse: bool, limit: int | None, as_json: bool) -> None:
    """List the stored shapes.

    With --where, those with this predicate, however it is spelled; with --param, those with this value.
    """
    with open_inspector(path) as inspector:
        shapes = inspector.shapes(wanted, sort=sort, reverse=reverse, limit=limit)
        hint = other_tables(inspector, wanted.table, wanted.namespace)
    print_records(SHAPES, shapes, as_json=as_json, nothing=f"no shapes{hint}")


@click.command()
@path_argument
@handle_argument
@json_option
def show(path: str, handle: str, as_json: bool) -> None:
    """Show everything about one stored shape."""
    with open_inspector(path) as inspector:
        shape = shape_by_handle(inspector, handle)
        creation = inspector.creation_of(shape.handle)
    if as_json:
        print_json({"shape": shape, "creation": creation})
        return
    facts: list[tuple[str, Any]] = [
        ("handle", shape.handle),
        *_facts(shape),
        ("rows", shape.row_count),
        ("bytes", shape.bytes),
        ("log bytes", shape.log_bytes),
        ("created", _moment(shape.created_at)),
        ("refreshed", _moment(shape.refreshed_at)),
        ("last read", _moment(shape.last_read_at)),
        ("live", "no" if shape.follows is None else f"yes, follows {shape.follows}"),
    ]
    if creation is not None:
        facts += [("took", took(creation)), ("followers", creation.followers)]
    print_facts([*facts, ("comparable", shape.comparable)])


@click.command()
@path_argument
@handle_argument
@form_options
def rows(path: str, handle: str, form: str | None) -> None:
    """Print the rows of a stored shape.

    As a table, as JSON lines or as CSV. Rows are streamed, so a shape may be larger than memory.
    """
    with open_inspector(path) as inspector:
        shape = shape_by_handle(inspector, handle)
        print_rows(inspector, shape.handle, form, columns=shape.columns, row_count=shape.row_count)


@click.command()
@path_argument
@json_option
def locks(path: str, as_json: bool) -> None:
    """List the creations in progress, and recent failures.

    The operating system tells whether a process is running. Waiting callers leave no trace in the file; `history`
    shows how many callers a creation served, once it has ended.
    """
    with open_inspector(path) as inspector:
        found = inspector.locks()
    print_records(LOCKS, found, as_json=as_json, nothing="no locks")


@click.command()
@path_argument
@table_option
@click.option("--failed", is_flag=True, help="Only those that failed, or whose process was killed.")
@click.option(
    "--since",
    type=moment,
    metavar="TIME",
    help="Only those that ended since TIME: 90s, 15min, 2h or 3d ago, or a date.",
)
@namespace_filter_option
@limit_option(default=20)
@json_option
def history(
    path: str,
    *,
    table: str | None,
    failed: bool,
    since: datetime | None,
    namespace: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List how the latest creations ended.

    The newest come first. The file keeps the last thousand. A time without a zone is in UTC.
    """
    with open_inspector(path) as inspector:
        creations = inspector.creations(limit, table, namespace=namespace, failed=failed, since=since)
        hint = other_tables(inspector, table, namespace)
    what = "no failed creations" if failed else "no creations"
    of = "" if table is None else f" of {table}"
    nothing = f"{what}{of}{f' since {plain(since)}' if since else ''}{hint}"
    print_records(CREATIONS, creations, as_json=as_json, nothing=nothing)


@click.command()
@path_argument
@shape_options()
@json_option
def explain(path: str, shape: Shape, namespace: str, as_json: bool) -> None:
    """Explain why a shape is, or is not, a stored one.

    Shapes are the same if their canonical texts are equal. For a shape that is not stored, this shows the nearest
    stored shape, and how the two differ.
    """
    with open_inspector(path) as inspector:
        explanation = inspector.explain(shape, namespace)
        key = shape.comparable_in(namespace)
        lock = next((lock for lock in inspector.locks() if lock.comparable == key), None)
        hint = other_tables(inspector, shape.table, namespace)
    nearest = explanation.nearest
    if as_json:
        print_json(
            {
                "comparable": key,
                "stored": nearest is not None and not explanation.differences,
                "nearest": None if nearest is None else nearest.handle,
                "differences": explanation.differences,
                "lock": lock,
            }
        )
        return
    facts = [("comparable", key), *_stored(shape, explanation, hint)]
    if lock is not None:
        holder = f"by {lock.owner.process} ({process_state(lock)})"
        facts.append(("lock", f"{state(lock)}, since {_moment(lock_since(lock))}, {holder}"))
    print_facts(facts)


def _stored(shape: Shape, explanation: Explanation, hint: str) -> list[tuple[str, Any]]:
    nearest = explanation.nearest
    if nearest is None:
        return [("stored", "no; this namespace has no shapes")]
    if not explanation.differences:
        return [("stored", f"yes, as {nearest.handle}")]
    if nearest.shape.table != shape.table:
        return [("stored", f"no; this namespace has no shapes of that table{hint}")]
    fields = (difference.field for difference in explanation.differences)
    return [
        ("stored", "no"),
        ("nearest", nearest.handle),
        *((field, f"asked {_field(shape, field)}; stored {_field(nearest.shape, field)}") for field in fields),
    ]


def _field(shape: Shape, field: str) -> str:
    """A field in which shapes differ."""
    name = field.removeprefix("params.")
    if name == field:
        return str(dict(_facts(shape))[field])
    return param(shape.params[name]) if name in shape.params else "not given"


def _facts(record: Record | Shape) -> list[tuple[str, Any]]:
    namespace = record.namespace if isinstance(record, Record) else ""
    return [
        *([("namespace", namespace)] if namespace else []),
        ("table", record.table),
        ("where", "every row" if record.where is None else record.where),
        ("params", params(record.params)),
        ("columns", "all" if record.columns is None else ", ".join(record.columns)),
    ]


def _moment(moment: Any) -> str:
    return f"{plain(moment)}, {ago(moment)}" if is_terminal() else plain(moment)
