"""The commands about the file as a whole: doctor, backup, vacuum, migrate."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

import click
from rich.text import Text

from shapestore.admin.backup import backup as back_up
from shapestore.admin.doctor import Finding, Severity, examine, is_sound
from shapestore.admin.inspector import opened
from shapestore.admin.vacuum import vacuum as vacuum_file
from shapestore.admin.wording import count
from shapestore.cli.arguments import json_option, path_argument
from shapestore.cli.printing.output import cell, console, is_terminal, print_fields, print_json, say
from shapestore.cli.printing.tables import new_table
from shapestore.cli.printing.words import size
from shapestore.locking.gate import Gate
from shapestore.storage import migrations
from shapestore.storage.path import check_beside, make_if_missing, resolve

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


@click.command()
@path_argument
@click.option("--quick", is_flag=True, help="Do not read every page. Faster, but finds less damage.")
@json_option
def doctor(path: str, quick: bool, as_json: bool) -> None:
    """Examine a store's file, and say what to do.

    Nothing is changed.

    Exit status: 0 if the file is sound, 1 if there is an error or a warning. Notes do not count.
    """
    findings = examine(path, quick=quick)
    sound = is_sound(findings)
    if as_json:
        print_json({"path": path, "sound": sound, "findings": findings})
    elif is_terminal():
        _print_for_people(findings)
    else:
        print_fields(("severity", "name", "what", "to do"))
        for finding in findings:
            print_fields((finding.severity.value, finding.name, finding.what, finding.to_do))
    if not as_json:
        say(f"{path} is sound" if sound else f"{path} needs attention")
    if not sound:
        raise click.exceptions.Exit(1)


def _print_for_people(findings: list[Finding]) -> None:
    table = new_table(header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        title = Text(f"{finding.severity.value}: {finding.name}", style=_STYLES[finding.severity])
        table.add_row(title, cell(finding.what))
        table.add_row("", Text.assemble("-> ", cell(finding.to_do)))
    if findings:
        console().print(table)


@click.command()
@path_argument
@click.argument("to", type=click.Path())
@click.option("-f", "--force", "--overwrite", is_flag=True, help="Replace TO if it exists.")
@json_option
def backup(path: str, to: str, force: bool, as_json: bool) -> None:
    """Copy a store to the file TO, while it is in use.

    The copy is the store as of one moment. It is checked before it gets the name TO, so TO is never half made. Only
    its user can read it.

    To restore it, close all stores and copy it back: `shapestore backup TO PATH --force`.
    """
    with _ended_cleanly():
        made = back_up(path, to, overwrite=force)
    if as_json:
        print_json(made)
    else:
        say(f"{to}: {count(made.shapes, 'shape')}, {size(made.bytes)}, sound")


@contextlib.contextmanager
def _ended_cleanly() -> Iterator[None]:
    """Let a signal that ends the program (from `timeout`, say) first clear away what is unfinished.

    One that is ignored, as under `nohup`, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in ending:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


@click.command()
@path_argument
@click.option("--create", is_flag=True, help="Make the file if it is missing.")
def migrate(path: str, create: bool) -> None:
    """Bring a store to this version's schema.

    A missing file is made only with --create, so a mistyped path leaves nothing behind.
    """
    real = resolve(path)
    check_beside(real)
    if not os.path.exists(real):
        if not create:
            raise click.ClickException(f"there is no file {path!r}; --create makes it")
        make_if_missing(real)
    with opened(real) as connection:
        before = migrations.current_revision(connection)  # refuses a foreign file before a gate is made beside it
    with contextlib.closing(Gate(real)) as gate, gate.hold_blocking():
        migrations.upgrade(real)
    if before == migrations.HEAD:
        say(f"{path} is already at {migrations.HEAD}")
    else:
        say(f"{path} was migrated {f'from {before} ' if before else ''}to {migrations.HEAD}")


@click.command()
@path_argument
@click.option(
    "--force", is_flag=True, help="Run while the file is open elsewhere, too. Writes there wait or are refused."
)
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
