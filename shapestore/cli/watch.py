"""The command watch: a live view of who creates what, whom it served, and how the file is."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from shapestore.admin.inspector import open_inspector, wal_bytes
from shapestore.admin.records import CreationRecord, LockRecord, OwnerRecord
from shapestore.cli.arguments import Seconds, json_option, path_argument
from shapestore.cli.look import CREATIONS, LOCKS
from shapestore.cli.output import console, count, fitting, is_terminal, now, plain, print_json, size, table_of

_LATEST = 10
_WIDTH_OF_A_PIPE = 160


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is to be seen at one moment."""

    at: datetime
    shapes: int
    stores_open: int
    stores_dead: int
    locks: list[LockRecord]
    latest: list[CreationRecord]
    creations: int
    """How many are recorded; the last thousand are."""
    created: int
    failed: int
    followers: int
    """Callers whom those creations served, beside the first of each."""
    largest_herd: int
    discarded: int
    """Snapshots whose rows are still to be deleted."""
    file_bytes: int
    wal_bytes: int


@click.command()
@path_argument
@click.option(
    "-i",
    "--interval",
    type=Seconds(min=0.05, max=86_400),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait between two looks.",
)
@click.option("-n", "--count", "looks", type=click.IntRange(min=1), metavar="N", help="End after so many looks.")
@json_option
def watch(path: str, interval: float, looks: int | None, as_json: bool) -> None:
    """Watch a store at work, until Ctrl-C.

    Locks, herds, what is left to be deleted, the write-ahead log. Where stdout is no terminal, it looks once.
    """
    live = is_terminal() and not as_json
    if looks is None and not is_terminal():
        looks = 1
    try:
        if live:
            _watch(path, interval, looks)
        else:
            _print(path, interval, looks, as_json)
    except KeyboardInterrupt:
        pass  # it is how one ends it


def take(path: str) -> Snapshot:
    """Look once. The file is opened each time, so that one that was replaced is seen, and nothing stays open."""
    with open_inspector(path) as seen:
        owners: list[OwnerRecord] = seen.owners()
        locks = seen.locks()
        with seen.one_moment():
            ((creations, created, failed, followers, largest),) = seen.read(
                "SELECT count(*), coalesce(sum(outcome = 'created'), 0), coalesce(sum(outcome = 'failed'), 0),"
                " coalesce(sum(followers), 0), coalesce(max(followers), 0) FROM creations"
            )
            return Snapshot(
                at=datetime.fromtimestamp(now(), UTC),
                shapes=seen.number("SELECT count(*) FROM shapes"),
                stores_open=sum(owner.alive for owner in owners),
                stores_dead=sum(not owner.alive for owner in owners),
                locks=locks,
                latest=seen.creations(_LATEST),
                creations=creations,
                created=created,
                failed=failed,
                followers=followers,
                largest_herd=largest,
                discarded=seen.number("SELECT count(*) FROM discarded"),
                file_bytes=os.stat(seen.path).st_size,
                wal_bytes=wal_bytes(seen.path),
            )


def _watch(path: str, interval: float, looks: int | None) -> None:
    looked = 1
    screen = console()
    with Live(
        view(path, take(path), screen.width), console=screen, auto_refresh=False, vertical_overflow="crop"
    ) as live:
        while looks is None or looked < looks:
            time.sleep(interval)
            live.update(view(path, take(path), screen.width), refresh=True)
            looked += 1


def _print(path: str, interval: float, looks: int | None, as_json: bool) -> None:
    looked = 0
    while looks is None or looked < looks:
        if looked:
            time.sleep(interval)
        snapshot = take(path)
        if as_json:
            print_json(snapshot)
        else:
            console(_WIDTH_OF_A_PIPE).print(view(path, snapshot, _WIDTH_OF_A_PIPE))
        sys.stdout.flush()
        looked += 1


def view(path: str, snapshot: Snapshot, width: int) -> RenderableType:
    """What was seen, for a screen of so many characters a line."""
    dead = f", {snapshot.stores_dead} dead" if snapshot.stores_dead else ""
    parts: list[RenderableType] = [
        Text(f"{path}   {plain(snapshot.at)}", style="bold"),
        Text(
            f"{count(snapshot.shapes, 'shape')} · {count(snapshot.stores_open, 'store')} open{dead} · "
            f"{size(snapshot.file_bytes)}, log {size(snapshot.wal_bytes)} · {snapshot.discarded:,} to be deleted"
        ),
        Text(
            f"last {count(snapshot.creations, 'creation')}: {snapshot.created:,} created, {snapshot.failed:,} failed, "
            f"{count(snapshot.followers, 'follower')} served, {snapshot.largest_herd:,} by one"
        ),
        Text(),
    ]
    locks, latest = snapshot.locks, snapshot.latest
    parts.append(table_of(fitting(LOCKS, locks, width), locks) if locks else Text("nothing is being created"))
    if latest:
        parts += [Text(), table_of(fitting(CREATIONS, latest, width), latest)]
    return Group(*parts)
