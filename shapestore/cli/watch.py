"""The command watch: a live view of locks, herds, and the state of the file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from shapestore.admin.inspector import open_inspector
from shapestore.admin.records import CreationRecord, LockRecord
from shapestore.admin.sources import SourceRecord, sources
from shapestore.admin.wording import count
from shapestore.cli.arguments import Seconds, json_option, path_argument
from shapestore.cli.printing.output import cell, console, is_terminal, plain, print_json
from shapestore.cli.printing.tables import fitting, table_of
from shapestore.cli.printing.words import CREATIONS, LOCKS, ago, size
from shapestore.storage.wal import wal_bytes

_LATEST = 10
_WIDTH_OF_A_PIPE = 160


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a store at one moment. The counts are those of ``Totals``."""

    at: datetime
    shapes: int
    stores_open: int
    stores_dead: int
    locks: list[LockRecord]
    latest: list[CreationRecord]
    creations: int
    created: int
    failed: int
    followers: int
    largest_herd: int
    discarded: int
    file_bytes: int
    wal_bytes: int
    sources: list[SourceRecord]
    """Those that live shapes follow."""


@click.command()
@path_argument
@click.option(
    "-i",
    "--interval",
    type=Seconds(min=0.05, max=86_400),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="The pause between two readings.",
)
@click.option("-n", "--count", "readings", type=click.IntRange(min=1), metavar="N", help="End after N readings.")
@json_option
def watch(path: str, interval: float, readings: int | None, as_json: bool) -> None:
    """Watch a store at work, until Ctrl-C.

    Shows locks, herds, followed sources, rows pending deletion and the write-ahead log. If stdout is not a terminal, it
    prints one reading.
    """
    if readings is None and not is_terminal():
        readings = 1
    snapshots = _snapshots(path, interval, readings)
    if as_json or not is_terminal():
        _print(path, snapshots, as_json)
    else:
        _show(path, snapshots)


def _snapshots(path: str, interval: float, readings: int | None) -> Iterator[Snapshot]:
    yield take(path)
    taken = 1
    while readings is None or taken < readings:
        time.sleep(interval)
        yield take(path)
        taken += 1


def take(path: str) -> Snapshot:
    """Read the state now. The file is opened each time: one that was replaced is noticed, and nothing stays open."""
    with open_inspector(path) as inspector:
        owners = inspector.owners()
        return Snapshot(
            at=datetime.fromtimestamp(time.time(), UTC),
            **asdict(inspector.totals()),
            stores_open=sum(owner.alive for owner in owners),
            stores_dead=sum(not owner.alive for owner in owners),
            locks=inspector.locks(),
            latest=inspector.creations(_LATEST),
            file_bytes=os.stat(inspector.path).st_size,
            wal_bytes=wal_bytes(inspector.path),
            sources=sources(inspector),
        )


def _show(path: str, snapshots: Iterator[Snapshot]) -> None:
    screen = console()
    first = view(path, next(snapshots), screen.width)
    with Live(first, console=screen, auto_refresh=False, vertical_overflow="crop") as live:
        for snapshot in snapshots:
            live.update(view(path, snapshot, screen.width), refresh=True)


def _print(path: str, snapshots: Iterator[Snapshot], as_json: bool) -> None:
    for snapshot in snapshots:
        if as_json:
            print_json(snapshot)
        else:
            console(_WIDTH_OF_A_PIPE).print(view(path, snapshot, _WIDTH_OF_A_PIPE))
        sys.stdout.flush()


def _followed(source: SourceRecord) -> str:
    """How far a source is followed."""
    if source.behind is None:
        how_far = "it cannot be read, or captures no changes"
    elif source.behind:
        how_far = f"{count(source.behind, 'change')} behind"
    else:
        how_far = "up to date"
    who = "no process" if source.follower is None else f"process {source.follower}"
    last = f", last {ago(source.followed_at)}" if source.followed_at else ""
    return f"{count(source.live_shapes, 'live shape')} of {source.source}: {how_far}, followed by {who}{last}"


def view(path: str, snapshot: Snapshot, width: int) -> RenderableType:
    """A snapshot for a screen of ``width`` characters a line."""
    locks, latest = snapshot.locks, snapshot.latest
    crashed = f", {snapshot.stores_dead} crashed" if snapshot.stores_dead else ""
    title = cell(f"{path}   {plain(snapshot.at)}")
    title.stylize("bold")
    parts: list[RenderableType] = [
        title,
        Text(
            f"{count(snapshot.shapes, 'shape')} · {count(snapshot.stores_open, 'store')} open{crashed} · "
            f"{size(snapshot.file_bytes)}, log {size(snapshot.wal_bytes)} · {snapshot.discarded:,} pending deletion"
        ),
        Text(
            f"last {count(snapshot.creations, 'creation')}: {snapshot.created:,} created, {snapshot.failed:,} failed, "
            f"{count(snapshot.followers, 'follower')} served, {snapshot.largest_herd:,} by one"
        ),
        *(cell(_followed(source)) for source in snapshot.sources),
        Text(),
        table_of(fitting(LOCKS, locks, width), locks) if locks else Text("no creation is in progress"),
    ]
    if latest:
        parts += [Text(), table_of(fitting(CREATIONS, latest, width), latest)]
    return Group(*parts)
